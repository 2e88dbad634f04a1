"""What a PostgreSQL database holds, in a form that is the same for a source and its restored copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from upkeep.engines.degrading import in_a_line
from upkeep.engines.evidence import Evidence, by_owner, digest, sums
from upkeep.resources import sql

_OWNER = "owner of "


def gather(connection: Any, tables: Mapping[str, Identifier], *, under_bytes: int) -> Evidence:
    """Catalogue and checksums within the connection's snapshot; call it while ``tables`` are locked.

    :param tables: by the name they have in the manifest.
    :param under_bytes: larger tables get no checksum.
    """
    warnings: list[str] = []
    checksums: dict[str, dict[str, Any]] = {}
    with connection.transaction():
        prepare(connection)
        reordered: dict[str, Composable] | None = None
        for name, table in tables.items() if under_bytes else ():
            try:
                with connection.transaction():  # an error must not end the snapshot that pg_dump reads from
                    reordered = reordered_rows(connection) if reordered is None else reordered
                    if size(connection, table) <= under_bytes:
                        checksums[name] = {"checksum": checksum(connection, table, reordered)[1]}
            except psycopg.OperationalError:
                raise  # a cut connection, a cancelled statement
            except psycopg.Error as error:
                # A row that is longer than 1 GB as text, say.
                warnings.append(f"table {name} has no checksum: {in_a_line(error)}")
        try:
            with connection.transaction():
                found = catalogue(connection)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            found = {}
            warnings.append(f"no catalogue of the objects: {in_a_line(error)}")
        return Evidence(found, checksums, warnings)


def prepare(connection: Any) -> None:
    """Once for each transaction that measures: both sides have to print alike."""
    _all(connection, sql("postgres", "set_comparing_session").encode())


def size(connection: Any, table: Identifier) -> int:
    """Bytes on disk, what is stored out of line included."""
    statement = sql("postgres", "measure_table_size").encode()
    return int(_all(connection, statement, [table.as_string(connection)])[0]["bytes"])


def count(connection: Any, table: Identifier) -> int:
    return int(_all(connection, SQL("SELECT count(*) AS row_count FROM ONLY {}").format(table))[0]["row_count"])


def reordered_rows(connection: Any) -> dict[str, Composable]:
    """A row of each table that a dump makes again with another order of columns, in that order; by the table's name as
    SQL writes it.
    """
    restored = SQL(sql("postgres", "list_restored_columns"))
    rows = _all(connection, SQL(sql("postgres", "list_reordered_tables")).format(restored_columns=restored))
    return {
        Identifier(row["schema"], row["name"]).as_string(connection): SQL("ROW({})").format(
            SQL(", ").join(Identifier("upkeep_row", column) for column in row["columns"])
        )
        for row in rows
    }


def checksum(connection: Any, table: Identifier, reordered: Mapping[str, Composable]) -> tuple[int, str]:
    """Rows and the checksum of their content: without order, with types, the same on every release from 12 on."""
    row = reordered.get(table.as_string(connection), Identifier("upkeep_row"))
    found = _all(connection, SQL(sql("postgres", "measure_checksum")).format(table=table, row=row))[0]
    return int(found["row_count"]), sums(found["first_sum"], found["second_sum"])


def catalogue(connection: Any) -> dict[str, Any]:
    """Each object by kind and name, with a digest of its definition; ``prepare`` first."""
    found: dict[str, dict[str, str]] = {}
    owners = []
    restored = SQL(sql("postgres", "list_restored_columns"))
    for row in _all(connection, SQL(sql("postgres", "list_definitions")).format(restored_columns=restored)):
        kind, name, definition = str(row["kind"]), str(row["name"]), row["definition"]
        if kind.startswith(_OWNER):
            owners.append((str(definition), f"{kind.removeprefix(_OWNER)} {name}"))
        else:
            found.setdefault(kind, {})[name] = digest(None if definition is None else str(definition))
    return {
        "release": f"postgres {connection.info.server_version // 10000}",
        **{kind: dict(sorted(objects.items())) for kind, objects in sorted(found.items())},
        "owners": by_owner(owners),
    }


def _all(connection: Any, statement: Composable | bytes, values: list[Any] | None = None) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
