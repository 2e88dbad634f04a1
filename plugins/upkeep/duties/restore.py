"""Restore one backup by hand: beside the live database, into the scratch server, or single tables.

First a plan that changes nothing: which backup, how old, where it would go, how long it would take, and what the live
database has that the backup hasn't. Then the copy is loaded under a name with the backup's time in it, and compared
with what its dump recorded. Nothing that is there already is written into, and nothing is taken away.

**Why a kill at any line is safe.** What was begun stands in the ledger with the copy's name before the copy is made.
The next run removes a copy that no act finished, and makes it again; one that was finished it finds and leaves as it
is. A database of that name that the ledger knows nothing of belongs to somebody else.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upkeep.domain.backup import taken_at
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.domain.restoring import (
    RestorePlan,
    TableLoss,
    Wish,
    choose_backup,
    held_name,
    restored_name,
    tables_name,
)
from upkeep.domain.units import human_bytes, human_seconds
from upkeep.duties.benches import (
    CHECK_LIMIT_S,
    SESSIONS,
    SPACE_FACTOR,
    Restored,
    bench_of,
    compare_database,
    open_restorer,
)
from upkeep.duties.catalogue import PROOFS, Backup, candidates, read_catalogue, write_proof
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of, plain_bytes, trusted_manifest
from upkeep.duties.same_server import require_same_server
from upkeep.engines.live_base import LiveServer
from upkeep.engines.restore_base import Restorer
from upkeep.errors import (
    NameTaken,
    ObjectMissing,
    ProofFailed,
    RestoreRefused,
    RestoreUnavailable,
    SourceError,
    StoreUnreachable,
    UpkeepError,
)
from upkeep.ledger import Record
from upkeep.site import Database

log = logging.getLogger(__name__)

SAFETY = "secure_live"
"""The act that backs up what is live before it is replaced: its backup is only restored by name."""
LOOK_BACK = 50
"""Acts, and backups, among which an earlier one is looked for."""
MOST_TOLD = 5


@dataclass(frozen=True)
class Found:
    """The backup that is meant. ``job`` reads from the store, or from the spool where it still waits."""

    job: Job
    backup: Backup
    manifest: Manifest
    source: str
    estimate_s: float | None
    passed_over: tuple[str, ...] = ()
    """Newer ones that earlier restores made of what they replaced."""

    @property
    def backup_id(self) -> str:
        return self.backup.ref.backup_id


@dataclass(frozen=True)
class Place:
    """Where a copy of a database goes."""

    restorer: Restorer
    name: str
    label: str


def find_backup(job: Job, wish: Wish) -> Found:
    """Errors: ``ObjectMissing``, ``ProofFailed`` and ``ManifestBroken`` for one that must not be relied on,
    ``StoreUnreachable`` when neither store nor spool has what is asked for.
    """
    site, target = job.site, wish.target
    site.target(target)
    spooling = copy.copy(job)
    spooling.store = job.spool
    away: StoreUnreachable | None = None
    shelves: list[tuple[Job, str]] = [(job, f"the store {job.site.store.url}")]
    if job.spool.root.is_dir():
        shelves.append((spooling, f"the spool {job.spool.root} on {job.run.host}, where it waits for the store"))
    found: dict[str, tuple[Job, str, Backup]] = {}
    known = []
    for holder, label in shelves:
        try:
            catalogue = read_catalogue(holder.store, site.name, target)
        except StoreUnreachable as error:
            log.warning("the store is away: %s", error.message)
            away = error
            continue
        known += [one for one in candidates(holder.store, catalogue) if one.backup_id not in found]
        for backup in catalogue.backups:
            found.setdefault(backup.ref.backup_id, (holder, label, backup))
    safety = _safety_copies(job, target) if wish.backup_id is None else set()
    passed_over = tuple(one.backup_id for one in known if one.backup_id in safety)
    known = [one for one in known if one.backup_id not in safety]
    counts_from = min(site.retention.policy(site.timezone).counts_from, ProofLevel.STRUCTURE)
    try:
        chosen = choose_backup(known, wish, where=" and ".join(label for _, label in shelves), counts_from=counts_from)
    except ObjectMissing:
        if away:
            raise away from None
        raise
    holder, label, backup = found[chosen.backup_id]
    manifest = trusted_manifest(holder, backup)
    estimate = _estimate(job, [one for _, _, one in found.values()], backup)
    newer = tuple(one for one in passed_over if taken_at(one) > backup.taken_at)
    return Found(holder, backup, manifest, label, estimate, newer)


def plan_restore(job: Job, wish: Wish) -> RestorePlan:
    """What would be restored where, and what would be lost; changes nothing.

    Errors: as ``find_backup``; ``RestoreUnavailable`` and ``RestoreRefused`` for what would stop the restore itself.
    """
    from upkeep.duties.restore_others import others_plan

    found = find_backup(job, wish)
    section = job.site.section(wish.target)
    wish = replace(wish, backup_id=found.backup_id)
    plan = RestorePlan(
        wish=wish,
        backup_id=found.backup_id,
        taken_at=found.backup.taken_at,
        standing=found.backup.standing,
        size=found.manifest.size,
        plain_bytes=plain_bytes(found.job, found.backup, found.manifest),
        source=found.source,
        into="",
        estimate_s=found.estimate_s,
        now=job.now(),
        remarks=tuple(
            f"{one} is passed over: an earlier restore made it of what was live then; name it to have it"
            for one in found.passed_over
        ),
    )
    if not isinstance(section, Database):
        return others_plan(job, section, found, plan)
    losses, remarks = _losses(job, section, found)
    remarks[:0] = plan.remarks
    if found.backup.level < ProofLevel.STRUCTURE:
        remarks.append(f"this backup is only {found.backup.standing}: its hashes and rows are checked on the way")
    if wish.destination == "over":
        from upkeep.duties.restore_over import plan_over

        into, steps, more = plan_over(job, section, found)
        return replace(plan, into=into, losses=losses, remarks=(*remarks, *more), steps=steps)
    place = place_of(job, section, found, wish)
    remarks += check_room(job, section, found, place, wish)
    tables = _only(found.manifest, wish)
    if tables:
        losses = tuple(loss for loss in losses if loss.name in tables)
        remarks.append("all other tables are made too, but stay empty; no foreign keys are made or checked")
    return replace(
        plan,
        into=f"database {place.name} on {place.label}; the live database is not touched",
        losses=losses,
        remarks=tuple(remarks),
        steps=("load it", "compare it with what its dump recorded", "leave it there until somebody drops it"),
    )


def restore(job: Job, wish: Wish, *, dry_run: bool = False) -> dict[str, Any]:
    """Load the backup beside everything else, compare it, leave it there.

    Errors: ``ProofFailed`` when it differs from its source (the copy stays to be looked at); ``RestoreRefused`` when
    something else has its name; ``RestoreUnavailable``; ``Busy``; as ``find_backup``.
    """
    from upkeep.duties.restore_others import restore_other

    if wish.destination not in ("beside", "scratch", "tables"):
        raise RestoreRefused(f"{wish.destination} isn't restored beside", hint="use the steps of restore_over")
    plan = plan_restore(job, wish)
    for line in plan.lines():
        log.info("%s", line)
    if dry_run:
        return {"site": job.site.name, "target": wish.target, "dry_run": True, "plan": list(plan.lines())}
    found = find_backup(job, plan.wish)
    section = job.site.section(wish.target)
    if not isinstance(section, Database):
        return restore_other(job, section, found, plan.wish)
    with job.ledger.hold(hold_name(job, wish.target)):
        return load_copy(job, section, found, place_of(job, section, found, wish), _only(found.manifest, wish))


def hold_name(job: Job, target: str) -> str:
    return f"{job.site.name}/{target}/restore"


def place_of(job: Job, section: Database, found: Found, wish: Wish) -> Place:
    """Errors: ``NoScratch`` where a scratch is asked for that the site hasn't."""
    backup_id = found.backup_id
    if wish.destination == "scratch":
        bench_of(job, wish.target)
        restorer = open_restorer(job, section.engine, str(section.scratch_conn_id))
        label = f"the scratch server of connection {section.scratch_conn_id}"
        return Place(restorer, held_name(wish.target, backup_id), label)
    conn_id = _live_conn_id(section)
    restorer = open_restorer(job, section.engine, conn_id, live=True)
    _require_same_server(job, section, restorer, over=wish.destination == "over")
    label = f"the live server of connection {conn_id}"
    database = live_name(job, section)
    if tables := _only(found.manifest, wish):
        mark = hashlib.sha256("\0".join(sorted(tables)).encode()).hexdigest()[:4]
        return Place(restorer, tables_name(database, backup_id, mark), label)
    return Place(restorer, restored_name(database, backup_id), label)


