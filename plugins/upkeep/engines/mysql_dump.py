"""The mysqldump programs of one snapshot: one for the whole database, or several that share its tables."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from upkeep.domain.dump_split import split_tables
from upkeep.engines.tools import Tool

MAIN = "dump.sql"
"""The stream that has everything which no other stream has: the small tables, views, routines and events."""
_AS_TEXT = ("--default-character-set=utf8mb4", "--hex-blob")
_AS_BYTES = ("--default-character-set=binary",)
_OLDEST_AS_BYTES = {"mysql": (8,), "mariadb": (10, 6)}
_EXPRESSION = re.compile(r"GENERATED ALWAYS AS|CHECK \((?!json_valid\(`[^`]*`\)\))|\(\(|\bcollate ")
"""In what SHOW CREATE TABLE prints: a generated column, a CHECK, an index of an expression, an expression's collation.
Words in a comment may look like one, and the table then passes as text."""
KEEPS_HISTORY = (10, 11)
"""The first mariadb-dump that can write the past rows of system-versioned tables."""


def shares_of(
    tables: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    streams: int,
    as_text: Collection[str] | None,
) -> tuple[list[str], ...]:
    """The tables of each extra stream, restored before everything else; empty where that order could matter.

    A table may stand before all others: dumps switch foreign keys off, and triggers come behind the rows of their own
    table. But a column's default may draw from a sequence, which the main stream makes. And only tables with
    transactions show all programs the same moment. MySQL's program takes ``--ignore-table=app.Cafe`` for ``café`` too.
    """
    if has_sequences(others):
        return ()
    sizes = {str(table["name"]): int(table["data_bytes"] or 0) for table in tables}
    alike = Counter(map(_plain, sizes))
    views = set(as_text or ()) - set(sizes)
    sizes |= dict.fromkeys(views, 0)
    stays = views | {str(table["name"]) for table in tables if not table["transactional"]}
    stays |= {name for name in sizes if alike[_plain(name)] > 1}
    return split_tables(sizes, streams, stays=stays, as_text=as_text or ())


def _plain(name: str) -> str:
    """A name as a collation sees it that knows neither case nor accents."""
    letters = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()


def may_pass_as_bytes(flavour: str, version: tuple[int, ...], *names: str) -> bool:
    """Whether a server's rows may (docs/adr/0017). ``names``: what a login names; Oracle's server takes these bytes,
    in a session in binary, for latin1. Nothing is known of releases older than these.
    """
    return version >= _OLDEST_AS_BYTES[flavour] and all(name.isascii() for name in names)


def has_expressions(definition: str) -> bool:
    """Whether a table computes anything: in a session in binary it would do so with texts in binary."""
    return _EXPRESSION.search(definition) is not None


def has_sequences(others: Sequence[Mapping[str, Any]]) -> bool:
    return any(other["kind"] == "sequences" for other in others)


def stream_names(shares: Sequence[Sequence[str]]) -> dict[str, Sequence[str]]:
    """The tables of each extra stream, by the stream's name."""
    return {f"tables-{number}.sql": share for number, share in enumerate(shares, start=2)}


def dump_words(
    tool: Tool,
    database: str,
    extra: Mapping[str, Sequence[str]],
    *,
    left_out: Sequence[str],
    as_text: Collection[str] | None,
    history: bool,
    sequences: bool,
) -> dict[str, list[str]]:
    """What the program of each stream is told, behind its option file.

    ``as_text``: tables and views whose streams write values as utf8mb4, and those without a character set as
    hexadecimal digits; None: all do. The other streams write the bytes that are stored, and don't look at each for the
    beginning of a character.
    """
    # Under LOCK TABLES a column's default may not draw from a sequence: nobody could load such a dump.
    own = [*_flags(tool, history), *(["--skip-add-locks"] if sequences else [])]
    moved = {table for tables in extra.values() for table in tables}
    ignored = [f"--ignore-table={database}.{name}" for name in (*left_out, *sorted(moved))]

    def words(flags: Sequence[str], *tables: str) -> list[str]:
        textual = as_text is None or (set(as_text) & set(tables) if tables else set(as_text) - moved)
        return [*own, *(_AS_TEXT if textual else _AS_BYTES), *flags, "--", database, *tables]

    return {
        MAIN: words(["--routines", "--events", *ignored]),
        **{name: words([], *tables) for name, tables in extra.items()},
    }


def _flags(tool: Tool, history: bool) -> list[str]:
    flags = [
        "--single-transaction", "--quick", "--skip-lock-tables", "--triggers",
        "--max-allowed-packet=1G", "--no-tablespaces",
    ]  # fmt: skip
    if tool.flavour == "mysql":
        # The position is in the manifest; in the dump it would make a restore on the source's own replica fail.
        flags += ["--set-gtid-purged=OFF"]
        if tool.version >= (8,):
            flags += ["--skip-column-statistics"]  # some 8.0 ask for them by default, and no 5.7 server has any
    if history:
        flags += ["--dump-history"]
    return flags
