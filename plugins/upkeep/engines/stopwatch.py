"""Times one statement that only reads, the same way each time, and says how the server runs it.

Every run is in a transaction that can't write, with a time limit. ``open_stopwatch(engine)`` gives the one that fits.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
import pymysql
from psycopg.sql import SQL, Composed, Identifier
from pymysql.cursors import Cursor, SSCursor

from upkeep.domain.masking import mask
from upkeep.domain.names import quoted
from upkeep.engines.degrading import in_a_line
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.engines.mysql_statements import limit_statements
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.errors import BenchmarkFailed
from upkeep.resources import sql

MOST_ROWS = 10_000
_WRITES = 1792
"""MySQL's and MariaDB's number for a statement that a read-only transaction refuses."""
_TOO_LONG = {1969, 3024}
_OWN_KEYS = ("measure_first_keys", "first-keys-of"), ("measure_last_key", "last-key-of")


class Stopwatch(ABC):
    """Errors of every method: ``BenchmarkFailed`` for this statement; ``SourceError`` when the server is gone."""

    version: str = ""

    @abstractmethod
    def own(self) -> list[tuple[str, str]]:
        """Upkeep's own queries for this database, by name: a round trip, and two along a primary key."""

    @abstractmethod
    def time(self, statement: str) -> float:
        """Seconds until the last row of it is here."""

    @abstractmethod
    def plan(self, statement: str) -> Any:
        """How the server means to run it: its EXPLAIN as JSON."""

    @abstractmethod
    def reads(self, statement: str) -> dict[str, int]:
        """What one more run reads: PostgreSQL's blocks found in memory and not, MySQL's rows asked of its engines."""


@contextmanager
def open_stopwatch(engine: MySqlEngine | PostgresEngine, *, limit_s: int) -> Iterator[Stopwatch]:
    """Errors: ``SourceError``."""
    with closing(engine.connect()) as connection:
        if isinstance(engine, MySqlEngine):
            yield _MySqlStopwatch(engine, connection, limit_s)
        else:
            yield _PostgresStopwatch(engine, connection, limit_s)


class _MySqlStopwatch(Stopwatch):
    def __init__(self, engine: MySqlEngine, connection: Any, limit_s: int) -> None:
        self._engine, self._connection, self._limit_s = engine, connection, limit_s
        self.version = str(self._all("SELECT @@version")[0][0])
        limit_statements(connection, limit_s)

    def own(self) -> list[tuple[str, str]]:
        found = [("round-trip", "SELECT 1")]
        rows = self._all(sql("mysql", "list_largest_table"))
        if rows:
            table, keys = str(rows[0][0]), [quoted("mysql", str(row[1])) for row in rows]
            for file, name in _OWN_KEYS:
                statement = sql("mysql", file).format(
                    table=quoted("mysql", table),
                    keys=", ".join(keys),
                    descending=", ".join(f"{key} DESC" for key in keys),
                )
                found.append((f"{name}-{table}", statement))
        return found

    def time(self, statement: str) -> float:
        with self._read_only():
            begun = time.perf_counter()
            self._run(statement)
            return time.perf_counter() - begun

    def plan(self, statement: str) -> Any:
        with self._read_only():
            return json.loads(self._all(f"EXPLAIN FORMAT=JSON {statement}")[0][0])

    def reads(self, statement: str) -> dict[str, int]:
        """The counting counts too: what it adds is taken off."""
        first, before = self._handlers(), self._handlers()
        with self._read_only():
            self._run(statement)
        after = self._handlers()
        found = {name: (after[name] - before[name]) - (before[name] - first[name]) for name in after}
        return {name.removeprefix("Handler_read_"): count for name, count in found.items() if count > 0}

    def _handlers(self) -> dict[str, int]:
        return {str(name): int(value) for name, value in self._all(sql("mysql", "measure_handler_reads"))}

    def _run(self, statement: str) -> None:
        """In single rows: however many it gives, and however large they are, they don't pile up here."""
        cursor = self._connection.cursor(SSCursor)
        try:
            cursor.execute(statement)
            for count, _ in enumerate(cursor, start=1):
                _refuse_many(count)
        except BenchmarkFailed:
            # All that the server still sends has to be read before anything else can be asked.
            with closing(self._engine.connect()) as beside:
                beside.query(f"KILL QUERY {self._connection.thread_id()}")
            raise
        finally:
            with suppress(pymysql.MySQLError):  # that it was ended
                cursor.close()

    @contextmanager
    def _read_only(self) -> Iterator[None]:
        self._all("START TRANSACTION READ ONLY")
        try:
            yield
        except pymysql.MySQLError as error:
            raise self._failed(error) from error
        finally:
            if self._connection.open:
                self._all("ROLLBACK")

    def _failed(self, error: pymysql.MySQLError) -> Exception:
        number = error.args[0] if error.args else 0
        if is_about_the_connection(error):
            return self._engine.failed("read from", error)
        if number == _WRITES:
            return _it_writes()
        if number in _TOO_LONG:
            return _too_long(self._limit_s)
        return _can_not_run(mask(in_a_line(error), self._engine.secrets))

    def _all(self, statement: str, *values: object) -> list[Any]:
        with self._connection.cursor(Cursor) as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())