def live_name(job: Job, section: Database) -> str:
    """What the live database is called on its server."""
    engine: Any = job.engine(section.name)
    return str(engine.database)


def _live_conn_id(section: Database) -> str:
    """Errors: ``RestoreUnavailable`` for a database in a pod: its connection's host is nobody's, so it could lead to
    another server.
    """
    if section.via and not section.restore_conn_id:
        raise RestoreUnavailable(
            f"database {section.name} is reached through a pod, where nothing is restored",
            hint="name a connection that reaches its server directly under restore_conn_id, or run the manifest's own "
            "restore line in the pod (kubectl exec)",
        )
    return str(section.restore_conn_id or section.conn_id)


def _require_same_server(job: Job, section: Database, restorer: Restorer, *, over: bool) -> None:
    """A server that can't be asked may not be restored over: another one may hold a database of the same name.
    Errors: ``RestoreRefused``.
    """
    try:
        require_same_server(job, section, "restore_conn_id", restorer, RestoreRefused)
    except SourceError as error:
        if over:
            raise RestoreRefused(
                f"nobody knows whether {section.conn_id} and {section.restore_conn_id} of {section.name} lead to one "
                f"server: {error.message}",
                hint=f"mend {section.conn_id}, or for this restore let both be one connection"
                f"{' and leave out via' if section.via else ''}",
            ) from error
        log.warning("%s could not be asked who it is: %s", section.conn_id, error.message)


