"""What a namespace's pods, and the nodes below them, use: metrics.k8s.io, which metrics-server serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubernetes import client

from upkeep.domain.capacity import Measured
from upkeep.domain.cluster_usage import measure_nodes, measure_pods, measure_replicas
from upkeep.domain.endpoint import Endpoint
from upkeep.engines.kubernetes_api import connect_cluster, told
from upkeep.engines.kubernetes_read import degrading_to, list_objects, path_of, served_versions

METRICS = "metrics.k8s.io"


def cluster_figures(endpoint: Endpoint, namespace: str, leave_out: Sequence[str] = ()) -> Measured:
    """Replicas, and CPU and memory where there is a metrics API. Errors: ``ConnectionUnknown``, ``SourceError``."""
    found = Measured()
    with connect_cluster(endpoint) as api, told(endpoint, f"measure namespace {namespace}"):
        if "deployments" not in leave_out:
            measure_replicas(found, _listed(api, found, "deployments", namespace, group="apps"))
        if "metrics" in leave_out:
            return found
        versions: list[str] = []
        with degrading_to(found.unread, "API groups", "/apis", verb="get"):
            versions = served_versions(api).get(METRICS, [])
        if not versions:
            found.unread.append(
                "CPU and memory of pods (this cluster has no metrics API: install metrics-server, or leave metrics out)"
            )
            return found
        usages = _listed(api, found, "pods", namespace, group=METRICS, version=versions[0])
        pods = _listed(api, found, "pods", namespace) if usages else []
        measure_pods(found, namespace, pods, usages)
        if "nodes" not in leave_out:
            nodes = _listed(api, found, "nodes")
            used = _listed(api, found, "nodes", group=METRICS, version=versions[0]) if nodes else []
            measure_nodes(found, nodes, used)
    return found


def _listed(
    api: client.ApiClient, found: Measured, resource: str, namespace: str = "", *, group: str = "", version: str = "v1"
) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    of = "figures of " if group == METRICS else ""
    with degrading_to(found.unread, f"{of}{resource}", resource, group):
        listed += list_objects(api, path_of(resource, namespace, group=group, version=version))
    return listed
