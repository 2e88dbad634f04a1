"""Purging rows of MySQL and MariaDB.

**Access path.** Old rows are found along the index on the date column, as (date, primary key) pairs: an InnoDB index
holds the primary key, so this reads the index alone, and only its old end. Walking the primary key instead would read
the whole table wherever keys are not in the order of time (UUIDs). Rows are then deleted by primary key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

import pymysql
from pymysql.constants import ER
from pymysql.cursors import Cursor

from upkeep.domain.load import Pressure
from upkeep.domain.names import quoted
from upkeep.domain.purge import COUNTED, Estimate, Rule, counts_from_its_rows, find_index, moments_to_convert
from upkeep.domain.row_archive import Row
from upkeep.domain.tables import Column, ForeignKey, Form, Meaning, Table
from upkeep.engines.mysql_engine import server_release
from upkeep.engines.mysql_replicas import MySqlReplicas
from upkeep.engines.mysql_restore_line import restore_line
from upkeep.engines.mysql_session import MySqlSession, why_read_only
from upkeep.engines.mysql_statements import limit_statements
from upkeep.engines.row_purge import STATEMENT_LIMIT_S, Found, Key, LockedOut, OldRows, Place, RowPurge
from upkeep.engines.writes_held import NO_PRIVILEGE
from upkeep.resources import sql

STATEMENT_KEYS = 900
"""Keys in one statement. From 1000 on MariaDB turns a list of values into a temporary table, from 16,000 on it gives up
the index altogether, and MySQL does so when its memory for ranges is used up."""
STATEMENT_BYTES = 400_000
"""No statement is longer by much: the smallest max_allowed_packet in use is 1 MiB, and keys may be 3 kB long."""

_LOCKED = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, 1969, 3572}
"""1969: MariaDB's max_statement_time; 3572: NOWAIT."""

_MEANINGS: Mapping[str, Meaning] = {"date": "date", "datetime": "wall clock", "timestamp": "instant"}
_FLOORS: Mapping[Meaning, str] = {
    "date": "0001-01-01",
    "wall clock": "0001-01-01 00:00:00",
    "instant": "1970-01-01 00:00:01",
}
"""The first real date: the zero date lies before it."""

_WHOLE = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
_TEXT = _WHOLE | {
    "decimal", "float", "double", "date", "datetime", "timestamp", "time", "char", "varchar", "tinytext", "text",
    "mediumtext", "longtext", "enum", "set", "json", "uuid", "inet4", "inet6",
}  # fmt: skip
_BYTES = {
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon",
    "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection",
}  # fmt: skip


