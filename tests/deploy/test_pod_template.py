"""The pod template of KubernetesExecutor: Airflow makes a pod of it, and a real API server takes that pod."""

from __future__ import annotations

from pathlib import Path

from tests.servers.kubernetes_cluster import Namespace

TEMPLATE = Path(__file__).resolve().parents[2] / "docker" / "kubernetes" / "pod_template.yaml"


def test_airflow_s_pod_from_the_template_is_accepted_and_not_root(namespace: Namespace) -> None:
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    pod = PodGenerator.deserialize_model_file(str(TEMPLATE))
    assert [container.name for container in pod.spec.containers] == ["base"]
    namespace.core.create_namespaced_service_account(namespace.name, {"metadata": {"name": "upkeep-task"}})
    # Strict, as far as a server can be: a field that it doesn't know is dropped, and missed below.
    made = namespace.core.create_namespaced_pod(namespace.name, pod, dry_run="All")
    assert made.spec.security_context.run_as_non_root
    assert made.spec.restart_policy == "Never"
    (base,) = made.spec.containers
    assert base.security_context.capabilities.drop == ["ALL"]
    assert {mount.mount_path for mount in base.volume_mounts} == {
        "/opt/upkeep/sites",
        "/run/secrets/upkeep",
        "/var/spool/upkeep",
    }
    assert base.resources.limits["ephemeral-storage"]
