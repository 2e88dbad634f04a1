"""One backup restored in scratch, whatever for: errors told apart, the proof written beside the backup.

The week proves each backup by itself (``prove``), the month lets a whole site stand at once (``drill``): both go
through here, so what is a bad backup for the one is one for the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.domain.units import first_few, human_seconds
from upkeep.duties.catalogue import Backup, write_proof
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of, plain_bytes, trusted_manifest
from upkeep.duties.scratch import Restored, Scratch
from upkeep.errors import (
    LedgerError,
    ManifestBroken,
    ObjectMissing,
    ProofFailed,
    RestoreUnavailable,
    Stopped,
    UpkeepError,
)
from upkeep.ledger import Entry

log = logging.getLogger(__name__)

MOST_KEPT = 200
"""Differences that a proof lists; a copy of another database could have thousands."""


class RemovedMeanwhile(Exception):
    """Retention took the backup while it was restored: nobody's failure, and nothing to prove any more."""


class Rebuilding:
    """Errors of every method: ``ProofFailed`` or ``ManifestBroken`` when the backup is bad, and a failed proof is
    written; ``RestoreUnavailable`` for all that says nothing about it; ``RemovedMeanwhile``; ``ObjectMissing``;
    ``Stopped``.
    """

    def __init__(self, job: Job, backup: Backup, scratch: Scratch) -> None:
        self.backup, self.scratch = backup, scratch
        self.restored = Restored()
        self._job = job
        self._manifest: Manifest | None = None
        self._streams: Streams | None = None
        self._begun = time.monotonic()

    @property
    def manifest(self) -> Manifest:
        """The one that can be trusted, from ``check`` on."""
        if self._manifest is None:
            raise ValueError(f"{self.backup.ref.backup_id} was not checked")
        return self._manifest

    @property
    def plain_bytes(self) -> int:
        return plain_bytes(self._job, self.backup, self.manifest)

    def check(self, entry: Entry, *, beside: int = 0) -> None:
        """Before anything is restored: the manifest, the key, and whether the scratch is fit for it."""
        with self._judged(entry):
            self._manifest = trusted_manifest(self._job, self.backup)
            self._streams = Streams(self._job, self._manifest, key_of(self._job, self._manifest))
            self.restored.notes += self.scratch.check(self._manifest, self.plain_bytes, beside=beside)

    @contextmanager
    def standing(self, entry: Entry) -> Iterator[None]:
        """The copy, compared with what was recorded of its source, stands until the block ends."""
        self._begun = time.monotonic()
        with ExitStack() as stack:
            with self._judged(entry):
                if self._streams is None:
                    raise ValueError(f"{self.backup.ref.backup_id} was not checked")
                stack.enter_context(self.scratch.standing(self.manifest, self._streams, self.restored))
                self._count()
            yield

    def ask(self, entry: Entry) -> None:
        """What the site wants to be true of the copy."""
        with self._judged(entry):
            begun = time.monotonic()
            self.scratch.ask(self.manifest, self.restored)
            spent = time.monotonic() - begun
            for phase in ("verify", "total"):
                self.restored.seconds[phase] = round(self.restored.seconds.get(phase, 0.0) + spent, 3)

    def require_alike(self, entry: Entry) -> None:
        with self._judged(entry):
            if not self.restored.differences:
                return
            told = first_few(self.restored.differences, joint="; ")
            raise ProofFailed(
                f"the restored copy of {self.backup.ref.backup_id} differs from its source: {told}",
                hint="don't rely on this backup: the proof beside it lists every difference; back up again and prove "
                "that one",
            )

    def note(self, entry: Entry, **more: Any) -> None:
        """What came of the restore."""
        restored = self.restored
        seconds = restored.seconds["total"]
        entry.note(
            bytes=self.manifest.size,
            rows=restored.figures.get("rows"),
            seconds=seconds,
            phases=restored.seconds,
            figures=restored.figures,
            notes=restored.notes[:20],
            **_verdict(restored.figures, human_seconds(seconds)),
            **more,
        )
        ref = self.backup.ref
        log.info("%s/%s %s: restored in %s", ref.site, ref.target, ref.backup_id, human_seconds(seconds))

    def prove(self, level: ProofLevel, **figures: Any) -> None:
        """Write the proof that it reached ``level`` beside the backup."""
        self._write(level, ok=True, figures={**self.figures, **figures})

    @property
    def figures(self) -> dict[str, Any]:
        return {
            **self.restored.figures,
            "differences": self.restored.differences[:MOST_KEPT],
            "differences_found": len(self.restored.differences),
            "notes": self.restored.notes,
            "seconds": self.restored.seconds,
        }

    def _count(self) -> None:
        self.restored.seconds["total"] = round(time.monotonic() - self._begun, 3)

    @contextmanager
    def _judged(self, entry: Entry) -> Iterator[None]:
        """Says whose fault an error is."""
        entry.hide(*self.scratch.secrets)
        try:
            yield
        except (ProofFailed, ManifestBroken, ObjectMissing) as error:
            if self._is_gone():
                raise RemovedMeanwhile from error
            if isinstance(error, ObjectMissing):
                raise
            self._count()
            damaged = isinstance(error, ManifestBroken) or (self._streams is not None and bool(self._streams.damage))
            level = ProofLevel.CHECKSUM if damaged else ProofLevel.RESTORED
            self._write(level, ok=False, figures={"error": str(error), **self.figures})
            raise
        except (Stopped, LedgerError):
            raise
        except (UpkeepError, OSError) as error:
            told = infrastructure(error)
            entry.note(light="red", summary=told.message, hint=told.hint)
            raise told from error

    def _is_gone(self) -> bool:
        try:
            self._job.store.get(self.backup.ref.prefix + MANIFEST)
        except ObjectMissing:
            return True
        return False

    def _write(self, level: ProofLevel, *, ok: bool, figures: Mapping[str, Any]) -> None:
        job = self._job
        write_proof(job.store, self.backup.ref, level, ok=ok, at=job.now(), run=job.run.as_dict(), figures=figures)


