"""What has become of a Deployment's rollout, by kubectl's own order of conditions; what a run writes on a Deployment.

Deployments, ReplicaSets and pods are the API's own JSON, read by nobody else in between: a field that a newer server
adds is passed through untouched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from upkeep.errors import RolloutRefused

Json = Mapping[str, Any]

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
MARK = "upkeep/"
"""What all annotations begin with that Upkeep writes."""
ACTION = f"{MARK}action-"
"""The same for a single undo, restart or scale. Under the names of a rolling update's mark it would overwrite that,
and with it the way back of a rollout during which somebody only scaled."""
PROGRESS_DEADLINE_S = 600
"""The controller's own, where a Deployment names none."""
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_SKIPPED_BY_UNDO = frozenset({
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
})  # fmt: skip
"""kubectl's own list: annotations that undo leaves as they are on the Deployment."""

State = Literal["done", "waiting", "failed"]


@dataclass(frozen=True)
class Progress:
    state: State
    why: str


def judge_rollout(deployment: Json) -> Progress:
    """``kubectl rollout status``, condition by condition and in its order; and a paused Deployment never progresses,
    where kubectl would wait for ever. Nor is one scaled down while its pods still run, where kubectl says that it is.
    """
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    if int(deployment["metadata"].get("generation") or 0) > int(status.get("observedGeneration") or 0):
        return Progress("waiting", "the controller has not seen the change yet")
    if spec.get("paused"):
        return Progress("failed", "it is paused, and a paused Deployment never progresses")
    progressing = condition(deployment, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded" and not _is_older_than_the_change(
        deployment, progressing
    ):
        return Progress("failed", f"it exceeded its progress deadline: {progressing.get('message', '')}".rstrip(": "))
    wanted = _replicas(spec)
    total, updated, available = (
        int(status.get(name) or 0) for name in ("replicas", "updatedReplicas", "availableReplicas")
    )
    if updated < wanted:
        return Progress("waiting", f"{updated} of {wanted} new pods have been made")
    if total > updated:
        return Progress("waiting", f"{total - updated} old pods are still to end")
    if available < updated:
        return Progress("waiting", f"{available} of {updated} new pods are available")
    if updated > wanted:
        return Progress("waiting", f"{updated - wanted} pods more than wanted are still to end")
    return Progress("done", f"{available} of {wanted} pods are new and available")


def _is_older_than_the_change(deployment: Json, progressing: Json) -> bool:
    """Right after an undo the controller still shows that what was undone had exceeded its deadline, or comes to find
    so, since an undo doesn't start that time anew. No change has exceeded its own before that has passed once.
    """
    marks = Mark.read_all(deployment["metadata"].get("annotations") or {})
    if not marks or not progressing.get("lastUpdateTime"):
        return False
    own = timedelta(seconds=int(deployment.get("spec", {}).get("progressDeadlineSeconds") or PROGRESS_DEADLINE_S))
    return datetime.fromisoformat(progressing["lastUpdateTime"]) < marks[-1].at.replace(microsecond=0) + own


def condition(deployment: Json, kind: str) -> Json:
    """One of its conditions; empty when the controller hasn't set it."""
    found: Iterable[Json] = deployment.get("status", {}).get("conditions") or ()
    return next((one for one in found if one.get("type") == kind), {})


def _replicas(spec: Json) -> int:
    return 1 if spec.get("replicas") is None else int(spec["replicas"])


