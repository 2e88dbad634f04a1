"""Looks through PostgreSQL's files as they stream past: archives with pg_restore itself, scripts by their last line."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from upkeep.engines.base import StructureCheck
from upkeep.engines.feeding import FedPipeline
from upkeep.engines.pipeline import Command
from upkeep.engines.tools import Tool
from upkeep.errors import ProofFailed, ToolFailed

_ENTRY = re.compile(r"^\d+; \d+ \d+ TABLE DATA (.*)$", re.MULTILINE)


class ArchiveCheck(StructureCheck):
    """Two pg_restores read along: one lists the contents, one turns the whole archive into a script and throws it away.

    Listing alone reads only the head of the file, so a truncated archive would pass.
    """

    def __init__(self, tool: Tool, tables: Mapping[str, Any], *, encoding: str = "utf-8") -> None:
        """``encoding``: Python's name for that of the archive, in which pg_restore prints names."""
        self._tool, self._tables, self._encoding = tool, tables, encoding
        self._size = 0
        self._listing = bytearray()
        self._programs = (
            FedPipeline([Command([tool.path, "--list"])], self._listing.extend),
            FedPipeline([Command([tool.path, "--file=/dev/null"])], lambda chunk: None),
        )

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        for program in self._programs:
            program.feed(chunk)

    def close(self) -> dict[str, Any]:
        for program in self._programs:
            _close(program)
        missing = tables_missing(self._listing.decode(self._encoding, "backslashreplace"), self._tables)
        if missing:
            raise ProofFailed(
                f"{len(missing)} of {len(self._tables)} tables have no data in the archive: {', '.join(missing[:5])}",
                hint="back up again; if it recurs, check what the account may read",
            )
        return {"plain_bytes": self._size, "tables": len(self._tables), "entries": self._listing.count(b"\n")}

    def abandon(self) -> None:
        for program in self._programs:
            program.abandon()


class ScriptCheck(StructureCheck):
    """A plain SQL script of pg_dumpall: whole when its closing comment is there."""

    def __init__(self, end: str) -> None:
        self._end = end.encode()
        self._tail = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._tail = (self._tail + chunk)[-4096:]

    def close(self) -> dict[str, Any]:
        if self._end not in self._tail:
            raise ProofFailed(
                f"the script does not end with {self._end.decode()!r}: it broke off",
                hint="don't rely on it: back up again",
            )
        return {"plain_bytes": self._size}


class PipedCheck(StructureCheck):
    """A check made by one program that reads the whole stream; ``take`` sees what it prints, ``judge`` sums up."""

    def __init__(self, command: Command) -> None:
        self._program = FedPipeline([command], self.take)
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._program.feed(chunk)

    def close(self) -> dict[str, Any]:
        _close(self._program)
        return {"plain_bytes": self._size, **self.judge()}

    @abstractmethod
    def take(self, output: bytes) -> None: ...

    @abstractmethod
    def judge(self) -> dict[str, Any]: ...

    def abandon(self) -> None:
        self._program.abandon()


def _close(program: FedPipeline) -> None:
    try:
        program.close()
    except ToolFailed as error:
        if error.was_killed:
            raise
        raise ProofFailed(
            f"the file can't be read to its end: {error.message}", hint="don't rely on this backup: back up again"
        ) from error


def tables_missing(listing: str, tables: Iterable[str]) -> list[str]:
    """Those of ``tables`` (``schema.table``) whose rows ``pg_restore --list`` doesn't show.

    An entry is ``schema table owner``, and any of the three names may itself hold spaces, the first two also dots. So
    whatever stands before a space may be a schema and a table. pg_restore prints newlines in names as spaces.
    """
    shown = {entry[:place] for entry in _ENTRY.findall(listing) for place, letter in enumerate(entry) if letter == " "}

    def is_shown(full: str) -> bool:
        flat = " ".join(full.split("\n"))
        return any(f"{flat[:dot]} {flat[dot + 1 :]}" in shown for dot, letter in enumerate(flat) if letter == ".")

    return [full for full in tables if not is_shown(full)]
