"""Load the copy of a database where it goes, compare it with what its dump recorded, and leave it there.

**Why a kill at any line is safe.** What was begun stands in the ledger with the copy's name before the copy is made.
The next run removes a copy that no act finished, and makes it again; one that was finished it finds and leaves as it
is. A database of that name that the ledger knows nothing of belongs to somebody else.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from upkeep.domain.proof import ProofLevel
from upkeep.domain.units import first_few, human_seconds
from upkeep.duties.catalogue import write_proof
from upkeep.duties.database_copy import CHECK_LIMIT_S, SESSIONS, compare_database
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of
from upkeep.duties.restore_place import Place, check_room
from upkeep.duties.restore_source import Found
from upkeep.duties.scratch import Restored
from upkeep.duties.scratch_database import DatabaseScratch
from upkeep.errors import NameTaken, ProofFailed, RestoreRefused, RestoreUnavailable, UpkeepError
from upkeep.site import Database

log = logging.getLogger(__name__)


def load_copy(job: Job, section: Database, found: Found, place: Place, only: tuple[str, ...]) -> dict[str, Any]:
    """The copy, found or made; call it under the hold. Errors: as ``restore``."""
    target, backup_id = section.name, found.backup_id
    command = load_command(backup_id, place.name)
    result = {
        "site": job.site.name, "target": target, "backup_id": backup_id, "database": place.name, "on": place.label,
    }  # fmt: skip
    if place.name in place.restorer.databases():
        earlier = job.last_act("restore", target, lambda record: record.started.command == command)
        if earlier is None:
            raise RestoreRefused(
                f"there is already a database {place.name!r} on {place.label}, and the ledger knows of no restore that "
                "made it",
                hint="see whose it is; if nobody needs it, drop it, then restore again",
            )
        if earlier.state == "done":
            log.info("%s is there already, restored on %s", place.name, earlier.started.at)
            return {**result, "found": True, "rows": earlier.detail.get("rows"), "tables": earlier.detail.get("tables")}
        if not place.restorer.live:  # nothing is ever dropped where the source may be
            DatabaseScratch(job, target, section).refuse_source(found.manifest)
        with job.ledger.record(job.act("sweep", target, command=f"remove {place.name}")) as entry:
            entry.note(where=place.label, summary="a restore that was killed or failed had left it")
            place.restorer.drop(place.name)
    begun, restored = time.monotonic(), Restored()
    with job.ledger.record(job.act("restore", target, command=command), secrets=place.restorer.secrets) as entry:
        entry.note(backup_id=backup_id, where=place.label)
        notes = check_room(job, section, found, place)
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        with (
            restored.timed("load"),
            _taken_back(place),
            _damage_noted(found, streams),
            tempfile.TemporaryDirectory(prefix="upkeep-") as folder,
        ):
            loaded = place.restorer.load(
                found.manifest, place.name, streams.read, folder=Path(folder), jobs=SESSIONS, only=only
            )
        restored.notes += [*notes, *loaded.notes]
        with restored.timed("compare"):
            compare_database(place.restorer, section.engine, found.manifest, place.name, restored, only)
            if not only:
                _ask(section, place, restored)
        restored.seconds["total"] = round(time.monotonic() - begun, 3)
        figures = {**restored.figures, "seconds": restored.seconds["total"], "phases": restored.seconds}
        entry.note(bytes=found.manifest.size, notes=restored.notes[:20], **figures)
        if restored.differences:
            raise _unlike(backup_id, place, restored)
        exact = "rows_are" not in restored.figures
        entry.note(
            light="green" if exact else "amber",
            summary=f"{backup_id} stands as {place.name} after {human_seconds(restored.seconds['total'])}: "
            f"{restored.figures['tables']} tables, {restored.figures['rows']:,} rows, "
            + ("as its dump recorded them" if exact else "which its dump has no exact counts to compare with"),
        )
    return {**result, "found": False, **figures, "notes": restored.notes[:20]}


def compare_again(section: Database, found: Found, place: Place) -> None:
    """Whether the copy is still what was restored. Errors: ``ProofFailed``."""
    restored = Restored()
    compare_database(place.restorer, section.engine, found.manifest, place.name, restored)
    if restored.differences:
        raise _unlike(found.backup_id, place, restored)


def load_command(backup_id: str, name: str) -> str:
    return f"load {backup_id} into {json.dumps(name, ensure_ascii=False)}"


def _ask(section: Database, place: Place, restored: Restored) -> None:
    from upkeep.engines.copies import run_checks

    ok = not restored.differences
    with closing(place.restorer.connect(place.name)) as connection:
        try:
            restored.differences += run_checks(connection, section.engine, section.checks, CHECK_LIMIT_S, ok=ok)
        except (
            RestoreUnavailable
        ) as error:  # a check that can't be run says nothing; an operator needs the copy all the same
            restored.notes.append(error.message)


def _unlike(backup_id: str, place: Place, restored: Restored) -> ProofFailed:
    told = first_few(restored.differences, joint="; ")
    return ProofFailed(
        f"the copy {place.name} of {backup_id} differs from its source: {told}",
        hint=f"it stays on {place.label} for you to look at, until it is restored again; or take another backup",
    )


@contextmanager
def _taken_back(place: Place) -> Iterator[None]:
    """What could not be loaded to its end is of no use, and takes room."""
    try:
        yield
    except NameTaken:  # it isn't ours: a server may keep from this account, or spell otherwise, what it has
        raise
    except BaseException as error:
        try:
            place.restorer.drop(place.name)
        except UpkeepError as second:
            error.add_note(
                f"{place.name} stays half-loaded on {place.label}: {second.message}; the next try removes it"
            )
        raise


@contextmanager
def _damage_noted(found: Found, streams: Streams) -> Iterator[None]:
    """A backup whose stored bytes turn out to be others is never chosen again, nor counted by retention; where that
    can't be written down, the error says so.
    """
    try:
        yield
    except ProofFailed as error:
        if streams.damage:
            job = found.job
            try:
                write_proof(
                    job.store, found.backup.ref, ProofLevel.CHECKSUM, ok=False, at=job.now(), run=job.run.as_dict(),
                    figures={"error": str(error)},
                )  # fmt: skip
            except UpkeepError as second:
                error.add_note(
                    f"that {found.backup_id} is damaged could not be written beside it ({second.message}): until a "
                    "verify or a proof of it fails, it may be chosen again, and retention counts it"
                )
        raise