@dataclass(frozen=True)
class Mark:
    """What a run writes on a Deployment in the same patch that changes it.

    With the ledger's row it is enough to go on or back after every task of the run was killed, and it keeps a rerun
    from doing the act twice: an undo done twice is a redo.
    """

    run: str
    act: str
    """roll_out, roll_back, undo, restart or scale."""
    wanted: str
    """What the act brings: an image, ``5 replicas``, ``restarted``."""
    previous: str
    """The same for what was there before."""
    previous_revision: int
    at: datetime
    """By the API server's clock, as the conditions that it is compared with: the worker's may be minutes off."""
    deadline: datetime
    """When the act counts as failed, by the workers' clock. Absolute: no restart of any part of Airflow prolongs it."""

    def annotations(self) -> dict[str, str]:
        prefix = MARK if self.act in ("roll_out", "roll_back") else ACTION
        return {
            f"{prefix}run": self.run,
            f"{prefix}act": self.act,
            f"{prefix}wanted": self.wanted,
            f"{prefix}previous": self.previous,
            f"{prefix}previous-revision": str(self.previous_revision),
            f"{prefix}at": self.at.isoformat(),
            f"{prefix}deadline": self.deadline.isoformat(),
        }

    @classmethod
    def read(cls, annotations: Mapping[str, str], prefix: str = MARK) -> Mark | None:
        """A rolling update's, or with ``ACTION`` a single action's. None where there is none, or somebody has edited it
        beyond recognition.
        """
        try:
            return cls(
                annotations[f"{prefix}run"],
                annotations[f"{prefix}act"],
                annotations[f"{prefix}wanted"],
                annotations[f"{prefix}previous"],
                int(annotations[f"{prefix}previous-revision"]),
                datetime.fromisoformat(annotations[f"{prefix}at"]),
                datetime.fromisoformat(annotations[f"{prefix}deadline"]),
            )
        except (KeyError, ValueError):
            return None

    @classmethod
    def read_all(cls, annotations: Mapping[str, str]) -> list[Mark]:
        """The newest last."""
        found = [cls.read(annotations, prefix) for prefix in (MARK, ACTION)]
        return sorted((mark for mark in found if mark), key=lambda mark: mark.at)

    def way_back(self, live: Live, act: str, at: datetime, deadline: datetime) -> Mark:
        """The mark of what takes this one's change back. The revision has to move beyond the change's own; a change
        that the controller hasn't numbered by now may never get a number, and then nothing moves.
        """
        numbered = live.revision > self.previous_revision
        return Mark(
            self.run, act, self.previous, self.wanted, live.revision if numbered else live.revision - 1, at, deadline
        )


@dataclass(frozen=True)
class Live:
    """One Deployment as it is now, with the ReplicaSets it owns and their pods."""

    deployment: Json
    replica_sets: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    read_at: datetime | None = None
    """By the API server's clock; None where it didn't tell."""

    @property
    def name(self) -> str:
        return str(self.deployment["metadata"]["name"])

    @property
    def replicas(self) -> int:
        return _replicas(self.deployment["spec"])

    @property
    def paused(self) -> bool:
        return bool(self.deployment["spec"].get("paused"))

    @property
    def template(self) -> Json:
        found: Json = self.deployment["spec"]["template"]
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.deployment["metadata"].get("annotations") or {}

    @cached_property
    def mark(self) -> Mark | None:
        """Of the last rolling update, or its way back."""
        return Mark.read(self.annotations)

    @cached_property
    def action_mark(self) -> Mark | None:
        """Of the last undo, restart or scale."""
        return Mark.read(self.annotations, ACTION)

    @property
    def revision(self) -> int:
        """0 before the controller has numbered it."""
        return revision_of(self.deployment)

    @cached_property
    def progress(self) -> Progress:
        return judge_rollout(self.deployment)

    @property
    def seen(self) -> bool:
        """Whether the controller has seen its last change."""
        metadata, status = self.deployment["metadata"], self.deployment.get("status", {})
        return int(metadata.get("generation") or 0) <= int(status.get("observedGeneration") or 0)

    @property
    def under_way(self) -> bool:
        """Whether a rollout is unfinished. Pods that fail after a finished one look the same to ``progress``, but the
        controller keeps its condition from when it had finished.
        """
        if not self.seen:
            return True
        finished = condition(self.deployment, "Progressing").get("reason") == "NewReplicaSetAvailable"
        return self.progress.state == "waiting" and not finished

    @property
    def containers(self) -> Mapping[str, str]:
        """Images by container's name."""
        return {one["name"]: one["image"] for one in self.template["spec"]["containers"]}

    @property
    def init_containers(self) -> Mapping[str, str]:
        return {one["name"]: one["image"] for one in self.template["spec"].get("initContainers") or ()}

    @property
    def images(self) -> str:
        """Of all its containers, for people and for comparing."""
        return ", ".join(self.containers.values())

    @cached_property
    def current_pods(self) -> Sequence[Json]:
        """Pods of the newest revision that aren't on their way out."""
        current = {one["metadata"]["uid"] for one in self.replica_sets if revision_of(one) == self.revision}
        return [
            pod for pod in self.pods
            if not pod["metadata"].get("deletionTimestamp") and current & set(_owners(pod))
        ]  # fmt: skip

    @property
    def digests(self) -> tuple[str, ...]:
        """What really runs, by digest: a tag may have been moved since."""
        return tuple(sorted({digest_of(str(one.get("imageID") or "")) for one in self._statuses()} - {""}))

    @property
    def restarts(self) -> dict[str, int]:
        """Restarts of the current pods' containers, by pod."""
        return {pod["metadata"]["name"]: _restarts(pod) for pod in self.current_pods}

    @property
    def ready(self) -> int:
        return sum(_is_ready(pod) for pod in self.current_pods)

    def troubles(self) -> tuple[str, ...]:
        """Why pods are not what they should be, the first three, in the words that ``kubectl describe`` has for it."""
        refused = condition(self.deployment, "ReplicaFailure")
        told = [f"pods can't be made: {refused['message']}"] if refused.get("status") == "True" else []
        told += [f"pod {pod['metadata']['name']}: {why}" for pod in self.current_pods if (why := trouble_of(pod))]
        return tuple(told[:3])

    def _statuses(self) -> Iterator[Json]:
        for pod in self.current_pods:
            yield from pod.get("status", {}).get("containerStatuses") or ()


