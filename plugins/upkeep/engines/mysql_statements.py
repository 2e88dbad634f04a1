"""One statement on a connection that somebody else holds."""

from __future__ import annotations

from functools import partial
from typing import Any

from upkeep.domain import names
from upkeep.resources import sql

quoted = partial(names.quoted, "mysql")


def literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def text_of(value: Any) -> str:
    """What the server says in bytes, as it does of its own tables' columns; NULL is empty."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def run(connection: Any, statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def rows_of(connection: Any, statement: str, *values: object) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def limit_statements(connection: Any, seconds: float) -> None:
    """How long any one statement of the session may take; 0 for no limit. MySQL keeps it for SELECT alone."""
    run(connection, sql("mysql", "set_statement_limit"), seconds, int(seconds * 1000))
