"""Objects in the shape in which API servers answer them, written by hand after real answers, 1.16 to 1.36.

Every function gives one object that is well; what a test is about is changed by its arguments.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 22, 2, 0, 0, tzinfo=UTC)
OLD = NOW - timedelta(hours=5)

Shape = dict[str, Any]


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    name: str = "web-7d4b9-x2x1z",
    *,
    made: datetime = OLD,
    phase: str = "Running",
    ready: bool = True,
    ready_since: datetime | None = None,
    containers: list[Shape] | None = None,
    inits: list[Shape] | None = None,
    specs: list[Shape] | None = None,
    init_specs: list[Shape] | None = None,
    owner: str = "ReplicaSet/web-7d4b9",
    labels: Shape | None = None,
    conditions: list[Shape] | None = None,
    restart_policy: str = "Always",
    metadata: Shape | None = None,
    spec: Shape | None = None,
    **status: Any,
) -> Shape:
    """A pod of the Deployment ``web``; ``containers`` are container statuses, ``specs`` what they were to be."""
    owners = []
    if owner:
        kind, _, owned_by = owner.partition("/")
        owners = [{"apiVersion": "apps/v1", "kind": kind, "name": owned_by, "uid": "u", "controller": True}]
    if containers is None and phase in ("Running", "Succeeded"):
        containers = [container(state=running(made), ready=ready)]
    if conditions is None:
        conditions = [
            condition("PodScheduled", True, made),
            condition("Initialized", True, made),
            condition("Ready", ready, ready_since or made, "" if ready else "ContainersNotReady"),
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": stamp(made),
            "labels": {"app": "web", "pod-template-hash": "7d4b9", **(labels or {})},
            "ownerReferences": owners,
            **(metadata or {}),
        },
        "spec": {
            "restartPolicy": restart_policy,
            "containers": specs or [{"name": "web", "image": "web:1", "resources": {}}],
            **({"initContainers": init_specs} if init_specs else {}),
            **(spec or {}),
        },
        "status": {
            "phase": phase,
            "observedGeneration": 1,  # from 1.33 on
            "conditions": conditions,
            "containerStatuses": containers or [],
            **({"initContainerStatuses": inits} if inits else {}),
            **status,
        },
    }


def condition(kind: str, holds: bool, since: datetime = OLD, reason: str = "", message: str = "") -> Shape:
    found = {"type": kind, "status": str(holds), "lastTransitionTime": stamp(since), "lastProbeTime": None}
    return {**found, **({"reason": reason} if reason else {}), **({"message": message} if message else {})}


def container(
    name: str = "web", *, state: Shape, last: Shape | None = None, restarts: int = 0, ready: bool = False
) -> Shape:
    """One status of a container. From 1.27 on there is ``allocatedResources`` beside, from 1.31 on ``volumeMounts``."""
    return {
        "name": name, "image": f"{name}:1", "imageID": "", "ready": ready, "started": ready, "restartCount": restarts,
        "state": state, "lastState": last or {}, "allocatedResources": {"cpu": "100m"}, "volumeMounts": [],
    }  # fmt: skip


def waiting(reason: str, message: str = "") -> Shape:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(since: datetime) -> Shape:
    return {"running": {"startedAt": stamp(since)}}


def terminated(code: int, reason: str = "Error", message: str = "", at: datetime = OLD) -> Shape:
    end = {"exitCode": code, "reason": reason, "startedAt": stamp(at), "finishedAt": stamp(at)}
    return {"terminated": {**end, **({"message": message} if message else {})}}


def workload(kind: str, name: str = "web", *, replicas: int = 2, spec: Shape | None = None, **status: Any) -> Shape:
    """``kind`` is Deployment, StatefulSet or DaemonSet; ``status`` says what differs from all being well."""
    well = {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
    if kind == "DaemonSet":
        well = {"desiredNumberScheduled": replicas, "numberReady": replicas, "numberAvailable": replicas}
    status = {key: value for key, value in {**well, "observedGeneration": 1, **status}.items() if value is not None}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": stamp(OLD), "generation": 1},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": name}}}, **(spec or {})},
        "status": status,
    }


def service(name: str = "web", **spec: Any) -> Shape:
    spec = {"type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": name}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def endpoint_slice(service: str = "web", *ready: bool | None, version: str = "v1") -> Shape:
    """One endpoint for each of ``ready``; None leaves the condition out, which means yes."""
    endpoints = [
        {"addresses": [f"10.1.0.{number}"], "conditions": {} if one is None else {"ready": one, "serving": one}}
        for number, one in enumerate(ready, 1)
    ]
    return {
        "apiVersion": f"discovery.k8s.io/{version}",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"name": f"{service}-abc12", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints or None,  # the API's own way to say that there are none
        "ports": [{"port": 80}],
    }


def endpoints(name: str = "web", ready: int = 1, unready: int = 0) -> Shape:
    def addresses(count: int) -> list[Shape]:
        return [{"ip": f"10.1.0.{number}"} for number in range(count)]

    subset = {"addresses": addresses(ready), "notReadyAddresses": addresses(unready), "ports": [{"port": 80}]}
    kept = {key: value for key, value in subset.items() if value}
    return {"kind": "Endpoints", "metadata": {"name": name}, "subsets": [kept] if ready or unready else None}


def claim(name: str = "data", phase: str = "Bound", made: datetime = OLD) -> Shape:
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "creationTimestamp": stamp(made)},
        "spec": {"storageClassName": "fast"},
        "status": {"phase": phase},
    }


def job(name: str = "nightly", outcome: str = "Complete", *, made: datetime = OLD, owner: str = "") -> Shape:
    reasons = {"Failed": ("BackoffLimitExceeded", "Job has reached the specified backoff limit")}
    conditions = [condition(outcome, True, made, *reasons.get(outcome, ()))] if outcome else []
    owners = [{"kind": "CronJob", "name": owner, "controller": True}] if owner else []
    metadata = {"name": name, "creationTimestamp": stamp(made), "ownerReferences": owners}
    return {"kind": "Job", "metadata": metadata, "spec": {}, "status": {"conditions": conditions}}


def node(name: str = "node-1", *conditions: Shape, unschedulable: bool = False) -> Shape:
    well = {
        "Ready": condition("Ready", True, OLD, "KubeletReady", "kubelet is posting ready status"),
        **{kind: condition(kind, False, OLD) for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")},
    }
    well |= {one["type"]: one for one in conditions}
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"unschedulable": True} if unschedulable else {},
        "status": {
            "conditions": list(well.values()), "allocatable": {"cpu": "4", "memory": "8Gi"}, "capacity": {"cpu": "4"},
        },
    }  # fmt: skip


def usage(name: str, **containers: tuple[str, str]) -> Shape:
    """What metrics-server says of a pod: CPU and memory by container."""
    measured = [{"name": key, "usage": {"cpu": cpu, "memory": memory}} for key, (cpu, memory) in containers.items()]
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "timestamp": stamp(NOW),
        "window": "15.071s",
        "containers": measured,
    }


def node_usage(name: str, cpu: str, memory: str) -> Shape:
    return {
        "metadata": {"name": name}, "timestamp": stamp(NOW), "window": "10s", "usage": {"cpu": cpu, "memory": memory},
    }  # fmt: skip
