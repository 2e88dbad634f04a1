"""The fingerprint of a MariaDB or MySQL database."""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.servers.data.fingerprint import Fingerprint

GEOMETRIES = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
}  # fmt: skip

OBJECTS = {
    "view": """
        SELECT table_name, CONCAT_WS(' | ', definer, security_type, check_option, view_definition)
        FROM information_schema.views WHERE table_schema = %s""",
    "routine": """
        SELECT CONCAT(LOWER(routine_type), ' ', routine_name), CONCAT_WS(' | ', definer, security_type, sql_data_access,
            is_deterministic, sql_mode, character_set_client, collation_connection, routine_comment, dtd_identifier,
            (SELECT GROUP_CONCAT(
                 CONCAT_WS(' ', parameter_mode, parameter_name, dtd_identifier) ORDER BY ordinal_position)
             FROM information_schema.parameters p WHERE p.specific_schema = r.routine_schema
             AND p.specific_name = r.specific_name AND p.routine_type = r.routine_type), routine_definition)
        FROM information_schema.routines r WHERE routine_schema = %s""",
    "trigger": """
        SELECT trigger_name, CONCAT_WS(' | ', definer, action_timing, event_manipulation, event_object_table,
            action_order, sql_mode, character_set_client, collation_connection, action_statement)
        FROM information_schema.triggers WHERE trigger_schema = %s""",
    "event": """
        SELECT event_name, CONCAT_WS(' | ', definer, time_zone, event_type, execute_at, interval_value, interval_field,
            starts, ends, status, on_completion, sql_mode, event_comment, event_definition)
        FROM information_schema.events WHERE event_schema = %s""",
}


def fingerprint_mysql(conn: Connection[Cursor], database: str) -> Fingerprint:
    """Read every row and every definition of ``database``. Its own name is left out, so that copies can be compared."""
    qualified = _quoted(database) + "."
    with conn.cursor() as cursor:
        kinds = _query(
            cursor, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", database
        )
        tables = sorted(name for name, kind in kinds if kind == "BASE TABLE")
        sequences = sorted(name for name, kind in kinds if kind == "SEQUENCE")
        objects = {
            kind: {name: str(text).replace(qualified, "") for name, text in _query(cursor, statement, database)}
            for kind, statement in OBJECTS.items()
        }
        objects["definition"] = {
            name: _query(cursor, f"SHOW CREATE TABLE {qualified}{_quoted(name)}".replace("%", "%%"))[0][1]
            for name in tables
        }
        objects["sequence"] = {
            name: repr(_query(cursor, f"SELECT * FROM {qualified}{_quoted(name)}".replace("%", "%%")))
            for name in sequences
        }
        objects["database"] = {
            "": repr(
                _query(
                    cursor,
                    "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata "
                    "WHERE schema_name = %s",
                    database,
                )
            )
        }
        return Fingerprint({name: _content(cursor, database, name) for name in tables}, objects)


def _content(cursor: Cursor, database: str, table: str) -> tuple[int, str]:
    """The sum of a hash of each row: the same in any order, and two equal rows don't cancel each other out."""
    columns = _query(
        cursor,
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        database,
        table,
    )
    # A hash for each column first: the row as one text could exceed max_allowed_packet, and then it would be NULL.
    # And SHA2, since MySQL has dropped MD5.
    hashes = ", ".join(f"COALESCE(SHA2({_as_bytes(*column)}, 256), 'NULL')" for column in columns)
    half = "CAST(CONV(SUBSTRING(SHA2(CONCAT_WS(',', {hashes}), 256), {start}, 16), 16, 10) AS DECIMAL(20))"
    sums = ", ".join(f"SUM({half.format(hashes=hashes, start=start)})" for start in (1, 17))
    statement = f"SELECT COUNT(*), {sums} FROM {_quoted(database)}.{_quoted(table)}"
    [(rows, first, second)] = _query(cursor, statement.replace("%", "%%"))
    return rows, f"{first or 0}-{second or 0}"


def _as_bytes(column: str, kind: str) -> str:
    name = _quoted(column)
    if kind.lower() in GEOMETRIES:
        return f"CONCAT(ST_SRID({name}), HEX(ST_AsBinary({name})))"
    return f"CAST({name} AS BINARY)"


def _query(cursor: Cursor, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
