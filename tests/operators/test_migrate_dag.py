"""The DAG that migrates, run as Airflow runs it, on real servers."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.operators.test_cluster_dags import answer
from tests.operators.test_daily_dag import ledger, states
from tests.servers.databases import Database, PostgresDatabase
from tests.servers.postgres import PostgresServer
from upkeep.cli import main
from upkeep.commands.base import job_of as job_of_the_shell
from upkeep.engines import stopping
from upkeep.errors import MigrationRefused
from upkeep.ledger import verify
from upkeep.operators.migrate import RehearseMigrationOperator, RunMigrationOperator, as_text

Sites = Callable[..., None]
RunDag = Callable[..., Any]
GOOD = "ALTER TABLE students ADD COLUMN class text; UPDATE students SET class = 'A'"


@pytest.fixture
def shop(
    sites: Sites, run_dag: RunDag, postgres_database: PostgresDatabase, postgres_scratch: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Database:  # fmt: skip
    """Site ``shop``, whose database was backed up last night."""
    database = postgres_database
    database.execute("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(40))")
    database.execute("INSERT INTO students VALUES (1, '王小明'), (2, '李雷')")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", database.server.conn_json(database.name))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_SCRATCH", postgres_scratch.conn_json("postgres"))
    section = {"name": "app", "engine": "postgres", "conn_id": "shop_postgres", "scratch_conn_id": "shop_scratch"}
    # Who runs the tests answers on the command line.
    approvers = ["li.si", pwd.getpwuid(os.getuid()).pw_name]
    sites("shop", databases=[section], approval={"approvers": approvers}, folders=[])
    assert str(run_dag("shop_daily", parts=["back_up", "verify"]).state) == "success"
    return database


def classes(database: Database) -> list[tuple[Any, ...]]:
    return database.query("SELECT to_jsonb(s) ->> 'class' FROM students s ORDER BY id")


def body_of_the_approval() -> str:
    """What the person was shown."""
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return str(session.scalars(select(HITLDetail.body).order_by(HITLDetail.created_at.desc())).first())


def test_a_dry_run_rehearses_and_a_real_run_waits_for_a_person(shop: Database, run_dag: RunDag, tmp_path: Path) -> None:
    dry = run_dag("shop_migrate", migration=GOOD, dry_run=True)
    assert str(dry.state) == "success", states(dry)
    assert {name for name, state in states(dry).items() if state == "skipped"} == {"approve", "back_up", "migrate"}
    assert classes(shop) == [(None,), (None,)]
    file = tmp_path / "store" / "shop" / "_migrations" / "class.sql"
    file.parent.mkdir()
    file.write_text(GOOD)
    answer({"approve": "Approve"})
    run = run_dag("shop_migrate", migration_file="class.sql")
    assert str(run.state) == "success", states(run)
    assert classes(shop) == [("A",), ("A",)]
    assert "UPDATE students SET class = 'A'" in (body := body_of_the_approval()) and "file class.sql" in body
    (act,) = ledger(tmp_path).acts("shop", duty="migrate")
    assert (act.state, act.started.approver) == ("done", "li.si")
    assert verify(ledger(tmp_path)).clean
    report = max((tmp_path / "store" / "shop" / "_reports").glob("*migrate*.md")).read_text()
    assert "migrated in" in report and "approved by li.si" in report
    other = RunMigrationOperator(
        task_id="migrate", site="shop", approval={"responded_by_user": {"name": "li.si"}}, rehearsal={"sha256": "0"}
    )
    with pytest.raises(MigrationRefused, match="was changed since it was approved"):
        other.work(
            job_of_the_shell("shop"),
            cast(Any, {"params": {"database": "app", "migration": GOOD, "on_failure": "stop"}}),
        )


def test_a_no_leaves_the_database_as_it_is(shop: Database, run_dag: RunDag, tmp_path: Path) -> None:
    answer({"approve": "Reject"})
    run = run_dag("shop_migrate", migration=GOOD)
    assert str(run.state) == "failed"
    assert {name for name, state in states(run).items() if state == "failed"} == {"approve", "watch"}
    assert classes(shop) == [(None,), (None,)]
    assert not ledger(tmp_path).acts("shop", duty="migrate")


def test_the_command_line_does_the_same_and_exits_1_when_it_fails(
    shop: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "class.sql"
    file.write_text(GOOD)
    assert main(["migrate", "shop", "app", str(file), "--rehearse"]) == 0
    assert "it runs in one transaction" in capsys.readouterr().out
    assert classes(shop) == [(None,), (None,)]
    assert main(["migrate", "shop", "app", str(file), "--yes"]) == 0
    assert classes(shop) == [("A",), ("A",)]
    assert main(["migrate", "shop", "app", str(file), "--yes"]) == 2
    assert "was done on" in capsys.readouterr().err
    file.write_text("DROP TABLE pupils")
    assert main(["migrate", "shop", "app", str(file), "--yes"]) == 1
    assert "in the rehearsal statement 1 failed" in capsys.readouterr().err


def test_a_task_that_is_killed_ends_its_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_told", False)
    RehearseMigrationOperator(task_id="rehearse", site="shop").on_kill()
    assert stopping.told_to_stop()


def test_no_sign_of_markdown_ends_what_is_shown() -> None:
    assert as_text(["SELECT 1 -- ````", "*"]) == "`````\nSELECT 1 -- ````\n*\n`````"
