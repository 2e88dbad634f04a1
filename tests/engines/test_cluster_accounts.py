"""The accounts of include/kubernetes: each may do what its duty needs, on a real control plane, and no more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from kubernetes import client

from tests.servers.kubernetes_accounts import account, forget_cluster_roles, manifests
from tests.servers.kubernetes_cluster import Namespace
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.rollout import Mark
from upkeep.engines.deployments import Deployments
from upkeep.engines.kubernetes_api import connect_cluster
from upkeep.resources import include_folder

FILES = sorted(path.stem for path in (include_folder() / "kubernetes").glob("*.yaml"))
READ_ONLY = ("read", "read_nodes", "read_certificates", "backup")
CHANGES = ("create", "update", "patch", "delete")


def may(endpoint: Endpoint, namespace: str, verb: str, resource: str, group: str = "") -> bool:
    """The API's own word on what this account may do."""
    resource, _, part = resource.partition("/")
    asked = {"namespace": namespace, "verb": verb, "resource": resource, "subresource": part, "group": group}
    with connect_cluster(endpoint) as api:
        review = client.AuthorizationV1Api(api).create_self_subject_access_review(
            {"spec": {"resourceAttributes": asked}}
        )
        return bool(review.status.allowed)


@pytest.mark.parametrize("duty", READ_ONLY)
def test_a_reading_file_gives_no_right_to_change_anything(duty: str) -> None:
    verbs = {verb for one in manifests(duty, "shop") for rule in one.get("rules", ()) for verb in rule["verbs"]}
    assert verbs <= {"get", "list"}


@pytest.mark.parametrize("duty", FILES)
def test_a_file_stays_in_its_namespace_and_binds_nobody_but_upkeep(duty: str) -> None:
    for one in manifests(duty, "shop"):
        assert one["metadata"].get("namespace") == (None if one["kind"].startswith("Cluster") else "shop")
        for subject in one.get("subjects", ()):
            assert subject == {"kind": "ServiceAccount", "name": "upkeep", "namespace": "shop"}
        for rule in one.get("rules", ()):
            assert "*" not in rule["verbs"] + rule["apiGroups"], "nobody can say what that is"


def test_the_reading_account_reads_no_secret_and_no_other_namespace(namespace: Namespace, tmp_path: Path) -> None:
    reader = account(namespace, "read", folder=tmp_path)
    assert may(reader, namespace.name, "list", "pods")
    assert not may(reader, namespace.name, "list", "secrets")
    assert not may(reader, "kube-system", "list", "pods")
    assert not may(reader, namespace.name, "create", "pods/exec")
    assert not may(reader, "", "list", "nodes")


def test_the_backing_up_account_reads_no_secret_unless_the_rule_is_uncommented(
    namespace: Namespace, tmp_path: Path
) -> None:
    keeper = account(namespace, "backup", "read_nodes", folder=tmp_path)
    assert may(keeper, namespace.name, "list", "configmaps")
    assert may(keeper, namespace.name, "list", "roles", "rbac.authorization.k8s.io")
    assert not may(keeper, namespace.name, "list", "secrets")
    assert not any(may(keeper, namespace.name, verb, "deployments", "apps") for verb in CHANGES)
    assert may(keeper, "", "list", "nodes")
    forget_cluster_roles(namespace)


def test_the_rolling_account_patches_deployments_and_nothing_else(namespace: Namespace, tmp_path: Path) -> None:
    roller = account(namespace, "rollout", folder=tmp_path)
    namespace.deploy("web")
    namespace.wait_until_available("web")
    now = datetime.now(UTC)
    mark = Mark("r-1", "scale", "3 replicas", "1 replicas", previous_revision=1, at=now, deadline=now)
    with Deployments(roller, namespace.name) as deployments:
        live = deployments.read("web")
        assert deployments.surroundings().unread == ()
        assert deployments.cpu_pct(live) is None, "the test cluster has no metrics"
        deployments.set_image(live, "web", "app:2", mark, "test", dry_run=True)
        deployments.restart(live, now, mark, "test", dry_run=True)
        deployments.scale(live, 3, mark, "test", dry_run=False)
    namespace.wait_until_available("web", replicas=3)
    assert may(roller, namespace.name, "watch", "deployments", "apps")
    for verb, resource, group in (
        ("delete", "deployments", "apps"), ("create", "deployments", "apps"), ("patch", "statefulsets", "apps"),
        ("delete", "pods", ""), ("list", "secrets", ""), ("create", "pods/exec", ""), ("patch", "replicasets", "apps"),
    ):  # fmt: skip
        assert not may(roller, namespace.name, verb, resource, group), f"{verb} {resource}"


def test_the_account_for_databases_in_pods_may_exec_and_tunnel_into_them(namespace: Namespace, tmp_path: Path) -> None:
    inside = account(namespace, "pod_exec", folder=tmp_path)
    for door in ("pods/exec", "pods/portforward"):
        assert all(may(inside, namespace.name, verb, door) for verb in ("get", "create")), door
    assert may(inside, namespace.name, "list", "pods")
    assert not may(inside, namespace.name, "create", "pods")
    assert not may(inside, namespace.name, "list", "secrets")
