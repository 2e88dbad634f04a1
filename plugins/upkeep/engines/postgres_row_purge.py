"""Purging rows of PostgreSQL.

**Access path.** Old rows are found along the index on the date column, in the order of date and primary key, and
deleted by primary key. Each look begins where the last one ended: the entries of rows just deleted stay in the index
until it is vacuumed, and a look from its beginning would read them again every time.

Every value crosses as the text in which the server itself writes it, whatever its type, and goes back the same way.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from upkeep.domain.load import Pressure, Replica
from upkeep.domain.names import quoted
from upkeep.domain.purge import COUNTED, Estimate, Rule, find_index, moments_to_convert
from upkeep.domain.row_archive import Row
from upkeep.domain.tables import Column, ForeignKey, Meaning, Table
from upkeep.engines.degrading import in_a_line
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.postgres_restore_line import restore_line
from upkeep.engines.postgres_session import PostgresSession, identifier, percent, why_read_only
from upkeep.engines.row_purge import STATEMENT_LIMIT_S, Found, Key, LockedOut, OldRows, Place, RowPurge
from upkeep.errors import SourceError
from upkeep.resources import sql

_MEANINGS: Mapping[str, Meaning] = {"date": "date", "timestamp": "wall clock", "timestamptz": "instant"}
_LOCKED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
)


class PostgresRowPurge(PostgresSession, RowPurge):
    def __init__(self, engine: PostgresEngine) -> None:
        super().__init__(engine)
        self._standbys = _Standbys()

    def __enter__(self) -> Self:
        with self.engine.told("prepare a purge of"), ExitStack() as stack:
            connection = stack.enter_context(self.engine.connect())
            connection.autocommit = True
            self._facts = self._dicts(connection, "list_purge_server")[0]
            self.server = f"postgres {self._facts['version']}"
            self._look_around(connection)
            self._connection = connection
            self._stack = stack.pop_all()
        return self

    def _look_around(self, connection: psycopg.Connection[Any]) -> None:
        for known in psycopg.adapters.types:
            for oid in filter(None, (known.oid, known.array_oid)):
                connection.adapters.register_loader(oid, TextLoader)
        limits = (f"{self.engine.lock_timeout_s}s", f"{STATEMENT_LIMIT_S}s")
        connection.execute(sql("postgres", "set_purge_patience").encode(), limits)

    @property
    def time_zone(self) -> str:
        """In which this account's sessions speak unless they say otherwise."""
        return str(self._facts["time_zone"])

    def read_only(self) -> str:
        return why_read_only(self._facts, self.engine.endpoint)

    # What a table is like.

    def look(self, table: str) -> Table | None:
        with self.engine.told("look into"), self.engine.connect() as connection:
            found = self._dicts(connection, "list_table", table, table)
            if len(found) > 1:
                names = " and ".join(quoted("postgres", row["schema"], row["name"]) for row in found)
                raise SourceError(
                    f"{table!r} may mean {names} in database {self.engine.database!r}",
                    hint=f"write public.{table} in the site file if that is meant, else rename one of them",
                )
            return self._described(connection, found[0]) if found else None

    def _described(self, connection: psycopg.Connection[Any], facts: Mapping[str, Any]) -> Table:
        place = (str(facts["schema"]), str(facts["name"]))
        if facts["kind"] != "table":
            return Table("postgres", place, (), (), {}, kind=str(facts["kind"]))
        indexes: dict[str, list[str | None]] = {}
        key: list[str] = []
        for row in self._dicts(connection, "list_indexes_of_table", facts["oid"]):
            indexes.setdefault(str(row["name"]), []).append(row["column_name"])
            if row["is_primary"]:
                key.append(str(row["column_name"]))
        usable: dict[str, list[str]] = {}
        for name in sorted(indexes, key=lambda name: (len(indexes[name]), name)):
            if (first := indexes[name][0]) is not None:
                usable.setdefault(first, []).append(name)
        inherited = ("tables that inherit from it are left alone",) if facts["inherited"] else ()
        return Table(
            engine="postgres",
            place=place,
            columns=tuple(_column(row) for row in self._dicts(connection, "list_columns_of_table", facts["oid"])),
            primary_key=tuple(key),
            indexes={column: tuple(names) for column, names in usable.items()},
            foreign_keys=tuple(
                ForeignKey(row["name"], row["table_name"], tuple(row["columns"]), row["on_delete"], row["indexed"])
                for row in self._dicts(connection, "list_keys_to_table", facts["oid"])
            ),
            partitioned=bool(facts["partitioned"]),
            delete_triggers=tuple(row["name"] for row in self._dicts(connection, "list_delete_triggers", facts["oid"])),
            notes=inherited,
        )

    def bound(self, column: Column, cut: datetime) -> str:
        if column.meaning == "date":
            return cut.date().isoformat()
        if column.meaning == "instant":
            return f"{cut.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f+00}"
        moments = [moment.isoformat() for moment in moments_to_convert(cut)]
        with self.engine.told("read the clock of"):
            return str(self.rows("measure_wall_clock", {}, self.time_zone, moments)[0][0])

    def old_rows(self, table: Table, rule: Rule, before: str) -> OldRows:
        return _PostgresOldRows(self, table, rule, before)

    # What else the server has to do.

    def pressure(self) -> Pressure:
        with self.engine.told("ask about the load of"):
            running, recently = (int(count) for count in self.rows("list_running", {})[0])
            standbys = self._standbys.seen(self.rows("list_replicas", {}), time.monotonic())
        return Pressure(running, standbys, recently > 0)

    @property
    def blind_spots(self) -> tuple[str, ...]:
        if self._facts["sees_all"]:
            return ()
        return ("the account may not see other sessions and standbys: grant pg_read_all_stats",)

    # Putting rows back.

    def key_of(self, table: Table, row: Row) -> Key:
        return key_of(table, row)

    def present(self, table: Table, keys: Sequence[Key]) -> set[Key]:
        with self.engine.told("look for rows of"):
            return {tuple(row) for row in self.rows("list_present_keys", names_of(table), *_columns(keys, table))}

    def insert(self, table: Table, columns: Sequence[Column], rows: Sequence[Row]) -> int:
        numbered = [f"r{place}" for place in range(len(columns))]
        names = {
            "table": identifier(*table.place),
            "columns": ", ".join(identifier(column.name) for column in columns),
            "values": ", ".join(_stored(column, f"r.{name}") for column, name in zip(columns, numbered, strict=True)),
            "texts": ", ".join(["%s::text[]"] * len(columns)),
            "names": ", ".join(numbered),
        }
        texts = [[row[column.name] for row in rows] for column in columns]
        keys = [key_of(table, row) for row in rows]
        with self.engine.told("restore rows into"), self._connection.transaction():
            self.run("insert_rows", names, *texts)
            there = self.fetch(table, columns, keys)
            return sum(there.get(key, ({}, False))[0] != row for key, row in zip(keys, rows, strict=True))

    def restore_line(self, table: Table, columns: Sequence[Column], unpacked: str) -> str:
        return restore_line(self.engine.database, table, columns, unpacked)

    # How it is done.

    def run(self, statement: str, names: Mapping[str, str], *values: object) -> int:
        text = sql("postgres", statement).format(**names)
        return self._connection.execute(text.encode(), values).rowcount

    def rows(self, statement: str, names: Mapping[str, str], *values: object) -> list[tuple[Any, ...]]:
        text = sql("postgres", statement).format(**names)
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(text.encode(), values).fetchall()

    def fetch(
        self,
        table: Table,
        columns: Sequence[Column],
        keys: Sequence[Key],
        *,
        old: str = "TRUE",
        before: tuple[str, ...] = (),
        statement: str = "list_rows",
    ) -> dict[Key, tuple[Row, bool]]:
        """Rows by key, each with whether it is old."""
        names = {**names_of(table), "columns": ", ".join(_read(column) for column in columns), "old": old}
        shown = [column.name for column in columns]
        binary = [column.name for column in columns if column.form == "base64"]
        places = [shown.index(name) for name in table.primary_key]
        found: dict[Key, tuple[Row, bool]] = {}
        for record in self.rows(statement, names, *before, *_columns(keys, table)):
            row = dict(zip(shown, record, strict=False))  # the record's last value isn't the row's
            for name in binary:
                row[name] = _base64(row[name])
            found[tuple(record[place] for place in places)] = (row, record[-1] == "t")
        return found

    @contextmanager
    def changing(self, table: Table) -> Iterator[None]:
        with self.engine.told(f"delete rows of {table.label} in"):
            try:
                with self._connection.transaction():
                    yield
            except _LOCKED as error:
                raise LockedOut(in_a_line(error)) from error

    @staticmethod
    def _dicts(connection: psycopg.Connection[Any], statement: str, *values: object) -> list[dict[str, Any]]:
        return list(connection.execute(sql("postgres", statement).encode(), values))


