"""Back up one target: streams from the dump to the store, the manifest last."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import upkeep
from upkeep.domain.backup import BackupRef, new_backup_id
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.manifest import Manifest
from upkeep.domain.sealed import digest
from upkeep.domain.units import human_bytes, human_seconds
from upkeep.duties.catalogue import Backup, Catalogue, read_catalogue, read_manifest
from upkeep.duties.job import Job, require_hold
from upkeep.duties.packing import packed_name, packing_tools, unpack_line
from upkeep.duties.store_streams import store_snapshot
from upkeep.duties.waiting import check_spool, ship_waiting
from upkeep.engines.base import Engine
from upkeep.errors import (
    BackupSpooled,
    ManifestBroken,
    ObjectDamaged,
    ObjectHeld,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from upkeep.ledger import Hold
from upkeep.stores.base import Store

log = logging.getLogger(__name__)

ABOUT_ONE_OBJECT = (ObjectMissing, ObjectHeld, ObjectDamaged)
"""Every other error is one of the store as a whole: it is away, full, denies the account, takes the keys for expired or
the clock for wrong. Until a person has settled that, a backup in the spool is worth more than none.
"""
OWN_BACKUPS_LOOKED_AT = 3
"""How many of the newest backups are searched for one that this very run made before it was killed."""


def back_up(job: Job, target: str, *, dry_run: bool = False, reuse_since: datetime | None = None) -> dict[str, Any]:
    """Make one backup of one target, or find the one that this run already made.

    What an earlier run left is settled first: backups waiting in the spool are shipped, unfinished ones are removed.
    Where the store is away, full, or refuses the account, the backup is finished into the spool, and ``BackupSpooled``
    says so.

    :param reuse_since: one that this run had finished before then is too old to be found; None: none is.

    Errors: ``Busy``, ``SourceError``, ``ToolError``, ``StoreError``, ``BackupSpooled``.
    """
    job.site.target(target)
    if dry_run:
        return _rehearse(job, target)
    ref = BackupRef(job.site.name, target, new_backup_id(job.now()))
    act = job.act("back_up", target, command=f"back up as {ref.backup_id}")
    with job.ledger.record(act) as entry, job.hold(target) as hold:
        away = _settle(job, target, hold)
        if own := _made_by_this_run(job, target, away, reuse_since):
            log.info("%s was made by an earlier try of this run", own.ref.backup_id)
            entry.note(bytes=own.size, backup_id=own.ref.backup_id, size=own.size, found=True)
            if away:
                raise _spooled(job, own.ref, away) from away
            return _result(own.ref, own.size, found=True)
        engine = job.engine(target)
        entry.hide(*engine.secrets)
        manifest, sealed, away = _make_somewhere(job, ref, engine, away, hold)
        entry.note(
            bytes=manifest.size,
            checksum=digest(sealed),
            backup_id=manifest.backup.backup_id,
            size=manifest.size,
            rows_are=manifest.rows_are,
            position=dict(manifest.position),
            warnings=list(manifest.warnings[:20]),
            seconds=manifest.timings_s["total"],
            waits_in=job.spool.url if away else "",
            away=away.message if away else "",
        )
        if away:
            raise _spooled(job, manifest.backup, away) from away
        return _result(manifest.backup, manifest.size)


def _settle(job: Job, target: str, hold: Hold) -> StoreError | None:
    """Ship what waits and remove what is unfinished; returns what keeps the store away, if anything does."""
    try:
        job.store.check()
        ship_waiting(job, target)
        sweep_orphans(job, target, hold)
    except StoreError as error:
        if isinstance(error, ABOUT_ONE_OBJECT):
            raise
        log.warning("the store is away: %s", error.message)
        return error
    return None


def sweep_orphans(job: Job, target: str, hold: Hold) -> None:
    """Remove what killed runs left of this target.

    A folder whose manifest is gone although the ledger says that the backup was finished and never removed isn't an
    orphan: somebody deleted the manifest, and the files may be the only copy. It is left and reported.
    """
    store, prefix = job.store, f"{job.site.name}/{target}/"
    for name in store.sweep(prefix):
        log.warning("removed %s, which a killed run left half-written", name)
    orphans = read_catalogue(store, job.site.name, target).orphans
    finished = _finished_and_kept(job, target) if orphans else set()
    for backup_id, keys in orphans.items():
        if backup_id in finished:
            _report_lost_manifest(job, target, backup_id)
            continue
        try:
            with job.ledger.record(job.act("sweep", target, command=f"remove unfinished {backup_id}")) as entry:
                entry.note(backup_id=backup_id, objects=len(keys))
                require_hold(job, target, hold)
                try:
                    for key in keys:
                        store.delete(key)
                except ObjectHeld as error:
                    entry.skip(error.message)
        except (StoreUnreachable, StoreFull):
            raise
        except StoreError as error:  # keys that may not delete: no reason to go without a backup
            log.warning("the unfinished %s stays: %s", backup_id, error.message)


def _report_lost_manifest(job: Job, target: str, backup_id: str) -> None:
    with suppress(ManifestBroken), job.ledger.record(job.act("sweep", target, command=f"look at {backup_id}")):
        error = ManifestBroken(
            f"{target}/{backup_id} has lost its manifest, but the ledger has it as finished: left alone",
            hint="find out who deleted it; its files may be the only copy, and the ledger has their size and time",
        )
        log.error("%s", error)
        raise error


def _finished_and_kept(job: Job, target: str) -> set[str]:
    finished: set[str] = set()
    for record in job.ledger.acts(site=job.site.name, target=target):
        backup_id = record.detail.get("backup_id")
        if record.started.duty in ("back_up", "ship") and record.state == "done":
            finished.add(str(backup_id))
        elif record.started.duty == "forget":  # begun is enough: a killed removal leaves a folder without its manifest
            finished.discard(record.started.command.rpartition(" ")[2])
    return finished


def _make_somewhere(
    job: Job, ref: BackupRef, engine: Engine, away: StoreError | None, hold: Hold
) -> tuple[Manifest, bytes, StoreError | None]:
    """Into the store, or into the spool when the store is away; the error that kept it away comes back too.

    The spool's gets an id of its own: a store that vanishes at the last moment may have taken the manifest after all.
    """
    if away is None:
        try:
            return (*_make(job, ref, engine, job.store, hold), None)
        except StoreError as error:
            if isinstance(error, ABOUT_ONE_OBJECT):
                raise
            log.warning("the store is away, so the backup goes to the spool: %s", error.message)
            away = error
    try:
        spooled = BackupRef(ref.site, ref.target, new_backup_id(job.now()))
        return (*_make(job, spooled, engine, job.spool, hold), away)
    except StoreError as error:
        raise type(error)(
            f"neither the store nor the spool took the backup: {away.message}; {error.message}",
            hint=f"{away.hint}; {error.hint}",
        ) from error


def _make(job: Job, ref: BackupRef, engine: Engine, store: Store, hold: Hold) -> tuple[Manifest, bytes]:
    started, clock = job.now(), time.monotonic()
    with _unfinished_removed(store, ref):
        with engine.snapshot() as snapshot:
            stored = store_snapshot(job, ref, engine, store, snapshot)
            facts = snapshot.facts({each.file.stream: each.ended for each in stored})
        files = tuple(each.file for each in stored)
        timings = {each.file.stream: each.seconds for each in stored}
        timings["total"] = round(time.monotonic() - clock, 3)
        manifest = Manifest(
            upkeep=upkeep.__version__,
            backup=ref,
            engine=job.site.target(ref.target).engine,
            run=job.run.as_dict(),
            started_at=started.isoformat(),
            finished_at=job.now().isoformat(),
            source=facts.source,
            tools={**facts.tools, **packing_tools(job.site.encryption)},
            position=facts.position,
            contents=facts.contents,
            rows_are=facts.rows_are,
            warnings=tuple(facts.warnings),
            files=files,
            timings_s=timings,
            restore=engine.restore_command({file.stream: unpack_line(file.name) for file in files}, facts),
        )
        sealed = manifest.to_bytes()
        require_hold(job, ref.target, hold)
        store.put(ref.prefix + MANIFEST, sealed)
    for warning in manifest.warnings:
        log.warning("%s: %s", ref.target, warning)
    log.info("%s/%s: %s in %s", ref.site, ref.target, human_bytes(manifest.size), human_seconds(timings["total"]))
    return manifest, sealed


@contextmanager
def _unfinished_removed(store: Store, ref: BackupRef) -> Iterator[None]:
    """Take back the files of a backup that failed half-way; where even that fails, the next run's sweep does it."""
    try:
        yield
    except BaseException as error:
        try:
            store.delete(ref.prefix + MANIFEST)  # first: a manifest without its files would look like a backup
            for stored in list(store.list(ref.prefix)):
                store.delete(stored.key)
        except StoreError as second:
            error.add_note(
                f"what was written of {ref.backup_id} could not be removed ({second.message}); the next run will"
            )
        raise