def digest_of(image_id: str) -> str:
    """``docker-pullable://reg/app@sha256:ab..`` -> ``sha256:ab..``; what has no digest stays as it is."""
    return image_id.rpartition("@")[2]


def revision_of(thing: Json) -> int:
    try:
        return int((thing["metadata"].get("annotations") or {})[REVISION])
    except (KeyError, ValueError):
        return 0


def trouble_of(pod: Json) -> str:
    """Empty when it is ready."""
    if _is_ready(pod):
        return ""
    status = pod.get("status", {})
    inits = [(f"init container {one['name']}: ", one) for one in status.get("initContainerStatuses") or ()]
    for where, one in [*inits, *(("", one) for one in status.get("containerStatuses") or ())]:
        waiting = (one.get("state") or {}).get("waiting") or {}
        ended = (one.get("lastState") or {}).get("terminated") or (one.get("state") or {}).get("terminated") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            said = ": ".join(filter(None, (waiting["reason"], waiting.get("message"))))
            return f"{where}{said}{_ended(one, ended)}"
        if ended and ended.get("exitCode"):
            return f"{where}{ended.get('reason', 'ended')}{_ended(one, ended)}"
    unscheduled = next((one for one in status.get("conditions") or () if one.get("reason") == "Unschedulable"), None)
    if unscheduled:
        return f"Unschedulable: {unscheduled.get('message', '')}".rstrip(": ")
    phase = str(status.get("phase") or "Pending")
    at_work = next((one["name"] for _, one in inits if "running" in (one.get("state") or {})), None)
    if at_work and phase == "Pending":
        return f"init container {at_work} has not ended"
    return "running, but not ready" if phase == "Running" else f"{phase.lower()}, not started yet"


def _ended(container: Json, ended: Json) -> str:
    if not ended:
        return ""
    restarts = int(container.get("restartCount") or 0)
    return f" (last ended with {ended.get('exitCode')}, {ended.get('reason', 'no reason')}; {restarts} restarts)"


