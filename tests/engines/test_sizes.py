"""Sizes and connections are measured on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.redis_server import RedisServer
from upkeep.domain.capacity import Measured
from upkeep.domain.endpoint import Endpoint
from upkeep.engines import sizes as sizes_module
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.redis_engine import RedisEngine
from upkeep.engines.sizes import mysql_sizes, postgres_sizes, redis_sizes
from upkeep.errors import SourceError

ROWS = (
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, REPEAT('x', 500) FROM n"
)


def figures(measured: Measured) -> dict[tuple[str, str], float]:
    return {reading.key: reading.value for reading in measured.readings}


def mysql(database: MySqlDatabase) -> MySqlEngine:
    return MySqlEngine(database.endpoint(), database.name)


def postgres(database: PostgresDatabase) -> PostgresEngine:
    return PostgresEngine(database.endpoint(), database.name, lock_timeout_s=1)


def test_mysql_tables_are_measured_with_their_indexes(any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    database.execute("CREATE TABLE small (i INT PRIMARY KEY)")
    database.execute("CREATE TABLE large (i INT PRIMARY KEY, t VARCHAR(500))")
    before = figures(mysql_sizes(mysql(database), "app"))
    database.execute(f"INSERT INTO large {ROWS}")
    database.execute("CREATE INDEX by_text ON large (t)")
    database.execute("ANALYZE TABLE large")
    found = mysql_sizes(mysql(database), "app")
    after = figures(found)
    assert found.unread == []
    assert after["table_bytes", "app/large"] > before["table_bytes", "app/large"] + 2 * 900 * 500
    assert after["table_rows", "app/large"] == pytest.approx(900, rel=0.3)
    assert after["tables", "app"] == 2
    whole = after["table_bytes", "app/large"] + after["table_bytes", "app/small"]
    assert after["database_bytes", "app"] == whole


def test_mysql_sizes_are_those_of_now_and_not_those_it_remembers_for_a_day(any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    database.execute("CREATE TABLE large (i INT PRIMARY KEY, t VARCHAR(500)) ENGINE=MyISAM")  # which counts exactly
    database.query("SELECT DATA_LENGTH FROM information_schema.TABLES WHERE TABLE_NAME = 'large'")
    database.execute(f"INSERT INTO large {ROWS}")
    assert figures(mysql_sizes(mysql(database), "app"))["table_bytes", "app/large"] > 900 * 500


def test_postgres_tables_are_measured_with_their_indexes_and_partitions(postgres_database: PostgresDatabase) -> None:
    database = postgres_database
    database.execute("CREATE TABLE small (i int PRIMARY KEY)")
    database.execute("CREATE TABLE large (i int, t text) PARTITION BY RANGE (i)")
    database.execute("CREATE TABLE large_1 PARTITION OF large FOR VALUES FROM (0) TO (500)")
    database.execute("CREATE TABLE large_2 PARTITION OF large FOR VALUES FROM (500) TO (1000)")
    database.execute(f"INSERT INTO large {ROWS}")
    database.execute("CREATE INDEX by_text ON large (t)")
    database.execute("ANALYZE large")
    found = postgres_sizes(postgres(database), "app")
    after = figures(found)
    assert found.unread == []
    on_disk = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('large')"
    assert after["table_bytes", "app/public.large"] == database.query(on_disk)[0][0]
    assert after["table_rows", "app/public.large"] == 900
    assert {key[1] for key in after if key[0] == "table_bytes"} == {"app/public.large", "app/public.small"}
    assert after["tables", "app"] == 2
    assert after["database_bytes", "app"] > after["table_bytes", "app/public.large"]


def test_rows_of_a_table_that_postgres_never_analyzed_are_unknown_and_not_none(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute("CREATE TABLE fresh (i int)")
    postgres_database.execute("INSERT INTO fresh VALUES (1)")
    found = figures(postgres_sizes(postgres(postgres_database), "app"))
    assert ("table_bytes", "app/public.fresh") in found
    assert ("table_rows", "app/public.fresh") not in found


def test_a_postgres_table_that_is_being_rewritten_costs_the_table_sizes_only(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute("CREATE TABLE busy (i int)")
    with postgres_database.connect() as other, other.transaction():
        other.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        found = postgres_sizes(postgres(postgres_database), "app")
    assert len(found.unread) == 1
    assert found.unread[0].startswith("table sizes of app (canceling statement due to lock timeout")
    assert ("connections", "app") in figures(found)
    assert ("tables", "app") in figures(found)


def test_connections_are_counted_against_the_most_there_can_be(
    any_mysql_database: MySqlDatabase, postgres_database: PostgresDatabase
) -> None:
    for found in (
        figures(mysql_sizes(mysql(any_mysql_database), "app")),
        figures(postgres_sizes(postgres(postgres_database), "app")),
    ):
        assert found["connections_max", "app"] > 10
        share = 100 * found["connections", "app"] / found["connections_max", "app"]
        assert found["connections_pct", "app"] == pytest.approx(share)


def test_another_session_is_one_connection_more(any_mysql_database: MySqlDatabase) -> None:
    before = figures(mysql_sizes(mysql(any_mysql_database), "app"))["connections", "app"]
    sessions = [any_mysql_database.connect() for _ in range(5)]
    try:
        after = figures(mysql_sizes(mysql(any_mysql_database), "app"))["connections", "app"]
    finally:
        for session in sessions:
            session.close()
    assert after >= before + 4  # the measuring session of before may still be on its way out


def test_only_the_largest_tables_get_a_series(
    any_mysql_database: MySqlDatabase, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes_module, "MOST_TABLES", 1)
    for database in (any_mysql_database, postgres_database):
        database.execute("CREATE TABLE a_small (i int PRIMARY KEY)")
        database.execute("CREATE TABLE b_large (i int PRIMARY KEY, t text)")
        database.execute(f"INSERT INTO b_large {ROWS}")
    any_mysql_database.execute("ANALYZE TABLE b_large")
    for found in (
        figures(mysql_sizes(mysql(any_mysql_database), "app")),
        figures(postgres_sizes(postgres(postgres_database), "app")),
    ):
        assert [key[1].split("/")[1].removeprefix("public.") for key in found if key[0] == "table_bytes"] == ["b_large"]
        assert found["tables", "app"] == 2


@pytest.fixture(scope="module")
def limited_redis() -> Iterator[RedisServer]:
    with RedisServer(maxmemory="64mb") as server:
        yield server


def test_redis_memory_is_a_share_of_its_maximum(limited_redis: RedisServer) -> None:
    with limited_redis.connect() as client:
        client.flushall()
        client.set("big", b"x" * 16_000_000)
        client.select(3)
        client.set("small", b"x")
    found = figures(redis_sizes(RedisEngine(limited_redis.endpoint()), "sessions"))
    assert 20 < found["cache_memory_pct", "sessions"] < 50
    assert found["cache_bytes", "sessions"] > 16_000_000
    assert found["cache_keys", "sessions"] == 2


def test_redis_without_a_maximum_has_no_share(redis_server: RedisServer) -> None:
    found = figures(redis_sizes(RedisEngine(redis_server.endpoint()), "sessions"))
    assert ("cache_memory_pct", "sessions") not in found
    assert found["cache_clients", "sessions"] >= 1


def test_a_redis_that_refuses_is_said_without_the_password(redis_server: RedisServer) -> None:
    wrong = Endpoint(**{**vars(redis_server.endpoint()), "secret": "wr0ng-password"})
    with pytest.raises(SourceError) as raised:
        redis_sizes(RedisEngine(wrong), "sessions")
    assert "wr0ng-password" not in str(raised.value)
