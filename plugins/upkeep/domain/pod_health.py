"""Why a pod isn't well, in the words that a person needs.

Pods, as everything of a cluster here, are what the API answers in JSON, of any release: a field that is missing is
nothing that went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upkeep.domain.health import Light
from upkeep.domain.units import counted, human_seconds

Item = Mapping[str, Any]
"""One object of the API."""

STARTING = timedelta(seconds=60)
"""What a pod may take to start, to get ready or to go before it is told; its probes may give it more time."""
A_DAY = timedelta(days=1)

_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits when all is well."""
_SIGNALS = {130: "SIGINT", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM"}
_EXITS = {126: "its command can't be executed", 127: "its command is not found"}
_IMAGE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})


@dataclass(frozen=True, kw_only=True)
class ClusterFinding:
    """One thing of a cluster that is not as it should be.

    ``what`` is the same for all that fail in the same way, so that twenty pods of one Deployment make one line.
    """

    light: Light
    kind: str
    name: str
    what: str
    hint: str = ""
    owner: str = ""
    """What made it, such as ``deployment web``; empty when a person did."""
    restarts: int = 0
    lasts: timedelta | None = None
    log_of: str = ""
    """The container whose last lines say more."""
    before_restart: bool = False
    """Whether those are the lines of the container's run before this one."""
    has_events: bool = False
    """Whether the reason stands only in its events."""
    count: int = 1

    @property
    def subject(self) -> str:
        """``pod web-7d4-x``, or ``3 pods of deployment web, such as web-7d4-x``."""
        if self.count > 1:
            return f"{self.count} {self.kind}s of {self.owner}, such as {self.name}"
        return f"{self.kind} {self.name}".rstrip()

    @property
    def says(self) -> str:
        restarted = f", {counted(self.restarts, 'restart')} in all" if self.restarts else ""
        lasting = f", for {human_seconds(self.lasts.total_seconds())}" if self.lasts else ""
        return f"{self.what}{restarted}{lasting}"


def pod_findings(pod: Item, *, now: datetime, since: datetime | None = None) -> Iterator[ClusterFinding]:
    """What is wrong with one pod: nothing, where it is ready, has done its work, or is only just starting or ending.

    :param since: the last check; a pod that is ready again but has restarted after it is told. Default: a day ago.
    """
    phase = _status(pod).get("phase")
    if phase == "Succeeded":
        return
    if going := moment_of(pod["metadata"].get("deletionTimestamp")):
        yield from _going(pod, now - going)
    elif phase == "Failed":
        yield from _failed(pod)
    elif waits := _unscheduled(pod, now):
        yield waits
    elif sick := list(_containers(pod, now)):
        yield from sick
    elif phase == "Pending":
        if not _still_young(pod, now):
            yield _finding(pod, "is Pending, and the API doesn't say why", lasts=_age(pod, now), has_events=True)
    elif not is_ready(pod):
        if not owner_of(pod).startswith(
            "job "
        ):  # whose containers end one after the other, and with each its readiness
            yield from _unready(pod, now)
    else:
        yield from _restarted(pod, since or now - A_DAY)


def is_ready(pod: Item) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_starting(pod: Item, now: datetime, extra: timedelta = timedelta(0)) -> bool:
    """Whether it isn't ready because it is new, and nothing about it has failed yet.

    :param extra: how long it must be ready before it counts (``minReadySeconds``).
    """
    if _status(pod).get("phase") not in ("Pending", "Running") or pod["metadata"].get("deletionTimestamp"):
        return False
    return _still_young(pod, now - extra) and not list(_containers(pod, now))


def owner_of(pod: Item) -> str:
    """``deployment web`` for a pod of its ReplicaSet; empty for a pod that nobody looks after."""
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            kind, name = str(owner["kind"]).lower(), str(owner["name"])
            suffix = f"-{(pod['metadata'].get('labels') or {}).get('pod-template-hash', '')}"
            if kind == "replicaset" and len(suffix) > 1 and name.endswith(suffix):
                return f"deployment {name.removesuffix(suffix)}"
            return f"{kind} {name}"
    return ""


def condition(item: Item, kind: str) -> Item:
    """The condition of this type, or an empty one."""
    return next((one for one in _status(item).get("conditions") or () if one.get("type") == kind), {})


