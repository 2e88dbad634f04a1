"""The month's queries on real servers: timed alike, compared with last month, and never able to write."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import Database, PostgresDatabase
from upkeep.duties.measure_benchmark import measure_benchmark
from upkeep.engines.stopwatch import MOST_ROWS

FLAVOURS = ["mariadb", "mysql", "postgres"]


@pytest.fixture(params=FLAVOURS)
def shop(request: pytest.FixtureRequest, sites: SiteFactory) -> Database:
    database: Database = request.getfixturevalue(f"{request.param}_database")
    database.execute("CREATE TABLE logs (id INT PRIMARY KEY, kind INT NOT NULL, note VARCHAR(100))")
    numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 900) "
    values = "SELECT a.n * 1000 + b.n, b.n, 'noted' FROM n a JOIN n b ON b.n <= 20"
    if isinstance(database, PostgresDatabase):
        database.execute(f"INSERT INTO logs {numbers}{values}")
        database.execute("CREATE INDEX by_kind ON logs (kind)")
        database.execute("ANALYZE logs")
    else:
        database.execute(f"INSERT INTO logs {numbers}{values}")
        database.execute("CREATE INDEX by_kind ON logs (kind)")
        database.execute("ANALYZE TABLE logs")
    sites.database(database, benchmark=[{"name": "by-kind", "sql": "SELECT COUNT(*) FROM logs WHERE kind = 7;"}])
    return database


def measured(sites: SiteFactory, run_id: str = "month-1", **settings: Any) -> dict[str, dict[str, Any]]:
    """``month-2`` is measured a month after ``month-1``."""
    at = datetime(2026, 6 + int(run_id[-1]), 1, 1, tzinfo=UTC)
    found = measure_benchmark(sites.job(run_id, now=lambda: at), "app", **settings)
    return {query["name"]: query for query in found["queries"]}


def test_the_sites_queries_and_upkeeps_own_are_timed_and_a_changed_plan_is_named(
    shop: Database, sites: SiteFactory
) -> None:
    first = measured(sites)
    assert set(first) == {"by-kind", "round-trip", "first-keys-of-logs", "last-key-of-logs"}
    assert {query["verdict"] for query in first.values()} == {"new"}
    for query in first.values():
        assert 0 < query["first_ms"] <= query["median_ms"] <= query["third_ms"]
        assert query["runs"] == 7
    assert first["first-keys-of-logs"]["median_ms"] > first["round-trip"]["median_ms"]
    assert "by_kind" in first["by-kind"]["plan_words"]
    assert sum(first["by-kind"]["reads"].values()) > 0
    again = measured(sites, "month-2")
    assert {name: query["plan"] for name, query in again.items()} == {
        name: query["plan"] for name, query in first.items()
    }
    assert again["by-kind"]["last_ms"] == first["by-kind"]["median_ms"]
    shop.execute("DROP INDEX by_kind" + ("" if isinstance(shop, PostgresDatabase) else " ON logs"))
    changed = measured(sites, "month-3")["by-kind"]
    assert changed["verdict"] == "plan changed"
    assert "it was: " in changed["says"]
    assert "by_kind" in changed["says"].partition("it was: ")[2]
    assert "by_kind" not in changed["says"].partition("it was: ")[0]


def test_it_is_compared_with_last_month_and_not_with_what_somebody_ran_yesterday(
    mariadb_database: Database, sites: SiteFactory
) -> None:
    queries = [{"name": "a", "sql": "SELECT 1"}, {"name": "b", "sql": "SELECT 2 FROM there"}]
    sites.database(mariadb_database, benchmark=queries)

    def run(run_id: str, month: int, day: int) -> tuple[str, dict[str, dict[str, Any]]]:
        job = sites.job(run_id, now=lambda: datetime(2026, month, day, 1, tzinfo=UTC))
        found = measure_benchmark(job, "app")
        return found["summary"], {query["name"]: query for query in found["queries"]}

    mariadb_database.execute("CREATE TABLE there (id INT PRIMARY KEY)")
    _, september = run("september", 9, 1)
    mariadb_database.execute("RENAME TABLE there TO gone")
    _, october = run("october", 10, 1)
    assert october["b"]["verdict"] == "failed"
    queries.append({"name": "c", "sql": "SELECT 3"})
    mariadb_database.execute("RENAME TABLE gone TO there")
    run("by hand", 10, 31)
    summary, november = run("november", 11, 1)
    assert november["a"]["last_ms"] == october["a"]["median_ms"]
    assert november["b"]["last_ms"] == september["b"]["median_ms"], "it failed last month: the one before it counts"
    assert (november["c"]["verdict"], november["c"]["last_ms"]) == ("new", None), "yesterday is no month ago"
    assert "; new: c" in summary


def test_millions_of_rows_are_neither_gathered_nor_waited_for(shop: Database, sites: SiteFactory) -> None:
    wide = "SELECT REPEAT('x', 2000) FROM logs a, logs b LIMIT 5000000"  # a LIMIT of its own beats any of the session's
    sites.settings["databases"][0]["benchmark"] = [{"name": "wide", "sql": wide}]
    begun = time.monotonic()
    tracemalloc.start()
    try:
        found = measured(sites)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"more than {MOST_ROWS:,} rows" in found["wide"]["says"]
    assert peak < 50 << 20
    assert time.monotonic() - begun < 20, "the rest is neither sent nor read"
    assert found["round-trip"]["verdict"] == "new", "the connection is fit for the next query"


def test_a_statement_that_writes_or_can_not_be_run_is_told_and_stops_no_other(
    shop: Database, sites: SiteFactory
) -> None:
    queries = sites.settings["databases"][0]["benchmark"]
    if isinstance(shop, PostgresDatabase):
        shop.execute("CREATE FUNCTION noting() RETURNS int LANGUAGE sql AS 'INSERT INTO logs VALUES (0,0) RETURNING 1'")
    else:
        shop.execute("CREATE FUNCTION noting() RETURNS INT DETERMINISTIC BEGIN DELETE FROM logs; RETURN 1; END")
    queries[:] = [
        {"name": "writes", "sql": "SELECT noting()"},
        {"name": "gone", "sql": "SELECT * FROM no_such_table"},
        {"name": "wide", "sql": "SELECT a.id FROM logs a"},
    ]
    rows = shop.query("SELECT COUNT(*) FROM logs")
    job = sites.job()
    found = measure_benchmark(job, "app")
    by_name = {query["name"]: query for query in found["queries"]}
    assert "it wants to write" in by_name["writes"]["says"]
    assert "can't be run" in by_name["gone"]["says"]
    assert f"more than {MOST_ROWS:,} rows" in by_name["wide"]["says"]
    assert by_name["round-trip"]["verdict"] == "new"
    assert found["light"] == "amber"
    assert shop.query("SELECT COUNT(*) FROM logs") == rows
    (act,) = job.ledger.acts("kindergarten", duty="benchmark")
    assert act.detail["queries"] == found["queries"], "it fits into a row of the ledger"


def test_many_queries_are_all_kept_to_compare_the_next_month_with(shop: Database, sites: SiteFactory) -> None:
    columns = "a.id, a.kind, a.note"
    sites.settings["databases"][0]["benchmark"] = [
        {
            "name": f"a-name-as-people-give-them-{n}",
            "sql": f"SELECT {columns} FROM logs a JOIN logs b USING (kind) LIMIT {n}",
        }
        for n in range(1, 13)
    ]
    assert len(measured(sites)) == 15
    assert {query["verdict"] for query in measured(sites, "month-2").values()}.isdisjoint({"new", "failed"})


def test_a_query_that_takes_too_long_is_ended(shop: Database, sites: SiteFactory) -> None:
    long = "SELECT COUNT(*) FROM logs a, logs b, logs c WHERE a.note < b.note AND b.note < c.note"
    if isinstance(shop, PostgresDatabase):
        long = "SELECT COUNT(*) FROM generate_series(1, 100000000) a"
    sites.settings["databases"][0]["benchmark"] = [{"name": "long", "sql": long}]
    assert "longer than 1 s" in measured(sites, limit_s=1)["long"]["says"]


def test_a_dry_run_times_nothing_and_names_what_has_no_plan(shop: Database, sites: SiteFactory) -> None:
    sites.settings["databases"][0]["benchmark"].append({"name": "gone", "sql": "SELECT * FROM no_such_table"})
    job = sites.job()
    would = measure_benchmark(job, "app", dry_run=True)
    assert would["would_time"] == ["by-kind", "round-trip", "first-keys-of-logs", "last-key-of-logs"]
    assert list(would["failed"]) == ["gone"]
    assert "no_such_table" in would["failed"]["gone"]
    assert list(job.ledger.acts("kindergarten")) == []
