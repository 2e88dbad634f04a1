"""kubectl's verdict on a rollout, condition by condition; marks, pods' words, what an undo restores."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from upkeep.domain.rollout import (
    ACTION,
    RESTARTED_AT,
    REVISION,
    Live,
    Mark,
    digest_of,
    judge_rollout,
    only_the_image_lies_between,
    revision_of,
    revision_to_restore,
    template_digest,
    template_of,
    trouble_of,
    undone_annotations,
)
from upkeep.errors import RolloutRefused

AT = datetime(2026, 11, 22, 2, 0, 30, 500_000, tzinfo=UTC)
LATE = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
MARK = Mark("run-1", "roll_out", "app:2", "app:1", 1, AT, datetime(2026, 11, 22, 2, 5, 30, tzinfo=UTC))


def deployment(
    *,
    generation: int = 2,
    observed: int = 2,
    replicas: int | None = 3,
    paused: bool = False,
    mark: Mark | None = None,
    reason: str = "ReplicaSetUpdated",
    updated_at: str = "2026-11-22T02:00:31Z",
    **status: Any,
) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": template("app:2")} | ({} if replicas is None else {"replicas": replicas})
    return {
        "metadata": {
            "name": "web", "uid": "d", "generation": generation,
            "annotations": {REVISION: "2", **(mark.annotations() if mark else {})},
        },
        "spec": spec | ({"paused": True} if paused else {}),
        "status": {
            "observedGeneration": observed, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
            "conditions": [
                {"type": "Available", "status": "True"},
                {"type": "Progressing", "reason": reason, "lastUpdateTime": updated_at, "message": "has timed out"},
            ],
            **status,
        },
    }  # fmt: skip


def template(image: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web", **labels}}, "spec": {"containers": [{"name": "web", "image": image}]}}


EXCEEDED = "ProgressDeadlineExceeded"


@pytest.mark.parametrize(
    ("found", "state", "why"),
    [
        pytest.param(deployment(), "done", "3 of 3 pods are new and available", id="all new and available"),
        pytest.param(
            deployment(generation=3), "waiting", "has not seen the change", id="the controller is behind"
        ),
        pytest.param(
            deployment(generation=3, reason=EXCEEDED), "waiting", "has not seen", id="behind comes before the deadline"
        ),
        pytest.param(deployment(paused=True), "failed", "it is paused", id="paused never progresses, even if complete"),
        pytest.param(
            deployment(reason=EXCEEDED), "failed", "progress deadline: has timed out", id="deadline comes before counts"
        ),
        pytest.param(
            deployment(reason=EXCEEDED, updated_at="2026-11-22T02:00:29Z", mark=MARK), "done", "3 of 3",
            id="a deadline that was exceeded before our change is not its own",
        ),
        pytest.param(
            deployment(reason=EXCEEDED, updated_at="2026-11-22T02:00:30Z", mark=MARK), "done", "3 of 3",
            id="nor is one of the same second",
        ),
        pytest.param(
            deployment(reason=EXCEEDED, updated_at="2026-11-22T02:10:29Z", mark=MARK), "done", "3 of 3",
            id="nor one that comes before ours has passed: an undo doesn't start that time anew",
        ),
        pytest.param(
            deployment(reason=EXCEEDED, updated_at="2026-11-22T02:10:31Z", mark=MARK), "failed", "progress deadline",
            id="its own",
        ),
        pytest.param(deployment(updatedReplicas=2), "waiting", "2 of 3 new pods have been made", id="too few updated"),
        pytest.param(
            deployment(updatedReplicas=None, replicas=None), "waiting", "0 of 1 new", id="no number means one replica"
        ),
        pytest.param(deployment(replicas=4), "waiting", "3 of 4", id="scaled up meanwhile"),
        pytest.param(
            deployment() | {"status": {"observedGeneration": 2, "replicas": 5, "updatedReplicas": 3}},
            "waiting", "2 old pods are still to end", id="old pods left, before availability",
        ),
        pytest.param(deployment(availableReplicas=2), "waiting", "2 of 3 new pods are available", id="not available"),
        pytest.param(
            deployment(replicas=1), "waiting", "2 pods more than wanted", id="scaled down, not there yet"
        ),
        pytest.param(
            deployment() | {"spec": {"replicas": 0}, "status": {"observedGeneration": 2}}, "done", "0 of 0",
            id="scaled to nothing is done at once",
        ),
        pytest.param(
            {"metadata": {"name": "web", "generation": 1}, "spec": {}, "status": {}}, "waiting", "has not seen",
            id="a new one without any status",
        ),
    ],
)  # fmt: skip
def test_the_verdict_follows_kubectl_s_order(found: dict[str, Any], state: str, why: str) -> None:
    progress = judge_rollout(found)
    assert progress.state == state
    assert why in progress.why


def test_pods_that_fail_after_a_finished_rollout_are_no_rollout_under_way() -> None:
    assert not Live(deployment(availableReplicas=1, reason="NewReplicaSetAvailable")).under_way
    assert Live(deployment(availableReplicas=1)).under_way
    assert Live(deployment(generation=3, reason="NewReplicaSetAvailable")).under_way
    assert not Live(deployment(reason=EXCEEDED)).under_way, "given up: an update forward must be possible"


def test_a_mark_is_read_as_it_was_written_and_an_edited_one_is_none() -> None:
    assert Mark.read(MARK.annotations()) == MARK
    assert Mark.read({**MARK.annotations(), "upkeep/previous-revision": "one"}) is None
    assert Mark.read({}) is None


def test_a_scaling_leaves_the_mark_of_a_rolling_update_as_it_is() -> None:
    scaling = replace(MARK, run="run-2", act="scale", wanted="5 replicas", at=LATE)
    both = {**MARK.annotations(), **scaling.annotations()}
    assert (Mark.read(both), Mark.read(both, ACTION)) == (MARK, scaling)
    assert Mark.read_all(both) == [MARK, scaling]


@pytest.mark.parametrize(("revision", "beyond"), [(1, 0), (2, 2)], ids=["not numbered yet", "numbered"])
def test_the_way_back_of_a_change_that_no_controller_has_numbered_moves_no_revision(revision: int, beyond: int) -> None:
    found = deployment(mark=MARK)
    found["metadata"]["annotations"][REVISION] = str(revision)
    back = MARK.way_back(Live(found), "roll_back", AT, LATE)
    assert (back.wanted, back.previous, back.previous_revision) == ("app:1", "app:2", beyond)


def replica_set(revision: int, image: str, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"uid": f"rs{revision}", "annotations": {REVISION: str(revision), **annotations}},
        "spec": {"template": template(image, **{"pod-template-hash": f"h{revision}"})},
    }


def test_undo_restores_the_second_highest_revision_by_number_not_by_text() -> None:
    live = Live(deployment(), [replica_set(9, "app:9"), replica_set(10, "app:2"), replica_set(2, "app:0")])
    assert revision_of(revision_to_restore(live)) == 9
    assert revision_of(revision_to_restore(live, 2)) == 2
    assert template_of(replica_set(9, "app:9")) == template("app:9"), "without the hash that tells revisions apart"


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (Live(deployment(), [replica_set(2, "app:2")]), "no ReplicaSet of a previous revision is left"),
        (Live(deployment(paused=True), [replica_set(1, "app:1"), replica_set(2, "app:2")]), "it is paused"),
        (Live(deployment(), [replica_set(1, "app:2"), replica_set(2, "app:2")]), "already those of revision 1"),
        (Live(deployment(generation=3), [replica_set(1, "app:0"), replica_set(2, "app:1")]), "has no revision yet"),
    ],
)
def test_an_undo_that_kubectl_would_skip_or_refuse_is_refused(live: Live, why: str) -> None:
    with pytest.raises(RolloutRefused, match=why):
        revision_to_restore(live)


def test_an_undo_takes_the_revision_s_annotations_but_neither_its_marks_nor_its_cause() -> None:
    live = Live(deployment(mark=MARK))
    old = replica_set(1, "app:1", team="red", **{"kubernetes.io/change-cause": "old", "upkeep/run": "run-0"})
    assert undone_annotations(live, old) == {REVISION: "2", "team": "red", **MARK.annotations()}


def test_only_an_image_lies_between_two_templates_where_nothing_else_does_and_restarts_do_not_count() -> None:
    live, before = Live(deployment(mark=MARK)), replica_set(1, "app:1", **{"pod-template-hash": "h"})
    assert only_the_image_lies_between(before, MARK, live)
    annotations = live.template["metadata"].setdefault("annotations", {})
    annotations[RESTARTED_AT] = "2026-11-22T02:03:00+00:00"
    assert only_the_image_lies_between(before, MARK, live)
    digest = template_digest(live, "web")
    annotations["team"] = "red"
    assert not only_the_image_lies_between(before, MARK, live)
    assert template_digest(live, "web") != digest
    assert template_digest(Live(deployment()), "web") == digest
    other = deployment(mark=MARK)
    other["spec"]["template"] = template("app:3")
    assert not only_the_image_lies_between(before, MARK, Live(other))
    assert template_digest(Live(other), "web") == digest, "which image it is, the plan says"


def pod(
    state: dict[str, Any], last: dict[str, Any] | None = None, phase: str = "Running", **more: Any
) -> dict[str, Any]:
    status = {"state": state, "lastState": last or {}, "restartCount": 4}
    return {"metadata": {"name": "web-1"}, "status": {"phase": phase, "containerStatuses": [status], **more}}


def starting(init: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod whose init container is at it."""
    waits = {"state": {"waiting": {"reason": "PodInitializing"}}, "restartCount": 0}
    inits = [{"name": "migrate", "state": init, "lastState": last or {}, "restartCount": 2}]
    return {
        "metadata": {"name": "web-1"},
        "status": {"phase": "Pending", "initContainerStatuses": inits, "containerStatuses": [waits]},
    }


KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            pod({"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "app:2"'}}),
            'ImagePullBackOff: Back-off pulling image "app:2"',
        ),
        (
            pod({"waiting": {"reason": "CrashLoopBackOff"}}, KILLED),
            "CrashLoopBackOff (last ended with 137, OOMKilled; 4 restarts)",
        ),
        (pod(KILLED), "OOMKilled (last ended with 137, OOMKilled; 4 restarts)"),
        (pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending"), "pending, not started yet"),
        (pod({"running": {}}), "running, but not ready"),
        (
            starting({"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "mig:2"'}}),
            'init container migrate: ImagePullBackOff: Back-off pulling image "mig:2"',
        ),
        (
            starting({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1, "reason": "Error"}}),
            "init container migrate: CrashLoopBackOff (last ended with 1, Error; 2 restarts)",
        ),
        (starting({"running": {}}), "init container migrate has not ended"),
        (starting({"terminated": {"exitCode": 0, "reason": "Completed"}}), "pending, not started yet"),
        (pod({"running": {}}, conditions=[{"type": "Ready", "status": "True"}]), ""),
        (
            {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "reason": "Unschedulable", "message": "0/2 nodes: Insufficient cpu"}]}},
            "Unschedulable: 0/2 nodes: Insufficient cpu",
        ),
    ],
)  # fmt: skip
def test_a_pod_tells_its_trouble_in_its_own_words(found: dict[str, Any], said: str) -> None:
    assert trouble_of(found) == said


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        ("docker-pullable://reg:5000/app@sha256:ab", "sha256:ab"),
        ("reg/app@sha256:ab", "sha256:ab"),
        ("sha256:ab", "sha256:ab"),
        ("", ""),
    ],
)
def test_what_runs_is_named_by_its_digest(image_id: str, digest: str) -> None:
    assert digest_of(image_id) == digest
