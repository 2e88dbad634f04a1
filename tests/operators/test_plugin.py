"""What Airflow loads from plugins/, the pools it finds, and the alert it sends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from upkeep.ledger import Ledger

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


def test_a_run_that_outlives_its_window_stands_in_the_ledger(
    sites: Sites, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from upkeep.triggers.deadline import record_overrun

    sites("shop")
    asyncio.run(
        record_overrun("shop", "daily", 3.0, context={"dag_run": {"dag_id": "shop_daily", "dag_run_id": "tonight"}})
    )
    (record,) = Ledger(f"sqlite:///{tmp_path}/ledger.db").acts(site="shop", duty="miss_deadline")
    assert record.started.run_id == "shop_daily/tonight"
    assert "still at work" in caplog.text


def test_a_run_that_failed_early_is_no_overrun(sites: Sites, tmp_path: Path) -> None:
    from upkeep.triggers.deadline import record_overrun

    sites("shop")
    run = {"dag_id": "shop_daily", "dag_run_id": "tonight", "end_date": "2026-11-22T02:01:00Z"}
    asyncio.run(record_overrun("shop", "daily", 3.0, context={"dag_run": run}))
    assert list(Ledger(f"sqlite:///{tmp_path}/ledger.db").acts(site="shop")) == []
