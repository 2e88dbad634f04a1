"""What the pods of a namespace use, by Deployment: pods come and go, and a series of one that is gone leads nowhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from upkeep.domain.capacity import Measured
from upkeep.domain.pod_health import Item, owner_of
from upkeep.domain.rollout_plan import quantity


@dataclass
class _Sum:
    """Of all pods of one owner that were measured. ``fullest``: the container that is nearest to its own limit."""

    cpu: Fraction = Fraction(0)
    memory: Fraction = Fraction(0)
    cpu_requested: Fraction = Fraction(0)
    fullest: dict[str, Fraction] = field(default_factory=dict)

    def take(self, spec: Item, usage: Item) -> None:
        used = {kind: quantity(usage[kind]) for kind in ("cpu", "memory") if kind in usage}
        resources = spec.get("resources") or {}
        self.cpu += used.get("cpu", 0)
        self.memory += used.get("memory", 0)
        self.cpu_requested += quantity((resources.get("requests") or {}).get("cpu", "0"))
        for kind, amount in used.items():
            if most := quantity((resources.get("limits") or {}).get(kind, "0")):
                self.fullest[kind] = max(self.fullest.get(kind, Fraction(0)), 100 * amount / most)


def measure_pods(found: Measured, namespace: str, pods: Iterable[Item], usages: Iterable[Item]) -> None:
    """CPU and memory of each owner's pods; ``deployment_cpu_pct``, of what they request, is what an HPA goes by."""
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    for usage in usages:
        pod = by_name.get(usage["metadata"]["name"])
        if pod is None or (pod.get("status") or {}).get("phase") != "Running":
            continue  # it came or went between the two answers
        spec = pod.get("spec") or {}
        specs = {one["name"]: one for part in ("containers", "initContainers") for one in spec.get(part) or ()}
        owner = owner_of(pod) or f"pod {usage['metadata']['name']}"
        for container in usage.get("containers") or ():
            sums[owner].take(specs.get(container["name"], {}), container.get("usage") or {})
    for owner, used in sorted(sums.items()):
        kind, _, name = owner.partition(" ")
        if kind not in ("deployment", "statefulset", "daemonset"):
            continue  # a job's pods are others tomorrow
        found.add(f"{kind}_cpu_cores", name, used.cpu, "cores")
        found.add(f"{kind}_memory_bytes", name, used.memory, "bytes")
        if used.cpu_requested:
            found.add(f"{kind}_cpu_pct", name, 100 * used.cpu / used.cpu_requested, "% of what is requested")
        for resource, share in used.fullest.items():
            found.add(f"pod_{resource}_pct", f"{namespace}/{name}", share, "%")


def measure_replicas(found: Measured, deployments: Iterable[Item]) -> None:
    for item in deployments:
        available = (item.get("status") or {}).get("availableReplicas") or 0
        found.add("deployment_replicas", str(item["metadata"]["name"]), available, "replicas")


def measure_nodes(found: Measured, nodes: Sequence[Item], usages: Iterable[Item]) -> None:
    """Shares of what a node may give to pods, as ``kubectl top nodes`` has them."""
    room: Mapping[str, Any] = {
        node["metadata"]["name"]: (node.get("status") or {}).get("allocatable") or {} for node in nodes
    }
    for usage in usages:
        name = str(usage["metadata"]["name"])
        for kind, metric in (("cpu", "cpu_pct"), ("memory", "memory_pct")):
            most = quantity(room.get(name, {}).get(kind, "0"))
            if most and kind in (usage.get("usage") or {}):
                found.add(metric, name, 100 * quantity(usage["usage"][kind]) / most, "%")
