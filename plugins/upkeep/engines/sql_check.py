"""Looks through a mysqldump as it streams past."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from upkeep.engines.base import StructureCheck
from upkeep.errors import ProofFailed

_TABLE = re.compile(rb"^CREATE TABLE (?:IF NOT EXISTS )?`((?:[^`]|``){1,256})`", re.MULTILINE)
_OVERLAP = 4096
"""Bytes carried from chunk to chunk, so that a statement's head is never cut; a table name is at most 64 characters."""


class SqlDumpCheck(StructureCheck):
    """A mysqldump is whole when it begins like one, ends with ``-- Dump completed`` and creates every table.

    The last line is the only in-band proof that mysqldump finished. Newlines in data are escaped, so a line that begins
    with CREATE TABLE is a statement, or text in a routine's body: more tables than the catalogue's are not an error.
    """

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._wanted = set(tables)
        self._found: set[str] = set()
        self._head = b""
        self._tail = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        if len(self._head) < _OVERLAP:
            self._head += chunk[: _OVERLAP - len(self._head)]
        self._size += len(chunk)
        text = self._tail + chunk
        if b"CREATE TABLE" in text:
            for name in _TABLE.findall(text):
                self._found.add(name.replace(b"``", b"`").decode("utf-8", "replace"))
        self._tail = text[-_OVERLAP:]

    def close(self) -> dict[str, Any]:
        if not re.search(rb"^-- (MySQL|MariaDB) dump ", self._head, re.MULTILINE):
            raise ProofFailed("the file does not begin like a mysqldump", hint="it is not a dump: back up again")
        if not re.search(rb"^-- Dump completed", self._tail.rstrip().rsplit(b"\n", 1)[-1]):
            raise ProofFailed(
                "the dump has no last line '-- Dump completed': it broke off",
                hint="don't rely on it: back up again and look for what ended the dump",
            )
        missing = sorted(self._wanted - self._found)
        if missing:
            raise ProofFailed(
                f"{len(missing)} of {len(self._wanted)} tables are not in the dump: {', '.join(missing[:5])}",
                hint="back up again; if it recurs, check what the account may see",
            )
        return {"plain_bytes": self._size, "tables": len(self._wanted)}