def moment_of(text: Any) -> datetime | None:
    """A timestamp of the API; None where it has none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


def _going(pod: Item, late: timedelta) -> Iterator[ClusterFinding]:
    """The moment of its deletion is when it is to be gone, its grace period included."""
    if late >= STARTING:
        held = pod["metadata"].get("finalizers")
        hint = f"finalizers hold it: {', '.join(held)}" if held else "is its node still there? kubectl get nodes"
        yield _finding(pod, "should have ended and is still there", light="amber", lasts=late, hint=hint)


def _failed(pod: Item) -> Iterator[ClusterFinding]:
    """What is left of a pod that ended: its job, or whatever replaced it, is judged by itself."""
    if owner_of(pod).startswith("job "):
        return
    status = _status(pod)
    reason = ": ".join(filter(None, (status.get("reason"), _first_line(status.get("message")))))
    if reason:
        yield _finding(pod, f"failed: {reason}", light="amber", hint="kubectl delete pod removes what is left of it")
        return
    ended = [(one, end) for one in status.get("containerStatuses") or () if (end := _end(one, "state"))]
    bad = next((one for one in ended if one[1].get("exitCode")), None)
    what = f"failed: {bad[0]['name']} ended with {_ending(bad[1])}" if bad else "failed without a reason"
    yield _finding(pod, what, light="amber", log_of=bad[0]["name"] if bad else "")


def _unscheduled(pod: Item, now: datetime) -> ClusterFinding | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    lasts = now - (moment_of(scheduled.get("lastTransitionTime")) or _created(pod) or now)
    if lasts < STARTING:
        return None
    if scheduled.get("reason") == "SchedulingGated":
        return _finding(pod, "is held back by a scheduling gate", light="amber", lasts=lasts)
    return _finding(
        pod,
        f"unschedulable: {_first_line(scheduled.get('message')) or 'no node takes it'}",
        lasts=lasts,
        hint="make room on the nodes, or ask for less; taints and node selectors count too",
    )


def _containers(pod: Item, now: datetime) -> Iterator[ClusterFinding]:
    """Containers that have failed. Init containers come first: nothing after one that fails has begun."""
    status, spec = _status(pod), pod.get("spec") or {}
    specs = {one["name"]: one for part in ("initContainers", "containers") for one in spec.get(part) or ()}
    for part, prefix in (("initContainerStatuses", "init container"), ("containerStatuses", "container")):
        for one in status.get(part) or ():
            name = str(one["name"])
            where = "" if prefix == "container" and len(specs) == 1 else f"{prefix} {name}: "
            found = _container(pod, one, specs.get(name, {}), where, now)
            if found:
                yield found


def _container(pod: Item, one: Item, spec: Item, where: str, now: datetime) -> ClusterFinding | None:
    name, restarts = str(one["name"]), int(one.get("restartCount") or 0)
    state = one.get("state") or {}
    waiting = state.get("waiting")
    if waiting is not None:
        reason = str(waiting.get("reason") or "")
        if reason in _ON_ITS_WAY:
            # The pod's own age tells: a container whose volumes don't come says no more than this for ever.
            if reason != "ContainerCreating" or _still_young(pod, now):
                return None
            return _finding(pod, f"{where}{reason}", lasts=_age(pod, now), has_events=True)
        if reason == "CrashLoopBackOff":
            last: Item = _end(one, "lastState") or {}
            return _finding(
                pod, f"{where}CrashLoopBackOff: {_ending(last, spec)}", restarts=restarts, log_of=name,
                before_restart=True, hint=_remedy(last, spec) or f"kubectl logs -p {pod['metadata']['name']} -c {name}",
            )  # fmt: skip
        said = _first_line(waiting.get("message"))
        hint = (
            "is that tag in the registry, and may the nodes pull it (imagePullSecrets)?"
            if reason in _IMAGE
            else "kubectl describe pod has the events"
        )
        return _finding(pod, f"{where}{reason}{f': {said}' if said else ''}", restarts=restarts, hint=hint)
    end = _end(one, "state")
    if end is None or _may_end(pod, spec, where, end):
        return None
    if restarts == 0 and _still_young(pod, now):
        return None  # once, while it starts: the kubelet starts it again
    return _finding(
        pod, f"{where}ended with {_ending(end, spec)}", restarts=restarts, log_of=name, hint=_remedy(end, spec)
    )


def _may_end(pod: Item, spec: Item, where: str, end: Item) -> bool:
    """An init container is to end, except a sidecar; so is every container of a pod that isn't always restarted."""
    policy = (pod.get("spec") or {}).get("restartPolicy", "Always")
    is_init = where.startswith("init")
    always = spec.get("restartPolicy") == "Always" if is_init else policy == "Always"
    return not always and not end.get("exitCode")


