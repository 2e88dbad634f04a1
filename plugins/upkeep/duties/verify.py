"""Verify backups: read every byte back from the store, and look through what comes out."""

from __future__ import annotations

import logging
import time
from typing import Any

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest, StoredFile
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.shrink import judge_size
from upkeep.domain.units import human_seconds
from upkeep.duties.catalogue import Backup, Catalogue, read_catalogue, write_proof
from upkeep.duties.job import Job
from upkeep.duties.packing import identity_of, unpack
from upkeep.duties.read_back import HashedReader, trusted_manifest, unpacking_failed
from upkeep.engines.feeding import FedPipeline
from upkeep.errors import BackupShrunk, ManifestBroken, ObjectMissing, ProofFailed, RestoreUnavailable, ToolFailed

log = logging.getLogger(__name__)


def verify(job: Job, target: str, backup_id: str) -> dict[str, Any]:
    """Prove one backup, and on the way every older one of the target that nobody has proven yet.

    Those are what a killed run left unverified and what was shipped from a spool. One pass over the stored bytes serves
    both rungs: their hash (checksum), and what they unpack to (structure).

    Errors: ``ProofFailed``, ``ManifestBroken`` or ``BackupShrunk`` for the backup asked for, after the others had their
    turn; ``ObjectMissing`` when there is no such backup; ``StoreUnreachable`` says nothing about a backup.
    """
    catalogue = read_catalogue(job.store, job.site.name, target)
    wanted = catalogue.find(backup_id)
    if wanted is None:
        raise ObjectMissing(
            f"the store {job.store.url} holds no backup {backup_id} of {job.site.name}/{target}",
            hint=f"upkeep backups {job.site.name} {target} lists what it holds",
        )
    identity = identity_of(job)
    # Without a key nothing is to be learned of one whose bytes were read already: it is encrypted.
    looked_into = ProofLevel.STRUCTURE if identity else ProofLevel.CHECKSUM
    unproven = [b for b in catalogue.backups if b.failure is None and b.level < looked_into]
    failures: dict[str, ProofFailed | ManifestBroken] = {}
    for backup in [wanted, *(other for other in reversed(unproven) if other.ref != wanted.ref)]:
        try:
            _prove(job, backup, identity)
        except (ProofFailed, ManifestBroken) as error:
            failures[backup.ref.backup_id] = error
            log.error("%s: %s", backup.ref.backup_id, error)
        except (ToolFailed, RestoreUnavailable) as error:
            # Says nothing about the backup: a changed key, a program that was killed, a worker's full disk.
            if backup.ref == wanted.ref:
                raise
            log.warning("%s could not be looked into: %s", backup.ref.backup_id, error.message)
    if failures:
        raise failures.get(backup_id) or next(iter(failures.values()))
    return {**wanted.ref.to_dict(), "level": _reachable(job, identity).label, "size": _compare(job, catalogue, wanted)}


def _prove(job: Job, backup: Backup, identity: Endpoint | None) -> None:
    ref, begun = backup.ref, time.monotonic()
    with job.ledger.record(job.act("verify", ref.target, command=f"verify {ref.backup_id}")) as entry:
        entry.note(backup_id=ref.backup_id)
        level = ProofLevel.CHECKSUM
        figures: dict[str, Any] = {}
        try:
            manifest = trusted_manifest(job, backup)
            check_structure = identity is not None or not manifest.encrypted
            for file in manifest.files:
                figures[file.stream] = _look_through(job, manifest, file, identity if check_structure else None)
            if check_structure:
                level = ProofLevel.STRUCTURE
        except (ProofFailed, ManifestBroken) as error:
            reached = ProofLevel.STRUCTURE if isinstance(error, _StructureFailed) else ProofLevel.CHECKSUM
            _write(job, backup, reached, ok=False, figures={"error": str(error)})
            raise
        seconds = round(time.monotonic() - begun, 3)
        _write(job, backup, level, ok=True, figures={**figures, "seconds": seconds})
        entry.note(bytes=manifest.size, level=level.label, seconds=seconds, figures=figures)
        log.info("%s/%s %s: %s proven in %s", ref.site, ref.target, ref.backup_id, level.label, human_seconds(seconds))


class _StructureFailed(ProofFailed):
    """The bytes are those that were stored, but what they unpack to is not whole."""


def _look_through(job: Job, manifest: Manifest, file: StoredFile, identity: Endpoint | None) -> dict[str, Any]:
    """One pass over one file. A wrong hash outweighs whatever the unpacking said of the wrong bytes."""
    where = f"{manifest.backup.prefix}{file.name}"
    reader = HashedReader(job, where, file)
    opened = identity is not None or not manifest.encrypted
    try:
        figures = _unpacked(job, manifest, file, identity, reader) if opened else _drained(reader)
    except ProofFailed as error:
        reader.finish()
        raise _StructureFailed(f"{where}: {error.message}", hint=error.hint) from error
    reader.finish()
    return figures


def _drained(reader: HashedReader) -> dict[str, Any]:
    for _ in reader:
        pass
    return {"encrypted": "not looked into: this site names no identity"}


def _unpacked(
    job: Job, manifest: Manifest, file: StoredFile, identity: Endpoint | None, reader: HashedReader
) -> dict[str, Any]:
    engine = job.engine(manifest.backup.target)
    check = engine.structure_check(file.stream, {"tools": manifest.tools, "contents": manifest.contents})
    try:
        with unpack(file.name, identity) as commands:
            unpacking = FedPipeline(commands, check.feed)
            try:
                for chunk in reader:
                    if not unpacking.feed(chunk):
                        break  # why comes at once; what is left is read only if it's the backup's fault
                unpacking.close()
            finally:
                unpacking.abandon()  # before the check: it must not be closed under the hands of who feeds it
        return check.close()
    except ToolFailed as error:
        if error.was_killed:
            raise
        raise unpacking_failed(error, file, identity) from error
    finally:
        check.abandon()


def _compare(job: Job, catalogue: Catalogue, backup: Backup) -> str:
    counts_from = job.site.retention.policy(job.site.timezone).counts_from
    earlier = [
        other.size
        for other in catalogue.backups
        if other.taken_at < backup.taken_at
        and is_proven(other.level, other.failure is not None, counts_from=counts_from)
    ]
    verdict = judge_size(backup.size, earlier, job.site.max_shrink_pct)
    if not verdict.ok:
        raise BackupShrunk(
            f"the backup {backup.ref.backup_id} of {backup.ref.site}/{backup.ref.target} is whole, but suspiciously "
            f"small: {verdict.reason}",
            hint="if much was deleted on purpose, all is well, and tomorrow's is compared with this one; if not, look "
            "for lost rows now, while the older backups are still there (nothing of this target was removed tonight)",
        )
    return verdict.reason


def _write(job: Job, backup: Backup, level: ProofLevel, *, ok: bool, figures: dict[str, Any]) -> None:
    write_proof(job.store, backup.ref, level, ok=ok, at=job.now(), run=job.run.as_dict(), figures=figures)


def _reachable(job: Job, identity: Endpoint | None) -> ProofLevel:
    return ProofLevel.CHECKSUM if job.site.encryption and identity is None else ProofLevel.STRUCTURE
