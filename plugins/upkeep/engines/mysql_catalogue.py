"""What a MySQL or MariaDB database holds, in a form that is the same for a source and its restored copy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pymysql

from upkeep.engines.evidence import Evidence, by_owner, digest, sums
from upkeep.engines.mysql_errors import is_about_the_connection
from upkeep.engines.mysql_statements import quoted, rows_of
from upkeep.engines.tools import numbers
from upkeep.resources import sql

PLAIN = {
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "date", "time", "datetime", "timestamp",
    "year",
}  # fmt: skip
"""Types whose text can't hold a separator."""
AS_HEX = {
    "bit", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection", "vector",
}  # fmt: skip
LONG = {"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "json"}
"""Hashed by themselves first: a row as one text must not exceed max_allowed_packet, or it would be NULL."""
ROUNDED = {"float"}
"""mysqldump writes six significant digits of them."""
LEAST_PACKET = 1_000_000
"""A row without its long columns, as text, stays below it in any case."""
_TAIL = re.compile(r" AUTO_INCREMENT=\d+(?= |$)")
_INDEX = re.compile(r"^  (?:(?:UNIQUE|FULLTEXT|SPATIAL|VECTOR) )?KEY `((?:[^`]|``)+)`|^  (PRIMARY KEY) ")
_CONSTRAINT = re.compile(r"^  CONSTRAINT `((?:[^`]|``)+)`")


@dataclass
class Table:
    """What a checksum has to know of a table. ``bytes`` is the server's guess of its data."""

    name: str
    type: str
    bytes: int
    columns: list[tuple[str, str]] = field(default_factory=list)
    """Name and type; computed ones are left out, for no dump holds them."""

    @property
    def rounded(self) -> list[str]:
        return [name for name, kind in self.columns if kind in ROUNDED]


def gather(
    connection: Any,
    database: str,
    *,
    under_bytes: int,
    dumped: Collection[str],
    only: Collection[str],
    left_out: Collection[str] = (),
) -> Evidence:
    """Catalogue and checksums within the connection's snapshot.

    :param under_bytes: larger tables get no checksum.
    :param dumped: the tables of the dump; one that was made since isn't in it.
    :param only: those of them that stand in the snapshot.
    :param left_out: views that are not dumped.
    """
    prepare(connection)
    tables = list_tables(connection)
    checksums: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for table in tables.values() if under_bytes and has_room_for_rows(connection) else ():
        if table.name not in only or table.bytes > under_bytes:
            continue
        try:
            found = checksum(connection, table)[1]
        except pymysql.MySQLError as error:
            if is_about_the_connection(error):
                raise
            warnings.append(f"table {table.name!r} has no checksum: {error.args[-1]}")
            continue
        without = {"checksum_without": table.rounded} if table.rounded else {}
        checksums[table.name] = {"checksum": found, **without}
    try:
        objects = catalogue(connection, database, dumped=dumped, left_out=left_out)
    except pymysql.MySQLError as error:
        if is_about_the_connection(error):
            raise
        objects = {}
        warnings.append(f"no catalogue of the objects: {error.args[-1]}")
    return Evidence(objects, checksums, warnings)


def prepare(connection: Any) -> None:
    """Once for each session that measures: both sides have to print alike."""
    with connection.cursor() as cursor:
        cursor.execute(sql("mysql", "set_comparing_session"))


def has_room_for_rows(connection: Any) -> bool:
    return int(rows_of(connection, "SELECT @@max_allowed_packet AS size")[0]["size"]) >= LEAST_PACKET


def list_tables(connection: Any) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for row in rows_of(connection, sql("mysql", "list_columns")):
        name = str(row["table_name"])
        table = tables.setdefault(name, Table(name, str(row["table_type"]), int(row["bytes"])))
        table.columns.append((str(row["name"]), str(row["type"])))
    return {name: table for name, table in tables.items() if table.type != "SEQUENCE"}


def count(connection: Any, table: str) -> int:
    return int(rows_of(connection, f"SELECT COUNT(*) AS row_count FROM {quoted(table)}")[0]["row_count"])  # noqa: S608


def checksum(connection: Any, table: Table) -> tuple[int, str]:
    """Rows and the checksum of their content: without order, with types, the same on MySQL and MariaDB."""
    row = ", ';', ".join(_piece(quoted(name), kind) for name, kind in table.columns if kind not in ROUNDED) or "''"
    statement = sql("mysql", "measure_checksum").format(table=quoted(table.name), row=f"CONCAT({row})")
    found = rows_of(connection, statement)[0]
    return int(found["row_count"]), sums(found["first_sum"], found["second_sum"])


def catalogue(
    connection: Any,
    database: str,
    *,
    was: str = "",
    dumped: Collection[str] | None = None,
    left_out: Collection[str] = (),
) -> dict[str, Any]:
    """Each object by kind and name, with a digest of its definition.

    :param was: the name of the database that this one is a copy of. Where a definition names its own database the name
        is taken out; of a copy that of its source too, since stored programs keep it.
    :param dumped: the only tables to look at; without it all.
    :param left_out: views that are not looked at.
    """
    own = [f"{quoted(name)}." for name in (database, was) if name]
    version = str(rows_of(connection, "SELECT VERSION() AS version")[0]["version"])
    kinds = ("tables", "indexes", "constraints", "views", "sequences", "routines", "triggers", "events")
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    definers = []
    for row in rows_of(connection, sql("mysql", "list_definitions")):
        kind, name, definition = str(row["kind"]), str(row["name"]), row["definition"]
        if kind == "views" and name in left_out:
            continue
        found.setdefault(kind, {})[name] = digest(None if definition is None else _without(_text(definition), own))
        if row["definer"]:
            definers.append((str(row["definer"]), f"{kind} {name}"))
    types = {
        str(row["table_name"]): str(row["table_type"]) for row in rows_of(connection, sql("mysql", "list_columns"))
    }
    for name, kind in types.items():
        if kind == "SEQUENCE":
            row = rows_of(connection, f"SHOW CREATE SEQUENCE {quoted(name)}")[0]
            found["sequences"][name] = digest(str(row["Create Table"]))
            continue
        if dumped is not None and name not in dumped:
            continue
        row = rows_of(connection, f"SHOW CREATE TABLE {quoted(name)}")[0]
        _add_table(found, name, _without(str(row["Create Table"]), own))
    return {
        "release": release(version),
        **{kind: dict(sorted(objects.items())) for kind, objects in found.items()},
        "definers": by_owner(definers),
    }


def release(version: str) -> str:
    """What has to be the same on both sides for definitions to be printed alike. MySQL 8.0 changed within itself."""
    flavour = "mariadb" if "mariadb" in version.lower() else "mysql"
    parts = numbers(version.removeprefix("5.5.5-") if flavour == "mariadb" else version)
    places = 3 if flavour == "mysql" and parts[:2] == (8, 0) else 2
    return f"{flavour} {'.'.join(map(str, parts[:places]))}"


def _add_table(found: dict[str, dict[str, str]], name: str, definition: str) -> None:
    """Columns, options and partitions are the table; indexes and constraints come by themselves.

    A restore may build indexes after the data, so their order says nothing.
    """
    rest = []
    for line in definition.split("\n"):
        clause = line.removesuffix(",")
        if index := _INDEX.match(clause):
            found["indexes"][f"{name}.{index[1] or 'PRIMARY'}"] = digest(clause)
        elif constraint := _CONSTRAINT.match(clause):
            found["constraints"][f"{name}.{constraint[1]}"] = digest(clause)
        else:
            rest.append(_TAIL.sub("", clause) if line.startswith(")") else clause)
    found["tables"][name] = digest("\n".join(rest))


def _piece(column: str, kind: str) -> str:
    if kind in PLAIN:
        return f"COALESCE({column}, 'N')"
    if kind in AS_HEX:
        return f"COALESCE(HEX({column}), 'N')"
    if kind == "json":  # MySQL's: a DECIMAL within is dumped as its text, and comes back as the DOUBLE of that text
        column = f"CAST(CONVERT({column} USING utf8mb4) AS JSON)"
    if kind in LONG:
        return f"COALESCE(SHA2(CAST({column} AS BINARY), 256), 'N')"
    octets = f"CAST({column} AS BINARY)"
    return f"COALESCE(CONCAT(LENGTH({octets}), ':', {octets}), 'N')"


def _without(text: str, names: Iterable[str]) -> str:
    for name in names:
        text = text.replace(name, "")
    return text


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