def sweep(job: Job, target: str, scratch: Scratch) -> None:
    """What a killed run left. Where that can't be, the restore itself will meet the same trouble and tell it."""
    try:
        left = scratch.leftovers()
    except RestoreUnavailable as error:
        log.warning("leftovers of earlier runs were not looked for: %s", error.message)
        return
    if left:
        with job.ledger.record(job.act("sweep", target, command=f"remove {', '.join(left)}")) as entry:
            try:
                scratch.sweep(left)
            except RestoreUnavailable as error:
                entry.skip(f"{error.message}; {error.hint}")
            else:
                entry.note(where=scratch.place, summary=f"{len(left)} restored copies of a killed run removed")


def infrastructure(error: UpkeepError | OSError) -> RestoreUnavailable:
    message = error.message if isinstance(error, UpkeepError) else str(error)
    hint = error.hint if isinstance(error, UpkeepError) else "see the task's log, fix it, then run the task again"
    prefix = "" if message.startswith("infrastructure: ") else "infrastructure: "
    suffix = "this says nothing about the backup"
    return RestoreUnavailable(f"{prefix}{message}", hint=hint if hint.endswith(suffix) else f"{hint}; {suffix}")


def _verdict(figures: Mapping[str, Any], took: str) -> dict[str, str]:
    """A copy whose rows nobody could compare may be an empty one."""
    if why := figures.get("rows_are"):
        return {
            "light": "amber",
            "summary": f"restored in {took}, but its rows are not compared: its manifest has {why}",
            "hint": "fix what kept the backup from counting them, back up again and prove that one",
        }
    return {"light": "green", "summary": f"restored in {took} and alike: {_counted(figures)}", "hint": ""}


def _counted(figures: Mapping[str, Any]) -> str:
    words = [
        f"{figures[name]:,} {name}" for name in ("tables", "rows", "objects", "keys", "entries") if name in figures
    ]
    return ", ".join(words)
