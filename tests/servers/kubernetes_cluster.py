"""A namespace of its own in the test cluster that ``KUBECONFIG`` names.

Tests never touch another namespace, so any cluster will do; what its kubelets can't do skips with the reason.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, utils

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.kubernetes_api import connect_cluster

KUBECONFIG = "KUBECONFIG"
WITHIN_S = 60


@dataclass(frozen=True)
class Namespace:
    """One namespace, and an account that may do everything in the cluster."""

    name: str
    endpoint: Endpoint
    api: client.ApiClient

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self.api)

    def create(self, *objects: dict[str, Any]) -> None:
        """Make objects from manifests, as ``kubectl create`` would."""
        for manifest in objects:
            utils.create_from_dict(self.api, manifest, namespace=self.name)

    def deploy(self, name: str, image: str = "app:1", *, replicas: int = 1, **spec: Any) -> None:
        """A Deployment whose pods behave as the word in ``image`` says (bad, crash, oom, missing, hang, stuck)."""
        self.create(deployment(name, image, replicas=replicas, **spec))

    def wait_for(self, what: str, met: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        until = time.monotonic() + within_s
        while not met():
            if time.monotonic() > until:
                raise AssertionError(f"not within {within_s} s: {what}")
            time.sleep(0.1)

    def count_quota(self, name: str, **used: int) -> None:
        """Write what a quota counts into its status, as the controller would: on a cluster that has just lost a custom
        resource, it takes minutes to come to that.
        """
        hard = self.core.read_namespaced_resource_quota(name, self.name).spec.hard
        counted = {kind: str(count) for kind, count in used.items()}
        self.core.patch_namespaced_resource_quota_status(name, self.name, {"status": {"hard": hard, "used": counted}})

    def wait_until_available(self, name: str, replicas: int = 1) -> None:
        def available() -> bool:
            status = self.apps.read_namespaced_deployment(name, self.name).status
            return (status.available_replicas or 0) >= replicas and (status.updated_replicas or 0) >= replicas

        self.wait_for(f"{replicas} available pods of {name}", available)


def deployment(name: str, image: str, *, replicas: int = 1, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": image}]}},
            **spec,
        },
    }


@contextmanager
def new_namespace() -> Iterator[Namespace]:
    """Errors: ``KeyError`` without ``KUBECONFIG``: fixtures skip before."""
    path = Path(os.environ[KUBECONFIG])
    endpoint = Endpoint(conn_id="test_cluster", kind="kubernetes", extra={"kube_config_path": str(path)})
    with connect_cluster(endpoint) as api:
        core = client.CoreV1Api(api)
        name = f"upkeep-{secrets.token_hex(4)}"
        core.create_namespace({"metadata": {"name": name}})
        try:
            yield Namespace(name, endpoint, api)
        finally:
            core.delete_namespace(name, propagation_policy="Background")
