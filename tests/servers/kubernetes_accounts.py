"""The accounts of ``include/kubernetes``, made in a test's namespace exactly as an operator would make them.

endpoint = account(namespace, "read", folder=tmp_path)
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, utils

from tests.servers.kubernetes_cluster import KUBECONFIG, Namespace
from upkeep.domain.endpoint import Endpoint
from upkeep.resources import include_folder

SAMPLE = "namespace: kindergarten"
TOKEN_S = 3600


def account(namespace: Namespace, *duties: str, folder: Path) -> Endpoint:
    """Log in as the account that ``include/kubernetes/<duty>.yaml`` describes, with a token that lasts an hour.

    :param duties: ``read``, ``backup``, ``rollout``, ...: several add up, as they do for an operator.
    :param folder: where the cluster's CA certificate goes.
    """
    for duty in duties:
        for manifest in manifests(duty, namespace.name):
            _apply(namespace, manifest)
    body = {"spec": {"expirationSeconds": TOKEN_S}}
    answer: Any = namespace.core.create_namespaced_service_account_token("upkeep", namespace.name, body)
    certificate = folder / "cluster-ca.crt"
    cluster = _cluster()
    if "certificate-authority" in cluster:
        certificate.write_bytes(Path(cluster["certificate-authority"]).read_bytes())
    else:
        certificate.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    return Endpoint(
        conn_id="test_cluster",
        kind="kubernetes",
        host=cluster["server"],
        secret=answer.status.token,
        extra={"ssl_ca_cert": str(certificate)},
    )


def manifests(duty: str, namespace: str) -> list[dict[str, Any]]:
    """The objects of one file, moved into ``namespace`` by the very replacement that its header shows."""
    text = (include_folder() / "kubernetes" / f"{duty}.yaml").read_text(encoding="utf-8")
    text = text.replace(SAMPLE, f"namespace: {namespace}")
    found = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    for manifest in found:
        if manifest["kind"].startswith("Cluster"):  # cluster-wide names: one test must not meet another's
            manifest["metadata"]["name"] += f"-{namespace}"
            if "roleRef" in manifest:
                manifest["roleRef"]["name"] += f"-{namespace}"
    return found


def forget_cluster_roles(namespace: Namespace) -> None:
    """A namespace takes its own objects along; these stay."""
    api = client.RbacAuthorizationV1Api(namespace.api)
    for manifest in manifests("read_nodes", namespace.name):
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "ClusterRole":
            api.delete_cluster_role(name)
        else:
            api.delete_cluster_role_binding(name)


def _apply(namespace: Namespace, manifest: dict[str, Any]) -> None:
    """Create it; where another duty's file has made it already, it is the same."""
    try:
        namespace.create(manifest)
    except utils.FailToCreateError as error:
        if any(reason.status != 409 for reason in error.api_exceptions):
            raise


def _cluster() -> dict[str, Any]:
    """The current context's cluster, as kubectl would find it."""
    config = yaml.safe_load(Path(os.environ[KUBECONFIG]).read_text(encoding="utf-8"))
    context = next(one["context"] for one in config["contexts"] if one["name"] == config["current-context"])
    found: dict[str, Any] = next(one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"])
    return found