def _is_ready(pod: Json) -> bool:
    found: Iterable[Json] = pod.get("status", {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in found)


def _restarts(pod: Json) -> int:
    return sum(int(one.get("restartCount") or 0) for one in pod.get("status", {}).get("containerStatuses") or ())


def _owners(thing: Json) -> Iterator[str]:
    return (str(owner["uid"]) for owner in thing["metadata"].get("ownerReferences") or ())


def revision_to_restore(live: Live, revision: int | None = None) -> Json:
    """The ReplicaSet whose template an undo restores: as kubectl, the one with the second highest revision, or the one
    that is asked for.

    Errors: ``RolloutRefused`` when it is paused, when there is no such ReplicaSet, or nothing would change: there
    kubectl says "skipped" and exits with 0.
    """
    what = f"deployment {live.name} can't be taken back"
    if live.paused:
        raise RolloutRefused(
            f"{what}: it is paused", hint=f"kubectl rollout resume deployment/{live.name}, then run this again"
        )
    numbered = sorted((one for one in live.replica_sets if revision_of(one)), key=revision_of)
    if (
        revision is None
        and not live.seen
        and not any(same_template(one["spec"]["template"], live.template) for one in numbered)
    ):
        # The newest revision isn't numbered yet, so the second newest would be one too old.
        raise RolloutRefused(f"{what}: its last change has no revision yet", hint="run this again in a moment")
    if revision is None:
        found = numbered[-2] if len(numbered) > 1 else None
    else:
        found = next((one for one in numbered if revision_of(one) == revision), None)
    if found is None:
        which = f"revision {revision}" if revision else "a previous revision"
        raise RolloutRefused(
            f"{what}: no ReplicaSet of {which} is left",
            hint="set the image you want with rolling_update; raise revisionHistoryLimit for the next time",
        )
    if same_template(found["spec"]["template"], live.template):
        raise RolloutRefused(
            f"{what}: its pods are already those of revision {revision_of(found)}",
            hint="name an image with rolling_update instead",
        )
    return found


def template_of(replica_set: Json) -> dict[str, Any]:
    """A ReplicaSet's template as a Deployment has it: without the label that tells the revisions' pods apart."""
    template: dict[str, Any] = json.loads(json.dumps(replica_set["spec"]["template"]))
    (template.get("metadata", {}).get("labels") or {}).pop("pod-template-hash", None)
    return template


def same_template(one: Json, other: Json) -> bool:
    return _plain(one) == _plain(other)


def only_the_image_lies_between(replica_set: Json, mark: Mark, live: Live) -> bool:
    """Whether a revision became the present template by the mark's own change and nothing else. Restarts don't count:
    whoever restarted wanted new pods of the same.
    """
    then, now = _plain(replica_set["spec"]["template"]), _plain(live.template)
    for template in (then, now):
        _forget_restarts(template)
    for before, after in zip(then["spec"]["containers"], now["spec"]["containers"], strict=False):
        if (before["image"], after["image"]) == (mark.previous, mark.wanted):
            after["image"] = before["image"]
    return then == now


def template_digest(live: Live, container: str) -> str:
    """A digest of the whole template, without the image of one container and without restarts."""
    template = _plain(live.template)
    _forget_restarts(template)
    for one in template["spec"]["containers"]:
        if one["name"] == container:
            del one["image"]
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def _plain(template: Json) -> dict[str, Any]:
    return template_of({"spec": {"template": template}})


def _forget_restarts(template: dict[str, Any]) -> None:
    metadata = template.get("metadata") or {}
    (metadata.get("annotations") or {}).pop(RESTARTED_AT, None)
    if not metadata.get("annotations"):
        metadata.pop("annotations", None)


def undone_annotations(live: Live, replica_set: Json) -> dict[str, str]:
    """The Deployment's annotations after kubectl's undo: the revision's own, but for those that belong to the
    Deployment and to Upkeep.
    """
    kept = {key: value for key, value in live.annotations.items() if key in _SKIPPED_BY_UNDO or key.startswith(MARK)}
    restored = replica_set["metadata"].get("annotations") or {}
    return kept | {
        key: value
        for key, value in restored.items()
        if key not in _SKIPPED_BY_UNDO and not key.startswith(MARK) and key != CHANGE_CAUSE
    }
