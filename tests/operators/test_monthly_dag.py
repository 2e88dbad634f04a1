"""The monthly DAG, run as Airflow runs it, behind a real night's backups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.operators.conftest import DAGS
from tests.operators.test_daily_dag import ledger, levels, states
from tests.servers.mariadb import MariaDbServer
from upkeep.domain.proof import ProofLevel
from upkeep.duties.job import Job, Run
from upkeep.ledger import verify
from upkeep.operators.base import connect, object_storage, open_ledger, site_named
from upkeep.operators.runs import CheckStillOpenOperator
from upkeep.operators.start_update import StartRollingUpdateOperator

Sites = Callable[..., None]
RunDag = Callable[..., Any]

RHYTHMS = {"daily": {"at": "0 2 * * *", "length_h": 3}, "monthly": {"at": "0 1 1 * *", "length_h": 8}}


def page(tmp_path: Path) -> str:
    """The newest monthly report."""
    pages = sorted(
        (tmp_path / "store" / "shop" / "_reports").glob("*monthly*.md"), key=lambda path: path.stat().st_mtime
    )
    return pages[-1].read_text()


def test_a_month_rebuilds_the_site_times_its_queries_and_reports(
    sites: Sites,
    run_dag: RunDag,
    tmp_path: Path,
    mariadb_scratch: MariaDbServer,
    sections: dict[str, Any],
) -> None:
    sites("shop", rhythms=RHYTHMS, goals={"rto_min": 10, "rpo_h": 24}, **sections)
    assert str(run_dag("shop_daily").state) == "success"

    month = run_dag("shop_monthly")

    found = states(month)
    assert str(month.state) == "success", found
    assert set(found.values()) == {"success"}
    for target in ("app", "prices", "sessions", "config"):
        assert levels(tmp_path, "shop", target) == [ProofLevel.DRILLED], target
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE 'upkeep%'")
        assert cursor.fetchall() == ()
    text = page(tmp_path)
    assert "## Disaster drill" in text
    assert "| Target | Fetch | Decrypt, unpack | Load | Verify | Total |" in text
    assert "**kept** time to recover" in text
    assert "| app/names |" in text
    assert "## The month" in text
    assert verify(ledger(tmp_path)).clean


def test_outside_the_window_nothing_of_the_month_is_done(sites: Sites, run_dag: RunDag) -> None:
    sites("shop", rhythms={**RHYTHMS, "monthly": {"at": "0 1 29 2 *", "length_h": 1}})
    found = states(run_dag("shop_monthly", override_window=False))
    assert found["guard_window"] == found["watch"] == "failed"
    assert found["report"] == "success"
    rest = {state for name, state in found.items() if name not in ("guard_window", "report", "watch")}
    assert rest <= {"upstream_failed", "skipped"}


def test_a_missed_goal_fails_the_drill_alone_and_the_form_can_choose_a_dry_run(
    sites: Sites, run_dag: RunDag, tmp_path: Path
) -> None:
    sites("shop", rhythms=RHYTHMS, goals={"rto_min": 0.0001, "rpo_h": 24})
    assert str(run_dag("shop_daily").state) == "success"
    rehearsal = run_dag("shop_monthly", parts=["drill"], dry_run=True)
    found = states(rehearsal)
    assert str(rehearsal.state) == "success", found
    assert found["drill"] == "success"
    assert found["forecast_capacity"] == found["scan_vulnerabilities"] == "skipped"
    assert levels(tmp_path, "shop", "config") == [ProofLevel.STRUCTURE]
    month = run_dag("shop_monthly")
    found = states(month)
    assert str(month.state) == "failed"
    assert found["drill"] == found["watch"] == "failed"
    assert found["forecast_capacity"] == found["scan_vulnerabilities"] == found["report"] == "success"
    text = page(tmp_path)
    assert "the slowest step was to" in text.partition("## Disaster drill")[0]
    assert "**missed** time to recover" in text


def test_the_month_starts_a_rolling_update_only_where_its_form_gives_an_image(
    sites: Sites, run_dag: RunDag, tmp_path: Path
) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models import DagModel, DagRun
    from airflow.utils.session import create_session

    cluster = {"conn_id": "shop_k8s", "namespace": "shop", "deployments": [{"name": "api"}]}
    sites("shop", rhythms=RHYTHMS, cluster=cluster)
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]  # Airflow's own
    sync_bag_to_db(DagBag(dag_folder=str(DAGS)), "dags-folder", None)
    assert states(run_dag("shop_monthly", parts=["rolling_update"]))["rolling_update"] == "skipped"

    form = {"parts": ["rolling_update"], "image_api": "1.4.2", "dry_run": True}
    with create_session() as session:
        session.query(DagModel).filter(DagModel.dag_id == "shop_rolling_update").update({"is_paused": False})
    run = run_dag("shop_monthly", **form)

    assert states(run)["rolling_update"] == "success"
    with create_session() as session:
        by_the_month = (DagRun.dag_id == "shop_rolling_update", DagRun.run_type == "operator_triggered")
        (started,) = session.query(DagRun).filter(*by_the_month).all()
        assert started.conf == {"image_api": "1.4.2", "strategy": "all", "dry_run": True}
    (act,) = ledger(tmp_path).acts("shop", duty="start_update")
    assert act.started.command == "start it for api: 1.4.2"


@pytest.mark.parametrize(
    ("chosen", "left"),
    [([], "forecast_capacity, benchmark"), (["drill", "benchmark"], "benchmark"), (["drill"], "")],
    ids=["all", "some", "none"],
)
def test_what_a_closed_window_leaves_of_the_month_stands_in_the_ledger(
    sites: Sites, tmp_path: Path, chosen: list[str], left: str
) -> None:
    sites("shop")
    job = Job(site_named("shop"), Run("month"), open_ledger(), connect, object_storage)
    still_open = CheckStillOpenOperator(
        task_id="still_open", site="shop", window={"closes_at": "2026-11-01T09:00:00+08:00"},
        parts=["forecast_capacity", "benchmark"],
    )  # fmt: skip
    context: Any = {"params": {"parts": chosen}}
    with pytest.raises(AirflowSkipException, match="the window closed at 09:00"):
        still_open.work(job, context)
    told = [(act.detail["light"], act.detail["summary"]) for act in ledger(tmp_path).acts("shop", duty="leave_parts")]
    assert told == ([("amber", f"the window closed at 09:00 UTC+08:00: {left} left for the next one")] if left else [])


def test_an_update_that_was_asked_for_is_not_skipped_when_the_window_has_closed() -> None:
    start = StartRollingUpdateOperator(task_id="rolling_update", site="shop", window=None)
    context: Any = {"ti": MagicMock(), "params": {"image_api": "1.4.2", "parts": []}}
    with pytest.raises(AirflowFailException, match=r"no update to api: 1.4.2.*\nHINT: start shop_rolling_update"):
        start.execute(context)


def test_no_rolling_update_is_queued_behind_a_paused_dag() -> None:
    instance = MagicMock()
    instance.get_dag.return_value.is_paused = True
    start = StartRollingUpdateOperator(task_id="rolling_update", site="shop", window={"closes_at": "later"})
    context: Any = {"ti": instance, "params": {"image_api": "1.4.2", "parts": []}}
    with pytest.raises(AirflowFailException, match=r"shop_rolling_update is paused.*\nHINT: unpause it"):
        start.execute(context)
