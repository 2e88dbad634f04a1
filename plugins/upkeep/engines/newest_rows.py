"""When a database was last written to, by its own columns of dates and times. Only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import pymysql
from psycopg.sql import SQL, Identifier

from upkeep.domain.names import quoted
from upkeep.engines.degrading import in_a_line
from upkeep.engines.mysql_statements import limit_statements, rows_of
from upkeep.errors import RestoreUnavailable
from upkeep.resources import sql

MOST_COLUMNS = 40
"""A database with more is judged by the first of them that an index leads to."""
LIMIT_S = 10
"""For each column, in seconds."""


@dataclass
class Newest:
    """``newest`` by ``table.column``. ``without_zone``: those of them that the database keeps as a wall clock, read in
    ``zone``.
    """

    zone: tzinfo
    newest: dict[str, datetime] = field(default_factory=dict)
    without_zone: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class _Column(NamedTuple):
    place: tuple[str, ...]
    name: str
    has_zone: bool

    @property
    def label(self) -> str:
        return f"{'.'.join(self.place).removeprefix('public.')}.{self.name}"


def newest_rows(
    connection: Any, engine: str, named: Iterable[tuple[str, str]], *, until: datetime | None, zone: tzinfo | None
) -> Newest:
    """The newest moment in each time column that an index leads to, and in those that are ``named``.

    :param named: table and column.
    :param until: later moments don't count; only columns with an index are asked for it, so that a source in use isn't
        searched through.
    :param zone: what a wall clock is read in; None: what the server's own clock shows.
    :raises RestoreUnavailable: the database doesn't answer.
    """
    reader = (_MySqlRows if engine == "mysql" else _PostgresRows)(connection)
    wanted = {(table.removeprefix("public."), column) for table, column in named}
    try:
        reader.prepare()
        found = Newest(zone or reader.zone())
        for column, indexed in list(reader.columns())[: MOST_COLUMNS * 4]:
            of_site = (".".join(column.place).removeprefix("public."), column.name) in wanted
            if len(found.newest) < MOST_COLUMNS and (indexed or (of_site and until is None)):
                _read(reader, column, found, until)
        return found
    except (pymysql.MySQLError, psycopg.Error) as error:
        raise RestoreUnavailable(
            f"the newest rows can't be looked for: {in_a_line(error)}", hint="see the server's log"
        ) from error


def _read(reader: _MySqlRows | _PostgresRows, column: _Column, found: Newest, until: datetime | None) -> None:
    limit = None
    if until is not None:
        limit = until.astimezone(UTC) if column.has_zone else until.astimezone(found.zone).replace(tzinfo=None)
    try:
        newest = reader.newest(column, limit)
    except (pymysql.err.OperationalError, pymysql.err.InternalError, psycopg.errors.QueryCanceled) as error:
        found.unread.append(f"the newest {column.label}: {in_a_line(error)}")
        return
    if not isinstance(newest, datetime):
        return  # an empty table, or MySQL's zero date
    if newest.tzinfo is None:
        newest = newest.replace(tzinfo=UTC if column.has_zone else found.zone)
    found.newest[column.label] = newest.astimezone(UTC)
    if not column.has_zone:
        found.without_zone.append(column.label)


def _statement(until: datetime | None) -> str:
    return "measure_newest_row_until" if until else "measure_newest_row"


class _MySqlRows:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def prepare(self) -> None:
        limit_statements(self._connection, LIMIT_S)

    def zone(self) -> tzinfo:
        return timezone(timedelta(seconds=round(int(self._all(sql("mysql", "list_clock"))[0]["ahead_s"]), -1)))

    def columns(self) -> Iterator[tuple[_Column, bool]]:
        for row in self._all(sql("mysql", "list_time_columns")):
            column = _Column((str(row["table_name"]),), str(row["column_name"]), bool(row["has_zone"]))
            yield column, bool(row["indexed"])

    def newest(self, column: _Column, until: datetime | None) -> Any:
        table, name = (quoted("mysql", *names) for names in (column.place, (column.name,)))
        if until:  # only then PyMySQL takes a percent sign for a value's place
            table, name = table.replace("%", "%%"), name.replace("%", "%%")
        statement = sql("mysql", _statement(until)).format(table=table, column=name)
        self._all(sql("mysql", "set_time_zone_utc") if column.has_zone else sql("mysql", "set_time_zone_server"))
        return self._all(statement, *([f"{until:%Y-%m-%d %H:%M:%S.%f}"] if until else []))[0]["newest"]

    def _all(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return rows_of(self._connection, statement, *values)


class _PostgresRows:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def prepare(self) -> None:
        self._connection.autocommit = True

    def zone(self) -> tzinfo:
        name = str(self._connection.execute(sql("postgres", "list_clock")).fetchone()["zone"])
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            return UTC

    def columns(self) -> Iterator[tuple[_Column, bool]]:
        for row in self._connection.execute(sql("postgres", "list_time_columns").encode()).fetchall():
            place = (str(row["schema_name"]), str(row["table_name"]))
            yield _Column(place, str(row["column_name"]), bool(row["has_zone"])), bool(row["indexed"])

    def newest(self, column: _Column, until: datetime | None) -> Any:
        statement = SQL(sql("postgres", _statement(until))).format(
            table=Identifier(*column.place),
            column=Identifier(column.name),
            kind=SQL("timestamptz" if column.has_zone else "timestamp"),
        )
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION READ ONLY")
            self._connection.execute(f"SET LOCAL statement_timeout = '{LIMIT_S}s'")
            return self._connection.execute(statement, [until] if until else None).fetchone()["newest"]
