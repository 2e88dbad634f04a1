"""When a database was last written to, by its own columns, on each server."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.servers.databases import Database, PostgresDatabase
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.newest_rows import Newest, newest_rows
from upkeep.engines.postgres_engine import PostgresEngine

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FLAVOURS = ["mariadb", "mysql", "postgres"]


@pytest.fixture(params=FLAVOURS)
def database(request: pytest.FixtureRequest) -> Database:
    """``t`` with an instant and a wall clock that indexes lead to, and a wall clock without one."""
    made: Database = request.getfixturevalue(f"{request.param}_database")
    instant, clock = ("timestamptz", "timestamp") if isinstance(made, PostgresDatabase) else ("TIMESTAMP", "DATETIME")
    made.execute(
        f"CREATE TABLE t (id INT PRIMARY KEY, made {instant} NULL, wall {clock} NULL, plain {clock} NULL, day DATE)"
    )
    for column in ("made", "wall"):
        made.execute(f"CREATE INDEX by_{column} ON t ({column})")
    made.execute("CREATE INDEX by_both ON t (id, plain)")
    return made


def insert(database: Database, number: int, made: datetime, wall: str, plain: str) -> None:
    zone = "+00" if isinstance(database, PostgresDatabase) else ""
    if not isinstance(database, PostgresDatabase):
        database.execute("SET GLOBAL time_zone = '+08:00'")
    utc = f"{made.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    value = f"'{utc}{zone}'" if zone else f"CONVERT_TZ('{utc}', '+00:00', @@session.time_zone)"
    database.execute(f"INSERT INTO t VALUES ({number}, {value}, '{wall}', '{plain}', '2030-01-01')")


def read(database: Database, **settings: Any) -> Newest:
    postgres = isinstance(database, PostgresDatabase)
    engine: Any = (PostgresEngine if postgres else MySqlEngine)(database.endpoint(), database.name)
    with closing(engine.connect()) as connection:
        arguments: dict[str, Any] = {"named": [], "until": None, "zone": UTC, **settings}
        return newest_rows(connection, "postgres" if postgres else "mysql", arguments.pop("named"), **arguments)


@pytest.fixture(autouse=True)
def zone_put_back(database: Database) -> Any:
    yield
    if not isinstance(database, PostgresDatabase):
        database.execute("SET GLOBAL time_zone = 'SYSTEM'")


def test_columns_that_an_index_leads_to_are_read_in_their_own_clock(database: Database) -> None:
    insert(database, 1, NOON, "2026-11-20 19:00:00", "2026-11-20 23:00:00")
    insert(database, 2, NOON - timedelta(days=1), "2026-11-20 20:00:00", "2026-11-20 22:00:00")
    shanghai = timezone(timedelta(hours=8))
    found = read(database, zone=shanghai)
    assert found.newest == {"t.made": NOON, "t.wall": NOON}
    assert found.without_zone == ["t.wall"]
    assert read(database, zone=UTC).newest["t.wall"] == NOON + timedelta(hours=8)
    named = read(database, zone=shanghai, named=[("t", "plain")])
    assert named.newest["t.plain"] == NOON + timedelta(hours=3)


def test_up_to_a_moment_only_what_an_index_finds_is_asked_for(database: Database) -> None:
    insert(database, 1, NOON, "2026-11-20 20:00:00", "2026-11-20 20:00:00")
    insert(database, 2, NOON - timedelta(hours=2), "2026-11-20 17:00:00", "2026-11-20 17:00:00")
    shanghai = timezone(timedelta(hours=8))
    found = read(database, zone=shanghai, until=NOON - timedelta(hours=1), named=[("t", "plain")])
    assert found.newest == {"t.made": NOON - timedelta(hours=2), "t.wall": NOON - timedelta(hours=3)}


def test_the_servers_own_clock_is_asked_where_no_zone_is_given(database: Database) -> None:
    insert(database, 1, NOON, "2026-11-20 20:00:00", "2026-11-20 20:00:00")
    if isinstance(database, PostgresDatabase):
        database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Shanghai'")
    found = read(database, zone=None)
    assert found.zone.utcoffset(NOON) == timedelta(hours=8)
    assert found.newest["t.wall"] == NOON


def test_an_empty_table_shows_nothing(database: Database) -> None:
    assert read(database).newest == {}
