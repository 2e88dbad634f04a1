"""The DAG that restores, run as Airflow runs it, on real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator

from tests.operators.test_cluster_dags import answer
from tests.operators.test_daily_dag import ledger, states
from tests.servers.databases import Database, MySqlDatabase
from upkeep.errors import RestoreRefused
from upkeep.ledger import verify
from upkeep.operators.restore import ApproveRestoreOperator, PlanRestoreOperator
from upkeep.resources import sites_folder
from upkeep.site import load_sites

Sites = Callable[..., None]
RunDag = Callable[..., Any]
ONLY_OVER = {"secure_live", "approve", "stop_writes", "swap", "let_write"}


@pytest.fixture
def shop(sites: Sites, run_dag: RunDag, mariadb_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Site ``shop``, whose database has a backup, and has lost a table since."""
    database = mariadb_database
    database.execute("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(40))")
    database.execute("INSERT INTO students VALUES (1, '王小明'), (2, '李雷')")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", database.server.conn_json(database.name))
    section = {"name": "app", "engine": "mysql", "conn_id": "shop_mysql", "stop_writes": "read_only"}
    sites("shop", databases=[section], approval={"approvers": ["li.si"]}, folders=[])
    assert str(run_dag("shop_daily", parts=["back_up", "verify"]).state) == "success"
    database.execute("DROP TABLE students")
    return database


def copies(database: Database) -> list[str]:
    return sorted(
        name for (name,) in database.query("SHOW DATABASES") if name.startswith(database.name) and name != database.name
    )


def drop_copies(database: MySqlDatabase) -> None:
    for name in copies(database):
        MySqlDatabase(database.server, name).drop()


def test_by_default_the_newest_backup_is_put_beside_and_nothing_live_changes(
    shop: MySqlDatabase, run_dag: RunDag, tmp_path: Path
) -> None:
    run = run_dag("shop_restore", target="app")
    assert str(run.state) == "success", states(run)
    assert {name for name, state in states(run).items() if state == "skipped"} == ONLY_OVER
    (copy,) = copies(shop)
    assert shop.query(f"SELECT COUNT(*) FROM `{copy}`.students") == [(2,)]
    assert shop.query("SHOW TABLES") == []
    report = next((tmp_path / "store" / "shop" / "_reports").glob("*restore*.md")).read_text()
    assert f"stands as {copy}" in report
    drop_copies(shop)


def test_over_live_waits_for_a_person_and_the_ledger_knows_who_asked_and_who_approved(
    shop: MySqlDatabase, run_dag: RunDag, tmp_path: Path
) -> None:
    answer({"approve": "Approve"})
    run = run_dag("shop_restore", target="app", destination="over")
    assert str(run.state) == "success", states(run)
    assert shop.query("SELECT COUNT(*) FROM students") == [(2,)]
    (old,) = copies(shop)
    assert "_replaced_" in old
    (swap,) = ledger(tmp_path).acts("shop", duty="swap")
    assert (swap.state, swap.started.approver) == ("done", "li.si")
    assert verify(ledger(tmp_path)).clean
    again = run_dag("shop_restore", target="app", destination="over", dry_run=True)
    assert str(again.state) == "success", states(again)
    assert copies(shop) == [old]
    drop_copies(shop)


def test_a_no_leaves_everything_as_it_is(shop: MySqlDatabase, run_dag: RunDag, tmp_path: Path) -> None:
    answer({"approve": "Reject"})
    run = run_dag("shop_restore", target="app", destination="over")
    assert str(run.state) == "failed"
    found = states(run)
    assert {name for name, state in found.items() if state == "failed"} == {"approve", "watch"}
    assert found["swap"] == "upstream_failed"
    assert copies(shop) == []
    assert shop.query("SELECT @@GLOBAL.read_only") == [(0,)]
    assert not ledger(tmp_path).acts("shop", duty="swap")


def test_a_plan_that_was_changed_on_its_way_does_not_take_the_question_away(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by somebody who may write XComs through the API, but not approve."""
    sites("shop", databases=[{"name": "app", "engine": "mysql", "conn_id": "shop_mysql"}], folders=[])
    site = load_sites(sites_folder())[0]["shop"]
    monkeypatch.setattr(ApprovalOperator, "execute", lambda self, context: "asked")
    approve = ApproveRestoreOperator(task_id="approve", site=site, plan={"destination": "beside", "lines": []})
    context: Any = {"params": {"target": "app", "destination": "over", "dry_run": False}}
    assert approve.execute(context) == "asked"


def test_a_moment_that_is_none_is_explained_wherever_the_run_was_started(sites: Sites) -> None:
    """Airflow lets any text pass for a date-time; its form offers a calendar, its API doesn't."""
    sites("shop", databases=[{"name": "app", "engine": "mysql", "conn_id": "shop_mysql"}], folders=[])
    job: Any = SimpleNamespace(site=load_sites(sites_folder())[0]["shop"])
    context: Any = {"params": {"target": "app", "destination": "beside", "before": "yesterday"}}
    with pytest.raises(RestoreRefused, match=r"'yesterday' is not a time\nHINT: write it as"):
        PlanRestoreOperator(task_id="plan", site="shop").work(job, context)
