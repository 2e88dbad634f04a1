"""Looks through PostgreSQL's files as they stream past: archives with pg_restore itself, scripts by their last line."""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from upkeep.engines.base import StructureCheck
from upkeep.engines.pipeline import Command, Pipeline
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
        self._readers = (
            _Reader(Command([tool.path, "--list"]), self._listing.extend),
            _Reader(Command([tool.path, "--file=/dev/null"]), lambda chunk: None),
        )

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        for reader in self._readers:
            reader.feed(chunk)

    def close(self) -> dict[str, Any]:
        for reader in self._readers:
            reader.close()
        missing = tables_missing(self._listing.decode(self._encoding, "backslashreplace"), self._tables)
        if missing:
            raise ProofFailed(
                f"{len(missing)} of {len(self._tables)} tables have no data in the archive: {', '.join(missing[:5])}",
                hint="back up again; if it recurs, check what the account may read",
            )
        return {"plain_bytes": self._size, "tables": len(self._tables), "entries": self._listing.count(b"\n")}

    def abandon(self) -> None:
        for reader in self._readers:
            reader.abandon()


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
    """A check that one program makes which reads the whole stream; ``take`` sees what it prints, ``judge`` sums up."""

    def __init__(self, command: Command) -> None:
        self._reader = _Reader(command, self.take)
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._reader.feed(chunk)

    def close(self) -> dict[str, Any]:
        self._reader.close()
        return {"plain_bytes": self._size, **self.judge()}

    @abstractmethod
    def take(self, output: bytes) -> None: ...

    @abstractmethod
    def judge(self) -> dict[str, Any]: ...

    def abandon(self) -> None:
        self._reader.abandon()


class _Reader:
    """One program that is fed while ``take`` is given its output."""

    def __init__(self, command: Command, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._pipeline = Pipeline([command], feed=True)
        self._pipeline.__enter__()
        self._done = False
        self._thread = threading.Thread(target=self._collect, name=f"output of {command.name}", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        for chunk in self._pipeline.output():
            self._take(chunk)

    def feed(self, chunk: bytes) -> None:
        if self._done:
            return
        try:
            self._pipeline.write(chunk)
        except BrokenPipeError:
            self._done = True  # it has seen enough, or failed: its exit status says which

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._pipeline.stdin.close()
        self._thread.join()
        try:
            self._pipeline.finish()
        except ToolFailed as error:
            if error.was_killed:
                raise
            raise ProofFailed(
                f"the file can't be read to its end: {error.message}",
                hint="don't rely on this backup: back up again",
            ) from error
        finally:
            self._pipeline.end()

    def abandon(self) -> None:
        self._pipeline.end()


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
