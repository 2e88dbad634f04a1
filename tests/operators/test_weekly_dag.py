"""The weekly DAG, run as Airflow runs it, behind a real night's backups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_daily_dag import ledger, levels, states
from tests.servers.databases import MySqlDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from upkeep.domain.proof import ProofLevel
from upkeep.ledger import verify

Sites = Callable[..., None]
RunDag = Callable[..., Any]

RHYTHMS = {"daily": {"at": "0 2 * * *", "length_h": 3}, "weekly": {"at": "0 1 * * 0", "length_h": 6}}


def test_a_week_restores_every_backup_and_leaves_the_scratch_servers_empty(
    sites: Sites,
    run_dag: RunDag,
    tmp_path: Path,
    mariadb_scratch: MariaDbServer,
    postgres_scratch: PostgresServer,
    sections: dict[str, Any],
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "app.log").write_text("all is well\n")
    os.utime(logs / "app.log", (0, 0))
    sites("shop", rhythms=RHYTHMS, logs=[{"path": str(logs), "keep_days": 30}], **sections)
    assert str(run_dag("shop_daily").state) == "success"

    rehearsal = run_dag("shop_weekly", dry_run=True, targets=["app"])

    found = states(rehearsal)
    assert str(rehearsal.state) == "success", found
    assert [found[f"prove[{place}]"] for place in range(4)] == ["success", "skipped", "skipped", "skipped"]
    assert (found["tend_tables[0]"], found["tend_tables[1]"]) == ("success", "skipped")
    assert levels(tmp_path, "shop", "app") == [ProofLevel.STRUCTURE]
    assert (logs / "app.log").exists()

    week = run_dag("shop_weekly")

    assert str(week.state) == "success", states(week)
    assert not (logs / "app.log").exists()
    for target in ("app", "prices", "sessions", "config"):
        assert levels(tmp_path, "shop", target) == [ProofLevel.RESTORED], target
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE 'upkeep%'")
        assert cursor.fetchall() == ()
    with postgres_scratch.connect() as session:
        assert session.execute("SELECT 1 FROM pg_database WHERE datname LIKE 'upkeep%'").fetchall() == []
    report = next((tmp_path / "store" / "shop" / "_reports").glob("*weekly*.md")).read_text()
    assert "has no" not in report.splitlines()[0]
    assert verify(ledger(tmp_path)).clean


def test_nothing_is_tended_behind_a_missing_backup(
    sites: Sites,
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MySqlDatabase,
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", mariadb_database.server.conn_json(mariadb_database.name))
    sites("shop", rhythms=RHYTHMS, databases=[{"name": "app", "engine": "mysql", "conn_id": "shop_mysql"}])
    week = run_dag("shop_weekly")
    found = states(week)
    assert str(week.state) == "failed"
    assert found["require_backup[0]"] == "failed"
    assert found["tend_tables[0]"] == "upstream_failed"
    assert found["clean_logs"] == found["review"] == found["report"] == "success"


def test_a_task_that_failed_without_a_word_in_the_ledger_makes_the_report_red(
    sites: Sites, run_dag: RunDag, tmp_path: Path
) -> None:
    sites("shop", rhythms=RHYTHMS)
    assert str(run_dag("shop_daily").state) == "success"
    with ledger(tmp_path).hold("shop/config/scratch"):  # as another run has it
        week = run_dag("shop_weekly")
    found = states(week)
    assert (found["prove[0]"], found["report"], found["watch"]) == ("failed", "success", "failed")
    assert ledger(tmp_path).acts(site="shop", duty="prove") == []
    (report,) = [act for act in ledger(tmp_path).acts(site="shop", duty="report") if act.started.target == "weekly"]
    assert report.detail["ok"] is False, "or a watchdog would take it for a good week"
    (page,) = (tmp_path / "store" / "shop" / "_reports").glob("*weekly*.md")
    said = page.read_text().replace("\\", "")
    assert "1 task failed without a word in the ledger" in said
    assert "prove" in said


def test_outside_the_window_nothing_of_the_week_is_done(sites: Sites, run_dag: RunDag) -> None:
    sites("shop", rhythms={**RHYTHMS, "weekly": {"at": "0 1 29 2 *", "length_h": 1}})
    week = run_dag("shop_weekly", override_window=False)
    found = states(week)
    assert found["guard_window"] == "failed"
    assert {state for name, state in found.items() if name not in ("guard_window", "report", "watch")} == {
        "upstream_failed"
    }


def test_the_form_can_choose_one_part(sites: Sites, run_dag: RunDag, tmp_path: Path) -> None:
    sites("shop", rhythms=RHYTHMS)
    week = run_dag("shop_weekly", parts=["clean_logs"])
    found = states(week)
    assert str(week.state) == "success", found
    assert found["clean_logs"] == "success"
    assert found["review"] == found["clean_docker"] == "skipped"
    (report,) = ledger(tmp_path).acts(site="shop", duty="report")
    assert report.detail["partial"] is True, "or a watchdog would take it for the week's run"
    (page,) = (tmp_path / "store" / "shop" / "_reports").glob("*weekly*.md")
    assert "Left out in the form: require_backup, prove, clean_docker" in page.read_text().replace("\\", "")
