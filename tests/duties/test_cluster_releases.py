"""check_cluster and sample_capacity against what the test bed isn't: other releases, metrics, broken answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.kubernetes_accounts import manifests
from tests.servers.kubernetes_api_server import V1_16, V1_20, V1_22, V1_36, ApiServer, Groups
from tests.servers.kubernetes_shapes import (
    NOW,
    condition,
    container,
    endpoint_slice,
    endpoints,
    node,
    node_usage,
    pod,
    service,
    stamp,
    terminated,
    usage,
    waiting,
    workload,
)
from upkeep.duties.check_cluster import check_cluster
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.ledger.samples import Samples
from upkeep.site import LookedAt

LISTED = (
    "pods", "services", "persistentvolumeclaims", "deployments", "statefulsets", "daemonsets", "jobs", "endpointslices",
    "nodes", "secrets",
)  # fmt: skip


def checked(sites: SiteFactory) -> dict[str, Any]:
    job = sites.job(now=lambda: NOW)
    check_cluster(job)
    detail: dict[str, Any] = job.ledger.acts("kindergarten", duty="check_cluster", newest_first=True)[0].detail
    return detail


def crashing(name: str, text: str) -> dict[str, Any]:
    loop = container(state=waiting("CrashLoopBackOff"), last=terminated(1, message=text), restarts=9)
    return pod(name, ready=False, containers=[loop], owner=f"StatefulSet/{name}")


@pytest.mark.parametrize(
    ("groups", "kind", "group", "version"),
    [
        (V1_16, "endpoints", "", ""),
        (V1_20, "endpointslices", "discovery.k8s.io", "v1beta1"),
        (V1_22, "endpointslices", "discovery.k8s.io", "v1"),
        (V1_36, "endpointslices", "discovery.k8s.io", "v1"),
    ],
    ids=["1.16", "1.20", "1.22", "1.36"],
)  # fmt: skip
def test_endpoints_are_found_by_discovery_in_every_release(
    sites: SiteFactory, groups: Groups, kind: str, group: str, version: str
) -> None:
    with ApiServer(groups) as server:
        sick = pod("db-1", ready=False, labels={"app": "db"}, owner="StatefulSet/db")
        server.put("pods", pod(), sick)
        server.put("services", service("web"), service("db"))
        if kind == "endpoints":
            server.put(kind, endpoints("web", 1), endpoints("db", 0, 1))
        else:
            web, db = endpoint_slice("web", True, version=version), endpoint_slice("db", False, version=version)
            server.put(kind, web, db, group=group)
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    said = {one["subject"]: one["says"] for one in found["findings"]}
    assert said["service db"] == "has no endpoints: none of its 1 pod is ready"
    assert "service web" not in said
    assert found["unread"] == []
    assert any(path.startswith(f"/apis/{group}/{version}/" if group else "/api/v1/") for path in server.asked)


def test_a_namespace_of_thousands_is_read_page_by_page_and_begun_again_when_a_page_is_too_old(
    sites: SiteFactory,
) -> None:
    with ApiServer() as server:
        server.put("pods", *(pod(f"web-7d4b9-{number}") for number in range(1201)))
        server.expired = True
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
        assert not server.expired, "the list was never begun again"
    assert found["figures"]["pods"] == 1201
    assert found["light"] == "green"


def test_a_hundred_failing_pods_fit_into_the_ledger_with_the_last_words_of_the_first(sites: SiteFactory) -> None:
    with ApiServer() as server:
        for number in range(100):
            server.put("pods", crashing(f"db{number:03}", f"no disk {number} " + "x" * 500))
            server.logs[f"db{number:03}", "web", True] = "\n".join(f"line {line} " + "y" * 400 for line in range(50))
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    assert "left_out" not in found
    assert found["reds"] == 100
    assert len(found["findings"]) >= 5
    assert found["findings"][0]["log"][-1].startswith("line 49 ")
    assert found["summary"].endswith("and 96 more")
    assert sum("/log?" in path for path in server.asked) == 8


def test_the_log_before_the_restart_is_shown_or_the_present_one_or_why_there_is_none(sites: SiteFactory) -> None:
    with ApiServer() as server:
        server.put("pods", crashing("a", ""), crashing("b", ""), crashing("c", ""))
        server.logs["a", "web", True] = "before\nAuthorization: Bearer abcdef123456\n"
        server.logs["b", "web", False] = "\x1b[31mpresent\x1b[0m \udcff"
        sites.cluster("shop", server.endpoint())
        logs = [one["log"] for one in checked(sites)["findings"]]
        server.forbidden.add("pods/log")
        forbidden = [one["log"] for one in checked(sites)["findings"]]
    assert logs[:2] == [["before", "Authorization: ***"], ["present \ufffd"]]
    assert logs[2] == ["log (HTTP 400 Bad Request)"]
    assert forbidden[0] == ['log (forbidden: no rule has verb get, resource pods/log, apiGroup "")']


def test_what_stands_only_in_events_is_told(sites: SiteFactory) -> None:
    def event(reason: str, message: str, kind: str = "Warning", minutes: int = 5) -> dict[str, Any]:
        return {
            "metadata": {"name": f"web.{reason}"}, "type": kind, "reason": reason, "message": message,
            "involvedObject": {"kind": "Pod", "name": "web-7d4b9-x2x1z"},
            "lastTimestamp": stamp(NOW - timedelta(minutes=minutes)),
        }  # fmt: skip

    stuck = pod(phase="Pending", ready=False, containers=[container(state=waiting("ContainerCreating"))])
    with ApiServer() as server:
        server.put("pods", stuck)
        server.put(
            "events",
            event("FailedMount", 'MountVolume.SetUp failed for volume "tls": secret "tls" not found'),
            event("FailedScheduling", "0/1 nodes are available", minutes=200),
            event("Scheduled", "Successfully assigned", "Normal", minutes=1),
        )
        sites.cluster("shop", server.endpoint())
        (finding,) = checked(sites)["findings"]
        asked = [path for path in server.asked if "/events?" in path]
        sites.cluster("shop", server.endpoint(), leave_out=["events"])
        assert checked(sites)["findings"][0]["says"] == "ContainerCreating, for 5 h"
    assert finding["says"] == (
        'ContainerCreating (FailedMount: MountVolume.SetUp failed for volume "tls": secret "tls" not found), for 5 h'
    )
    assert len(asked) == 1


def test_an_answer_that_is_no_answer_costs_its_kind_and_no_other(sites: SiteFactory) -> None:
    with ApiServer() as server:
        server.put("pods", pod())
        server.away.add("apps")
        server.forbidden.add("secrets")
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    assert found["light"] == "amber"
    assert "deployments (HTTP 503 Service Unavailable)" in found["unread"]
    assert found["figures"]["pods"] == 1
    assert "not looked at: deployments, statefulsets, daemonsets, certificates" in found["summary"]


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_cluster_that_shows_nothing_of_the_namespace_is_red(sites: SiteFactory, status: int) -> None:
    with ApiServer() as server:
        server.put("pods", pod())
        server.lists_answer.update(dict.fromkeys(LISTED, status))
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    assert (found["light"], found["reds"], found["figures"]) == ("red", 1, {})
    assert found["summary"].startswith("namespace: none of its objects could be read; not looked at: pods, services, ")
    assert len(found["unread"]) == len(LISTED)


@pytest.mark.parametrize(("status", "light"), [(403, "amber"), (429, "red"), (503, "red")])
def test_pods_that_an_overloaded_api_does_not_list_are_red_and_the_rest_is_read(
    sites: SiteFactory, status: int, light: str
) -> None:
    with ApiServer() as server:
        server.put("nodes", node("node-1", condition("MemoryPressure", True)))
        server.lists_answer["pods"] = status
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    assert found["light"] == light
    assert ("pods could not be read" in found["summary"]) == (light == "red")
    assert "node node-1" in found["summary"]


def test_a_site_that_leaves_all_but_unreadable_certificates_out_is_not_red(sites: SiteFactory) -> None:
    broken = {"metadata": {"name": "web"}, "type": "kubernetes.io/tls", "data": {"tls.crt": "bm9uZQ=="}}
    with ApiServer() as server:
        server.put("secrets", broken)
        sites.cluster(
            "shop", server.endpoint(), leave_out=[kind for kind in get_args(LookedAt) if kind != "certificates"]
        )
        found = checked(sites)
    assert (found["light"], found["unread"]) == (
        "amber",
        ["certificate in secret web (its tls.crt is not a certificate)"],
    )


def test_what_a_site_leaves_out_is_neither_read_nor_remarked(sites: SiteFactory) -> None:
    with ApiServer() as server:
        server.put("pods", pod(ready=False))
        sites.cluster("shop", server.endpoint(), leave_out=list(get_args(LookedAt)))
        found = checked(sites)
        assert sampled(sites)[0]["unread"] == []
    assert (found["light"], found["figures"], found["findings"]) == ("green", {}, [])
    assert [path for path in server.asked if path != "/apis"] == []


def test_a_page_that_is_no_answer_of_an_api_is_red_and_says_so(sites: SiteFactory) -> None:
    class Proxy(ApiServer):
        def answer(self, path: str, authorization: str) -> tuple[int, Any]:
            return 200, b"<html>Please log in</html>"

    with Proxy() as server:
        sites.cluster("shop", server.endpoint())
        found = checked(sites)
    assert found["light"] == "red"
    assert "the answer is not JSON" in found["summary"]


# Capacity.


def sampled(sites: SiteFactory) -> tuple[dict[str, Any], dict[tuple[str, str], float]]:
    job = sites.job(now=lambda: NOW)
    result = sample_capacity(job)
    series = Samples(job.ledger.database).series("kindergarten", since=NOW)
    return result, {key: points[-1].value for key, points in series.items()}


def test_pods_are_sampled_by_deployment_and_nodes_as_kubectl_top_shows_them(sites: SiteFactory) -> None:
    resources = {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi", "cpu": "1"}}
    spec: list[dict[str, Any]] = [{"name": "web", "resources": resources}, {"name": "proxy"}]
    with ApiServer() as server:
        server.put("deployments", workload("Deployment", replicas=2), group="apps")
        server.put("pods", pod("web-7d4b9-a", specs=spec), pod("web-7d4b9-b", specs=spec))
        server.put("pods", pod("nightly-1", owner="Job/nightly"))
        server.put(
            "pods",
            usage("web-7d4b9-a", web=("120m", "240Mi"), proxy=("5000000n", "10Mi")),
            usage("web-7d4b9-b", web=("40m", "100Mi"), proxy=("5m", "10Mi")),
            usage("nightly-1", web=("1", "1Gi")),
            usage("gone-1", web=("1", "1Gi")),
            group="metrics.k8s.io",
        )
        server.put("nodes", node())
        server.put("nodes", node_usage("node-1", "1", "7Gi"), group="metrics.k8s.io")
        sites.cluster("shop", server.endpoint())
        result, found = sampled(sites)
    assert result["unread"] == []
    assert found["deployment_replicas", "web"] == 2
    assert found["deployment_cpu_cores", "web"] == pytest.approx(0.17)
    assert found["deployment_cpu_pct", "web"] == pytest.approx(85)
    assert found["deployment_memory_bytes", "web"] == 360 * 2**20
    assert found["pod_memory_pct", "shop/web"] == pytest.approx(93.75)
    assert found["memory_pct", "node-1"] == 87.5
    assert not [key for key in found if "nightly" in key[1] or "gone" in key[1]]
    assert "memory of a pod of shop/web is 94 % of its limit (limit 85 %)" in result["summary"]
    assert "memory of node-1 is 88 % used (limit 85 %)" in result["summary"]


def test_without_a_metrics_api_replicas_are_sampled_and_the_rest_is_a_remark(sites: SiteFactory) -> None:
    absent = "CPU and memory of pods (this cluster has no metrics API: install metrics-server, or leave metrics out)"
    with ApiServer(V1_22) as server:
        server.put("deployments", workload("Deployment", availableReplicas=None), group="apps")
        sites.cluster("shop", server.endpoint())
        result, found = sampled(sites)
        assert result["light"] == "amber"
        assert result["unread"] == [absent]
        assert found["deployment_replicas", "web"] == 0
        sites.cluster("shop", server.endpoint(), leave_out=["metrics"])
        assert sampled(sites)[0]["unread"] == []
    with ApiServer() as server:
        server.away.add("metrics.k8s.io")
        server.forbidden.add("nodes")
        sites.cluster("shop", server.endpoint())
        assert sampled(sites)[0]["unread"] == [
            "figures of pods (HTTP 503 Service Unavailable)",
            'nodes (forbidden: no rule has verb list, resource nodes, apiGroup "")',
        ]


def test_the_reading_accounts_have_exactly_the_rules_that_the_two_duties_use(sites: SiteFactory) -> None:
    stuck = pod("db-1", phase="Pending", ready=False, containers=[container(state=waiting("ContainerCreating"))])
    with ApiServer() as server:
        server.put("pods", crashing("a", ""), stuck)
        server.put("pods", usage("a", web=("1m", "1Mi")), group="metrics.k8s.io")
        server.put("nodes", node())
        sites.cluster("shop", server.endpoint())
        checked(sites)
        sampled(sites)
        paths = [urlsplit(path).path.strip("/").split("/") for path in server.asked]
    asked = set()
    for place in paths:
        group, rest = ("", place[2:]) if place[0] == "api" else (place[1] if len(place) > 1 else "", place[3:])
        match rest[2:] if rest[:1] == ["namespaces"] else rest:
            case [resource]:
                asked.add((group, resource, "list"))
            case [resource, _, part]:
                asked.add((group, f"{resource}/{part}", "get"))
    given = {
        (group, resource, verb)
        for duty in ("read", "read_nodes", "read_certificates")
        for one in manifests(duty, "shop")
        for rule in one.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert asked == given


def test_a_node_under_pressure_is_told(sites: SiteFactory) -> None:
    with ApiServer() as server:
        server.put("nodes", node("node-1", condition("MemoryPressure", True, reason="KubeletHasInsufficientMemory")))
        server.put("pods", pod())
        sites.cluster("shop", server.endpoint())
        assert checked(sites)["summary"] == "node node-1: MemoryPressure: KubeletHasInsufficientMemory"
