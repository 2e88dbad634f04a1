"""What Airflow tries a task again for, and what not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import RetryAction

from tests.operators.conftest import DAGS
from tests.servers.databases import MySqlDatabase
from upkeep.errors import ConnectionUnknown, LoginRefused, RestoreUnavailable, SourceError, StoreDenied, UpkeepError
from upkeep.operators.retries import retry_policy


def test_a_refused_login_is_not_repeated(
    sites: Callable[..., None],
    run_dag: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MySqlDatabase,
) -> None:
    connection = json.loads(mariadb_database.server.conn_json(mariadb_database.name))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", json.dumps({**connection, "password": "wrong"}))
    sites("shop", databases=[{"name": "app", "engine": "mysql", "conn_id": "shop_mysql"}])
    run = run_dag("shop_daily", retries=2)
    tried = {one.task_id: one.try_number for one in run.get_task_instances() if str(one.state) == "failed"}
    assert tried["backups_shop_mysql.back_up"] == 1


def test_a_backup_is_tried_again_for_half_an_hour_and_longer(
    sites: Callable[..., None], airflow_database: None
) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.taskinstance import TaskInstance

    sites("shop")
    task = DagBag(dag_folder=str(DAGS)).dags["shop_daily"].get_task("backups_files.back_up")
    failed = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    state = {"task": task, "end_date": failed, "retry_delay_override": None, "logical_date": None}
    names = {"dag_id": "shop_daily", "task_id": task.task_id}
    tries = [SimpleNamespace(**state, **names, try_number=number) for number in range(1, (task.retries or 0) + 1)]
    waits = [TaskInstance.next_retry_datetime(one) - failed for one in tries]  # type: ignore[arg-type, no-untyped-call]  # all it reads
    assert waits[0] < timedelta(minutes=2), "a hiccup costs no more than before"
    assert timedelta(minutes=30) < sum(waits, timedelta()) < timedelta(hours=1)


@pytest.mark.parametrize(
    ("error", "cause", "action"),
    [
        (LoginRefused, None, RetryAction.FAIL),
        (StoreDenied, None, RetryAction.FAIL),
        (SourceError, None, RetryAction.DEFAULT),
        (RestoreUnavailable, LoginRefused, RetryAction.FAIL),
        (RestoreUnavailable, ConnectionUnknown, RetryAction.FAIL),
        (RestoreUnavailable, SourceError, RetryAction.DEFAULT),
    ],
)
def test_what_only_a_person_can_mend_fails_at_once_whatever_it_was_told_as(
    error: type[UpkeepError], cause: type[UpkeepError] | None, action: RetryAction
) -> None:
    told = error("told", hint="do")
    told.__cause__ = cause("cause", hint="do") if cause else None
    assert retry_policy().evaluate(told, 1, 2).action is action