class _PostgresOldRows(OldRows):
    _session: PostgresRowPurge

    def __init__(self, session: PostgresRowPurge, table: Table, rule: Rule, before: str) -> None:
        column = table.column(rule.column)
        if column is None or not find_index(rule, table):
            raise ValueError(f"{table.label} can't be purged by {rule.column}")
        super().__init__(table, column.name)
        self._session, self._before = session, before
        name = f"t.{identifier(column.name)}"
        # A row whose date is -infinity says that it has no date.
        self._old = f"({name} > '-infinity' AND {name} < %s)"
        self._names = {**names_of(table), "column": name, "old": self._old}
        types = {known.name: known.type for known in table.columns}
        self._casts = ", ".join(f"%s::{percent(types[part])}" for part in (column.name, *table.primary_key))

    def next(self, after: Place | None, limit: int) -> Found | None:
        beyond, values = "TRUE", ()
        if after is not None:
            # The second half alone would do, but only the first begins the scan at the right place of the index.
            beyond = (
                f"{self._names['column']} >= %s AND ({self._names['column']}, {self._names['key']}) > ({self._casts})"
            )
            values = (after.date, after.date, *after.key)
        with self._session.engine.told("find old rows in"):
            rows = self._session.rows("list_old_keys", {**self._names, "beyond": beyond}, self._before, *values, limit)
        return Found([row[1:] for row in rows], Place(rows[-1][0], rows[-1][1:])) if rows else None

    def rehearse(self, keys: Sequence[Key]) -> None:
        with self._session.engine.told(f"delete rows of {self._table.label} in"):
            self._session.rows("measure_delete_rows", self._names, *_columns(keys[:1], self._table), self._before)

    def estimate(self) -> Estimate:
        with self._session.engine.told("estimate old rows in"):
            oldest = self._session.rows("measure_oldest_row", self._names, self._before)[0][0]
            old = self._session.rows("measure_old_rows", self._names, self._before)
            total = self._session.rows("measure_all_rows", self._names)
            few = self._session.rows("measure_few_rows", self._names, self._before, COUNTED)[0][0]
        if int(few) < COUNTED:
            return Estimate(int(few), _guessed(total), oldest and str(oldest), exact=True)
        return Estimate(max(COUNTED, _guessed(old)), _guessed(total), str(oldest))

    def _fetch(self, keys: Sequence[Key], statement: str) -> dict[Key, tuple[Row, bool]]:
        columns = self._table.kept_columns
        return self._session.fetch(
            self._table, columns, keys, old=self._old, before=(self._before,), statement=statement
        )

    def _delete(self, keys: Sequence[Key]) -> int:
        # Triggers that call now() speak in the application's time zone; it falls back to UTC with this transaction.
        if self._table.delete_triggers:
            self._session.run("set_time_zone", {}, self._session.time_zone)
        return self._session.run("delete_rows", self._names, *_columns(keys, self._table), self._before)


