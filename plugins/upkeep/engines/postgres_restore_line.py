"""The shell line that puts archived rows back into PostgreSQL with nothing but psql."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from upkeep.domain.names import quoted
from upkeep.domain.tables import Column, Table


def restore_line(database: str, table: Table, columns: Sequence[Column], unpacked: str) -> str:
    """All or nothing, in one transaction. A row whose primary key is there stays as it is there.

    JSON escapes control characters, so that two of them can stand for COPY's quote and delimiter. A file that can't be
    unpacked to its end is followed by a line that is no JSON, and the transaction fails on it.
    """
    names = ", ".join(quoted("postgres", column.name) for column in columns)
    key = ", ".join(quoted("postgres", name) for name in table.primary_key)
    values = ", ".join(_value(column) for column in columns)
    before = (
        "SET lc_monetary = 'C'; BEGIN; CREATE TEMP TABLE upkeep_rows (line json) ON COMMIT DROP; "
        "COPY upkeep_rows FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');"
    )
    after = (
        f"INSERT INTO {table.quoted} ({names}) OVERRIDING SYSTEM VALUE "  # noqa: S608 - names are quoted
        f"SELECT {values} FROM upkeep_rows ON CONFLICT ({key}) DO NOTHING; COMMIT;"
    )
    return (
        f"(printf '%s\\n' {shlex.quote(before)}; {unpacked} || echo '!the archive is damaged!'; "
        f"printf '%s\\n' '\\.' {shlex.quote(after)}) | "
        f"psql --quiet --set=ON_ERROR_STOP=1 {shlex.quote(f'--dbname={_conninfo(database)}')}"
    )


def _value(column: Column) -> str:
    text = f"(line->>{_literal(column.name)})"
    return f"decode({text}, 'base64')" if column.form == "base64" else f"{text}::{column.type}"


def _literal(text: str) -> str:
    quoted_text = text.replace("'", "''")
    return f" E'{quoted_text}'".replace("\\", "\\\\") if "\\" in text else f"'{quoted_text}'"


def _conninfo(database: str) -> str:
    """A name that holds ``=`` would be read as a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"