def open_live(job: Job, section: Database) -> LiveServer:
    endpoint = job.connect(_live_conn_id(section))
    if section.engine == "mysql":
        from upkeep.engines.mysql_live import MySqlLive

        return MySqlLive(endpoint, lock_timeout_s=section.lock_timeout_s)
    from upkeep.engines.postgres_live import PostgresLive

    return PostgresLive(endpoint)


def check_room(job: Job, section: Database, found: Found, place: Place, wish: Wish) -> list[str]:
    """Errors: ``RestoreUnavailable`` when the copy would fill somebody's disk, or when scratch is the source."""
    plain = plain_bytes(found.job, found.backup, found.manifest)
    if wish.destination == "scratch":
        return bench_of(job, wish.target).check(found.manifest, plain)
    need, free = plain * SPACE_FACTOR, place.restorer.free_bytes()
    if free is None:
        return [f"nobody can say how much disk is free on {place.label}; the copy needs about {human_bytes(need)}"]
    if free < need:
        raise RestoreUnavailable(
            f"{place.label} has {human_bytes(free)} of free disk, {found.backup_id} needs about {human_bytes(need)}: a "
            "full disk would stop the live database too",
            hint="free space there, restore into the scratch server, or restore single tables",
        )
    if section.engine == "postgres" and (here := shutil.disk_usage(tempfile.gettempdir()).free) < 64 << 20:
        raise RestoreUnavailable(
            f"{tempfile.gettempdir()} on this worker has only {human_bytes(here)} of free disk",
            hint="free space there, or let TMPDIR lead to a larger disk",
        )
    return []