class _PostgresStopwatch(Stopwatch):
    def __init__(self, engine: PostgresEngine, connection: Any, limit_s: int) -> None:
        self._engine, self._connection, self._limit_s = engine, connection, limit_s
        connection.rollback()
        connection.autocommit = True
        self.version = str(connection.info.parameter_status("server_version"))

    def own(self) -> list[tuple[str, str]]:
        found = [("round-trip", "SELECT 1")]
        rows = self._connection.execute(sql("postgres", "list_largest_table").encode()).fetchall()
        if rows:
            keys = [Identifier(row["column_name"]) for row in rows]
            table = Identifier(rows[0]["schema_name"], rows[0]["table_name"])
            for file, name in _OWN_KEYS:
                statement: Composed = SQL(sql("postgres", file)).format(
                    table=table,
                    keys=SQL(", ").join(keys),
                    descending=SQL(", ").join(SQL("{} DESC").format(key) for key in keys),
                )
                found.append((f"{name}-{rows[0]['table_name']}", statement.as_string(self._connection)))
        return found

    def time(self, statement: str) -> float:
        with self._read_only() as cursor:
            begun, count = time.perf_counter(), 0
            # In single rows: however many it gives, they don't pile up here; and no second statement gets in.
            for count, _ in enumerate(cursor.stream(statement.encode()), start=1):
                _refuse_many(count)
            return time.perf_counter() - begun

    def plan(self, statement: str) -> Any:
        with self._read_only() as cursor:
            return self._explained(cursor, "FORMAT JSON", statement)

    def reads(self, statement: str) -> dict[str, int]:
        with self._read_only() as cursor:
            plan = self._explained(cursor, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON", statement)[0]["Plan"]
        names = {"hit": "Shared Hit Blocks", "read": "Shared Read Blocks"}
        return {name: int(plan[key]) for name, key in names.items() if plan.get(key)}

    def _explained(self, cursor: Any, options: str, statement: str) -> Any:
        cursor.execute(f"EXPLAIN ({options}) {statement}".encode())
        return next(iter(cursor.fetchone().values()))

    @contextmanager
    def _read_only(self) -> Iterator[Any]:
        try:
            with self._connection.transaction(force_rollback=True), self._connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
                cursor.execute(f"SET LOCAL statement_timeout = '{int(self._limit_s)}s'")
                cursor.execute(f"SET LOCAL lock_timeout = '{int(self._engine.lock_timeout_s)}s'")
                yield cursor
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise _it_writes() from error
        except psycopg.errors.QueryCanceled as error:
            raise _too_long(self._limit_s) from error
        except psycopg.Error as error:
            raise _can_not_run(mask(in_a_line(error), self._engine.secrets)) from error


def _refuse_many(rows: int) -> None:
    if rows > MOST_ROWS:
        raise BenchmarkFailed(
            f"it gives more than {MOST_ROWS:,} rows: that times the network",
            hint="add a LIMIT, as the page that shows them has one, or aggregate",
        )


def _it_writes() -> BenchmarkFailed:
    return BenchmarkFailed(
        "it wants to write, which its read-only transaction refuses",
        hint="a benchmark only reads: take it out of the site file, or what writes out of it",
    )


def _too_long(limit_s: int) -> BenchmarkFailed:
    return BenchmarkFailed(
        f"it takes longer than {limit_s} s and was ended",
        hint="see its plan; a benchmark is a query that users wait for",
    )


def _can_not_run(words: str) -> BenchmarkFailed:
    return BenchmarkFailed(f"it can't be run: {words}", hint="fix it in the site file, or grant the account SELECT")
