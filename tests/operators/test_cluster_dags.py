"""The DAGs that change Deployments, run as Airflow runs them, against a real control plane."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_daily_dag import ledger, levels, states
from tests.servers.kubernetes_cluster import Namespace
from upkeep.ledger import verify

Sites = Callable[..., None]
RunDag = Callable[..., Any]


@pytest.fixture
def shop(sites: Sites, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Site ``shop`` with the deployments ``api`` and ``web`` after it, both running version 1."""
    extra = dict(namespace.endpoint.extra)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_K8S", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    for name in ("api", "web"):
        namespace.deploy(name, f"reg/{name}:1", progressDeadlineSeconds=60)
    for name in ("api", "web"):
        namespace.wait_until_available(name)

    def write(**settings: Any) -> None:
        sites(
            "shop",
            cluster={
                "conn_id": "shop_k8s", "namespace": namespace.name, "settle_s": 0, "approval": False,
                "deployments": [{"name": "api", "timeout_s": 20}, {"name": "web", "timeout_s": 10, "after": ["api"]}],
                **settings,
            },
        )  # fmt: skip

    return write


def images(namespace: Namespace) -> dict[str, str]:
    found = namespace.apps.list_namespaced_deployment(namespace.name).items
    return {one.metadata.name: one.spec.template.spec.containers[0].image for one in found}


def report_of(tmp_path: Path, rhythm: str = "rolling_update") -> str:
    """The newest."""
    pages = sorted(
        (tmp_path / "store" / "shop" / "_reports").glob(f"*{rhythm}*.md"), key=lambda page: page.stat().st_mtime
    )
    return pages[-1].read_text(encoding="utf-8")


def test_a_good_update_goes_through_every_step(
    shop: Callable[..., None], run_dag: RunDag, namespace: Namespace, tmp_path: Path
) -> None:
    shop()
    run = run_dag("shop_rolling_update", image_api="2", image_web="reg/web:2")
    found = states(run)
    assert str(run.state) == "success", found
    assert {name for name, state in found.items() if state == "skipped"} == {
        "approve", "roll_out_first", "approve_rest", "roll_back",
    }  # fmt: skip
    assert images(namespace) == {"api": "reg/api:2", "web": "reg/web:2"}
    assert "**GREEN:** 2 deployments updated: api, web" in report_of(tmp_path)
    assert levels(tmp_path, "shop", "manifests"), "the manifests were saved first"
    assert verify(ledger(tmp_path)).clean


def answer(what: dict[str, str], user: str = "li.si") -> threading.Thread:
    """Answer approvals through the API as a person would: ``{"approve": "Approve"}``, by task, each once."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    def work() -> None:
        with TestClient(create_app(apps="core")) as client:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role="admin"))
            login = {"Authorization": f"Bearer {token}"}
            until = time.monotonic() + 60
            while what and time.monotonic() < until:
                listed = client.get("/api/v2/dags/~/dagRuns/~/hitlDetails", headers=login).json()
                for one in listed.get("hitl_details", []):
                    task = one["task_instance"]
                    if one["response_received"] or task["task_id"] not in what:
                        continue
                    url = (
                        f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id'].replace('+', '%2B')}"
                        f"/taskInstances/{task['task_id']}/-1/hitlDetails"
                    )
                    chosen = {"chosen_options": [what[task["task_id"]]], "params_input": {}}
                    said = client.patch(url, headers=login, json=chosen)
                    if said.status_code == 200:
                        what.pop(task["task_id"])
                time.sleep(0.2)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_canary_that_is_not_approved_is_taken_back(
    shop: Callable[..., None], run_dag: RunDag, namespace: Namespace, tmp_path: Path
) -> None:
    shop(approval=True, approvers=["li.si"])
    answer({"approve": "Approve", "approve_rest": "Reject"})
    run = run_dag("shop_rolling_update", image_api="2", image_web="2", strategy="canary")
    found = states(run)
    assert str(run.state) == "failed", found
    assert {name for name, state in found.items() if state == "failed"} == {"approve_rest", "watch"}
    assert (found["roll_out_first"], found["roll_out"]) == ("success", "upstream_failed")
    assert found["roll_back"] == "success"
    assert images(namespace) == {"api": "reg/api:1", "web": "reg/web:1"}
    (change,) = ledger(tmp_path).acts("shop", duty="roll_out")
    assert change.started.approver == "li.si"
    asked = [(one.started.approver, one.state) for one in ledger(tmp_path).acts("shop", duty="approve_change")]
    assert asked == [("li.si", "done"), ("li.si", "failed")]
    first, rest = (one.detail["agreed"] for one in ledger(tmp_path).acts("shop", duty="ask_approval"))
    assert first == rest, "both were asked about the same plan"
    assert first[0] == "canary: api, then web"
    assert report_of(tmp_path).startswith("# shop 系统: rolling_update run of")
    assert "**RED:** approve_change" in report_of(tmp_path)


def test_a_failed_update_is_taken_back_and_the_run_is_red(
    shop: Callable[..., None], run_dag: RunDag, namespace: Namespace, tmp_path: Path
) -> None:
    shop()
    namespace.apps.patch_namespaced_deployment("web", namespace.name, {"spec": {"progressDeadlineSeconds": 2}})
    run = run_dag("shop_rolling_update", image_api="2", image_web="missing")
    found = states(run)
    assert {name for name, state in found.items() if state == "failed"} == {"roll_out", "watch"}, found
    assert found["roll_back"] == "success"
    assert images(namespace) == {"api": "reg/api:1", "web": "reg/web:1"}
    assert "exceeded its progress deadline" in report_of(tmp_path)
    assert "rolled back, healthy: web, api" in report_of(tmp_path)


def test_a_dry_run_an_update_of_nothing_an_undo_without_approval_and_a_scaling_with_one(
    shop: Callable[..., None], run_dag: RunDag, namespace: Namespace, tmp_path: Path
) -> None:
    shop()
    assert str(run_dag("shop_rolling_update", image_api="2", dry_run=True).state) == "success"
    nothing = run_dag("shop_rolling_update", image_api="1")
    assert str(nothing.state) == "success"
    assert {name for name, state in states(nothing).items() if state != "skipped"} == {"report", "watch"}
    assert images(namespace) == {"api": "reg/api:1", "web": "reg/web:1"}
    container = {"containers": [{"name": "api", "image": "reg/api:bad"}]}
    namespace.apps.patch_namespaced_deployment("api", namespace.name, {"spec": {"template": {"spec": container}}})
    undone = run_dag("shop_cluster_action", action="undo", deployment="api")
    assert str(undone.state) == "success", states(undone)
    assert states(undone)["approve"] == "skipped"
    assert images(namespace) == {"api": "reg/api:1", "web": "reg/web:1"}
    answer({"approve": "Approve"})
    scaled = run_dag("shop_cluster_action", action="scale", deployment="web", replicas=3)
    assert str(scaled.state) == "success", states(scaled)
    assert namespace.apps.read_namespaced_deployment("web", namespace.name).status.ready_replicas == 3
    (change,) = ledger(tmp_path).acts("shop", duty="scale")
    assert (change.started.approver, change.state) == ("li.si", "done")
    assert "scale of web: 3 of 3 pods are new and available" in report_of(tmp_path, "cluster_action")