def load_copy(job: Job, section: Database, found: Found, place: Place, only: tuple[str, ...]) -> dict[str, Any]:
    """The copy, found or made; call it under the hold. Errors: as ``restore``."""
    target, backup_id = section.name, found.backup_id
    command = load_command(backup_id, place.name)
    result = {
        "site": job.site.name, "target": target, "backup_id": backup_id, "database": place.name, "on": place.label,
    }  # fmt: skip
    if place.name in place.restorer.databases():
        earlier = last_act(job, target, "restore", lambda record: record.started.command == command)
        if earlier is None:
            raise RestoreRefused(
                f"there is already a database {place.name!r} on {place.label}, and the ledger knows of no restore that "
                "made it",
                hint="see whose it is; if nobody needs it, drop it, then restore again",
            )
        if earlier.state == "done":
            log.info("%s is there already, restored on %s", place.name, earlier.started.at)
            return {**result, "found": True, "rows": earlier.detail.get("rows"), "tables": earlier.detail.get("tables")}
        with job.ledger.record(job.act("sweep", target, command=f"remove {place.name}")) as entry:
            entry.note(where=place.label, summary="a restore that was killed or failed had left it")
            place.restorer.drop(place.name)
    begun, restored = time.monotonic(), Restored()
    with job.ledger.record(job.act("restore", target, command=command), secrets=place.restorer.secrets) as entry:
        entry.note(backup_id=backup_id, where=place.label)
        notes = check_room(job, section, found, place, Wish(target, "beside"))
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
        entry.note(
            light="green",
            summary=f"{backup_id} stands as {place.name} after {human_seconds(restored.seconds['total'])}: "
            f"{restored.figures['tables']} tables, {restored.figures['rows']:,} rows, as its dump recorded them",
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


def last_act(job: Job, target: str, duty: str, fits: Callable[[Record], bool] = lambda record: True) -> Record | None:
    records = job.ledger.acts(job.site.name, target=target, duty=duty, limit=LOOK_BACK, newest_first=True)
    return next((record for record in records if fits(record)), None)


def _safety_copies(job: Job, target: str) -> set[str]:
    """Whoever asks for the newest doesn't mean what was so broken that it had to be replaced."""
    acts = job.ledger.acts(job.site.name, target=target, duty=SAFETY, limit=LOOK_BACK, newest_first=True)
    return {str(act.detail["backup_id"]) for act in acts if act.detail.get("backup_id")}


def _only(manifest: Manifest, wish: Wish) -> tuple[str, ...]:
    """The tables asked for, as the manifest calls them. Errors: ``RestoreRefused`` for one that it doesn't hold."""
    if wish.destination != "tables":
        return ()
    known = manifest.contents.get("tables", {})
    named = tuple(name if name in known or f"public.{name}" not in known else f"public.{name}" for name in wish.tables)
    if unknown := sorted(set(named) - set(known)):
        raise RestoreRefused(
            f"the backup {manifest.backup.backup_id} has no table {', '.join(unknown)}",
            hint=f"it has: {', '.join(sorted(known)[:20])}",
        )
    if not named:
        raise RestoreRefused("no table is named", hint="name the tables whose rows are wanted")
    return named


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
    told = restored.differences[:MOST_TOLD]
    rest = len(restored.differences) - len(told)
    return ProofFailed(
        f"the copy {place.name} of {backup_id} differs from its source: {'; '.join(told)}"
        + (f"; and {rest} more" if rest else ""),
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
    """A backup whose stored bytes turn out to be others is never chosen again, nor counted by retention."""
    try:
        yield
    except ProofFailed as error:
        if streams.damage:
            job = found.job
            with suppress(UpkeepError):
                write_proof(
                    job.store, found.backup.ref, ProofLevel.CHECKSUM, ok=False, at=job.now(), run=job.run.as_dict(),
                    figures={"error": str(error)},
                )  # fmt: skip
        raise


def _losses(job: Job, section: Database, found: Found) -> tuple[tuple[TableLoss, ...], list[str]]:
    """Each table now against the backup. A live database that can't be asked is a remark: it may be gone."""
    from upkeep.engines.live_rows import count_rows
    from upkeep.engines.newest_rows import newest_rows

    recorded = found.manifest.contents.get("tables", {})
    engine: Any = job.engine(section.name)
    named = {(rule.table, rule.column) for rule in section.purge}
    named |= {(rule.table, rule.column) for rule in section.partitions}
    try:
        with closing(engine.connect()) as connection:
            rows = count_rows(connection, section.engine)
            newest = newest_rows(connection, section.engine, named, until=job.now(), zone=None).newest
    except (SourceError, RestoreUnavailable) as error:
        return (
            tuple(TableLoss(name, int(table["rows"]), None) for name, table in sorted(recorded.items())),
            [f"the live database can't be looked at: {error.message}"],
        )
    begun = taken_at(found.backup_id)
    losses = []
    for name in sorted({*recorded, *rows}):
        at, column = _newest(name, newest)
        counted, exact = rows.get(name, (None, True))
        losses.append(
            TableLoss(
                name,
                int(recorded[name]["rows"]) if name in recorded else None,
                counted,
                newest=f"{at:%Y-%m-%d %H:%M:%S}Z" if at else "",
                column=column,
                is_newer=bool(at and at > begun),
                exact=exact,
            )
        )
    return tuple(losses), []


def _newest(table: str, newest: dict[str, datetime]) -> tuple[datetime | None, str]:
    label = table.removeprefix("public.")
    found = [(at, name.removeprefix(f"{label}.")) for name, at in newest.items() if name.rpartition(".")[0] == label]
    return max(found, default=(None, ""), key=lambda one: one[0] or datetime.min.replace(tzinfo=UTC))


def _estimate(job: Job, backups: list[Backup], wanted: Backup) -> float | None:
    """By the last test restore of the target, from the proof beside it; a larger backup takes longer."""
    for backup in sorted(backups, key=lambda one: one.taken_at, reverse=True)[:LOOK_BACK]:
        if backup.level < ProofLevel.RESTORED or not backup.size:
            continue
        prefix = f"{backup.ref.prefix}{PROOFS}"
        with suppress(UpkeepError, ValueError, KeyError, TypeError):
            keys = [stored.key for stored in job.store.list(prefix) if stored.key.endswith("-pass.json")]
            for key in sorted(keys, reverse=True):
                figures = json.loads(job.store.get(key))["figures"]
                if isinstance(figures.get("seconds"), dict):
                    return float(figures["seconds"]["total"]) * wanted.size / backup.size
    return None