def _made_by_this_run(job: Job, target: str, away: StoreError | None, since: datetime | None) -> Backup | None:
    """The backup that an earlier try of this same run finished before it was killed, if it is not known to be bad."""
    store = job.spool if away else job.store
    try:
        catalogue: Catalogue = read_catalogue(store, job.site.name, target)
    except StoreError:
        return None  # the store went away this moment; making the backup will meet the same and use the spool
    for backup in reversed(catalogue.backups[-OWN_BACKUPS_LOOKED_AT:]):
        try:
            manifest, _ = read_manifest(store, backup.ref)
        except (ManifestBroken, StoreError):
            continue  # an old backup's trouble; verify is there to tell of it
        if since and datetime.fromisoformat(manifest.finished_at) < since:
            continue
        if manifest.run.get("run_id") == job.run.run_id and not backup.failure:
            return backup
    return None


def _rehearse(job: Job, target: str) -> dict[str, Any]:
    """All of it up to the dump: log in, pick the client, open the snapshot, reach the store, look at the spool."""
    engine = job.engine(target)
    with engine.snapshot() as snapshot:
        streams = [packed_name(stream.name, job.site.encryption) for stream in snapshot.streams]
        commands = [" ".join(stream.command.argv) for stream in snapshot.streams]
    job.store.check()
    check_spool(job)
    log.info("%s: would write %s to %s", target, ", ".join(streams), job.store.url)
    return {"site": job.site.name, "target": target, "dry_run": True, "files": streams, "commands": commands}


def _spooled(job: Job, ref: BackupRef, away: StoreError) -> BackupSpooled:
    return BackupSpooled(
        f"the backup {ref.backup_id} of {ref.site}/{ref.target} waits in the spool {job.spool.root} on {job.run.host}: "
        f"{away.message}",
        hint=f"{away.hint}; then the next run on this worker ships it (or run this task again)",
    )


def _result(ref: BackupRef, size: int, *, found: bool = False) -> dict[str, Any]:
    return {**ref.to_dict(), "bytes": size, "found": found}
