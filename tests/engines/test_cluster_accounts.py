"""The accounts of include/kubernetes: each may do what its duty needs, on a real control plane, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client
from kubernetes.client.rest import RESTClientObject

from tests.duties.rollouts import Rollouts, finish
from tests.servers.kubernetes_accounts import account, forget_cluster_roles, manifests
from tests.servers.kubernetes_cluster import Namespace
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.rollout import Mark
from upkeep.duties.restart import plan_restart, restart
from upkeep.duties.scale import advise, plan_scale, scale
from upkeep.duties.undo import plan_undo, undo
from upkeep.engines.deployments import Deployments
from upkeep.engines.kubernetes_api import connect_cluster
from upkeep.engines.manifests_engine import ManifestsEngine
from upkeep.errors import RolloutFailed, RolloutRefused
from upkeep.resources import include_folder

FILES = sorted(path.stem for path in (include_folder() / "kubernetes").glob("*.yaml"))
READ_ONLY = ("read", "read_nodes", "read_certificates", "backup")
CHANGES = ("create", "update", "patch", "delete")
Right = tuple[str, str, str]
"""Group, resource, verb."""
VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@contextmanager
def rights_used(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Right]]:
    """What the block asks of the API, as RBAC sees it. Discovery isn't in it: it is open to every account."""
    used: set[Right] = set()
    plain = RESTClientObject.request

    def request(self: Any, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        root, *rest = urlsplit(url).path.strip("/").split("/")
        group, rest = ("", rest[1:]) if root == "api" else (rest[0] if rest else "", rest[2:])
        if len(rest) > 2:  # namespaces, its name, the resource, perhaps an object
            used.add((group, rest[2], "list" if method == "GET" and len(rest) == 3 else VERBS[method]))
        elif rest[:1] == ["namespaces"]:  # the namespace itself: an object within it, as RBAC sees it
            used.add((group, rest[0], VERBS[method]))
        return plain(self, method, url, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RESTClientObject, "request", request)
        yield used


def rights_given(*duties: str) -> set[Right]:
    return {
        (group, resource, verb)
        for duty in duties
        for one in manifests(duty, "shop")
        for rule in one.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


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
    assert {verb for _, _, verb in rights_given(duty)} <= {"get", "list"}


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


def test_rolling_out_and_back_and_each_single_action_use_every_right_of_the_file_and_no_other(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a", "b")  # logs in as this account
    with rights_used(monkeypatch) as used:
        plan = scene.plan(a="2", b="bad-2")
        plan["changes"]["b"]["timeout_s"] = 1
        with pytest.raises(RolloutFailed):
            scene.roll_out(plan)
        scene.roll_back()
        for make, take, wanted in ((plan_undo, undo, ()), (plan_restart, restart, ()), (plan_scale, scale, (2,))):
            job = scene.job(take.__name__)
            finish(partial(take, job, make(job, "a", *wanted), approver=""), scene.live)
        with pytest.raises(RolloutRefused, match="no CPU figures"):
            advise(scene.job(), "a")
    # The trigger's, as this account, in tests/triggers.
    assert used | {("apps", "deployments", "watch")} == rights_given("rollout")


def test_the_backup_of_manifests_uses_every_right_of_the_file_and_no_other(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = account(namespace, "backup", folder=tmp_path)
    with rights_used(monkeypatch) as used, ManifestsEngine(keeper, namespace.name).snapshot() as snapshot:
        warnings = snapshot.facts({}).warnings
    given = rights_given("backup")
    whole = {group for group, resource, _ in given if resource == "*"}
    assert {(group, "*" if group in whole else resource, verb) for group, resource, verb in used} - given == {
        (group, plural, "list") for group, plural, _ in used if any(f"{plural} are missing" in one for one in warnings)
    }, "what it may not list it names"
    assert given - {(group, "*" if group in whole else resource, verb) for group, resource, verb in used} == {
        ("extensions", "*", "list")  # on 1.20 networking.k8s.io has the Ingresses as well
    }


def test_the_account_for_databases_in_pods_may_exec_and_tunnel_into_them(namespace: Namespace, tmp_path: Path) -> None:
    inside = account(namespace, "pod_exec", folder=tmp_path)
    for door in ("pods/exec", "pods/portforward"):
        assert all(may(inside, namespace.name, verb, door) for verb in ("get", "create")), door
    assert may(inside, namespace.name, "list", "pods")
    assert not may(inside, namespace.name, "create", "pods")
    assert not may(inside, namespace.name, "list", "secrets")