class _Standbys:
    """Standbys seen since the purge began.

    What a standby reports of its own delay is from the last thing it replayed. When replay stands still nothing new is
    reported, so the time since its place last moved counts as well; and one that has vanished has stopped.
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[str | None, float]] = {}

    def seen(self, rows: Sequence[tuple[Any, ...]], now: float) -> tuple[Replica, ...]:
        lags: dict[str, float | None] = dict.fromkeys(self._places)
        for name, place, behind, lag_s in rows:
            if place is None:
                lags[name] = None  # a slot nobody reads
                continue
            last, since = self._places.get(name, (None, now))
            if place != last:
                since = now
            self._places[name] = (place, since)
            lags[name] = max(float(lag_s or 0), now - since) if float(behind or 0) > 0 else 0.0
        return tuple(Replica(name, lag) for name, lag in sorted(lags.items()))


def _column(facts: Mapping[str, Any]) -> Column:
    base = str(facts["base"])
    return Column(
        name=str(facts["name"]),
        type=str(facts["type"]),
        meaning=_MEANINGS.get(base, "other"),
        form="base64" if base == "bytea" else "text",
        nullable=bool(facts["nullable"]),
        generated=bool(facts["computed"]),
    )


def names_of(table: Table) -> dict[str, str]:
    """What statements about one table need. ONLY: the rows of tables that inherit from it belong to those."""
    types = {column.name: column.type for column in table.columns}
    numbered = [f"k{place}" for place in range(len(table.primary_key))]
    return {
        "table": identifier(*table.place) if table.partitioned else f"ONLY {identifier(*table.place)}",
        "key": ", ".join(f"t.{identifier(name)}" for name in table.primary_key),
        "keys": ", ".join(f"%s::{percent(types[name])}[]" for name in table.primary_key),
        "key_names": ", ".join(numbered),
        "same_key": " AND ".join(
            f"t.{identifier(name)} = k.{number}" for name, number in zip(table.primary_key, numbered, strict=True)
        ),
    }


def _columns(keys: Sequence[Key], table: Table) -> list[list[Any]]:
    """Keys turned by a quarter: one list for each column of the primary key."""
    return [[key[place] for key in keys] for place in range(len(table.primary_key))]


def _read(column: Column) -> str:
    return f"t.{identifier(column.name)}"


def _base64(value: str | None) -> str | None:
    """Bytes as an archive holds them; they come from the server in hexadecimal."""
    return None if value is None else base64.b64encode(bytes.fromhex(value.removeprefix("\\x"))).decode()


def _stored(column: Column, text: str) -> str:
    """The expression that makes an archive's value what it was."""
    return f"decode({text}, 'base64')" if column.form == "base64" else f"{text}::{percent(column.type)}"


def key_of(table: Table, row: Row) -> Key:
    """The key of an archived row, in the values that reading the table gives."""
    binary = {column.name for column in table.columns if column.form == "base64"}
    texts = [(name, row[name]) for name in table.primary_key]
    return tuple(
        f"\\x{base64.b64decode(text).hex()}" if name in binary and text is not None else text for name, text in texts
    )


def _guessed(plan: Sequence[tuple[Any, ...]]) -> int:
    return int(json.loads(plan[0][0])[0]["Plan"]["Plan Rows"])
