"""Rolling updates on a real control plane: what gets through, what is taken back, and what a kill leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.duties.rollouts import Health, Rollouts, finish
from tests.servers.kubernetes_cluster import Namespace
from upkeep.domain.rollout import Live
from upkeep.duties import gates
from upkeep.duties.cluster_work import Wait, note_asked, require_progress
from upkeep.duties.restart import plan_restart, restart
from upkeep.duties.roll_back import roll_back
from upkeep.duties.roll_out import roll_out
from upkeep.duties.scale import plan_scale, scale
from upkeep.errors import RollbackFailed, RolloutFailed, RolloutRefused
from upkeep.ledger import Ledger, Record


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PAUSE_S", 0.05)


@pytest.fixture
def health() -> Iterator[Health]:
    server = Health()
    yield server
    server.stop()


def soon_over(plan: dict[str, Any], name: str) -> dict[str, Any]:
    """What never gets ready is given up after 3 s; taking it back has all its time."""
    plan["changes"][name]["timeout_s"] = 3
    return plan


def test_a_good_rollout_updates_in_order_and_leaves_plan_approver_digests_and_pods_in_the_ledger(
    tmp_path: Path, namespace: Namespace, health: Health
) -> None:
    scene = Rollouts(tmp_path, namespace, health.url, "a", "b", "c", replicas=2)
    plan = scene.plan(c="2", a="2")
    assert plan["waves"] == [["a"], ["c"]], "c comes after b, and b after a, though b isn't updated"
    assert "a: reg/a:1 (runs fake://reg/a:1) -> reg/a:2; revision 1 -> 2; 2 of 2 pods ready" in plan["lines"][1]
    assert scene.roll_out(plan, dry_run=True)["would_change"] == ["a", "c"]
    assert scene.acts("roll_out") == []
    assert scene.live("a").revision == 1, "the server checked the patch, and kept nothing of it"

    found = scene.roll_out(plan)
    assert (found["updated"], found["light"]) == (["a", "c"], "green")
    assert scene.images() == {"a": "reg/a:2", "b": "reg/b:1", "c": "reg/c:2"}
    (change, _), (confirmed, _) = scene.acts("roll_out"), scene.acts("confirm_rollout")
    assert (change.started.command, change.started.approver) == ("set image a=reg/a:2 (was reg/a:1)", "li.si")
    assert change.detail["digests"] == ["fake://reg/a:1"]
    assert confirmed.detail["digests"] == ["fake://reg/a:2"]
    assert len(confirmed.detail["pods"]) == 2
    assert scene.live("a").annotations["kubernetes.io/change-cause"] == "upkeep: reg/a:1 -> reg/a:2 by zhang.san, run-1"
    assert scene.roll_back()["verdict"] == "nothing to take back"
    assert scene.roll_out(plan) == found, "cleared, it finds that all is done"
    scene.require_clean_ledger()


def test_what_was_updated_before_a_failure_is_taken_back_with_it(
    tmp_path: Path, namespace: Namespace, health: Health
) -> None:
    scene = Rollouts(tmp_path, namespace, health.url, "a", "b", "c")
    plan = soon_over(scene.plan(a="2", b="2", c="bad-2"), "c")
    with pytest.raises(RolloutFailed, match=r"of c failed: not finished within 3 s: .*running, but not ready"):
        scene.roll_out(plan)
    assert scene.images() == {"a": "reg/a:2", "b": "reg/b:2", "c": "reg/c:bad-2"}
    found = scene.roll_back()
    assert (found["verdict"], found["back"]) == ("rolled back, healthy", ["c", "b", "a"])
    assert scene.images() == {"a": "reg/a:1", "b": "reg/b:1", "c": "reg/c:1"}
    assert {name: scene.live(name).revision for name in "abc"} == {"a": 3, "b": 3, "c": 3}
    assert scene.live("c").digests == ("fake://reg/c:1",)
    assert scene.roll_back() == found
    with pytest.raises(RolloutRefused, match="taken back by this very run"):
        scene.roll_out(plan)
    scene.require_clean_ledger()


def test_a_rollout_that_never_gets_there_is_told_with_the_pods_own_words(tmp_path: Path, namespace: Namespace) -> None:
    images = {"a": "missing", "b": "crash", "c": "bad", "d": "bad"}
    scene = Rollouts(tmp_path, namespace, "", *images, chained=False)

    def set_deadline(name: str, seconds: int) -> None:
        spec = {"progressDeadlineSeconds": seconds}
        namespace.apps.patch_namespaced_deployment(name, namespace.name, {"spec": spec})

    def fail(name: str) -> str:
        if name == "d":
            set_deadline(name, 2)
        plan = scene.plan(run_id=name, **{name: images[name]})
        if name != "d":
            soon_over(plan, name)
        with pytest.raises(RolloutFailed) as told:
            scene.roll_out(plan, name)
        set_deadline(name, 60)
        assert scene.roll_back(name)["verdict"] == "rolled back, healthy"
        return str(told.value)

    with ThreadPoolExecutor() as pool:
        missing, crash, never, exceeded = pool.map(fail, images)
    assert "rollout of a failed: not finished within 3 s: 1 old pods are still to end" in missing
    assert 'ImagePullBackOff: Back-off pulling image "reg/a:missing"' in missing
    assert "CrashLoopBackOff: back-off restarting failed container (last ended with 1, Error; " in crash
    assert "running, but not ready" in never
    assert "rollout of d failed: it exceeded its progress deadline: ReplicaSet" in exceeded
    assert set(scene.images().values()) == {f"reg/{name}:1" for name in images}


def test_a_gate_that_broke_fails_the_rollout_and_one_that_was_failing_before_does_not(
    tmp_path: Path, namespace: Namespace, health: Health
) -> None:
    scene = Rollouts(tmp_path, namespace, health.url, "a", "b", "c")
    health.failing = {"/b"}
    found = scene.roll_out(scene.plan(a="2"))
    assert found["light"] == "amber"
    assert "http b: was already failing: HTTP 500 (before: HTTP 500)" in found["summary"]

    def break_once_updated(path: str) -> None:
        if scene.live("a").images == "reg/a:3":
            health.failing = {"/b", "/c"}

    health.happens = break_once_updated
    with pytest.raises(RolloutFailed, match="http c: broke: HTTP 500") as told:
        scene.roll_out(scene.plan(run_id="run-2", a="3"), "run-2")
    assert "http b" not in str(told.value)
    with pytest.raises(RollbackFailed, match="rolled back, still failing: http c: broke"):
        scene.roll_back("run-2")
    assert scene.live("a").images == "reg/a:2"
    health.happens, health.failing = (lambda path: None), {"/b"}
    assert scene.roll_back("run-2")["verdict"] == "rolled back, healthy", "cleared, it looks again"


def test_a_pod_that_restarts_while_it_settles_is_a_broken_gate(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", settle_s=3)
    plan = scene.plan(a="2")
    scene.roll_out_until("confirm_rollout", plan)
    pod = scene.live("a").current_pods[0]
    statuses = [{**one, "restartCount": 1} for one in pod["status"]["containerStatuses"]]
    name = pod["metadata"]["name"]
    # As its kubelet would tell of a crash.
    namespace.core.patch_namespaced_pod_status(name, namespace.name, {"status": {"containerStatuses": statuses}})
    with pytest.raises(RolloutFailed, match=f"pods a: broke: restarted since the rollout: {name}"):
        scene.roll_out(plan)


def test_what_can_not_work_is_refused_with_every_reason_before_anything_is_changed(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", "c", "d", "e")
    scene.settings["deployments"][0]["container"] = "sidecar"
    specs = {
        "b": {"paused": True},
        "d": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}},
    }
    for name, spec in specs.items():
        namespace.apps.patch_namespaced_deployment(name, namespace.name, {"spec": spec})
    scene.set_image("e", "reg/e:bad")
    namespace.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "6"}}}
    )
    budget = {
        "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "d"}}},
    }  # fmt: skip
    client.CustomObjectsApi(namespace.api).create_namespaced_custom_object(
        "policy", "v1beta1", namespace.name, "poddisruptionbudgets", budget
    )
    namespace.wait_for("six pods", lambda: len(namespace.core.list_namespaced_pod(namespace.name).items) == 6)
    namespace.count_quota("few", pods=6)
    namespace.wait_for("the pod is counted", lambda: "old pods" in scene.live("e").progress.why)
    with pytest.raises(RolloutRefused) as told:
        scene.plan(a="2", b="2", c="2", d="2", e="2")
    for reason in (
        "a: it has no container 'sidecar', only a",
        "b: it is paused: kubectl rollout resume deployment/b",
        "c: quota few leaves 0 of 6 pods, one more pod needs 1",
        "d: PodDisruptionBudget all allows no disruption now, and the rollout would take up to 1 pods away at once",
        "e: a rollout is under way: 1 old pods are still to end",
    ):
        assert reason in str(told.value)
    assert [record.state for record in scene.acts("plan_rollout")] == ["failed"]
    assert scene.plan(c="1") == {
        "strategy": "all", "changes": {}, "waves": [],
        "lines": ["c: nothing to do: it is at reg/c:1 already; restart it to pull a tag anew"],
    }  # fmt: skip


def test_what_somebody_else_changed_is_left_alone_and_told(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b")
    plan = scene.plan(a="2", b="bad")
    scene.set_image("a", "reg/a:hotfix")
    with pytest.raises(RolloutRefused, match="its image is reg/a:hotfix now, it was reg/a:1 when it was planned"):
        scene.roll_out(plan)
    assert scene.roll_back()["verdict"] == "nothing to take back"

    namespace.wait_for("the hotfix", lambda: scene.live("a").progress.state == "done")
    with pytest.raises(RolloutFailed):
        scene.roll_out(soon_over(scene.plan(run_id="run-2", a="2", b="bad"), "b"), "run-2")
    scene.set_image("a", "reg/a:hotfix-2")
    with pytest.raises(RollbackFailed, match="a is not taken back: somebody else has set its image since"):
        scene.roll_back("run-2")
    assert scene.images() == {"a": "reg/a:hotfix-2", "b": "reg/b:1"}


def test_cleared_after_the_way_back_a_run_changes_nothing_more(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", settle_s=2)
    plan = scene.plan(a="2", b="2")
    scene.roll_out_until("confirm_rollout", plan)
    scene.set_image("b", "reg/b:hotfix")
    with pytest.raises(RolloutRefused, match="its image is reg/b:hotfix now"):
        scene.roll_out(plan)
    assert scene.roll_back()["back"] == ["a"]
    scene.set_image("b", "reg/b:1")
    namespace.wait_for("b as it was planned", lambda: scene.live("b").progress.state == "done")
    with pytest.raises(RolloutRefused, match="taken back by this very run"):
        scene.roll_out(plan)
    assert scene.images() == {"a": "reg/a:1", "b": "reg/b:1"}
    assert scene.acts("finish_rollout") == []


def test_what_somebody_took_back_or_changed_otherwise_is_neither_done_again_nor_undone(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", "c", chained=False, settle_s=600)
    plan = scene.plan(a="2", b="2", c="2")
    scene.roll_out_until("confirm_rollout", plan, rows=3)
    scene.set_image("a", "reg/a:1")
    setting = {"containers": [{"name": "b", "env": [{"name": "DEBUG", "value": "1"}]}]}
    namespace.apps.patch_namespaced_deployment("b", namespace.name, {"spec": {"template": {"spec": setting}}})
    namespace.wait_for("both", lambda: all(scene.live(name).revision == 3 for name in "ab"))
    namespace.wait_for("both pods", lambda: all(scene.live(name).progress.state == "done" for name in "ab"))
    with pytest.raises(RolloutRefused, match="a was changed by somebody else while it was updated: it runs reg/a:1"):
        roll_out(scene.job(), plan, approver="li.si")
    namespace.apps.delete_namespaced_deployment("c", namespace.name)
    with pytest.raises(RollbackFailed) as told:
        scene.roll_back()
    assert "a is not taken back: somebody else has set its image since" in str(told.value)
    assert "b is not taken back: somebody else has changed its template since: it is at revision 3" in str(told.value)
    assert "c is not taken back: somebody else has deleted it since" in str(told.value)
    assert (scene.live("a").revision, scene.live("b").images) == (3, "reg/b:2")


def test_pods_that_an_autoscaler_adds_while_it_settles_break_nothing(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", settle_s=3)
    namespace.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    )
    namespace.count_quota("few", pods=1)
    plan = scene.plan(a="2")
    scene.roll_out_until("confirm_rollout", plan)
    namespace.apps.patch_namespaced_deployment_scale("a", namespace.name, {"spec": {"replicas": 3}})
    assert scene.roll_out(plan)["light"] == "green"


def test_somebody_who_scales_or_restarts_through_upkeep_stops_neither_the_way_there_nor_back(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", "c", chained=False, settle_s=600)
    plan = scene.plan(a="2", b="2", c="2")
    roll_out(scene.job(), plan, approver="li.si")
    finish(partial(scale, scene.job("scale"), plan_scale(scene.job("scale"), "a", 3), approver="li.si"), scene.live)
    scene.roll_out_until("confirm_rollout", plan, rows=3)
    finish(
        partial(restart, scene.job("restart"), plan_restart(scene.job("restart"), "b"), approver="li.si"), scene.live
    )
    roll_out(scene.job(), plan, approver="li.si")  # its pods are all there, and the marks its own
    waiting = partial(scale, scene.job("scale-2"), plan_scale(scene.job("scale-2"), "c", 2), approver="li.si")
    assert isinstance(waiting(), Wait)
    found = scene.roll_back()
    assert (found["verdict"], found["back"]) == ("rolled back, healthy", ["c", "b", "a"])
    assert scene.images() == {"a": "reg/a:1", "b": "reg/b:1", "c": "reg/c:1"}
    assert {name: scene.live(name).replicas for name in "abc"} == {"a": 3, "b": 1, "c": 2}
    assert finish(waiting, scene.live)["replicas"] == 2, "what is scaled meanwhile is confirmed as ever"


def test_what_was_not_approved_is_not_carried_out(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b")
    note_asked(scene.job(), scene.plan(a="2", b="2"))
    with pytest.raises(RolloutRefused) as told:
        scene.roll_out(scene.plan(a="3", b="2"))
    assert "approved was a: a reg/a:1 -> reg/a:2, 1 replicas" in told.value.message
    assert "now it is a: a reg/a:1 -> reg/a:3, 1 replicas" in told.value.message
    assert "b: " not in told.value.message
    assert "clear the approval" in str(told.value.hint)
    note_asked(scene.job("restart"), plan_scale(scene.job("restart"), "a", 2))
    with pytest.raises(RolloutRefused, match="this is not the plan that was approved"):
        scale(scene.job("restart"), plan_scale(scene.job("restart"), "a", 3), approver="li.si")
    assert (scene.images(), scene.live("a").replicas) == ({"a": "reg/a:1", "b": "reg/b:1"}, 1)


def test_what_changed_while_the_approval_waited_is_told_at_once_and_nothing_is_changed(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", "c", "d", chained=False)
    apps = namespace.apps
    for name in "ab":
        takes_one = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}
        apps.patch_namespaced_deployment(name, namespace.name, {"spec": takes_one})
    namespace.wait_for("both", lambda: all(scene.live(name).seen for name in "ab"))
    plan = scene.plan(a="2", b="2", c="2", d="2")
    budget = {
        "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }  # fmt: skip
    client.CustomObjectsApi(namespace.api).create_namespaced_custom_object(
        "policy", "v1beta1", namespace.name, "poddisruptionbudgets", budget
    )
    apps.patch_namespaced_deployment_scale("b", namespace.name, {"spec": {"replicas": 2}})
    setting = {"containers": [{"name": "c", "env": [{"name": "DEBUG", "value": "1"}]}]}
    apps.patch_namespaced_deployment("c", namespace.name, {"spec": {"template": {"spec": setting}}})
    namespace.wait_until_available("b", 2)
    namespace.wait_for("c", lambda: (live := scene.live("c")).revision == 2 and live.progress.state == "done")
    with pytest.raises(RolloutRefused) as told:
        scene.roll_out(plan)
    for reason in (
        "a: PodDisruptionBudget a allows no disruption now",
        "b: it has 2 replicas now, it had 1 when it was planned",
        "c: its pod template is another than when it was planned at revision 1",
    ):
        assert reason in told.value.message
    assert "; d: " not in told.value.message
    assert scene.acts("roll_out") == []


def test_a_canary_that_somebody_took_back_while_it_waited_for_its_answer_lets_nothing_follow(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b", chained=False)
    plan = scene.plan("canary", a="2", b="2")
    scene.roll_out(plan, first_only=True)
    scene.set_image("a", "reg/a:1")
    with pytest.raises(RolloutRefused, match="a was changed by somebody else while it was updated: it runs reg/a:1"):
        scene.roll_out(plan)
    assert scene.images() == {"a": "reg/a:1", "b": "reg/b:1"}
    assert "this is not a canary" in scene.plan("canary", run_id="run-2", b="2")["lines"][-1]


@pytest.mark.parametrize("minutes", [-10, 10], ids=["slow", "fast"])
def test_a_worker_whose_clock_is_wrong_judges_the_way_back_by_the_api_servers(
    tmp_path: Path, namespace: Namespace, minutes: int
) -> None:
    """Right after the way back the controller still tells that what was taken back had exceeded its deadline."""
    scene = Rollouts(tmp_path, namespace, "", "a")
    scene.clock = lambda: datetime.now(UTC) + timedelta(minutes=minutes)
    namespace.apps.patch_namespaced_deployment("a", namespace.name, {"spec": {"progressDeadlineSeconds": 2}})
    namespace.wait_for("the deadline is seen", lambda: scene.live("a").seen)
    plan = scene.plan(a="bad-2")
    with pytest.raises(RolloutFailed, match="exceeded its progress deadline"):
        finish(partial(roll_out, scene.job(), plan, approver="li.si"), scene.live)
    assert finish(partial(roll_back, scene.job()), scene.live)["verdict"] == "rolled back, healthy"


def test_a_controller_that_looks_at_nothing_is_blamed_and_not_the_image(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a")
    plan = soon_over(scene.plan(a="2"), "a")
    roll_out(scene.job(), plan, approver="li.si")
    namespace.wait_for("the change", lambda: scene.live("a").progress.state == "done")
    seen = scene.live("a")
    metadata = {**seen.deployment["metadata"], "generation": seen.deployment["metadata"]["generation"] + 1}
    unseen = Live({**seen.deployment, "metadata": metadata}, seen.replica_sets, seen.pods)
    assert seen.mark
    act = scene.job().act("confirm_rollout", "a")
    assert require_progress(scene.job(), seen, seen.mark, 3, act)
    assert not require_progress(scene.job(now=lambda: seen.mark.at), unseen, seen.mark, 3, act)
    with pytest.raises(RolloutFailed, match="no controller has looked at it within 3 s: no pod was changed") as told:
        require_progress(scene.job(now=lambda: seen.mark.deadline), unseen, seen.mark, 3, act)
    assert "kube-controller-manager" in str(told.value.hint)
    assert [one.state for one in scene.acts("confirm_rollout")] == ["failed"]


def test_a_task_given_up_for_dead_can_not_call_good_what_was_taken_back(tmp_path: Path, namespace: Namespace) -> None:
    """It comes to its last line, as the way back of the same run has begun."""
    scene = Rollouts(tmp_path, namespace, "", "a")
    plan = scene.plan(a="2")
    job = scene.job()
    taken_back: list[str] = []

    def stale(site: str, **wanted: Any) -> list[Record]:
        if wanted["duty"] == gates.DUTY and scene.acts("confirm_rollout") and not taken_back:
            found = Ledger.acts(job.ledger, site, **wanted)
            if any(record.detail.get("final") for record in found):
                taken_back.append(scene.roll_back()["verdict"])
            return found
        return Ledger.acts(job.ledger, site, **wanted)

    job.ledger.acts = stale  # type: ignore[method-assign,assignment]
    with pytest.raises(RolloutRefused, match="was taken back by this very run"):
        finish(partial(roll_out, job, plan, approver="li.si"), scene.live)
    assert taken_back == ["rolled back, healthy"]
    assert scene.acts("finish_rollout") == []
    assert scene.images() == {"a": "reg/a:1"}


ON = ("before set_image b", "after set_image b")
BACK = ("after set_image b", "after undo b")


def test_a_killed_run_goes_on_or_is_taken_back_wherever_it_was_killed(tmp_path: Path, namespace: Namespace) -> None:
    """Four at once, each at another moment, each with deployments and a ledger of its own."""

    def kill(number: int, moment: str) -> None:
        folder, a, b = tmp_path / str(number), f"a{number}", f"b{number}"
        folder.mkdir()
        scene = Rollouts(folder, namespace, "", a, b)
        goes_on = number < len(ON)
        plan = scene.plan(**{a: "2", b: "2"}) if goes_on else soon_over(scene.plan(**{a: "2", b: "bad-2"}), b)
        scene.require_killed(f"{moment}{number}", plan)
        if goes_on:
            assert [record.state for record in scene.acts("roll_out")] == ["done", "died"], moment
            assert scene.roll_out(plan)["light"] == "green", moment
            assert scene.images() == {a: f"reg/{a}:2", b: f"reg/{b}:2"}, moment
            assert scene.live(b).revision == 2, "it was changed once"
        else:
            assert scene.roll_back()["verdict"] == "rolled back, healthy", moment
            assert scene.images() == {a: f"reg/{a}:1", b: f"reg/{b}:1"}, moment
            assert {scene.live(name).revision for name in (a, b)} == {3}, "each was taken back once"
        scene.require_clean_ledger()

    with ThreadPoolExecutor() as pool:
        list(pool.map(kill, range(4), [*ON, *BACK]))
