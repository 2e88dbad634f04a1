"""How large databases and caches are, and how many of their connections are taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from upkeep.domain.capacity import Measured
from upkeep.engines.degrading import degrading
from upkeep.engines.health import STATEMENT_LIMIT_S
from upkeep.engines.mysql_statements import limit_statements
from upkeep.resources import sql

if TYPE_CHECKING:
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine
    from upkeep.engines.redis_engine import RedisEngine

MOST_TABLES = 300
"""The largest tables of a database that get a series of their own."""


def mysql_sizes(engine: MySqlEngine, name: str) -> Measured:
    """Connections and sizes of the database that the site calls ``name``. Errors: ``SourceError``."""
    import pymysql

    found = Measured()
    with closing(engine.connect()) as connection, connection.cursor() as cursor:

        def rows(statement: str, *values: Any) -> list[dict[str, Any]]:
            cursor.execute(sql("mysql", statement), values or None)
            return list(cursor.fetchall())

        limit_statements(connection, STATEMENT_LIMIT_S)
        rows("set_fresh_statistics")
        with degrading(found.unread, f"connections of {name}", pymysql.MySQLError, engine.secrets):
            status = {row["Variable_name"]: int(row["Value"]) for row in rows("measure_sessions")}
            limit = int(rows("list_limits")[0]["max_connections"])
            _add_connections(found, name, status["Threads_connected"], limit)
        with degrading(found.unread, f"sizes of {name}", pymysql.MySQLError, engine.secrets):
            _add_sizes(found, name, rows("measure_database")[0], rows("measure_tables", MOST_TABLES))
    return found


def postgres_sizes(engine: PostgresEngine, name: str) -> Measured:
    """Connections and sizes of the database that the site calls ``name``. Errors: ``SourceError``."""
    import psycopg

    found = Measured()
    with closing(engine.connect()) as connection:
        connection.autocommit = True

        def rows(statement: str, *values: Any) -> list[dict[str, Any]]:
            with connection.cursor() as cursor:
                return list(cursor.execute(sql("postgres", statement).encode(), values or None).fetchall())

        connection.execute(f"SET statement_timeout = '{STATEMENT_LIMIT_S}s'".encode())
        # Measuring a table waits while somebody rewrites it, and whoever comes later waits behind us.
        connection.execute(f"SET lock_timeout = '{engine.lock_timeout_s}s'".encode())
        with degrading(found.unread, f"connections of {name}", psycopg.Error, engine.secrets):
            sessions = rows("measure_sessions")[0]
            _add_connections(found, name, sessions["connections"], sessions["max_connections"])
        with degrading(found.unread, f"size of {name}", psycopg.Error, engine.secrets):
            database = rows("measure_database")[0]
            _add_sizes(found, name, database, [])
        with degrading(found.unread, f"table sizes of {name}", psycopg.Error, engine.secrets):
            _add_sizes(found, name, {}, rows("measure_tables", MOST_TABLES))
    return found


def redis_sizes(engine: RedisEngine, name: str) -> Measured:
    """Memory, keys and clients of the cache that the site calls ``name``. Errors: ``SourceError``."""
    found = Measured()
    with closing(engine.connect()) as client, engine.told("look into"):
        info: Mapping[str, Any] = client.info()
    used, most = info.get("used_memory"), info.get("maxmemory")
    found.add("cache_bytes", name, used, "bytes")
    if used is not None and most:
        found.add("cache_memory_pct", name, 100 * used / most, "%")
    found.add("cache_clients", name, info.get("connected_clients"), "clients")
    spaces = [value for key, value in info.items() if re.fullmatch(r"db\d+", key)]
    found.add("cache_keys", name, sum(int(space["keys"]) for space in spaces), "keys")
    return found


def _add_connections(found: Measured, name: str, used: int, most: int) -> None:
    found.add("connections", name, used, "connections")
    found.add("connections_max", name, most, "connections")
    found.add("connections_pct", name, 100 * used / most, "%")


def _add_sizes(found: Measured, name: str, database: Mapping[str, Any], tables: list[dict[str, Any]]) -> None:
    found.add("database_bytes", name, database.get("bytes"), "bytes")
    found.add("tables", name, database.get("tables"), "tables")
    for table in tables:
        target = f"{name}/{table['name']}"
        found.add("table_bytes", target, table["bytes"], "bytes")
        found.add("table_rows", target, table["row_estimate"], "rows, estimated")
