"""What an account needs for which duty: the statements in ``include/sql/*/grants_*.sql``, with names filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from upkeep.domain.names import quoted
from upkeep.resources import include_folder

FLAVOURS = ("mysql", "mariadb", "postgres")
PARTS = ("daily", "weekly", "monthly", "scratch", "restore")
_LINE = re.compile(r"^(?P<statement>[^-].*?);\s+-- (?P<duties>[a-z_, ]+)(?:: (?P<note>.*))?$")


@dataclass(frozen=True)
class Grant:
    """One statement with ``{account}``, ``{database}``, ``{table}`` and ``{owner}`` still open, and who needs it."""

    statement: str
    duties: tuple[str, ...]
    note: str = ""

    @property
    def line(self) -> str:
        return f"{self.statement};  -- {', '.join(self.duties)}{f': {self.note}' if self.note else ''}"


@dataclass(frozen=True)
class Names:
    """What the open names stand for. ``tables``: by duty, those that a statement about ``{table}`` is for."""

    account: str
    database: str
    tables: Mapping[str, Iterable[str]]
    owner: str = "{owner}"


def grants(flavour: str, part: str) -> list[Grant]:
    """The statements of one of ``PARTS`` for one of ``FLAVOURS``, in the order in which they are to be run."""
    engine = "postgres" if flavour == "postgres" else "mysql"
    folder = include_folder() / "sql" / engine
    own = folder / f"grants_{part}_{flavour}.sql"
    text = (own if own.is_file() else folder / f"grants_{part}.sql").read_text(encoding="utf-8")
    found = [match for line in text.splitlines() if (match := _LINE.match(line))]
    return [Grant(one["statement"], tuple(one["duties"].split(", ")), one["note"] or "") for one in found]


def written(flavour: str, found: Iterable[Grant], names: Names) -> Iterator[Grant]:
    """The statements with names in them; one about a table once for each table of its duties, none where there is none.

    ``names.account`` stands as it is (``upkeep@'10.1.%'``), and so do a name in braces and ``*`` for every table.
    """
    engine = "postgres" if flavour == "postgres" else "mysql"

    def name(text: str) -> str:
        if text.startswith("{") or text == "*":
            return text
        return quoted(engine, *(text.split(".") if engine == "postgres" else [text]))

    for grant in found:
        tables = ["{table}"]
        if "{table}" in grant.statement:
            tables = sorted({table for duty in grant.duties for table in names.tables.get(duty, ())})
        for table in tables:
            filled = grant.statement.replace("{account}", names.account).replace("{table}", name(table))
            filled = filled.replace("{database}", name(names.database)).replace("{owner}", name(names.owner))
            yield Grant(filled, grant.duties, grant.note)
