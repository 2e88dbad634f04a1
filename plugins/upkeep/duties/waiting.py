"""Backups that wait in the spool because the store was away when they were made."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from upkeep.domain.backup import BackupRef
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.manifest import StoredFile
from upkeep.duties.catalogue import read_catalogue, read_manifest
from upkeep.duties.job import Job
from upkeep.duties.metered import Metered
from upkeep.errors import ManifestBroken, ObjectDamaged, ObjectMissing, StoreError, StoreUnreachable

log = logging.getLogger(__name__)

_MOVE_IT_AWAY = "its disk may be failing: look at the file, then move its folder out of the spool by hand"


def waiting(job: Job, target: str) -> tuple[BackupRef, ...]:
    """Finished backups of one target in this worker's spool, oldest first."""
    if not has_spool(job):
        return ()
    return tuple(backup.ref for backup in read_catalogue(job.spool, job.site.name, target).backups)


def has_spool(job: Job) -> bool:
    """Whether anything can wait here: something once had to, and the spool isn't the store under another name.

    Where a link or a mount makes it so, what lies in the store would be taken for shipped, and removed.
    """
    spool, store = job.spool.root, urlsplit(job.site.store.url)
    if not spool.is_dir():
        return False
    return not (store.scheme == "file" and Path(store.path).is_dir() and spool.samefile(store.path))


def check_spool(job: Job) -> None:
    """Whether a backup that has to wait could make the spool; it isn't made now. Errors: ``StoreUnreachable``."""
    folder = Path(job.site.spool)
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        usable = os.access(there, os.W_OK | os.X_OK)
    except OSError:  # a folder above it can't be looked into
        usable = False
    if not usable:
        raise StoreUnreachable(
            f"{folder} can't be made or written by {getpass.getuser()} on this machine",
            hint=f"install -d -m 700 -o <the worker's user> {folder}, or set spool in the site file",
        )


def ship_waiting(job: Job, target: str) -> None:
    """Move what waits to the store, manifest last; the spool's copy goes only after the store holds all of it.

    One that was damaged in the spool stays there, as a failed act in the ledger, and keeps nothing else waiting. A
    spool that can't be looked through is told in the same way.

    Errors: ``StoreUnreachable`` and ``StoreFull`` when the store still doesn't take it; then it goes on waiting.
    """
    for ref in _found(job, target):
        try:
            with job.ledger.record(job.act("ship", target, command=f"ship {ref.backup_id} from the spool")) as entry:
                entry.note(backup_id=ref.backup_id, bytes=_ship(job, ref))
        except (ObjectDamaged, ManifestBroken) as error:
            log.error("%s stays in the spool: %s", ref.backup_id, error)  # red in the report; tonight's is made anyway
            continue
        log.info("shipped %s from the spool to %s", ref.backup_id, job.store.url)


def _found(job: Job, target: str) -> tuple[BackupRef, ...]:
    if not has_spool(job):
        return ()
    look = job.act("ship", target, command=f"look for backups that wait in {job.spool.root}")
    try:
        _tidy(job, target)
        return waiting(job, target)
    except StoreError as error:
        log.error("the spool can't be looked through: %s", error)
        with suppress(StoreError), job.ledger.record(look):
            raise  # so that the report tells of it
        return ()


def _tidy(job: Job, target: str) -> None:
    """Remove what a killed run left half-written in the spool."""
    job.spool.sweep(f"{job.site.name}/{target}/")
    for backup_id, keys in read_catalogue(job.spool, job.site.name, target).orphans.items():
        log.warning("removed the unfinished %s from the spool", backup_id)
        for key in keys:
            job.spool.delete(key)


def _ship(job: Job, ref: BackupRef) -> int:
    """Copy one backup; returns its bytes. A copy that an earlier, killed try had already completed isn't made again."""
    try:
        manifest, sealed = read_manifest(job.spool, ref)
    except StoreError as error:
        raise _damaged(job, f"the manifest of {ref.backup_id}", error) from error
    if not _is_there(job, ref, sealed):
        for file in manifest.files:
            _copy(job, ref.prefix + file.name, file)
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


def _copy(job: Job, key: str, file: StoredFile) -> None:
    metered = Metered(key, "shipped")
    with job.store.writer(key) as sink:
        for chunk in metered.over(_read(job, key)):
            sink.write(chunk)
        if not metered.matches(file):
            raise ObjectDamaged(
                f"{key} in the spool {job.spool.root} is not what was written there", hint=_MOVE_IT_AWAY
            )


def _read(job: Job, key: str) -> Iterator[bytes]:
    """A spool that can't be read is no store that is away: it must not keep tonight's backup from the store."""
    try:
        yield from job.spool.read(key)
    except StoreError as error:
        raise _damaged(job, key, error) from error


def _damaged(job: Job, what: str, error: StoreError) -> ObjectDamaged:
    return ObjectDamaged(f"{what} in the spool {job.spool.root} can't be read: {error.message}", hint=_MOVE_IT_AWAY)
