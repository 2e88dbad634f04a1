"""What is wrong in one namespace of a cluster, judged from the objects that were read of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from upkeep.domain.health import Light
from upkeep.domain.pod_health import (
    STARTING,
    ClusterFinding,
    Item,
    condition,
    is_ready,
    is_starting,
    moment_of,
    owner_of,
    pod_findings,
)
from upkeep.domain.units import counted

_WORKLOADS = {"deployments": "deployment", "statefulsets": "statefulset", "daemonsets": "daemonset"}


@dataclass(frozen=True)
class SecretCertificate:
    """The certificate in a TLS secret that ends first."""

    secret: str
    subject: str
    ends: datetime


@dataclass
class ClusterObjects:
    """What was read. A kind that isn't there was not read, and ``unread`` says why."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    """By kind, in the plural. ``endpoints`` holds Endpoints, ``endpointslices`` those of whatever version there is."""
    certificates: list[SecretCertificate] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    """The HTTP status of each kind that was asked for, 200 for what was read."""


def judge_cluster(
    seen: ClusterObjects,
    *,
    now: datetime,
    since: datetime | None = None,
    expected: Sequence[str] = (),
    certificate_days: float = 21,
) -> list[ClusterFinding]:
    """All that is wrong, the worst first; what fails in the same way for the same owner is one finding.

    :param since: the last check.
    :param expected: the Deployments that the site file names.
    """
    items = seen.items
    pods = items.get("pods", [])
    found = [finding for pod in pods for finding in pod_findings(pod, now=now, since=since)]
    workloads = [(kind, item) for kinds, kind in _WORKLOADS.items() for item in items.get(kinds, ())]
    for kind, item in workloads:
        found += _workload(kind, item, pods, now)
    if "deployments" in items:
        found += _expected(items["deployments"], expected)
    ready = ready_endpoints(items)
    if ready is not None:
        found += _services(items.get("services", ()), ready, items.get("pods"), workloads, now)
    used = _claims_of(pods) if "pods" in items else None
    found += [one for claim in items.get("persistentvolumeclaims", ()) for one in _claim(claim, used, now)]
    found += _jobs(items.get("jobs", ()))
    found += [finding for node in items.get("nodes", ()) for finding in _node(node, now)]
    found += _certificates(seen.certificates, now, certificate_days)
    found += _unanswered(seen.answers)
    own = ("pods", *_WORKLOADS, "services")
    if all(kind in items and not items[kind] for kind in own):
        what = "holds nothing: no pod, workload or service"
        found.append(_amber("namespace", "", what, "is its name right? The API lists what doesn't exist as empty"))
    return sorted(grouped(found), key=lambda finding: finding.light != "red")


def _unanswered(answers: Mapping[str, int]) -> Iterator[ClusterFinding]:
    """One kind that can't be read is a remark; a namespace of which nothing is known can't pass for a healthy one."""
    pods = answers.get("pods", 200)
    if answers and 200 not in answers.values():
        hint = "what was not looked at says why, kind by kind: a missing rule, or an API server that does not answer"
        yield _red("namespace", "", "none of its objects could be read", hint)
    elif pods >= 500 or pods == 429:
        hint = "is the API server overloaded, or its etcd? kubectl get pods says the same"
        yield _red("namespace", "", f"its pods could not be read: HTTP {pods}", hint)


def grouped(findings: Iterable[ClusterFinding]) -> list[ClusterFinding]:
    """One finding for all pods of one owner that fail in the same way: the first, with the worst figures of all."""
    groups: dict[tuple[str, ...], ClusterFinding] = {}
    for one in findings:
        key = (one.light, one.kind, one.owner or one.name, one.what)
        first = groups.get(key)
        if first is None:
            groups[key] = one
            continue
        lasting = [lasts for lasts in (first.lasts, one.lasts) if lasts is not None]
        groups[key] = replace(
            first,
            count=first.count + 1,
            restarts=max(first.restarts, one.restarts),
            lasts=max(lasting, default=None),
        )
    return list(groups.values())


