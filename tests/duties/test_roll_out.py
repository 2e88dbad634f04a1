"""Rolling updates on a real control plane: what gets through, what is taken back, and what a kill leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.duties.rollouts import Health, Rollouts
from tests.servers.kubernetes_cluster import Namespace
from upkeep.duties import gates
from upkeep.duties.roll_out import roll_out
from upkeep.errors import RollbackFailed, RolloutFailed, RolloutRefused


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
    while not scene.acts("confirm_rollout"):
        roll_out(scene.job(), plan)
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
    scene = Rollouts(tmp_path, namespace, "", "a", "b")
    plan = scene.plan(a="2", b="2")
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
    while len(scene.acts("confirm_rollout")) < 3:
        roll_out(scene.job(), plan)
    scene.set_image("a", "reg/a:1")
    setting = {"containers": [{"name": "b", "env": [{"name": "DEBUG", "value": "1"}]}]}
    namespace.apps.patch_namespaced_deployment("b", namespace.name, {"spec": {"template": {"spec": setting}}})
    namespace.wait_for("both", lambda: all(scene.live(name).revision == 3 for name in "ab"))
    namespace.wait_for("both pods", lambda: all(scene.live(name).progress.state == "done" for name in "ab"))
    with pytest.raises(RolloutRefused, match="a was changed by somebody else while it was updated: it runs reg/a:1"):
        roll_out(scene.job(), plan)
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
    while not scene.acts("confirm_rollout"):
        roll_out(scene.job(), plan)
    namespace.apps.patch_namespaced_deployment_scale("a", namespace.name, {"spec": {"replicas": 3}})
    assert scene.roll_out(plan)["light"] == "green"


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
