"""What a restored copy of a database holds, measured as its source was within the snapshot of its dump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
import pymysql

from upkeep.domain.manifest import Manifest
from upkeep.engines import mysql_catalogue, postgres_catalogue
from upkeep.engines.degrading import in_a_line
from upkeep.engines.evidence import Whole
from upkeep.engines.mysql_statements import limit_statements
from upkeep.engines.postgres_engine import NO_ENCODING
from upkeep.errors import RestoreUnavailable
from upkeep.resources import sql
from upkeep.site import Check


@dataclass(frozen=True)
class Copy:
    """``tables`` by the name that they have in the manifest, with ``rows`` and, where that has one, ``checksum``.

    ``regrouped`` holds the partitions whose rows come back in others.
    """

    tables: dict[str, dict[str, Any]]
    catalogue: dict[str, Any]
    regrouped: dict[str, Whole] = field(default_factory=dict)


def look_at_mysql(connection: Any, name: str, manifest: Manifest) -> Copy:
    recorded = manifest.contents.get("tables", {})
    found: dict[str, dict[str, Any]] = {}
    try:
        mysql_catalogue.prepare(connection)
        for table in mysql_catalogue.list_tables(connection).values():
            if "checksum" in recorded.get(table.name, {}):
                rows, checksum = mysql_catalogue.checksum(connection, table)
                found[table.name] = {"rows": rows, "checksum": checksum}
            else:
                found[table.name] = {"rows": mysql_catalogue.count(connection, table.name)}
        return Copy(found, mysql_catalogue.catalogue(connection, name, was=str(manifest.source.get("database", ""))))
    except pymysql.MySQLError as error:
        raise _unreadable(error) from error


def look_at_postgres(connection: Any, manifest: Manifest) -> Copy:
    recorded = manifest.contents.get("tables", {})
    found: dict[str, dict[str, Any]] = {}
    try:
        with connection.transaction():
            postgres_catalogue.prepare(connection)
            reordered = postgres_catalogue.reordered_rows(connection)
            for row in connection.execute(sql("postgres", "list_tables").encode()).fetchall():
                table = psycopg.sql.Identifier(row["schema"], row["name"])
                name = _shown(connection, f"{row['schema']}.{row['name']}")
                if "checksum" in recorded.get(name, {}):
                    rows, checksum = postgres_catalogue.checksum(connection, table, reordered)
                    found[name] = {"rows": rows, "checksum": checksum}
                else:
                    found[name] = {"rows": postgres_catalogue.count(connection, table)}
            return Copy(found, postgres_catalogue.catalogue(connection), regrouped_partitions(connection))
    except psycopg.Error as error:
        raise _unreadable(error) from error


def regrouped_partitions(connection: Any) -> dict[str, Whole]:
    """The partitions of a PostgreSQL database whose rows come back in others, by the name they have in the manifest."""
    return {
        _shown(connection, row["name"]): Whole(_shown(connection, row["parent"]), row["prints_alike"])
        for row in connection.execute(sql("postgres", "list_regrouped_partitions").encode()).fetchall()
    }


def run_checks(connection: Any, engine: str, checks: Sequence[Check], limit_s: int, *, ok: bool) -> list[str]:
    """The site's own checks that don't hold, each with its number.

    A check that can't be run says nothing about a copy that is otherwise like its source: more likely it was written
    for another database.

    :param ok: whether nothing else differs.
    :raises RestoreUnavailable: a check can't be run, and nothing else differs.
    """
    failed = []
    for check in checks:
        try:
            rows = _run_bounded(connection, engine, check.sql, limit_s)
        except (pymysql.MySQLError, psycopg.Error) as error:
            failed.append(f"the check {check.sql!r} can't be run: {in_a_line(error)}")
            continue
        value = _number(rows)
        if value is None:
            failed.append(f"the check {check.sql!r} doesn't give one number")
        elif check.at_least is not None and value < check.at_least:
            failed.append(f"the check {check.sql!r} gives {value:g}, at least {check.at_least:g} are needed")
        elif check.at_most is not None and value > check.at_most:
            failed.append(f"the check {check.sql!r} gives {value:g}, at most {check.at_most:g} are allowed")
    unable = [line for line in failed if "can't be run" in line or "one number" in line]
    if ok and unable and len(unable) == len(failed):
        raise RestoreUnavailable(
            f"all that was restored is like its source, but {'; '.join(unable)}",
            hint="fix it in the site file: one SELECT with one number, whose tables are named without their database",
        )
    return failed


def _run_bounded(connection: Any, engine: str, statement: str, limit_s: int) -> list[Any]:
    """In a transaction that can't write, for a limited time."""
    if engine == "postgres":
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(f"SET LOCAL statement_timeout = '{limit_s}s'")
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchmany(2)) if cursor.description else []
    limit_statements(connection, limit_s)
    with connection.cursor() as cursor:
        cursor.execute("START TRANSACTION READ ONLY")
        try:
            cursor.execute(statement)
            return list(cursor.fetchmany(2))
        finally:
            cursor.execute("ROLLBACK")


def _number(rows: Sequence[Any]) -> float | None:
    if len(rows) != 1 or len(rows[0]) != 1:
        return None
    (value,) = rows[0].values()
    # NaN breaks no bound.
    return float(value) if isinstance(value, int | float | Decimal) and value == value else None


def _shown(connection: Any, name: str) -> str:
    """As the manifest shows it; see ``postgres_engine``."""
    if connection.info.parameter_status("server_encoding") == NO_ENCODING:
        return name.encode("latin-1").decode("utf-8", "backslashreplace")
    return name


def _unreadable(error: Exception) -> RestoreUnavailable:
    return RestoreUnavailable(
        f"the restored copy can't be looked at: {in_a_line(error)}",
        hint="see the log of the server that it stands on; the account there has to read all that it restored",
    )
