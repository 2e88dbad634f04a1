"""A namespace is checked on a real control plane, as exactly the account that include/kubernetes describes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client

from tests.duties.site_factory import SiteFactory
from tests.servers.kubernetes_accounts import account, forget_cluster_roles
from tests.servers.kubernetes_cluster import Namespace, deployment
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.check_cluster import check_cluster
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.ledger import verify
from upkeep.ledger.samples import Samples

LATER = timedelta(minutes=10)
"""What is still starting now isn't then."""


def checked(sites: SiteFactory, after: timedelta = timedelta(0)) -> tuple[dict[str, Any], dict[str, str]]:
    """What the ledger holds of a check, and what it says by subject."""
    now = datetime.now(UTC) + after
    job = sites.job(now=lambda: now)
    check_cluster(job)
    record = job.ledger.acts("kindergarten", duty="check_cluster", newest_first=True, limit=1)[0]
    assert record.state == "done"
    return record.detail, {one["subject"]: one["says"] for one in record.detail["findings"]}


def told(said: dict[str, str], beginning: str) -> str:
    (found,) = [text for subject, text in said.items() if subject.startswith(beginning)]
    return found


def waiting_for(namespace: Namespace) -> list[str]:
    """For what the namespace's containers wait."""
    pods = namespace.core.list_namespaced_pod(namespace.name).items
    states = [one.state.waiting for pod in pods for one in pod.status.container_statuses or ()]
    return [state.reason for state in states if state]


def phases(namespace: Namespace) -> list[str]:
    return [pod.status.phase for pod in namespace.core.list_namespaced_pod(namespace.name).items]


def failed(namespace: Namespace, job: str) -> bool:
    status = client.BatchV1Api(namespace.api).read_namespaced_job(job, namespace.name).status
    return any(one.type == "Failed" for one in status.conditions or ())


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def claim(name: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "gone"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def job_of(name: str, image: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": image}]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def tls_secret(name: str, days: float) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example.com")])
    ends = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(ends - timedelta(days=90)).not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    text = {
        "tls.crt": made.public_bytes(serialization.Encoding.PEM),
        "tls.key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    data = {key: base64.b64encode(value).decode() for key, value in text.items()}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}


@pytest.fixture
def reader(namespace: Namespace, tmp_path: Path) -> Iterator[Endpoint]:
    yield account(namespace, "read", "read_nodes", "read_certificates", folder=tmp_path)
    forget_cluster_roles(namespace)


def test_everything_that_is_wrong_in_a_namespace_is_told_with_its_reason(
    sites: SiteFactory, namespace: Namespace, reader: Endpoint
) -> None:
    says = "connecting to mysql://root:Zq7-hidden@db/shop\nFATAL: password=Zq7-hidden refused for 13912345678"
    crashing = deployment("crashing", "crash:1", replicas=2)
    crashing["spec"]["template"]["metadata"]["annotations"] = {"testbed/log": says}
    large = deployment("large", "ok:1")
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "9000"}}
    namespace.create(crashing, large)
    namespace.deploy("hungry", "oom:1")
    namespace.deploy("absent", "missing:1")
    namespace.deploy("waiting", "hang:1")
    namespace.deploy("unready", "bad:1")
    namespace.create(
        service("crashing"), service("nobody"), service("elsewhere", type="ExternalName", externalName="example.com"),
        claim("data"), job_of("migrate", "fail:1"), tls_secret("ending", 5.5), tls_secret("ended", -2),
    )  # fmt: skip
    expected = [{"name": "crashing", "health_url": "http://127.0.0.1:1/"}, {"name": "never-made"}]
    sites.cluster(namespace.name, reader, deployments=expected)
    reasons = ["CrashLoopBackOff"] * 3 + ["ContainerCreating", "ImagePullBackOff"]
    namespace.wait_for("everything fails as it should", lambda: sorted(waiting_for(namespace)) == sorted(reasons))
    namespace.wait_for("the job has failed", lambda: failed(namespace, "migrate"))
    found, said = checked(sites, LATER)
    assert found["light"] == "red"
    assert told(said, "2 pods of deployment crashing").startswith("CrashLoopBackOff: exit code 1, ")
    assert re.search(r"\d restarts? in all", told(said, "2 pods of deployment crashing"))
    assert "OOMKilled (exit code 137; no memory limit" in told(said, "pod hungry-")
    assert told(said, "pod absent-") == 'ImagePullBackOff: Back-off pulling image "missing:1"'
    assert told(said, "pod waiting-").startswith("ContainerCreating")
    assert told(said, "pod unready-").startswith("runs but is not ready: unready")
    assert "Insufficient cpu" in told(said, "pod large-")
    assert said["deployment crashing"] == "0 of 2 replicas are available"
    assert said["deployment never-made"] == "is not in the namespace"
    assert said["service crashing"] == "has no endpoints: none of its 2 pods is ready"
    assert said["service nobody"] == "has no endpoints: no pod has its labels app=nobody"
    assert "service elsewhere" not in said
    assert said["persistentvolumeclaim data"] == "is Pending, not Bound; no pod uses it"
    assert said["job migrate"].startswith("failed: BackoffLimitExceeded")
    assert "ends in 5 days" in said["secret ending"] or "ends in 6 days" in said["secret ending"]
    assert "ended 2 days ago" in said["secret ended"]
    assert [one["light"] for one in found["findings"]] == sorted(
        (one["light"] for one in found["findings"]), reverse=True
    )
    (last,) = [one["log"] for one in found["findings"] if one["subject"].startswith("2 pods of deployment crashing")]
    assert last == ["connecting to mysql://***@db/shop", "FATAL: password=*** refused for <phone>"]
    assert found["figures"]["pods"] == 8
    assert found["unread"] == []
    assert reader.secret not in json.dumps(found)
    assert verify(sites.job().ledger).clean