def ready_endpoints(items: Mapping[str, Sequence[Item]]) -> dict[str, int] | None:
    """How many ready addresses each Service has, from EndpointSlices (v1 or v1beta1) or Endpoints; None: unknown."""
    count: dict[str, int] = {}
    if "endpointslices" in items:
        for piece in items["endpointslices"]:
            service = (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
            for endpoint in piece.get("endpoints") or ():
                # A condition that isn't there means yes: the API's own rule.
                if service and (endpoint.get("conditions") or {}).get("ready", True) is not False:
                    count[service] = count.get(service, 0) + len(endpoint.get("addresses") or ())
        return count
    if "endpoints" in items:
        for one in items["endpoints"]:
            ready = sum(len(subset.get("addresses") or ()) for subset in one.get("subsets") or ())
            count[str(one["metadata"]["name"])] = ready
        return count
    return None


def _workload(kind: str, item: Item, pods: Sequence[Item], now: datetime) -> Iterator[ClusterFinding]:
    name, spec, status = str(item["metadata"]["name"]), item.get("spec") or {}, item.get("status") or {}
    if condition(item, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        what = f"its rollout does not get on: {condition(item, 'Progressing').get('message') or 'past its deadline'}"
        yield _red(kind, name, what, f"its pods say why; kubectl rollout undo {kind}/{name} takes it back")
    failure = condition(item, "ReplicaFailure")
    if failure.get("status") == "True":
        what = f"can't make pods: {failure.get('message') or failure.get('reason')}"
        yield _red(kind, name, what, "a quota, a limit range or an admission rule refuses them")
    if spec.get("paused"):
        yield _amber(kind, name, "is paused: no update of it rolls out", f"kubectl rollout resume {kind}/{name}")
    wanted, there = _replicas(kind, spec, status)
    if there >= wanted:
        return
    slack = timedelta(seconds=spec.get("minReadySeconds") or 0)
    own = [pod for pod in pods if owner_of(pod) == f"{kind} {name}"]
    if wanted - there <= sum(is_starting(pod, now, slack) for pod in own):
        return  # being rolled out or scaled up
    light: Light = "red" if there == 0 else "amber"
    if _just_made(item, now):
        return
    yield ClusterFinding(
        light=light, kind=kind, name=name, what=f"{there} of {wanted} replicas are available", hint=_why(own)
    )


def _replicas(kind: str, spec: Item, status: Item) -> tuple[int, int]:
    """Wanted and available. A StatefulSet says what is available only from 1.22 on; what is ready, always."""
    if kind == "daemonset":
        return int(status.get("desiredNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    wanted = spec.get("replicas", 1)
    there = status.get("availableReplicas")
    if kind == "statefulset" and there is None:
        there = status.get("readyReplicas")
    return int(1 if wanted is None else wanted), int(there or 0)


def _why(pods: Sequence[Item]) -> str:
    return "its pods say why" if pods else "it has no pods: its events say why (a quota, an admission rule)"


def _just_made(item: Item, now: datetime) -> bool:
    made = moment_of(item["metadata"].get("creationTimestamp"))
    return made is not None and now - made < STARTING


def _expected(deployments: Sequence[Item], expected: Sequence[str]) -> Iterator[ClusterFinding]:
    there = {str(item["metadata"]["name"]): item for item in deployments}
    for name in expected:
        if name not in there:
            hint = "deploy it, or take it out of the site file's cluster.deployments"
            yield _red("deployment", name, "is not in the namespace", hint)
        elif (there[name].get("spec") or {}).get("replicas") == 0:
            yield _amber("deployment", name, "is scaled to 0", f"kubectl scale deployment/{name} --replicas=...")


def _services(
    services: Iterable[Item],
    ready: Mapping[str, int],
    pods: Sequence[Item] | None,
    workloads: Sequence[tuple[str, Item]],
    now: datetime,
) -> Iterator[ClusterFinding]:
    for service in services:
        name, spec = str(service["metadata"]["name"]), service.get("spec") or {}
        if spec.get("type") == "ExternalName" or ready.get(name):
            continue
        selector = spec.get("selector") or {}
        if not selector:
            yield _amber("service", name, "has no endpoints and no selector", "somebody must give it endpoints by hand")
            continue
        said = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        if pods is None:
            yield _red("service", name, f"has no endpoints (selector {said})", "are its pods ready?")
            continue
        own = [pod for pod in pods if _selects(selector, pod["metadata"].get("labels"))]
        if any(is_starting(pod, now) or _just_ready(pod, now) for pod in own):
            continue  # in a moment it has
        if able := sum(map(is_ready, own)):
            what = f"has no endpoints, though {able} of its {len(own)} pods are ready"
            yield _red("service", name, what, "does its targetPort name a port that the pods have?")
        elif own:
            what = f"has no endpoints: none of its {counted(len(own), 'pod')} is ready"
            yield _red("service", name, what, "its pods say why")
        elif idle := _idle(selector, workloads):
            yield _amber("service", name, f"has no endpoints: {idle} is scaled to 0")
        else:
            yield _red("service", name, f"has no endpoints: no pod has its labels {said}", "is its selector right?")


def _just_ready(pod: Item, now: datetime) -> bool:
    since = moment_of(condition(pod, "Ready").get("lastTransitionTime"))
    return is_ready(pod) and since is not None and now - since < STARTING


def _idle(selector: Item, workloads: Sequence[tuple[str, Item]]) -> str:
    for kind, item in workloads:
        spec = item.get("spec") or {}
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if spec.get("replicas") == 0 and _selects(selector, labels):
            return f"{kind} {item['metadata']['name']}"
    return ""


def _selects(selector: Item, labels: Item | None) -> bool:
    return all((labels or {}).get(key) == value for key, value in selector.items())


def _claims_of(pods: Iterable[Item]) -> set[str]:
    volumes = [volume for pod in pods for volume in (pod.get("spec") or {}).get("volumes") or ()]
    return {str(one["claimName"]) for volume in volumes if (one := volume.get("persistentVolumeClaim"))}


def _claim(claim: Item, used: set[str] | None, now: datetime) -> Iterator[ClusterFinding]:
    phase, name = (claim.get("status") or {}).get("phase"), str(claim["metadata"]["name"])
    if phase == "Bound" or _just_made(claim, now) or claim["metadata"].get("deletionTimestamp"):
        return
    kind = "persistentvolumeclaim"
    if phase == "Lost":
        yield _red(kind, name, "has lost its volume: the data may be gone", "restore it from its backup")
        return
    if used is not None and name not in used:
        # A storage class may wait for the first pod before it makes a volume.
        yield _amber(kind, name, f"is {phase or 'unknown'}, not Bound; no pod uses it", "is it still wanted?")
        return
    made = moment_of(claim["metadata"].get("creationTimestamp"))
    asks = (claim.get("spec") or {}).get("storageClassName")
    what = f"is {phase or 'unknown'}, not Bound (storage class {asks or 'the default one'})"
    yield ClusterFinding(
        light="red", kind=kind, name=name, what=what, lasts=now - made if made else None, has_events=True,
        hint="does its storage class exist, and has it room?",
    )  # fmt: skip


def _jobs(jobs: Iterable[Item]) -> Iterator[ClusterFinding]:
    """Of a CronJob the newest run that ended counts: what failed on Monday and went well on Tuesday is over."""
    newest: dict[str, Item] = {}
    for job in jobs:
        if not (_holds(job, "Complete") or _holds(job, "Failed")):
            continue
        series = owner_of(job) or f"job {job['metadata']['name']}"
        if series not in newest or _made(newest[series]) < _made(job):
            newest[series] = job
    for series, job in newest.items():
        if _holds(job, "Failed"):
            failed, name = condition(job, "Failed"), str(job["metadata"]["name"])
            reason = ": ".join(filter(None, (failed.get("reason"), failed.get("message"))))
            of = f" (of {series})" if not series.startswith("job ") else ""
            hint = f"kubectl logs job/{name}; kubectl delete job {name} when it is understood"
            yield _amber("job", name, f"failed{of}: {reason or 'it gives no reason'}", hint)


def _made(item: Item) -> str:
    return str(item["metadata"].get("creationTimestamp") or "")


def _node(node: Item, now: datetime) -> Iterator[ClusterFinding]:
    name, ready = str(node["metadata"]["name"]), condition(node, "Ready")
    if ready.get("status") != "True":
        since = moment_of(ready.get("lastTransitionTime"))
        said = ready.get("message") or ready.get("reason") or "it has never reported"
        yield ClusterFinding(
            light="red", kind="node", name=name, what=f"is not ready: {said}", lasts=now - since if since else None,
            hint="is the machine up, and its kubelet? Its pods move elsewhere after five minutes",
        )  # fmt: skip
    for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"):
        if _holds(node, kind):
            said = condition(node, kind).get("message") or condition(node, kind).get("reason") or ""
            hint = "it evicts pods until it has room again" if kind != "NetworkUnavailable" else ""
            yield _amber("node", name, f"{kind}: {said}", hint)
    if (node.get("spec") or {}).get("unschedulable"):
        yield _amber("node", name, "is cordoned: it takes no new pods", f"kubectl uncordon {name} when it is fixed")


def _certificates(
    certificates: Iterable[SecretCertificate], now: datetime, certificate_days: float
) -> Iterator[ClusterFinding]:
    for one in sorted(certificates, key=lambda certificate: certificate.ends):
        days = (one.ends - now) / timedelta(days=1)
        if days >= certificate_days:
            continue
        when = f"ended {-days:.0f} days ago" if days < 0 else f"ends in {days:.0f} days"
        what = f"certificate of {one.subject} {when} ({one.ends:%Y-%m-%d})"
        hint = "renew it; cert-manager says in its Certificate's events why it has not"
        yield (_red if days < 0 else _amber)("secret", one.secret, what, hint)


def _holds(item: Item, kind: str) -> bool:
    return condition(item, kind).get("status") == "True"


def _red(kind: str, name: str, what: str, hint: str = "") -> ClusterFinding:
    return ClusterFinding(light="red", kind=kind, name=name, what=what, hint=hint)


def _amber(kind: str, name: str, what: str, hint: str = "") -> ClusterFinding:
    return ClusterFinding(light="amber", kind=kind, name=name, what=what, hint=hint)


def counts_of(items: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """How many of each kind were looked at, for the record of a check that found nothing."""
    return {kind: len(found) for kind, found in items.items()}
