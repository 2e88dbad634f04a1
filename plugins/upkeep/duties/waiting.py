"""Backups that wait in the spool because the store was away when they were made."""

from __future__ import annotations

import hashlib
import logging

from upkeep.domain.backup import BackupRef
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.duties.catalogue import read_catalogue, read_manifest
from upkeep.duties.job import Job
from upkeep.errors import ManifestBroken, ObjectDamaged, ObjectMissing

log = logging.getLogger(__name__)


def waiting(job: Job, target: str) -> tuple[BackupRef, ...]:
    """Finished backups of one target in this worker's spool, oldest first."""
    if not job.spool.root.is_dir():
        return ()  # nothing ever had to wait here
    return tuple(backup.ref for backup in read_catalogue(job.spool, job.site.name, target).backups)


def ship_waiting(job: Job, target: str) -> None:
    """Move what waits to the store, manifest last; the spool's copy goes only after the store holds all of it.

    One that was damaged in the spool stays there, as a failed act in the ledger, and keeps nothing else waiting.

    Errors: ``StoreUnreachable`` and ``StoreFull`` when the store still doesn't take it; then it goes on waiting.
    """
    if not job.spool.root.is_dir():
        return
    _tidy(job, target)
    for ref in waiting(job, target):
        try:
            with job.ledger.record(job.act("ship", target, command=f"ship {ref.backup_id} from the spool")) as entry:
                entry.note(backup_id=ref.backup_id, bytes=_ship(job, ref))
        except (ObjectDamaged, ManifestBroken) as error:
            log.error("%s stays in the spool: %s", ref.backup_id, error)  # red in the report; tonight's is made anyway
            continue
        log.info("shipped %s from the spool to %s", ref.backup_id, job.store.url)


def _tidy(job: Job, target: str) -> None:
    """Remove what a killed run left half-written in the spool."""
    job.spool.sweep(f"{job.site.name}/{target}/")
    for backup_id, keys in read_catalogue(job.spool, job.site.name, target).orphans.items():
        log.warning("removed the unfinished %s from the spool", backup_id)
        for key in keys:
            job.spool.delete(key)


def _ship(job: Job, ref: BackupRef) -> int:
    """Copy one backup; returns its bytes. A copy that an earlier, killed try had already completed isn't made again."""
    manifest, sealed = read_manifest(job.spool, ref)
    if not _is_there(job, ref, sealed):
        for file in manifest.files:
            _copy(job, ref.prefix + file.name, file.sha256)
        job.store.put(ref.prefix + MANIFEST, sealed)
    job.spool.delete(ref.prefix + MANIFEST)
    for file in manifest.files:
        job.spool.delete(ref.prefix + file.name)
    return manifest.size


def _is_there(job: Job, ref: BackupRef, sealed: bytes) -> bool:
    try:
        return job.store.get(ref.prefix + MANIFEST) == sealed
    except ObjectMissing:
        return False


def _copy(job: Job, key: str, sha256: str) -> None:
    found = hashlib.sha256()
    with job.store.writer(key) as sink:
        for chunk in job.spool.read(key):
            found.update(chunk)
            sink.write(chunk)
        if found.hexdigest() != sha256:
            raise ObjectDamaged(
                f"{key} in the spool {job.spool.root} is not what was written there",
                hint="its disk may be failing: look at the file, then move its folder out of the spool by hand",
            )