def test_a_namespace_that_is_well_is_green_while_it_rolls_out_and_after_its_jobs_are_done(
    sites: SiteFactory, namespace: Namespace, reader: Endpoint
) -> None:
    namespace.deploy("web", "ok:1")
    namespace.create(service("web"), job_of("migrate", "ok:1"), tls_secret("fresh", 60))
    namespace.wait_until_available("web")
    namespace.wait_for("the job is done", lambda: "Succeeded" in phases(namespace))
    namespace.deploy("slow", "bad:1")
    namespace.create(service("slow"))
    namespace.wait_for("slow runs", lambda: phases(namespace).count("Running") == 2)
    sites.cluster(namespace.name, reader)
    found, _ = checked(sites)
    assert found["light"] == "green", found
    assert found["summary"] == "well: 3 pods, 2 deployments, 2 services"
    found, said = checked(sites, LATER)
    assert found["light"] == "red"
    assert {subject.split("-")[0] for subject in said} == {"pod slow", "deployment slow", "service slow"}


def test_an_account_that_may_not_list_a_kind_is_told_the_rule_and_sees_the_rest(
    sites: SiteFactory, namespace: Namespace, tmp_path: Path
) -> None:
    namespace.deploy("web", "missing:1")
    sites.cluster(namespace.name, account(namespace, "read", folder=tmp_path))
    namespace.wait_for("the image is missing", lambda: checked(sites)[0]["light"] == "red")
    found, said = checked(sites)
    assert any("Pull" in says for says in said.values())
    assert found["unread"] == [
        'nodes (forbidden: no rule has verb list, resource nodes, apiGroup "")',
        'certificates (forbidden: no rule has verb list, resource secrets, apiGroup "")',
    ]
    sites.settings["cluster"]["leave_out"] = ["nodes", "certificates"]
    assert checked(sites)[0]["unread"] == []


def test_an_account_without_any_right_gets_the_name_of_every_rule(
    sites: SiteFactory, namespace: Namespace, tmp_path: Path
) -> None:
    endpoint = account(namespace, "read", folder=tmp_path)
    client.RbacAuthorizationV1Api(namespace.api).delete_namespaced_role("upkeep-read", namespace.name)
    sites.cluster(namespace.name, endpoint, leave_out=["certificates", "nodes"])
    namespace.wait_for("the right is gone", lambda: checked(sites)[0]["light"] == "red")
    unread = checked(sites)[0]["unread"]
    assert 'deployments (forbidden: no rule has verb list, resource deployments, apiGroup "apps")' in unread
    assert any('resource endpointslices, apiGroup "discovery.k8s.io"' in why for why in unread)
    assert len(unread) == 8


def test_a_container_that_has_restarted_since_the_last_check_is_told_once(
    sites: SiteFactory, namespace: Namespace, reader: Endpoint
) -> None:
    namespace.deploy("web", "ok:1")
    namespace.wait_until_available("web")
    sites.cluster(namespace.name, reader)
    assert checked(sites)[0]["light"] == "green"
    (pod,) = namespace.core.list_namespaced_pod(namespace.name).items
    at = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    end = {"exitCode": 137, "reason": "OOMKilled", "startedAt": at, "finishedAt": at}
    status = {
        "name": "web", "image": "ok:1", "imageID": "x", "ready": True, "restartCount": 4,
        "state": {"running": {"startedAt": at}}, "lastState": {"terminated": end},
    }  # fmt: skip
    namespace.core.patch_namespaced_pod_status(
        pod.metadata.name, namespace.name, {"status": {"containerStatuses": [status]}}
    )
    found, said = checked(sites, timedelta(seconds=5))
    assert found["light"] == "amber"
    assert told(said, "pod web-") == (
        "has restarted since the last check: web ended with OOMKilled (exit code 137; no memory limit, so its node ran "
        "out), 4 restarts in all"
    )
    assert checked(sites, timedelta(seconds=6))[0]["light"] == "green"


def test_a_cluster_that_is_away_or_refuses_the_token_is_red_and_no_error(
    sites: SiteFactory, namespace: Namespace, reader: Endpoint
) -> None:
    sites.cluster(namespace.name, Endpoint(**{**vars(reader), "host": "https://127.0.0.1:1"}))
    found, _ = checked(sites)
    assert found["light"] == "red"
    assert found["summary"].startswith("does not answer: can't read namespace")
    sites.cluster(namespace.name, Endpoint(**{**vars(reader), "secret": "not-the-token-Zq7"}))
    found, _ = checked(sites)
    assert "credentials of connection" in found["hint"]
    assert "not-the-token-Zq7" not in json.dumps(found)


def test_replicas_are_sampled_as_the_same_account_and_the_absent_metrics_are_a_remark(
    sites: SiteFactory, namespace: Namespace, reader: Endpoint
) -> None:
    namespace.deploy("web", "ok:1", replicas=2)
    namespace.wait_until_available("web", replicas=2)
    sites.cluster(namespace.name, reader)
    job = sites.job(now=lambda: datetime(2026, 11, 22, tzinfo=UTC))
    result = sample_capacity(job)
    found = Samples(job.ledger.database).series("kindergarten", since=job.now())
    assert found["deployment_replicas", "web"][-1].value == 2
    assert [why.partition(" (")[0] for why in result["unread"]] == ["CPU and memory of pods"]


def test_a_namespace_whose_name_is_wrong_is_not_taken_for_a_healthy_one(
    sites: SiteFactory, namespace: Namespace
) -> None:
    sites.cluster("no-such-namespace", namespace.endpoint)
    found, _ = checked(sites)
    assert found["light"] == "amber"
    assert "is its name right?" in found["hint"]
