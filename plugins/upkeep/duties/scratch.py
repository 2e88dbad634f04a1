"""Where a backup of one target is restored to prove it, and what came of that.

Each kind of target has its own: a scratch server for databases, a throwaway Redis, a folder of the worker, a dry run of
the cluster. Each refuses what it must not touch, restores one backup beside everything else, compares it, and takes it
away. A drill lets the copies of all targets stand before it asks them what the site wants to be true.
"""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from upkeep.domain.manifest import Manifest
from upkeep.domain.proving import is_scratch_of, scratch_name
from upkeep.domain.units import human_bytes
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams
from upkeep.duties.stamps import Stamps
from upkeep.errors import NameTaken, RestoreUnavailable


@dataclass
class Restored:
    """What came of one restore. ``seconds`` by phase; ``figures`` are counts; ``notes`` say what can't be said."""

    differences: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = round(time.monotonic() - begun, 3)

    def share_out(self, streams: Streams) -> None:
        """Of the time that loading took, what it waited for the store, and for decrypting and unpacking. These three
        run side by side, so their shares add up to what a clock shows: they say where a faster part would help.
        """
        fetch, decrypt = streams.waited()
        load = max(0.0, self.seconds["load"] - fetch - decrypt)
        self.seconds |= {"fetch": round(fetch, 3), "decrypt": round(decrypt, 3), "load": round(load, 3)}


class NoScratch(RestoreUnavailable):
    """The site gives a target no place for test restores: its own choice, so a remark rather than a failure."""


class Scratch(ABC):
    """For one target. Errors: ``RestoreUnavailable`` for all that says nothing about the backup."""

    secrets: tuple[str, ...] = ()

    def __init__(self, job: Job, target: str) -> None:
        self._job, self._target = job, target

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it restores to, for people."""

    @abstractmethod
    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        """Refuse to restore here what must not be; what can't be made sure of is noted.

        :param beside: plain bytes of other copies that are to stand here at the same time.
        """

    @abstractmethod
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> AbstractContextManager[None]:
        """Restore and compare; the copy stands until the block ends. Errors: ``ProofFailed`` when it can't be restored
        at all.
        """

    def ask(self, manifest: Manifest, restored: Restored) -> None:
        """Ask of the standing copy what the site wants to be true of it; what isn't is a difference."""
        return

    def stamps(self, manifest: Manifest) -> Stamps:
        """When the newest rows of the standing copy were written, and of the source what it says now."""
        return Stamps()

    def leftovers(self) -> list[str]:
        """What a killed run of this target left; call it under the target's hold."""
        return [name for name in self._names() if is_scratch_of(name, self._job.site.name, self._target)]

    def sweep(self, names: Collection[str]) -> None:
        """Take leftovers away."""
        for name in names:
            self._take_away(name)

    @abstractmethod
    def _names(self) -> list[str]: ...

    @abstractmethod
    def _take_away(self, name: str) -> None: ...

    @contextmanager
    def _taken_away(self, name: str, restored: Restored) -> Iterator[None]:
        """However the block ends. A copy that stays is swept next time, and doesn't change what was found."""
        try:
            yield
        except NameTaken:  # what stands there is another run's
            raise
        except BaseException as error:
            try:
                self._take_away(name)
            except RestoreUnavailable as second:
                error.add_note(f"{name} stays on {self.place}: {second.message}; the next run takes it away")
            raise
        try:
            self._take_away(name)
        except RestoreUnavailable as error:
            restored.notes.append(f"{name} stays on {self.place}: {error.message}; the next run takes it away")

    def _name(self, manifest: Manifest) -> str:
        ref = manifest.backup
        return scratch_name(ref.site, ref.target, ref.backup_id)


def who_needs(manifest: Manifest, beside: int) -> str:
    return f"{manifest.backup.backup_id} {'and what is to stand beside it need' if beside else 'needs'}"


def require_disk(
    folder: str, need: int, manifest: Manifest, *, otherwise: str = "let TMPDIR lead to a larger disk"
) -> None:
    """Errors: ``RestoreUnavailable``, which says what to do ``otherwise`` than to free ``need`` bytes."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise RestoreUnavailable(
            f"{folder} on this worker has {human_bytes(free)} of free disk, "
            f"{manifest.backup.backup_id} needs about {human_bytes(need)}",
            hint=f"free space there, or {otherwise}",
        )