def _unready(pod: Item, now: datetime) -> Iterator[ClusterFinding]:
    ready = condition(pod, "Ready")
    begun = moment_of(ready.get("lastTransitionTime")) or _created(pod) or now
    if now - begun < patience(pod) or _still_young(pod, now):
        return
    if ready.get("reason") == "ReadinessGatesNotReady":
        yield _finding(pod, f"not ready: {_first_line(ready.get('message'))}", lasts=now - begun)
        return
    waiting = [one for one in _status(pod).get("initContainerStatuses") or () if "running" in (one.get("state") or {})]
    specs = {one["name"]: one for one in (pod.get("spec") or {}).get("initContainers") or ()}
    working = [one for one in waiting if specs.get(one["name"], {}).get("restartPolicy") != "Always"]
    late = [one["name"] for one in _status(pod).get("containerStatuses") or () if not one.get("ready")]
    if working:
        name = str(working[0]["name"])
        yield _finding(pod, f"init container {name} has not ended", lasts=now - begun, log_of=name)
        return
    yield _finding(
        pod,
        f"runs but is not ready: {', '.join(map(str, late)) or 'the API does not say which container'}",
        lasts=now - begun,
        log_of=str(late[0]) if late else "",
        has_events=True,
        hint="its readiness probe fails; kubectl describe pod has the probe's own words",
    )


def _restarted(pod: Item, since: datetime) -> Iterator[ClusterFinding]:
    specs = {one["name"]: one for one in (pod.get("spec") or {}).get("containers") or ()}
    for one in _status(pod).get("containerStatuses") or ():
        running = (one.get("state") or {}).get("running") or {}
        again = moment_of(running.get("startedAt"))
        if not one.get("restartCount") or again is None or again <= since:
            continue
        end: Item = _end(one, "lastState") or {}
        spec = specs.get(one["name"], {})
        yield _finding(
            pod, f"has restarted since the last check: {one['name']} ended with {_ending(end, spec)}", light="amber",
            restarts=int(one["restartCount"]), log_of=str(one["name"]), before_restart=True, hint=_remedy(end, spec),
        )  # fmt: skip


def _ending(end: Item, spec: Item | None = None) -> str:
    """``OOMKilled (exit code 137; memory limit 256Mi)``, ``exit code 143 (SIGTERM)``, ``exit code 1: no config``."""
    code, reason = end.get("exitCode"), str(end.get("reason") or "")
    if code is None:
        return "an end that the API doesn't tell of"
    said = _first_line(end.get("message"))
    said = f": {said}" if said else ""
    if reason == "OOMKilled":
        return f"OOMKilled (exit code {code}; {_memory(spec)}){said}"
    meaning = _SIGNALS.get(code) or _EXITS.get(code)
    named = f"{reason}, " if reason not in ("", "Error", "Completed") else ""
    return f"{named}exit code {code}{f' ({meaning})' if meaning else ''}{said}"


def _remedy(end: Item, spec: Item | None) -> str:
    if end.get("reason") == "OOMKilled":
        return f"it needs more memory than it may have ({_memory(spec)}): raise the limit, or find the leak"
    if end.get("exitCode") == 0:
        return "it ends by itself, and a Deployment starts it again for ever: is it meant to be a Job?"
    return ""


def _memory(spec: Item | None) -> str:
    limit = (((spec or {}).get("resources") or {}).get("limits") or {}).get("memory")
    return f"memory limit {limit}" if limit else "no memory limit, so its node ran out"


def patience(pod: Item) -> timedelta:
    """How long it may take to get ready: what its probes allow, and never less than ``STARTING``."""
    longest = 0.0
    for container in (pod.get("spec") or {}).get("containers") or ():
        allowed = 0.0
        if startup := container.get("startupProbe"):
            tries, period = startup.get("failureThreshold") or 3, startup.get("periodSeconds") or 10
            allowed += (startup.get("initialDelaySeconds") or 0) + tries * period
        readiness = container.get("readinessProbe") or {}
        allowed += (readiness.get("initialDelaySeconds") or 0) + (readiness.get("periodSeconds") or 0)
        longest = max(longest, allowed)
    return max(STARTING, timedelta(seconds=longest))


def _still_young(pod: Item, now: datetime) -> bool:
    created = _created(pod)
    return created is not None and now - created < patience(pod)


def _age(pod: Item, now: datetime) -> timedelta:
    return now - (_created(pod) or now)


def _created(pod: Item) -> datetime | None:
    return moment_of(pod["metadata"].get("creationTimestamp"))


def _end(container: Item, when: str) -> Item | None:
    """How it ended, ``state``: just now, ``lastState``: before this run of it; None when it hasn't."""
    return (container.get(when) or {}).get("terminated")


def _status(item: Item) -> Item:
    return item.get("status") or {}


def _first_line(text: Any) -> str:
    lines = str(text or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else ""


def _finding(pod: Item, what: str, *, light: Light = "red", **more: Any) -> ClusterFinding:
    return ClusterFinding(
        light=light, kind="pod", name=str(pod["metadata"]["name"]), what=what, owner=owner_of(pod), **more
    )
