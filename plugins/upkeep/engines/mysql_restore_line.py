"""The shell line that puts archived rows back into MySQL or MariaDB with nothing but jq and the server's own client."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from upkeep.domain.names import quoted
from upkeep.domain.tables import Column, Table

_TEXT = r""""'" + (gsub("\\\\";"\\\\") | gsub("'";"''") | gsub("\u0000";"\\0")) + "'" """
_AS = {
    "text": f". | {_TEXT}",
    "base64": '''"FROM_BASE64('" + . + "')"''',
    "number": ".",
}


def restore_line(flavour: str, database: str, table: Table, columns: Sequence[Column], unpacked: str) -> str:
    """jq writes INSERT statements. A row whose primary key is there stays as it is there.

    A shell only asks a pipe's last program how it ended. So a file that can't be unpacked to its end, or not at all, is
    followed by what is no JSON; jq fails on that, and mysql on what then follows.
    """
    names = ", ".join(quoted("mysql", column.name) for column in columns)
    keep = quoted("mysql", table.primary_key[0])
    values = ' + ", " + '.join(
        f'(.[{_jq(column.name)}] | if . == null then "NULL" else ({_AS[column.form]}) end)' for column in columns
    )
    head = f"INSERT INTO {table.quoted} ({names}) VALUES ("  # noqa: S608 - names are quoted
    tail = f") ON DUPLICATE KEY UPDATE {keep} = {keep};"
    program = f"{_jq(head)} + {values} + {_jq(tail)}"
    modes = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
    first = f"SET SESSION sql_mode = '{modes}', SESSION time_zone = '+00:00';"
    client = "mariadb" if flavour == "mariadb" else "mysql"
    return (
        f"(echo {shlex.quote(first)}; ({unpacked} || echo '!') | jq -r {shlex.quote(program)} "
        "|| echo '!the archive is damaged!') | "
        f"{client} --default-character-set=utf8mb4 --binary-mode {shlex.quote(f'--database={database}')}"
    )


def _jq(text: str) -> str:
    """A string in a jq program."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'