class MySqlRowPurge(MySqlSession, RowPurge):
    _replicas: MySqlReplicas
    _others_sent: int | None = None
    """Statements of all other sessions until the last look at them; only the difference says something."""

    def __enter__(self) -> Self:
        with self.engine.told("prepare a purge of"), ExitStack() as stack:
            connection = stack.enter_context(self.engine.connect())
            self._connection = connection
            self._set_up()
            self._replicas = MySqlReplicas(self.engine, self.flavour, self.version, self.dicts)
            stack.callback(self._replicas.close)
            self._stack = stack.pop_all()
        return self

    def _set_up(self) -> None:
        self._facts = self.dicts(sql("mysql", "list_purge_server"))[0]
        # Every value as the server writes it, bytes as bytes: nothing on the way may round or refuse it.
        self._connection.decoders = {}
        self.flavour, self.version = server_release(str(self._facts["version"]))
        self.server = f"{self.flavour} {'.'.join(map(str, self.version))}"
        wait = self.engine.lock_timeout_s
        self.run(sql("mysql", "set_purge_patience"), wait, wait)
        limit_statements(self._connection, STATEMENT_LIMIT_S)
        if not (int(self._facts["log_bin"]) and str(self._facts["binlog_format"]).upper() == "STATEMENT"):
            self.run(sql("mysql", "set_purge_isolation"))

    def read_only(self) -> str:
        return why_read_only(self._facts, self.engine.endpoint)

    # What a table is like.

    def look(self, table: str) -> Table | None:
        with self.engine.told("look into"):
            found = self.dicts(sql("mysql", "list_table"), table)
            return self._described(found[0]) if found else None

    def _described(self, facts: Mapping[str, Any]) -> Table:
        name = str(facts["name"])
        if "VIEW" in str(facts["kind"]) or str(facts["kind"]) == "SEQUENCE":
            return Table("mysql", (name,), (), (), {}, kind=str(facts["kind"]).lower())
        columns = self.dicts(sql("mysql", "list_columns_of_table"), name)
        indexes = self.dicts(sql("mysql", "list_indexes_of_table").format(table=_id(name)))
        key = tuple(str(i["Column_name"]) for i in _in_order(indexes) if i["Key_name"] == "PRIMARY")
        foreign_keys, notes = self._foreign_keys(name)
        return Table(
            engine="mysql",
            place=(name,),
            columns=tuple(_column(column) for column in columns),
            primary_key=key,
            indexes=_usable(indexes),
            foreign_keys=foreign_keys,
            storage=str(facts["storage"]),
            transactional=bool(int(facts["transactional"])),
            partitioned=bool(int(facts["partitioned"])),
            delete_triggers=tuple(str(row["name"]) for row in self.dicts(sql("mysql", "list_delete_triggers"), name)),
            spared=self._spared(name, key, columns),
            notes=notes,
        )

    def _foreign_keys(self, name: str) -> tuple[tuple[ForeignKey, ...], tuple[str, ...]]:
        """Those that refer to a table, and what can't be seen of them.

        The server lists to an account only keys of tables on which it has rights. InnoDB lists all.
        """
        listed = tuple(self._keys("list_keys_to_table", name, permitted=True))
        newer = self.flavour == "mysql" and self.version >= (8,)
        try:
            every = list(self._keys(f"list_innodb_{'' if newer else 'sys_'}keys_to_table", name, permitted=False))
        except pymysql.MySQLError as error:
            if error.args[0] not in NO_PRIVILEGE:
                raise
            note = f"this account may not see whether rows of other databases go with those of {name}: grant PROCESS"
            return listed, (note,)
        known = {(key.table, key.columns) for key in listed}
        return (*listed, *(key for key in every if (key.table, key.columns) not in known)), ()

    def _keys(self, statement: str, name: str, *, permitted: bool) -> Iterator[ForeignKey]:
        """``permitted``: whether the account has rights on the tables of other databases among them."""
        found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for row in self.dicts(sql("mysql", statement), name):
            found.setdefault((str(row["table_schema"]), str(row["table_name"]), str(row["name"])), []).append(row)
        for (schema, table, key), rows in found.items():
            ours = schema == self.engine.database
            yield ForeignKey(
                name=key,
                table=table if ours else f"{schema}.{table}",
                columns=tuple(str(row["column_name"]) for row in rows),
                on_delete=str(rows[0]["on_delete"]).upper(),  # InnoDB insists on an index
                permitted=ours or permitted,
            )

    def _spared(self, name: str, key: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> Key | None:
        counted = next((str(column["name"]) for column in columns if int(column["counted"])), None)
        if not counted or not key or not counts_from_its_rows(self.flavour, self.version):
            return None
        template = sql("mysql", "list_highest_row")
        found = self.rows(template.format(key=_list(key), table=_id(name), counted=_id(counted)))
        by_name = {str(column["name"]): _column(column) for column in columns}
        return _typed([by_name[part] for part in key], found[0]) if found else None

    def bound(self, column: Column, cut: datetime) -> str:
        if column.meaning == "date":
            return cut.date().isoformat()
        if column.meaning == "instant":
            return f"{cut.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
        moments = [_epoch(moment) for moment in moments_to_convert(cut)]
        clocks = ", ".join(["FROM_UNIXTIME(%s)"] * len(moments))
        with self.engine.told("read the clock of"):
            self.run(sql("mysql", "set_time_zone_server"))
            try:
                return str(self.rows(sql("mysql", "measure_wall_clock").format(moments=clocks), *moments)[0][0])
            finally:
                self.run(sql("mysql", "set_time_zone_utc"))

    def old_rows(self, table: Table, rule: Rule, before: str) -> OldRows:
        return _MySqlOldRows(self, table, rule, before)

    # What else the server has to do.

    def pressure(self) -> Pressure:
        with self.engine.told("ask about the load of"):
            own = int(self.rows(sql("mysql", "list_own_statements"))[0][1])
            seen = {str(name): int(value) for name, value in self.rows(sql("mysql", "list_running"))}
        running, others = max(0, seen["Threads_running"] - 1), seen["Questions"] - own
        # MySQL counts a thread of its own as running (the event scheduler's), MariaDB doesn't.
        is_shared = running > 1 or self._others_sent not in (None, others)
        self._others_sent = others
        return Pressure(running, self._replicas.lags(), is_shared)

    @property
    def blind_spots(self) -> tuple[str, ...]:
        return self._replicas.unseen

    # Putting rows back.

    def key_of(self, table: Table, row: Row) -> Key:
        return key_of(table, row)

    def present(self, table: Table, keys: Sequence[Key]) -> set[Key]:
        template = sql("mysql", "list_present_keys")
        columns = _key_columns(table)
        found: set[Key] = set()
        with self.engine.told("look for rows of"):
            for some in _statements(keys):
                where, values = _which(table.primary_key, some)
                rows = self.rows(template.format(key=_selected(columns), table=_id(*table.place), keys=where), *values)
                found |= {_typed(columns, row) for row in rows}
        return found

    def insert(self, table: Table, columns: Sequence[Column], rows: Sequence[Row]) -> int:
        marks = f"({', '.join(['%s'] * len(columns))})"
        template = sql("mysql", "insert_rows")
        with self.engine.told("restore rows into"), self._transaction():
            self.run(sql("mysql", "set_restore_mode"))
            for some in _by_size(rows):
                values = [_stored(column, row[column.name]) for row in some for column in columns]
                names = _list([column.name for column in columns])
                self.run(
                    template.format(table=_id(*table.place), columns=names, rows=", ".join([marks] * len(some))),
                    *values,
                )
            keys = [key_of(table, row) for row in rows]
            there = _MySqlOldRows.fetch(self, table, columns, keys)
            return sum(there.get(key, ({}, False))[0] != row for key, row in zip(keys, rows, strict=True))

    def restore_line(self, table: Table, columns: Sequence[Column], unpacked: str) -> str:
        return restore_line(self.flavour, self.engine.database, table, columns, unpacked)

    # How it is done.

    def run(self, statement: str, *values: object) -> int:
        with self._connection.cursor(Cursor) as cursor:
            return int(cursor.execute(statement, values))

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor(Cursor) as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    @contextmanager
    def changing(self, table: Table) -> Iterator[None]:
        try:
            with self._transaction():
                yield
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _LOCKED:
                raise LockedOut(str(error.args[-1])) from error
            raise self.engine.failed(f"delete rows of {table.label} in", error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.begin()
        try:
            yield
            self._connection.commit()
        except BaseException:
            with suppress(pymysql.MySQLError):  # the connection may be what failed; the server then rolls back
                self._connection.rollback()
            raise


class _MySqlOldRows(OldRows):
    _session: MySqlRowPurge

    def __init__(self, session: MySqlRowPurge, table: Table, rule: Rule, before: str) -> None:
        column = table.column(rule.column)
        if column is None:
            raise ValueError(f"{table.label} has no column {rule.column}")
        super().__init__(table, column.name)
        self._session, self._column, self._before = session, column, before
        self._index = find_index(rule, table)
        self._floor = _FLOORS[column.meaning]
        self._keys = _key_columns(table)
        self._names = {"table": _id(*table.place), "index": _id(self._index), "column": _id(column.name)}

    def next(self, after: Place | None, limit: int) -> Found | None:
        beyond, values = (
            ("TRUE", ()) if after is None else _beyond((self._column.name, *self._table.primary_key), after)
        )
        bounds = (self._floor if after is None else after.date, self._before, *values, limit)
        with self._session.engine.told("find old rows in"):
            found = self._numbers(beyond, bounds) or self._listed(beyond, bounds)
        if found and self._table.spared in found.keys:
            found.keys.remove(self._table.spared)
        return found

    def _numbers(self, beyond: str, bounds: tuple[Any, ...]) -> Found | None:
        """The short way, for keys that are one whole number; None where it isn't open."""
        if len(self._keys) != 1 or self._keys[0].form != "text" or _converter(self._keys[0]) is not int:
            return None
        text = sql("mysql", "list_old_numbers").format(**self._names, key=_selected(self._keys), beyond=beyond)
        numbers, last, many = self._session.rows(text, *bounds)[0]
        keys = [(int(number),) for number in (numbers or "").split(",") if number]
        return Found(keys, Place(last, keys[-1])) if keys and len(keys) == int(many) else None

    def _listed(self, beyond: str, bounds: tuple[Any, ...]) -> Found | None:
        text = sql("mysql", "list_old_keys").format(
            **self._names, key=_selected(self._keys), order=_list(self._table.primary_key), beyond=beyond
        )
        rows = self._session.rows(text, *bounds)
        shape = _Shape(self._table, self._keys)
        keys = [shape.key(row[1:]) for row in rows]
        return Found(keys, Place(rows[-1][0], keys[-1])) if rows else None

    def rehearse(self, keys: Sequence[Key]) -> None:
        with self._session.engine.told(f"delete rows of {self._table.label} in"):
            for some in _statements(keys[:1]):
                self._run("measure_delete_rows", some)

    def estimate(self) -> Estimate:
        span = (self._floor, self._before)
        with self._session.engine.told("estimate old rows in"):
            oldest = self._session.rows(sql("mysql", "measure_oldest_row").format(**self._names), *span)[0][0]
            old = self._session.dicts(sql("mysql", "measure_old_rows").format(**self._names), *span)
            total = self._session.dicts(sql("mysql", "measure_all_rows").format(table=self._names["table"]))
            few = self._session.rows(sql("mysql", "measure_few_rows").format(**self._names), *span, COUNTED)[0][0]
        if int(few) < COUNTED:
            return Estimate(int(few), _guessed(total), oldest and str(oldest), exact=True)
        return Estimate(max(COUNTED, _guessed(old)), _guessed(total), str(oldest))

    @property
    def _old(self) -> tuple[str, tuple[object, ...]]:
        """The condition that a row is old, true in any session time zone, and its values."""
        name = self._names["column"]
        if self._column.meaning == "instant":
            cut = datetime.fromisoformat(self._before).replace(tzinfo=UTC)
            return f"UNIX_TIMESTAMP({name}) > 0 AND UNIX_TIMESTAMP({name}) < %s", (_epoch(cut),)
        return f"{name} >= %s AND {name} < %s", (self._floor, self._before)

    def _fetch(self, keys: Sequence[Key], statement: str) -> dict[Key, tuple[Row, bool]]:
        columns = self._table.kept_columns
        return self.fetch(self._session, self._table, columns, keys, old=self._old, statement=statement)

    def _delete(self, keys: Sequence[Key]) -> int:
        # Triggers that call NOW() speak in the server's own time zone, as they do for the application.
        fires = bool(self._table.delete_triggers)
        if fires:
            self._session.run(sql("mysql", "set_time_zone_server"))
        try:
            return sum(self._run("delete_rows", some) for some in _statements(keys))
        finally:
            if fires:
                with suppress(pymysql.MySQLError):  # only a lost connection refuses it, and is told by the next call
                    self._session.run(sql("mysql", "set_time_zone_utc"))

    def _run(self, statement: str, keys: Sequence[Key]) -> int:
        where, values = _which(self._table.primary_key, keys)
        old, bounds = self._old
        text = sql("mysql", statement).format(table=self._names["table"], keys=where, old=old)
        return self._session.run(text, *values, *bounds)

    @staticmethod
    def fetch(
        session: MySqlRowPurge,
        table: Table,
        columns: Sequence[Column],
        keys: Sequence[Key],
        *,
        old: tuple[str, tuple[object, ...]] = ("TRUE", ()),
        statement: str = "list_rows",
    ) -> dict[Key, tuple[Row, bool]]:
        """Rows by key, each with whether it is old."""
        found: dict[Key, tuple[Row, bool]] = {}
        shape = _Shape(table, columns)
        for some in _statements(keys):
            where, values = _which(table.primary_key, some)
            text = sql("mysql", statement).format(
                table=_id(*table.place), columns=_selected(columns), old=old[0], keys=where
            )
            for record in session.rows(text, *old[1], *values):
                found[shape.key(record)] = (shape.row(record), record[-1] == "1")
        return found


def _column(facts: Mapping[str, Any]) -> Column:
    kind = str(facts["data_type"]).lower()
    form: Form = "text" if kind in _TEXT else "base64" if kind in _BYTES else "number" if kind == "bit" else "none"
    return Column(
        name=str(facts["name"]),
        type=str(facts["type"]),
        meaning=_MEANINGS.get(kind, "other"),
        form=form,
        nullable=bool(int(facts["nullable"])),
        generated=bool(int(facts["computed"])),
    )


def _usable(indexes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Names of the indexes that the server may use for a range of their first column, the narrowest first."""
    width: dict[str, int] = {}
    for index in indexes:
        width[str(index["Key_name"])] = max(width.get(str(index["Key_name"]), 0), int(index["Seq_in_index"]))
    found: dict[str, list[str]] = {}
    for index in indexes:
        hidden = str(index.get("Visible", "YES")).upper() == "NO" or str(index.get("Ignored", "NO")).upper() == "YES"
        whole = index["Index_type"] == "BTREE" and index["Sub_part"] is None and index["Column_name"] is not None
        if int(index["Seq_in_index"]) == 1 and whole and not hidden:
            found.setdefault(str(index["Column_name"]), []).append(str(index["Key_name"]))
    return {column: tuple(sorted(names, key=lambda name: (width[name], name))) for column, names in found.items()}


def _in_order(indexes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(indexes, key=lambda index: int(index["Seq_in_index"]))


def _id(*names: str) -> str:
    """An identifier in a statement that takes values: the driver reads a lone percent sign as a place for one."""
    return quoted("mysql", *names).replace("%", "%%")


def _list(names: Sequence[str]) -> str:
    return ", ".join(_id(name) for name in names)


def _selected(columns: Sequence[Column]) -> str:
    """How columns are read so that nothing is lost: a FLOAT as it stands shows six digits, a bit field raw bytes."""
    return ", ".join(
        f"{_id(column.name)} + 0e0" if column.type.lower().startswith("float")
        else f"CAST({_id(column.name)} AS UNSIGNED)" if column.form == "number"
        else _id(column.name)
        for column in columns
    )  # fmt: skip


class _Shape:
    """Turns records into keys and rows; hundreds of thousands of them, so what can be known beforehand is."""

    def __init__(self, table: Table, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._binary = [column.name for column in columns if column.form == "base64"]
        by_name = {column.name: (place, _converter(column)) for place, column in enumerate(columns)}
        self._key = [by_name[name] for name in table.primary_key]

    def key(self, record: Sequence[Any]) -> Key:
        return tuple(convert(record[place]) if convert else record[place] for place, convert in self._key)

    def row(self, record: Sequence[Any]) -> Row:
        row = dict(zip(self._names, record, strict=False))  # the record's last value isn't the row's
        for name in self._binary:
            if row[name] is not None:
                row[name] = base64.b64encode(row[name]).decode()
        return row


def _stored(column: Column, text: str | None) -> object:
    """An archive's value as the server takes it back."""
    if text is None:
        return None
    return base64.b64decode(text) if column.form == "base64" else int(text) if column.form == "number" else text


def _key_columns(table: Table) -> list[Column]:
    by_name = {column.name: column for column in table.columns}
    return [by_name[name] for name in table.primary_key]


def _typed(columns: Sequence[Column], values: Sequence[Any]) -> Key:
    converters = [_converter(column) for column in columns]
    return tuple(convert(value) if convert else value for convert, value in zip(converters, values, strict=True))


def _converter(column: Column) -> Callable[[str], Any] | None:
    """From a key's text to a parameter: a number compared as text would be compared as a floating-point number."""
    kind = column.type.lower().split("(")[0].split(" ")[0]
    if kind in _WHOLE or column.form == "number":
        return int
    return Decimal if kind == "decimal" else None


def key_of(table: Table, row: Row) -> Key:
    """The key of an archived row, in the values that reading the table gives."""
    columns = _key_columns(table)
    texts = [row[column.name] for column in columns]
    values = [
        base64.b64decode(text) if column.form == "base64" and text is not None else text
        for column, text in zip(columns, texts, strict=True)
    ]
    return _typed(columns, values)


def _statements(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Keys in portions that fit into one statement."""
    some: list[Key] = []
    size = 0
    for key in keys:
        some.append(key)
        size += sum(len(part) * 2 if isinstance(part, str | bytes) else 20 for part in key)
        if len(some) == STATEMENT_KEYS or size > STATEMENT_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _by_size(rows: Sequence[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(value or "") for value in row.values())
        if len(some) == STATEMENT_KEYS or size > STATEMENT_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _which(names: Sequence[str], keys: Sequence[Key]) -> tuple[str, list[Any]]:
    """The condition that picks exactly ``keys``, in a form for which every release uses the primary key's ranges."""
    *heads, last = [_id(name) for name in names]
    if not heads and len(keys) > 1 and (spans := _spans(keys)):
        return " OR ".join([f"{last} BETWEEN %s AND %s"] * len(spans)), [end for span in spans for end in span]
    groups: dict[Key, list[Any]] = {}
    for key in keys:
        groups.setdefault(key[:-1], []).append(key[-1])
    parts, values = [], []
    for head, lasts in groups.items():
        same = [f"{name} = %s" for name in heads]
        parts.append(" AND ".join([*same, f"{last} IN ({', '.join(['%s'] * len(lasts))})"]))
        values += [*head, *lasts]
    return " OR ".join(f"({part})" for part in parts) or "FALSE", values


def _spans(keys: Sequence[Key]) -> list[tuple[int, int]]:
    """Whole-number keys as spans without gaps: no other row can lie in one. Empty where that isn't shorter.

    Half as much work for the server as a list of the same keys.
    """
    numbers = [key[0] for key in keys]
    if not all(isinstance(number, int) for number in numbers):
        return []
    spans: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans if len(spans) <= len(keys) // 4 else []


def _beyond(names: Sequence[str], place: Place) -> tuple[str, tuple[Any, ...]]:
    """The condition that a row comes after ``place`` in the order of ``names``."""
    text = "FALSE"
    values: list[Any] = []
    for name, value in zip(reversed(names), reversed((place.date, *place.key)), strict=True):
        text = f"({_id(name)} > %s OR ({_id(name)} = %s AND {text}))"
        values[:0] = [value, value]
    return text, tuple(values)


def _epoch(moment: datetime) -> Decimal:
    """Seconds since 1970 to the microsecond."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Decimal(since.days * 86_400 + since.seconds) + Decimal(since.microseconds) / 1_000_000


def _guessed(plan: Sequence[Mapping[str, Any]]) -> int:
    return max((int(step["rows"] or 0) for step in plan), default=0)
