"""What Airflow loads from plugins/, the pools it finds, and the alert it sends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from tests.servers.mailbox import web_hook
from upkeep.domain.units import human_seconds
from upkeep.errors import SourceError
from upkeep.ledger import Ledger
from upkeep.operators import base
from upkeep.operators.base import UpkeepOperator
from upkeep.operators.rhythm import rhythm_dag, sites_with_rhythm
from upkeep.triggers.deadline import tell_overrun

Sites = Callable[..., None]


def test_airflow_loads_the_plugin_and_nothing_below_it(airflow_database: None) -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert errors == {}
    assert "upkeep" in {plugin.name for plugin in plugins}
    package = Path(__file__).resolve().parents[2] / "plugins" / "upkeep"
    twice = [
        name
        for name, module in list(sys.modules.items())
        if str(getattr(module, "__file__", "") or "").startswith(str(package)) and not name.startswith("upkeep")
    ]
    assert twice == [], "Airflow executed files of the package under their bare names"


def test_each_run_has_a_tab_with_its_report(airflow_database: None) -> None:
    from airflow import plugins_manager

    from upkeep.operators.report_page import address_of

    views = [view for plugin in plugins_manager._get_plugins()[0] for view in plugin.external_views]
    (tab,) = [view for view in views if view["destination"] == "dag_run"]
    filled = str(tab["href"]).replace("{DAG_ID}", "shop_daily").replace("{RUN_ID}", "manual__1")
    assert urlsplit(address_of("shop_daily", "manual__1")).path == f"/{filled}", "what the button opens"


def test_the_end_of_a_failed_task_s_log_is_the_reason_and_not_where_it_was_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(UpkeepOperator):
        def work(self, job: Any, context: Any) -> dict[str, Any]:
            try:
                return {"answer": int("none")}
            except ValueError as error:
                raise SourceError("the database does not answer", hint="start it") from error

    monkeypatch.setattr(base, "job_of", lambda site, context: None)
    caplog.set_level("INFO", base.__name__)
    with pytest.raises(SourceError) as failed:
        Failing(task_id="fails", site="shop").execute({"params": {}})
    assert "work" not in [frame.name for frame in failed.traceback]
    cause = failed.value.__cause__
    assert isinstance(cause, ValueError) and cause.__traceback__ is None, "whether to try again is decided by the cause"
    assert caplog.messages[0] == "::group::Where it was raised" and caplog.messages[-1] == "::endgroup::"
    assert any("in work" in line for line in caplog.messages)


def test_every_server_of_every_site_gets_a_pool_of_one_slot_and_keeps_what_was_set(
    sites: Sites, airflow_database: None
) -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from upkeep.operators.pools import make_pools

    sites("shop", caches=[{"name": "sessions", "conn_id": "pool_test_redis"}])
    assert "upkeep_pool_test_redis" in make_pools()
    with create_session() as session:
        pool = session.scalar(select(Pool).where(Pool.pool == "upkeep_pool_test_redis"))
        assert pool is not None
        assert pool.slots == 1
        pool.slots = 3
    assert "upkeep_pool_test_redis" not in make_pools()
    with create_session() as session:
        assert session.scalar(select(Pool.slots).where(Pool.pool == "upkeep_pool_test_redis")) == 3


def begun(hours: float) -> dict[str, Any]:
    """A run as Airflow hands it over, so many hours after it began."""
    start = datetime.now(UTC) - timedelta(hours=hours)
    return {"dag_id": "shop_daily", "dag_run_id": "tonight", "start_date": start.isoformat(), "end_date": None}


@pytest.mark.parametrize(
    ("worked", "last", "light", "told"),
    [
        pytest.param(3, {}, "AMBER", ["/amber"], id="its window closed"),
        pytest.param(4.97, {"limit_h": 5.0}, "RED", ["/red", "/amber"], id="the end is near"),
        pytest.param(2, {"limit_h": 5.0}, "RED", ["/red", "/amber"], id="it had waited in the queue"),
    ],
)
def test_a_run_that_outlives_its_window_stands_in_the_ledger_and_people_are_told(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worked: float, last: dict[str, float],
    light: str, told: list[str],
) -> None:  # fmt: skip
    run = begun(worked)
    with web_hook() as (port, posts):
        for when in ("red", "amber"):
            url = json.dumps({"conn_type": "http", "password": f"http://127.0.0.1:{port}/{when}"})
            monkeypatch.setenv(f"AIRFLOW_CONN_TELL_{when.upper()}", url)
        sites("shop", notify=[{"conn_id": f"tell_{when}", "when": when} for when in ("red", "amber")])
        asyncio.run(tell_overrun("shop", "daily", **last, context={"dag_run": run}))
    assert [path for path, _ in posts] == told
    text = posts[0][1]["text"]
    assert text.startswith(f"{light}: shop daily: the run is still at work after {human_seconds(worked * 3600)}; ")
    assert ("makes no report" in text) == (light == "RED")
    ends_at = datetime.fromisoformat(run["start_date"]).astimezone(ZoneInfo("Asia/Shanghai")) + timedelta(hours=5)
    assert (f"Airflow ends it at {ends_at:%H:%M} CST: " in text) == (light == "RED")
    assert "HINT: " in text
    assert text.endswith("shop_daily/tonight")
    (record,) = Ledger(f"sqlite:///{tmp_path}/ledger.db").acts(site="shop", duty="miss_deadline")
    assert record.started.run_id == "shop_daily/tonight"


@pytest.mark.parametrize(
    "state", [{"end_date": "2026-11-22T02:01:00Z"}, {"start_date": None}], ids=["failed long before", "waits its turn"]
)
def test_a_run_that_is_not_at_work_is_no_overrun(sites: Sites, tmp_path: Path, state: dict[str, Any]) -> None:
    sites("shop")
    asyncio.run(tell_overrun("shop", "daily", context={"dag_run": {**begun(3), **state}}))
    assert list(Ledger(f"sqlite:///{tmp_path}/ledger.db").acts(site="shop")) == []


def test_each_alert_comes_before_the_end_of_its_run(sites: Sites) -> None:
    sites("shop")
    (site,) = sites_with_rhythm("daily")
    with rhythm_dag(site, "daily", doc="") as dag:
        pass
    assert isinstance(dag.deadline, list) and dag.dagrun_timeout
    waits = [alert.interval for alert in dag.deadline if isinstance(alert.interval, timedelta)]
    assert waits == [timedelta(hours=3), timedelta(hours=4, minutes=58)]
    assert max(waits) < dag.dagrun_timeout
    assert [(alert.callback.kwargs or {}).get("limit_h") for alert in dag.deadline] == [None, 5.0]
