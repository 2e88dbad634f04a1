"""What Deployments are judged with, where the test bed can't help: other releases, metrics, few rights."""

from __future__ import annotations

from typing import Any

import pytest

from tests.servers.kubernetes_api_server import V1_20, V1_36, ApiServer, Groups
from tests.servers.kubernetes_shapes import pod, usage
from upkeep.domain.rollout import REVISION, Live
from upkeep.engines.deployments import Deployments

AUTOSCALING: Groups = {"autoscaling": ["v1"]}


def web(*cpu: str) -> Live:
    """A Deployment whose pods request ``cpu`` each."""
    revision = {"annotations": {REVISION: "3"}}
    pods = [
        pod(f"web-{number}", specs=[{"name": "web", "image": "web:1", "resources": {"requests": {"cpu": each}}}])
        for number, each in enumerate(cpu)
    ]
    deployment = {"metadata": {"name": "web", **revision}, "spec": {"replicas": len(cpu)}}
    return Live(deployment, [{"metadata": {"uid": "u", **revision}}], pods)


def budget(name: str = "web") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": {}}, "status": {"disruptionsAllowed": 1}}


@pytest.mark.parametrize(("groups", "version"), [(V1_20, "v1beta1"), (V1_36, "v1")], ids=["1.20", "1.36"])
def test_budgets_are_read_in_the_version_that_the_release_has(groups: Groups, version: str) -> None:
    with ApiServer({**groups, **AUTOSCALING}) as server, Deployments(server.endpoint(), "shop") as deployments:
        server.put("poddisruptionbudgets", budget(), group="policy")
        around = deployments.surroundings()
    assert [one["metadata"]["name"] for one in around.budgets] == ["web"]
    assert (around.quotas, around.unread) == ([], ())
    assert f"/apis/policy/{version}/namespaces/shop/poddisruptionbudgets" in server.asked


def test_what_the_account_may_not_list_is_named_and_stops_nothing() -> None:
    with ApiServer({**V1_36, **AUTOSCALING}) as server, Deployments(server.endpoint(), "shop") as deployments:
        server.forbidden |= {"poddisruptionbudgets", "resourcequotas"}
        around = deployments.surroundings()
    assert around.unread == (
        "PodDisruptionBudgets (the account may not list them)", "ResourceQuotas (the account may not list them)",
    )  # fmt: skip


def test_cpu_is_what_its_own_pods_use_of_what_they_request() -> None:
    with ApiServer(V1_36) as server, Deployments(server.endpoint(), "shop") as deployments:
        server.put("pods", usage("web-0", web=("450m", "1Mi")), usage("web-1", web=("500000000n", "1Mi")),
                   usage("other", web=("9", "1Mi")), group="metrics.k8s.io")  # fmt: skip
        assert deployments.cpu_pct(web("500m", "500m")) == 95.0
        assert deployments.cpu_pct(web("0", "0")) is None, "without requests there is no share"
        server.away.add("metrics.k8s.io")
        assert deployments.cpu_pct(web("500m")) is None, "registered, but nothing serves it"
        server.forbidden.add("pods")
        server.away.clear()
        assert deployments.cpu_pct(web("500m")) is None
