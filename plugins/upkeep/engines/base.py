"""What every engine can do for a backup: hold a consistent view, stream it out, say what is in it, check it later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from upkeep.engines.pipeline import Command, Ended


@dataclass(frozen=True)
class Stream:
    """One file of a backup while it is being made, before compression.

    ``started`` is called once the program runs and before anything reads its output, with the descriptor of that
    output: a MySQL snapshot is aligned there. Errors: ``StartAgain``.
    """

    name: str
    command: Command
    started: Callable[[int], None] | None = None
    is_small: bool = False
    """Some lines of text, which take no share of the processors from the others."""


@dataclass
class Facts:
    """What is known about a dump besides its bytes; goes into the manifest as it stands."""

    source: dict[str, Any]
    tools: dict[str, str]
    position: dict[str, Any] = field(default_factory=dict)
    """Where the log stood at the moment of the snapshot, or ``{"missing": why}``."""
    contents: dict[str, Any] = field(default_factory=dict)
    """What is in the dump: tables with row counts, views, routines..."""
    rows_are: str = ""
    """``exact`` (counted in the dump's own snapshot), or why they are only an estimate."""
    warnings: list[str] = field(default_factory=list)


class StartAgain(Exception):
    """These streams can't be of one moment. Nothing was read of them yet; the snapshot now has others."""


class Snapshot(ABC):
    """A consistent view of one target, held while its streams are read.

    ``side_by_side``: the streams share the work, so they are read all at once; else one after the other.
    """

    streams: tuple[Stream, ...]
    side_by_side: bool = False

    @abstractmethod
    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        """What the dump holds. Call after every stream was read; ``ended`` has each stream's program by stream name."""


class StructureCheck(ABC):
    """Looks through one decompressed file of a backup as it streams past; constant memory."""

    @abstractmethod
    def feed(self, chunk: bytes) -> None: ...

    @abstractmethod
    def close(self) -> dict[str, Any]:
        """The figures found. Errors: ``ProofFailed`` naming what is wrong with the file."""

    def abandon(self) -> None:
        """The stream broke off: end whatever the check had started."""
        return


class Engine(ABC):
    """One target's system."""

    secrets: tuple[str, ...] = ()

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a consistent view. Errors: ``SourceError``, ``ToolMissing``, ``ToolUnfit``."""

    @abstractmethod
    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        """The shell line that restores this backup with stock tools only, run in the backup's folder.

        ``files`` maps each stream's name to the command that prints it decrypted and decompressed. The line has to
        fail, in any shell, when a file can't be unpacked to its end.
        """

    @abstractmethod
    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        """A check for the file made from ``stream``, against what the manifest says is in it."""
