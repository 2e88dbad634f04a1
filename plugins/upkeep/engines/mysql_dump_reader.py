"""Reads a mysqldump as it streams past, and changes what a copy under another name needs changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from upkeep.domain.units import human_bytes
from upkeep.engines.mysql_definition import Later, split_definition
from upkeep.engines.mysql_programs import in_current_database
from upkeep.errors import ProofFailed, RestoreUnavailable

LONGEST_DEFINITION = 16 << 20
LONGEST_LINE = 64 << 20
"""Bytes of a line outside of rows; longer ones are in no dump, and would have to be held in memory."""

_ROWS = (b"INSERT ", b"REPLACE ")
_INTO = re.compile(rb"(?:INSERT|REPLACE)[A-Z ]* INTO `((?:[^`\n]|``)+)` ")
LONGEST_HEAD = 1024
"""Bytes within which rows have named their table: a name has 64 characters, each of four bytes at the most."""
_TABLE = re.compile(rb"CREATE TABLE `(?:[^`\n]|``)+` \(\n")
_DATABASE = re.compile(rb"\s*(?:/\*M?!\d* *)?(?:USE|(?:CREATE|ALTER|DROP)\s+(?:DATABASE|SCHEMA))\b", re.IGNORECASE)
_NAME = rb"`(?:[^`]|``)+`"
_QUALIFIED = re.compile(
    rb"'(?:[^'\\]|''|\\.)*'|(?:(?:next|last|set)val\()?" + _NAME + rb"(?:\." + _NAME + rb")*\(?", re.DOTALL
)
_CREATE_TRIGGER = re.compile(rb"/\*!50003 CREATE\*/ (?:/\*!50017 [^\n]*?\*/ )?/\*!50003 TRIGGER ")
_EACH_ROW = re.compile(rb"\bFOR\s+EACH\s+ROW\b", re.IGNORECASE)
LONGEST_HEAD_LINES = 64 << 10
"""Bytes within which a trigger or an event comes to its body; a name may have line breaks."""
_EVENT = re.compile(
    rb"(/\*!50106 CREATE\*/ .*?EVENT .*? ON COMPLETION (?:NOT )?PRESERVE )(ENABLE|DISABLE(?: ON (?:SLAVE|REPLICA))?)\b",
    re.DOTALL,
)
_HINT = "don't load it by hand into a server that holds anything else; back up again with Upkeep"


@dataclass(frozen=True)
class TableLoaded:
    """Every row of a table has been handed on, and ``later`` may be added."""

    later: Later


@dataclass(frozen=True)
class ViewsFollow:
    """From here on the dump refers to tables of every other stream."""


Piece = bytes | TableLoaded | ViewsFollow


class MySqlDumpReader:
    """Turns the dump of database ``source`` into one for ``database``, without a line ever being held whole.

    Raw newlines are in no row (mysqldump escapes them, in bytes as in text), so that a line is known by how it begins.
    Between DELIMITER lines stand the bodies of routines, which may hold anything.
    """

    def __init__(self, source: str, database: str, *, only: Collection[str] = (), to_wake: bool = False) -> None:
        """``only``: the tables whose rows are handed on; ``to_wake``: events that were on can be told from others."""
        self._source, self._database = _quoted(source), _quoted(database)
        self._only = {name.encode() for name in only}
        self._asleep_as = b"DISABLE ON SLAVE" if to_wake else b"DISABLE"
        self._rest = b""
        self._passing_over = False
        self._in_rows = self._in_block = self._block_may_end = self._complete = self._views = False
        self._sequences = False
        self._trigger = self._event = b""
        self._definition: list[bytes] = []
        self._defined = 0
        self._later: Later | None = None

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """Errors: ``ProofFailed`` when the dump leads into another database."""
        text, place = self._rest + chunk, 0
        self._rest = b""
        while place < len(text):
            end = text.find(b";\n" if self._in_rows else b"\n", place)
            if self._in_rows:
                # A chunk may end between the two bytes that end the rows.
                stop = end + 2 if end >= 0 else len(text) - text.endswith(b";")
                self._in_rows = end < 0
                if not self._passing_over:
                    yield text[place:stop]
                if end < 0:
                    self._rest = text[stop:]
                    return
                place = stop
            elif text.startswith(_ROWS, place) and not self._in_block and not self._definition:
                head = _INTO.match(text, place) if self._only else None
                if self._only and head is None and len(text) - place < LONGEST_HEAD:
                    self._rest = text[place:]
                    return
                self._passing_over = head is not None and head[1].replace(b"``", b"`") not in self._only
                self._in_rows = True
            elif end >= 0:
                yield from self._line(text[place : end + 1])
                place = end + 1
            else:
                self._rest = text[place:]
                if len(self._rest) > LONGEST_LINE:
                    raise ProofFailed(
                        f"the dump has a line of more than {human_bytes(LONGEST_LINE)} outside of rows",
                        hint="mysqldump writes none: don't rely on it, back up again",
                    )
                return

    def close(self) -> Iterator[Piece]:
        """Errors: ``ProofFailed`` when the dump broke off: mysql would take half of it for a whole one."""
        if self._rest:
            yield from self._line(self._rest)
        if not self._complete or self._in_rows or self._definition:
            raise ProofFailed(
                "the dump has no last line '-- Dump completed': it broke off",
                hint="don't rely on it: back up again and look for what ended the dump",
            )
        yield from self._table_ends()

    def _line(self, line: bytes) -> Iterator[Piece]:
        if self._definition:
            yield from self._in_definition(line)
            return
        if self._in_block:
            if self._trigger or _CREATE_TRIGGER.match(line):
                self._trigger += line
                if not _EACH_ROW.search(self._trigger) and len(self._trigger) < LONGEST_HEAD_LINES:
                    return
                # Byte by byte, in whatever character set it is.
                line = in_current_database(self._trigger.decode("latin-1")).encode("latin-1")
                self._trigger = b""
            if self._event or line.startswith(b"/*!50106 CREATE*/ "):
                self._event += line
                is_whole = _EVENT.match(self._event) or line.rstrip().endswith(b";;")
                if not is_whole and len(self._event) < LONGEST_HEAD_LINES:
                    return
                line, self._event = self._event, b""
            # The same words in the middle of a body are text.
            self._in_block = not (self._block_may_end and line.rstrip() == b"DELIMITER ;")
            self._block_may_end = line.rstrip().endswith(b";;")
            yield self._asleep(self._renamed(line) or line)
            return
        if line.strip():
            self._complete = line.startswith(b"-- Dump completed")
        if _TABLE.fullmatch(line):
            yield from self._table_ends()
            self._definition, self._defined = [line], len(line)
            return
        if line.startswith(b"DELIMITER "):
            yield from self._table_ends()
            self._in_block = True
        elif line.startswith(b"-- Final view structure") and not self._views:
            yield from self._table_ends()
            self._views = True
            yield ViewsFollow()
        elif self._views and line.startswith(b"/*!50001 VIEW "):
            line = _QUALIFIED.sub(self._own_name, line)
        elif _DATABASE.match(line):
            line = self._own(line)
        elif line.startswith(b"CREATE SEQUENCE "):
            self._sequences = True
        elif self._sequences and line.startswith(b"LOCK TABLES "):
            return  # dumps of before --skip-add-locks: under it a default can't draw from a sequence
        yield line
        if line == b"UNLOCK TABLES;\n":
            yield from self._table_ends()

    def _in_definition(self, line: bytes) -> Iterator[Piece]:
        self._definition.append(_QUALIFIED.sub(self._own_name, line))
        self._defined += len(line)
        if line.startswith(b")"):
            create, self._later = split_definition(self._definition)
        elif self._defined > LONGEST_DEFINITION:
            create = b"".join(self._definition)
        else:
            return
        self._definition = []
        yield create

    def _table_ends(self) -> Iterator[Piece]:
        if self._later:
            yield TableLoaded(self._later)
            self._later = None

    def _own(self, line: bytes) -> bytes:
        """A line about a database, in the copy's name. Errors: ``ProofFailed`` when it is about another one."""
        if renamed := self._renamed(line):
            return renamed
        raise ProofFailed(
            f"the dump leads into another database: {line[:200].decode('utf-8', 'replace').strip()}", hint=_HINT
        )

    def _renamed(self, line: bytes) -> bytes | None:
        """mysqldump changes the database's character set around routines that were made under another one."""
        for before, after in (
            (rb"ALTER DATABASE ", rb" CHARACTER SET \w+ COLLATE \w+ ;;?\n"),
            (rb"USE ", rb" *;\n"),
            (rb"CREATE DATABASE /\*!32312 IF NOT EXISTS\*/ ", rb"[^`;]*;\n"),
        ):
            found = re.fullmatch(rb"(" + before + rb")" + re.escape(self._source) + rb"(" + after + rb")", line)
            if found:
                return found[1] + self._database + found[2]
        return None

    def _own_name(self, found: re.Match[bytes]) -> bytes:
        """In views, servers put the database before columns (MariaDB, where the definer is gone) and functions; in
        views and defaults before sequences.

        Before a column alone, the same name would be that of a table.
        """
        text = found[0]
        names = [] if text.startswith(b"'") else re.findall(_NAME, text)
        is_database = len(names) == 3 or (len(names) == 2 and (text.endswith(b"(") or not text.startswith(b"`")))
        return text.replace(self._source, self._database, 1) if names[:1] == [self._source] and is_database else text

    def _asleep(self, line: bytes) -> bytes:
        """An event must not run in a copy: it would change what is compared, and may reach into other databases."""
        if not line.startswith(b"/*!50106 CREATE*/ "):
            return line
        if not (found := _EVENT.match(line)):
            raise RestoreUnavailable(
                f"an event can't be switched off on the way: {line[:200].decode('utf-8', 'replace').strip()}",
                hint="report this with the line above: the event would run in the copy",
            )
        return found[1] + (self._asleep_as if found[2] == b"ENABLE" else b"DISABLE") + line[found.end() :]


def _quoted(name: str) -> bytes:
    return b"`" + name.encode().replace(b"`", b"``") + b"`"
