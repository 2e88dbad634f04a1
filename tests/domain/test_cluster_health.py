"""What is told of a cluster's objects, and what isn't: every condition in the shape in which the API has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.servers.kubernetes_shapes import (
    NOW,
    OLD,
    Shape,
    claim,
    condition,
    container,
    endpoint_slice,
    endpoints,
    job,
    node,
    pod,
    running,
    service,
    stamp,
    terminated,
    waiting,
    workload,
)
from upkeep.domain.cluster_health import ClusterObjects, SecretCertificate, judge_cluster

FRESH = NOW - timedelta(seconds=20)
LIMITED = [{"name": "web", "resources": {"limits": {"memory": "256Mi"}}}]
SIDECAR = [{"name": "proxy", "restartPolicy": "Always"}]


def judged(*, now: Any = NOW, since: Any = None, **items: Sequence[Shape]) -> list[tuple[str, str, str]]:
    """Light, subject and words of everything that is told."""
    seen = ClusterObjects({kind: list(shapes) for kind, shapes in items.items()})
    return [(one.light, one.subject, one.says) for one in judge_cluster(seen, now=now, since=since)]


def of_pod(shape: Shape, **settings: Any) -> list[tuple[str, str]]:
    return [(light, says) for light, _, says in judged(pods=[shape], **settings)]


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(pod(), id="ready"),
        pytest.param(pod(phase="Succeeded", ready=False, owner="Job/nightly"), id="of a job that is done"),
        pytest.param(pod(phase="Succeeded", ready=False, owner=""), id="made by hand, and done"),
        pytest.param(pod(phase="Failed", ready=False, owner="Job/nightly"), id="of a job that failed"),
        pytest.param(
            pod(owner="Job/nightly", ready=False, restart_policy="Never", containers=[
                container(state=running(OLD)), container("proxy", state=terminated(0, "Completed"))]),
            id="of a job of which one container has ended",
        ),
        pytest.param(pod(phase="Pending", made=FRESH, ready=False), id="new, not even looked at"),
        pytest.param(
            pod(phase="Pending", made=FRESH, ready=False, containers=[container(state=waiting("ContainerCreating"))]),
            id="being created",
        ),
        pytest.param(pod(made=FRESH, ready=False), id="not ready yet"),
        pytest.param(pod(ready=False, ready_since=FRESH), id="not ready for a moment"),
        pytest.param(
            pod(made=FRESH, ready=False, containers=[container(state=terminated(1))]), id="fell once while it started"
        ),
        pytest.param(
            pod(ready=False, ready_since=NOW - timedelta(minutes=4), made=NOW - timedelta(minutes=4),
                specs=[{"name": "web", "startupProbe": {"failureThreshold": 30, "periodSeconds": 10}}]),
            id="within the time that its startup probe gives it",
        ),
        pytest.param(
            pod(phase="Pending", made=FRESH, ready=False,
                conditions=[condition("PodScheduled", False, FRESH, "Unschedulable", "0/1 nodes are available")]),
            id="waits for a node for a moment",
        ),
        pytest.param(pod(metadata={"deletionTimestamp": stamp(FRESH)}, ready=False), id="just ending"),
        pytest.param(
            pod(inits=[container("migrate", state=terminated(0, "Completed"))]), id="whose init container is done"
        ),
        pytest.param(
            pod(inits=[container("proxy", state=running(OLD), ready=True)], init_specs=SIDECAR), id="with a sidecar"
        ),
        pytest.param(
            pod(containers=[container(state=running(NOW - timedelta(days=2)), restarts=7, ready=True)],
                made=NOW - timedelta(days=9)),
            id="restarted long before the last check",
        ),
    ],
)  # fmt: skip
def test_a_pod_is_not_told_when_it_is_well_or_only_on_its_way(shape: Shape) -> None:
    assert of_pod(shape) == []


@pytest.mark.parametrize(
    ("shape", "light", "says"),
    [
        pytest.param(
            pod(ready=False, containers=[container(
                state=waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container=web pod=web-1_shop(4f)"),
                last=terminated(1, message="no config\nat line 3"), restarts=12)]),
            "red", "CrashLoopBackOff: exit code 1: no config, 12 restarts in all", id="crash",
        ),
        pytest.param(
            pod(ready=False, specs=LIMITED, containers=[container(
                state=waiting("CrashLoopBackOff"), last=terminated(137, "OOMKilled"), restarts=1)]),
            "red", "CrashLoopBackOff: OOMKilled (exit code 137; memory limit 256Mi), 1 restart in all", id="oom",
        ),
        pytest.param(
            pod(ready=False, containers=[container(
                state=waiting("CrashLoopBackOff"), last=terminated(0, "Completed"), restarts=3)]),
            "red", "CrashLoopBackOff: exit code 0, 3 restarts in all", id="ends by itself",
        ),
        pytest.param(
            pod(ready=False, containers=[container(state=terminated(143), restarts=2)]),
            "red", "ended with exit code 143 (SIGTERM), 2 restarts in all", id="between two restarts",
        ),
        pytest.param(
            pod(ready=False, containers=[
                container(state=terminated(127, "ContainerCannotRun", "exec: serve: not found"))]),
            "red", "ended with ContainerCannotRun, exit code 127 (its command is not found): exec: serve: not found",
            id="no such command",
        ),
        pytest.param(
            pod(phase="Pending", made=FRESH, ready=False, containers=[container(
                state=waiting("ImagePullBackOff", 'Back-off pulling image "web:9": ErrImagePull: not found'))]),
            "red", 'ImagePullBackOff: Back-off pulling image "web:9": ErrImagePull: not found', id="image, at once",
        ),
        pytest.param(
            pod(phase="Pending", ready=False, containers=[container(
                state=waiting("CreateContainerConfigError", 'secret "db" not found'))]),
            "red", 'CreateContainerConfigError: secret "db" not found', id="missing secret",
        ),
        pytest.param(
            pod(phase="Pending", ready=False, containers=[container(state=waiting("ContainerCreating"))]),
            "red", "ContainerCreating, for 5 h", id="volume that does not come",
        ),
        pytest.param(
            pod(phase="Pending", ready=False, containers=[container(state=waiting("PodInitializing"))],
                inits=[container("migrate", state=waiting("CrashLoopBackOff"), last=terminated(2), restarts=4)],
                init_specs=[{"name": "migrate"}]),
            "red", "init container migrate: CrashLoopBackOff: exit code 2, 4 restarts in all", id="init container",
        ),
        pytest.param(
            pod(ready=False, init_specs=SIDECAR, inits=[
                container("proxy", state=terminated(0, "Completed"), restarts=1)]),
            "red", "init container proxy: ended with exit code 0, 1 restart in all", id="sidecar that ended",
        ),
        pytest.param(
            pod(ready=False), "red", "runs but is not ready: web, for 5 h", id="readiness probe",
        ),
        pytest.param(
            pod(ready=False, containers=[container(state=running(OLD), ready=True)], conditions=[
                condition("Ready", False, OLD, "ReadinessGatesNotReady", 'condition of "lb" is missing')]),
            "red", 'not ready: condition of "lb" is missing, for 5 h', id="readiness gate",
        ),
        pytest.param(
            pod(phase="Pending", ready=False, conditions=[condition(
                "PodScheduled", False, OLD, "Unschedulable", "0/3 nodes are available: 3 Insufficient memory.")]),
            "red", "unschedulable: 0/3 nodes are available: 3 Insufficient memory, for 5 h", id="no room",
        ),
        pytest.param(
            pod(phase="Pending", ready=False, conditions=[condition("PodScheduled", False, OLD, "SchedulingGated")]),
            "amber", "is held back by a scheduling gate, for 5 h", id="gate",
        ),
        pytest.param(
            pod(phase="Failed", ready=False, reason="Evicted", message="The node was low on resource: memory."),
            "amber", "failed: Evicted: The node was low on resource: memory", id="evicted",
        ),
        pytest.param(
            pod(phase="Failed", ready=False, owner="", restart_policy="Never",
                containers=[container(state=terminated(3))]),
            "amber", "failed: web ended with exit code 3", id="by hand, failed",
        ),
        pytest.param(
            pod(metadata={"deletionTimestamp": stamp(OLD), "finalizers": ["shop/hold"]}),
            "amber", "should have ended and is still there, for 5 h", id="does not go",
        ),
        pytest.param(
            pod(containers=[container(state=running(NOW - timedelta(hours=3)), last=terminated(137, "OOMKilled"),
                restarts=2, ready=True)]),
            "amber", "has restarted since the last check: web ended with OOMKilled (exit code 137; no memory limit, so "
            "its node ran out), 2 restarts in all", id="restarted today",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_well_is_told_with_the_reason_that_a_person_needs(
    shape: Shape, light: str, says: str
) -> None:
    assert of_pod(shape) == [(light, says)]


def test_a_restart_counts_from_the_last_check_on() -> None:
    again = container(state=running(NOW - timedelta(hours=3)), last=terminated(1), restarts=2, ready=True)
    assert of_pod(pod(containers=[again]), since=NOW - timedelta(hours=2)) == []
    assert len(of_pod(pod(containers=[again]), since=NOW - timedelta(hours=4))) == 1


def test_pods_of_one_owner_that_fail_in_the_same_way_are_one_finding_with_the_worst_figures() -> None:
    def crashing(name: str, restarts: int) -> Shape:
        loop = container(state=waiting("CrashLoopBackOff"), last=terminated(1), restarts=restarts)
        return pod(name, ready=False, containers=[loop])

    found = judged(pods=[crashing("web-7d4b9-a", 3), crashing("web-7d4b9-b", 9), pod("web-7d4b9-c", ready=False)])
    assert found == [
        ("red", "2 pods of deployment web, such as web-7d4b9-a", "CrashLoopBackOff: exit code 1, 9 restarts in all"),
        ("red", "pod web-7d4b9-c", "runs but is not ready: web, for 5 h"),
    ]


@pytest.mark.parametrize(
    ("kind", "shape", "light", "says"),
    [
        ("deployments", workload("Deployment", availableReplicas=1), "amber", "1 of 2 replicas are available"),
        ("deployments", workload("Deployment", availableReplicas=None), "red", "0 of 2 replicas are available"),
        (
            "deployments",
            workload("Deployment", conditions=[
                condition("Progressing", False, OLD, "ProgressDeadlineExceeded", 'ReplicaSet "web-2" has timed out')]),
            "red", 'its rollout does not get on: ReplicaSet "web-2" has timed out',
        ),
        (
            "deployments",
            workload("Deployment", conditions=[
                condition("ReplicaFailure", True, OLD, "FailedCreate", "exceeded quota: pods=10")]),
            "red", "can't make pods: exceeded quota: pods=10",
        ),
        ("deployments", workload("Deployment", spec={"paused": True}), "amber", "is paused: no update of it rolls out"),
        ("statefulsets", workload("StatefulSet", readyReplicas=1, availableReplicas=None), "amber",
         "1 of 2 replicas are available"),
        ("statefulsets", workload("StatefulSet", readyReplicas=2, availableReplicas=0), "red",
         "0 of 2 replicas are available"),
        ("daemonsets", workload("DaemonSet", replicas=3, numberAvailable=None), "red", "0 of 3 replicas are available"),
        ("nodes", node("node-1", condition("Ready", False, OLD, "KubeletNotReady", "PLEG is not healthy")), "red",
         "is not ready: PLEG is not healthy, for 5 h"),
        (
            "nodes",
            node("node-1", {**condition("Ready", False, OLD, "NodeStatusUnknown", "Kubelet stopped posting"),
                 "status": "Unknown"}),
            "red", "is not ready: Kubelet stopped posting, for 5 h",
        ),
        ("nodes", node("node-1", condition("DiskPressure", True, OLD, "KubeletHasDiskPressure")), "amber",
         "DiskPressure: KubeletHasDiskPressure"),
        ("nodes", node("node-1", unschedulable=True), "amber", "is cordoned: it takes no new pods"),
        ("persistentvolumeclaims", claim(phase="Pending"), "red",
         "is Pending, not Bound (storage class fast), for 5 h"),
        ("persistentvolumeclaims", claim(phase="Lost"), "red", "has lost its volume: the data may be gone"),
        ("jobs", job(outcome="Failed"), "amber",
         "failed: BackoffLimitExceeded: Job has reached the specified backoff limit"),
    ],
)  # fmt: skip
def test_workloads_nodes_volumes_and_jobs_that_are_not_well_are_told(
    kind: str, shape: Shape, light: str, says: str
) -> None:
    assert [(light, says) for light, _, says in judged(**{kind: [shape]})] == [(light, says)]


def test_what_is_well_is_not_told() -> None:
    assert (
        judged(
            pods=[pod()],
            deployments=[workload("Deployment")],
            statefulsets=[workload("StatefulSet", "db", availableReplicas=None), workload("StatefulSet", "db2")],
            daemonsets=[workload("DaemonSet", "agent"), workload("DaemonSet", "nowhere", replicas=0)],
            nodes=[node()],
            persistentvolumeclaims=[claim(), claim(phase="Pending", made=FRESH)],
            jobs=[job(), job("running", "")],
            services=[service(), service("elsewhere", type="ExternalName")],
            endpointslices=[endpoint_slice("web", True, False)],
        )
        == []
    )


def test_replicas_that_are_only_starting_are_no_shortage() -> None:
    new = pod("web-8-a", made=FRESH, ready=False, owner="ReplicaSet/web-8", labels={"pod-template-hash": "8"})
    short = workload("Deployment", availableReplicas=1)
    assert judged(deployments=[short], pods=[pod(), new]) == []
    assert [says for *_, says in judged(deployments=[workload("Deployment", availableReplicas=0)], pods=[new])] == [
        "0 of 2 replicas are available"
    ]
    made = {"name": "web", "creationTimestamp": stamp(FRESH)}
    assert judged(deployments=[{**workload("Deployment", availableReplicas=0), "metadata": made}], pods=[]) == []
    slow = workload("Deployment", availableReplicas=1, spec={"minReadySeconds": 3600})
    ready = pod("web-7d4b9-b", made=NOW - timedelta(minutes=30))
    assert judged(deployments=[slow], pods=[pod(), ready]) == [], "ready, and not counted for an hour yet"


@pytest.mark.parametrize(
    ("kind", "none", "ready"),
    [
        ("endpointslices", endpoint_slice("web", False), endpoint_slice("web", True)),
        ("endpointslices", endpoint_slice("web", False, version="v1beta1"),
         endpoint_slice("web", None, version="v1beta1")),
        ("endpointslices", endpoint_slice("web"), endpoint_slice("web", False, True)),
        ("endpoints", endpoints("web", 0, 2), endpoints("web", 1, 1)),
        ("endpoints", endpoints("web", 0, 0), endpoints("web", 2)),
    ],
)  # fmt: skip
def test_a_service_without_endpoints_is_told_whatever_the_api_calls_them(kind: str, none: Shape, ready: Shape) -> None:
    sick = pod(ready=False)
    found = judged(services=[service()], pods=[sick], **{kind: [none]})
    assert ("red", "service web", "has no endpoints: none of its 1 pod is ready") in found
    assert not [
        subject
        for _, subject, _ in judged(services=[service()], pods=[sick], **{kind: [ready]})
        if "service" in subject
    ]


def test_a_service_is_told_why_it_has_no_endpoints() -> None:
    idle = workload("Deployment", replicas=0)
    nothing: dict[str, Sequence[Shape]] = {"services": [service()], "endpointslices": []}
    assert judged(**nothing) == [("red", "service web", "has no endpoints (selector app=web)")], "pods were not read"
    assert judged(**nothing, pods=[]) == [("red", "service web", "has no endpoints: no pod has its labels app=web")]
    assert judged(**nothing, pods=[], deployments=[idle]) == [
        ("amber", "service web", "has no endpoints: deployment web is scaled to 0")
    ]
    assert judged(**nothing, pods=[pod(made=FRESH, ready=False)]) == [], "its pod is only starting"
    assert judged(**nothing, pods=[pod(ready_since=FRESH)]) == [], "its pod has been ready for a moment"
    assert judged(**nothing, pods=[pod(), pod("web-7d4b9-b")]) == [
        ("red", "service web", "has no endpoints, though 2 of its 2 pods are ready")
    ]
    assert judged(services=[service()]) == [], "neither slices nor endpoints were read"
    by_hand = judged(services=[service("db", selector=None)], endpointslices=[], pods=[])
    assert by_hand == [("amber", "service db", "has no endpoints and no selector")]


def test_a_claim_that_waits_for_its_first_pod_is_not_red() -> None:
    unused = judged(persistentvolumeclaims=[claim(phase="Pending")], pods=[pod()])
    assert unused == [("amber", "persistentvolumeclaim data", "is Pending, not Bound; no pod uses it")]
    user = pod(spec={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]})
    assert judged(persistentvolumeclaims=[claim(phase="Pending")], pods=[user])[0][0] == "red"


def test_of_a_cron_job_the_newest_run_counts() -> None:
    monday, tuesday = NOW - timedelta(days=2), NOW - timedelta(days=1)
    failed = job("b-1", "Failed", made=monday, owner="backup")
    assert judged(jobs=[failed, job("b-2", made=tuesday, owner="backup"), job("b-3", "", owner="backup")]) == []
    found = judged(jobs=[job("b-1", made=monday, owner="backup"), job("b-2", "Failed", made=tuesday, owner="backup")])
    assert [(subject, says.partition(":")[0]) for _, subject, says in found] == [
        ("job b-2", "failed (of cronjob backup)")
    ]


def test_certificates_are_told_by_their_end_and_deployments_of_the_site_by_their_absence() -> None:
    certificates = [
        SecretCertificate("late", "a.example.com", NOW - timedelta(days=2)),
        SecretCertificate("soon", "b.example.com", NOW + timedelta(days=5)),
        SecretCertificate("fine", "c.example.com", NOW + timedelta(days=60)),
    ]
    seen = ClusterObjects({"deployments": [workload("Deployment", replicas=0)]}, certificates)
    found = judge_cluster(seen, now=NOW, expected=["web", "auth"], certificate_days=21)
    assert [(one.light, one.subject, one.says) for one in found] == [
        ("red", "deployment auth", "is not in the namespace"),
        ("red", "secret late", "certificate of a.example.com ended 2 days ago (2026-11-20)"),
        ("amber", "deployment web", "is scaled to 0"),
        ("amber", "secret soon", "certificate of b.example.com ends in 5 days (2026-11-27)"),
    ]


def test_objects_with_nothing_but_a_name_break_nothing() -> None:
    bare = {"metadata": {"name": "x"}}
    kinds = (
        "pods", "services", "deployments", "statefulsets", "daemonsets", "jobs", "nodes", "persistentvolumeclaims",
        "endpointslices", "endpoints",
    )  # fmt: skip
    assert {subject for _, subject, _ in judged(**{kind: [bare] for kind in kinds})} >= {"node x", "service x"}
