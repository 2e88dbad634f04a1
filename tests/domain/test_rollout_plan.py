"""What a person types, what stands in the way of it, in which order, and how many replicas."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_rollout import MARK, deployment
from upkeep.domain.gates import Gate, compare_gates, judge_http, judge_pods, with_held
from upkeep.domain.rollout import Live
from upkeep.domain.rollout_plan import (
    Surroundings,
    agreed,
    image_wanted,
    order_waves,
    plan_item,
    quantity,
    repository_of,
    selects,
    surge_of,
    why_not_as_planned,
    why_not_begin,
)
from upkeep.domain.scaling import recommend_replicas

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("1.4.2", "reg:5000/shop/app:1.4.2"),
        (":1.4.2", "reg:5000/shop/app:1.4.2"),
        (f" {DIGEST} ", f"reg:5000/shop/app@{DIGEST}"),
        (f"@{DIGEST}", f"reg:5000/shop/app@{DIGEST}"),
        ("other/app:3", "other/app:3"),
        (f"other/app:3@{DIGEST}", f"other/app:3@{DIGEST}"),
    ],
)
def test_a_tag_or_a_digest_keeps_the_repository_and_a_whole_image_replaces_it(asked: str, wanted: str) -> None:
    assert image_wanted("reg:5000/shop/app:1@sha256:00", asked) == wanted


@pytest.mark.parametrize("asked", ["sha256:ab", "@x", "two words", "https://reg/app:1", "-1", "a//b", "app:", "$(id)"])
def test_what_is_no_image_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match=r"is not a digest|is neither a tag"):
        image_wanted("reg/app:1", asked)


def test_a_registry_s_port_is_no_tag() -> None:
    assert repository_of("reg:5000/app") == "reg:5000/app"
    assert repository_of("app:1") == "app"


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", Fraction(1, 2)), ("1Gi", 2**30), ("2", 2), ("1e3", 1000), ("1.5k", 1500), ("100n", Fraction(1, 10**7))],
)
def test_quantities_are_read_exactly(text: str, value: Fraction) -> None:
    assert quantity(text) == value


def live(**spec: Any) -> Live:
    found = deployment()
    found["spec"] |= spec
    return Live(found)


def rolling(**values: Any) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": values}


@pytest.mark.parametrize(
    ("spec", "surge"),
    [
        ({}, (1, 0)),
        ({"replicas": 10}, (3, 2)),
        ({"strategy": rolling(maxSurge="50%", maxUnavailable=0)}, (2, 0)),
        ({"strategy": rolling(maxSurge=0, maxUnavailable="10%")}, (0, 1)),
        ({"strategy": {"type": "Recreate"}}, (0, 3)),
    ],
)
def test_steps_of_a_rollout_are_rounded_as_the_controller_does(spec: dict[str, Any], surge: tuple[int, int]) -> None:
    assert surge_of(live(**spec)) == surge


def budget(allowed: int, **selector: Any) -> dict[str, Any]:
    labels = selector or {"matchLabels": {"app": "web"}}
    return {"metadata": {"name": "b"}, "spec": {"selector": labels}, "status": {"disruptionsAllowed": allowed}}


def quota(hard: str, used: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "q"}, "spec": spec,
        "status": {"hard": {"requests.cpu": hard}, "used": {"requests.cpu": used}},
    }  # fmt: skip


TAKES_ONE = {"strategy": rolling(maxSurge=0, maxUnavailable=1)}


@pytest.mark.parametrize(
    ("spec", "around", "verdict", "said"),
    [
        pytest.param({}, {}, "change", "revision 2 -> 3", id="nothing in the way"),
        pytest.param(TAKES_ONE, {"budgets": [budget(0)]}, "refused", "allows no disruption now", id="no disruption"),
        pytest.param({}, {"budgets": [budget(0)]}, "change", "", id="a rollout that takes none away disrupts nothing"),
        pytest.param(TAKES_ONE, {"budgets": [budget(0, matchLabels={"app": "x"})]}, "change", "", id="another's"),
        pytest.param(
            {"strategy": {"type": "Recreate"}}, {"budgets": [budget(1)]}, "change", "would allow 1", id="a remark"
        ),
        pytest.param({}, {"quotas": [quota("2", "1600m")]}, "refused", "leaves 0.4 of 2 requests.cpu", id="no room"),
        pytest.param({}, {"quotas": [quota("2", "1500m")]}, "change", "", id="just enough room"),
        pytest.param({}, {"quotas": [quota("2", "2", scopes=["BestEffort"])]}, "change", "", id="a scoped quota"),
        pytest.param(
            {"strategy": rolling(maxSurge=1, maxUnavailable=1)}, {"quotas": [quota("2", "2")]}, "change",
            "no room for an additional pod", id="without room it takes one away first",
        ),
        pytest.param({"revisionHistoryLimit": 0}, {}, "refused", "could not be taken back", id="no way back"),
        pytest.param({}, {"unread": ("PodDisruptionBudgets",)}, "change", "not looked at: Pod", id="what is not known"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_told(spec: dict[str, Any], around: dict[str, Any], verdict: str, said: str) -> None:
    found = live(**spec)
    found.template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "500m"}}
    item = plan_item(found, "3", None, Surroundings(**around))
    assert (item.verdict, said in item.line()) == (verdict, True), item.line()


def test_what_this_run_has_begun_stays_in_its_plan_until_it_has_ended() -> None:
    begun = Live(deployment(mark=MARK, updatedReplicas=1))
    no_disruption = Surroundings(budgets=[budget(0)])
    item = plan_item(begun, "2", None, no_disruption, "run-1")
    assert (item.verdict, item.before, item.after, item.revision) == ("change", "app:1", "app:2", 1)
    assert "this run has begun it already" in item.line()
    assert plan_item(begun, "2", None, no_disruption, "run-2").verdict == "nothing"


def test_several_containers_need_a_name_and_the_same_image_is_nothing_to_do_even_when_paused() -> None:
    two = live()
    two.template["spec"]["containers"] = [{"name": "web", "image": "a:1"}, {"name": "log", "image": "b:1"}]
    assert "several containers (web, log)" in plan_item(two, "2", None, Surroundings()).line()
    assert plan_item(two, "2", "log", Surroundings()).after == "b:2"
    assert plan_item(live(paused=True), "2", "web", Surroundings()).verdict == "nothing"


def test_what_the_plan_does_not_touch_is_told_where_it_runs_the_same_program() -> None:
    found = live()
    found.template["spec"]["initContainers"] = [{"name": "migrate", "image": "app:2"}]
    assert "note: its init container migrate stays at app:2" in plan_item(found, "3", None, Surroundings()).line()


def change(**other: Any) -> dict[str, Any]:
    """Of a plan made on ``live()``."""
    item = plan_item(live(), "3", None, Surroundings())
    facts = {name: getattr(item, name) for name in ("container", "before", "after", "revision", "replicas", "scaler")}
    return {**facts, "template": item.template, **other}


def test_what_is_not_as_it_was_planned_is_told() -> None:
    hpa = {"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    assert list(why_not_as_planned(live(), change())) == []
    assert list(why_not_begin(live(), change(), Surroundings())) == []
    assert list(why_not_begin(live(replicas=5), change(), Surroundings(autoscalers=[hpa]))) == []
    (told,) = why_not_begin(live(replicas=5), change(), Surroundings())
    assert told == "it has 5 replicas now, it had 3 when it was planned"
    (told,) = why_not_begin(live(**TAKES_ONE), change(), Surroundings(budgets=[budget(0)]))
    assert "allows no disruption now" in told
    other = live()
    other.template["spec"]["containers"][0]["env"] = [{"name": "DEBUG"}]
    (told,) = why_not_as_planned(other, change())
    assert told == "its pod template is another than when it was planned at revision 2"


def test_who_approves_agrees_to_images_order_templates_and_replicas_and_not_to_what_an_autoscaler_sets() -> None:
    plan = {"strategy": "canary", "waves": [["a"], ["b", "c"]], "changes": {"a": change()}}
    assert agreed(plan)[0] == "canary: a, then b + c"
    assert agreed(plan)[1].startswith("a: web app:2 -> app:3, 3 replicas (template ")
    for other in ({"after": "app:4"}, {"before": "app:1"}, {"replicas": 4}, {"template": "0" * 64}):
        assert agreed({**plan, "changes": {"a": change(**other)}}) != agreed(plan)
    scaled = [{**plan, "changes": {"a": change(scaler="hpa", replicas=count)}} for count in (2, 9)]
    assert agreed(scaled[0]) == agreed(scaled[1])


def test_a_selector_without_terms_selects_everything_and_a_missing_one_nothing() -> None:
    assert selects({}, {"app": "web"})
    assert not selects(None, {"app": "web"})
    expressions = [
        {"key": "app", "operator": "In", "values": ["web"]}, {"key": "old", "operator": "DoesNotExist"},
        {"key": "app", "operator": "NotIn", "values": ["x"]}, {"key": "app", "operator": "Exists"},
    ]  # fmt: skip
    assert selects({"matchExpressions": expressions}, {"app": "web"})
    assert not selects({"matchExpressions": expressions}, {"app": "web", "old": "1"})


AFTER = {"a": (), "b": ("a",), "c": ("b",), "x": (), "y": ("x",)}


@pytest.mark.parametrize(
    ("chosen", "strategy", "waves"),
    [
        ("abcxy", "all", ["ax", "by", "c"]),
        ("abcxy", "ordered", ["a", "x", "b", "y", "c"]),
        ("abcxy", "canary", ["a", "x", "by", "c"]),
        ("ac", "all", ["a", "c"]),
        ("c", "canary", ["c"]),
    ],
)
def test_waves_respect_the_order_also_across_deployments_that_were_not_chosen(
    chosen: str, strategy: Any, waves: list[str]
) -> None:
    assert order_waves(list(chosen), AFTER, strategy) == [list(wave) for wave in waves]


OK, BAD = Gate("http api", True, "HTTP 200"), Gate("http api", False, "HTTP 500")


@pytest.mark.parametrize(
    ("before", "after", "verdict", "bad"),
    [
        ([OK], OK, "healthy", False),
        ([OK], BAD, "broke", True),
        ([BAD], BAD, "was already failing", False),
        ([BAD], OK, "fixed", False),
        ([], OK, "healthy", False),
        ([], BAD, "not looked at before", True),
    ],
)
def test_what_broke_is_told_from_what_was_failing(before: list[Gate], after: Gate, verdict: str, bad: bool) -> None:
    (found,) = compare_gates(before, [after])
    assert (found.verdict, found.bad) == (verdict, bad)


def test_a_gate_that_failed_before_and_held_since_has_no_excuse() -> None:
    (found,) = compare_gates(with_held([BAD], [BAD.name]), [BAD])
    assert (found.verdict, found.bad) == ("broke", True)


def test_gates_judge_status_readiness_and_restarts() -> None:
    assert judge_http("h", {"status": 302, "latency_ms": 3.0}, expect_status=None).ok
    assert not judge_http("h", {"status": 302, "latency_ms": 3.0}, expect_status=200).ok
    assert judge_http("h", {"error": "no answer"}, expect_status=200) == Gate("h", False, "no answer")
    assert judge_pods("p", 2, 2, {"p1": 3, "p2": 0}, {"p1": 3}, ()).ok
    assert judge_pods("p", 2, 2, {"p1": 4, "p2": 1}, {"p1": 3}, ()).said == "restarted since the rollout: p1, p2"
    assert judge_pods("p", 2, 2, {"p1": 4}, None, ()).ok, "before a change restarts don't count"
    assert judge_pods("p", 1, 2, {}, {}, ("pod p2: hangs",)).said == "1 of 2 pods ready; pod p2: hangs"


@pytest.mark.parametrize(
    ("current", "metric", "replicas", "why"),
    [
        (3, 90, 4, "ceil(3 * 90 / 70) = 4"),
        (3, 77, 3, "within 10 %"),
        (3, 63, 3, "within 10 %"),
        (3, 62.9, 3, "ceil(3 * 62.9 / 70) = 3"),
        (5, 20, 2, "ceil(5 * 20 / 70) = 2"),
        (4, 10, 2, "kept within 2 to 10"),
        (8, 140, 10, "ceil(8 * 140 / 70) = 16, kept within 2 to 10"),
        (20, 95, 20, "ceil(20 * 95 / 70) = 28, kept within 2 to 20"),
        (20, 35, 10, "ceil(20 * 35 / 70) = 10"),
        (1, 70, 1, "within 10 % of the target 70"),
        (1, 90, 2, "ceil(1 * 90 / 70) = 2"),
    ],
)
def test_replicas_are_advised_by_the_autoscaler_s_formula(current: int, metric: float, replicas: int, why: str) -> None:
    advice = recommend_replicas(current, metric)
    assert advice.replicas == replicas
    assert why in advice.reason


@given(st.integers(1, 50), st.floats(0, 500), st.floats(1, 100))
def test_advice_goes_no_further_outside_the_bounds_and_never_scales_against_the_load(
    current: int, metric: float, target: float
) -> None:
    advice = recommend_replicas(current, metric, target).replicas
    assert min(2, current) <= advice <= max(10, current)
    assert advice >= current if metric >= target else advice <= current
