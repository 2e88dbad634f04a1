"""Delete the rows that a site's purge rules let go: behind a proven backup, in small batches, never in the way.

For each rule, in turn: judge the table -> find old rows along the date's index, in chunks -> with ``archive: true``
commit the chunk to the store -> delete exactly its rows, one batch and one commit after the other -> next chunk.

**Why a kill at any line is safe.** Without an archive each batch is a transaction of its own, and the next run finds
whatever is still old. With one, a row is only ever deleted after the manifest that holds it was committed and its file
read back, and in the very transaction in which the row, under lock, was found to be what the archive holds to the letter.
A run that is killed between leaves an archive that hasn't ended; the next run reads it back and finishes its deletes
before it looks for more, so no row is archived twice. Where it can't be read back (encrypted, and this site names no
private key) its rows are archived again; restoring takes the latest and never inserts a key twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from upkeep.domain.manifest import digest
from upkeep.domain.proof import is_proven
from upkeep.domain.purge import (
    BACKUP_MAX_AGE,
    Limits,
    Pace,
    PurgePlan,
    Rule,
    Table,
    cut_off,
    find_index,
    find_refusals,
    human_count,
    make_plan,
    rest_after,
    why_wait,
)
from upkeep.domain.retention import FUTURE_TOLERANCE
from upkeep.domain.row_archive import Ending, Row, fingerprint, line_of, row_of
from upkeep.domain.units import human_seconds
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.job import Job
from upkeep.duties.row_archives import Archives, identity_of
from upkeep.engines.row_purge import Deleted, Key, LockedOut, OldRows, Place, RowPurge, open_row_purge
from upkeep.errors import PurgeRefused, SiteFileError, Stopped
from upkeep.site import Database

log = logging.getLogger(__name__)

CHUNK_ROWS = 100_000
"""Rows found, and archived, at a time. Their keys are held in memory."""
CHUNK_BYTES = 64_000_000
"""The most that one archive holds, in bytes of lines."""
PORTION_BYTES = 8_000_000
"""About how much is read from the server at once."""
PROGRESS_EVERY_S = 10
LOOK_EVERY_S = 1.0
"""Between two looks at a server that is too busy."""
PATIENCE_S = 900
"""How long to wait for one that stays too busy; what is left then is for the next night."""
LOCK_PAUSE_S = 0.5
LOCK_TRIES = 10
"""How often in a row the smallest batch may meet a lock before the rule is left for the next night."""

RuleRef = int | tuple[str, str]
"""A rule by its place in the site file, or by its table and column."""


def never() -> bool:
    return False


def plan_purge(job: Job, database: str) -> list[PurgePlan]:
    """What each rule of one database would do now; reads, and changes nothing. Errors: ``SourceError``."""
    rules = [Rule(**rule.model_dump()) for rule in _section(job, database).purge]
    if not rules:
        return []
    with open_row_purge(job.engine(database)) as session:
        return [_plan(job, session, rule)[0] for rule in rules]


def purge_rows(
    job: Job,
    database: str,
    rule: RuleRef,
    *,
    closes_at: datetime | None,
    dry_run: bool = False,
    limits: Limits | None = None,
    told_to_stop: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Carry out one rule, or as much of it as fits before ``closes_at``; the next run goes on where this one stopped.

    Errors: ``PurgeRefused`` when there is no proven backup younger than 26 hours or the table doesn't allow it,
    ``Busy``, ``SourceError``, ``StoreError``, ``Stopped``.
    """
    wanted = _rule(job, database, rule)
    with job.ledger.hold(f"{job.site.name}/{database}/purge/{wanted.table}"):
        if dry_run:
            return _Purge(job, database, wanted, closes_at, limits or Limits(), told_to_stop).rehearse()
        act = job.act("purge_rows", database, command=f"purge {wanted.table} by {wanted.column}")
        with job.ledger.record(act, secrets=job.engine(database).secrets) as entry:
            purge = _Purge(job, database, wanted, closes_at, limits or Limits(), told_to_stop)
            try:
                result = purge.carry_out()
            finally:
                entry.note(rows=purge.done.rows, bytes=purge.done.archived_bytes, checksum=purge.done.seal())
                entry.note(table=wanted.table, column=wanted.column, **purge.done.progress())
            entry.note(reason=result["reason"], cut_off=result["cut_off"])
            return result


def require_proven_backup(job: Job, database: str) -> str:
    """The id of the newest backup, if it is proven and young enough. Errors: ``PurgeRefused``."""
    now = job.now()
    backups = [b for b in read_catalogue(job.store, job.site.name, database).backups if b.taken_at <= now + FUTURE_TOLERANCE]
    what = f"no row of {job.site.name}/{database} is deleted"
    if not backups:
        raise PurgeRefused(f"{what}: it has no backup", hint="back it up and verify that, then run this task again")
    newest = backups[-1]
    backup_id = newest.ref.backup_id
    counts_from = job.site.retention.policy(job.site.timezone).counts_from
    if not is_proven(newest.level, newest.failure is not None, counts_from=counts_from):
        raise PurgeRefused(
            f"{what}: its newest backup {backup_id} is {newest.standing}, and counts as proven from {counts_from.label} on",
            hint="mend what failed in tonight's back_up or verify task and clear it, then clear this one",
        )
    if (age := now - newest.taken_at) > BACKUP_MAX_AGE:
        raise PurgeRefused(
            f"{what}: its newest proven backup {backup_id} is {human_seconds(age.total_seconds())} old, "
            f"more than {human_seconds(BACKUP_MAX_AGE.total_seconds())}",
            hint="find out why there is no newer one, back it up and verify that, then run this task again",
        )
    return backup_id


@dataclass
class _Done:
    """What has been done so far."""

    rows: int = 0
    batches: int = 0
    left: int = 0
    archived_rows: int = 0
    archived_bytes: int = 0
    archives: list[str] = field(default_factory=list)
    throttled_s: float = 0.0
    locked_out: int = 0
    stopped_because: str = ""
    began: float = field(default_factory=time.monotonic)
    _manifests: Any = field(default_factory=sha256)

    def archived(self, archive_id: str, sealed: bytes, *, rows: int, size: int) -> None:
        self.archived_rows += rows
        self.archived_bytes += size
        self.archives.append(archive_id)
        self._manifests.update(digest(sealed).encode())

    def seal(self) -> str | None:
        """SHA-256 over the SHA-256 of each manifest in turn: an archive that was replaced later doesn't fit it."""
        return self._manifests.hexdigest() if self.archives else None

    def progress(self) -> dict[str, Any]:
        """Figures for the ledger and the task's result; small, however many archives there are."""
        ends = self.archives if len(self.archives) <= 2 else [self.archives[0], "...", self.archives[-1]]
        return {
            "batches": self.batches,
            "left_changed": self.left,
            "archived_rows": self.archived_rows,
            "archives": len(self.archives),
            "archive_ids": ends,
            "throttled_s": round(self.throttled_s, 1),
            "locked_out": self.locked_out,
            "stopped_because": self.stopped_because,
            "seconds": round(time.monotonic() - self.began, 1),
        }


class _Enough(Exception):
    """Stop here; the reason is what people read."""


class _Purge:
    """One rule at work."""

    def __init__(
        self,
        job: Job,
        database: str,
        rule: Rule,
        closes_at: datetime | None,
        limits: Limits,
        told_to_stop: Callable[[], bool],
    ) -> None:
        self._job, self._database, self._rule = job, database, rule
        self._closes_at, self._limits, self._told_to_stop = closes_at, limits, told_to_stop
        self._archives = Archives(job, database, rule.table)
        self._pace = Pace()
        self._running = 0
        self._chunk_s = 0.0
        self._said = time.monotonic()
        self.done = _Done()

    def rehearse(self) -> dict[str, Any]:
        """All of it up to the first delete: the backup, the table, the first rows, and whether they may be deleted."""
        require_proven_backup(self._job, self._database)
        with open_row_purge(self._job.engine(self._database)) as session:
            plan, table = self._accepted(session)
            if plan.rows:
                rows = session.old_rows(table, self._rule, plan.before)
                rows.rehearse([place.key for place in rows.next(None, 1)])
        if self._rule.archive:
            self._job.store.check()
        for line in plan.lines():
            log.info("%s", line)
        return self._result(plan, dry_run=True)

    def carry_out(self) -> dict[str, Any]:
        backup_id = require_proven_backup(self._job, self._database)
        with open_row_purge(self._job.engine(self._database)) as session:
            plan, table = self._accepted(session)
            for line in (*plan.lines(), *session.blind_spots):
                log.info("%s", line)
            rows = session.old_rows(table, self._rule, plan.before)
            try:
                self._work(session, plan, table, rows)
                self.done.stopped_because = "done"
            except _Enough as reason:
                about = human_count(rows.estimate().old)
                self.done.stopped_because = f"{reason}: about {about} rows left for the next night"
        log.info("%s: %s rows deleted; %s", self._rule.table, f"{self.done.rows:,}", self.done.stopped_because)
        return {**self._result(plan, dry_run=False), "backup_id": backup_id}

    def _accepted(self, session: RowPurge) -> tuple[PurgePlan, Table]:
        plan, table = _plan(self._job, session, self._rule)
        if plan.refusals or table is None:
            raise PurgeRefused(
                f"no row of {self._job.site.name}/{self._database} table {self._rule.table} is deleted: {plan.reason}",
                hint="; ".join(refusal.remedy for refusal in plan.refusals),
            )
        return plan, table

    def _work(self, session: RowPurge, plan: PurgePlan, table: Table, rows: OldRows) -> None:
        if not self._rule.archive:
            for places in self._chunks(session, rows):
                keys = [place.key for place in places]
                self._delete(session, keys, rows.delete)
            return
        if swept := self._archives.sweep():
            log.info("%d objects of killed runs removed", swept)
        self._finish_archives(session, table, rows)
        after: Place | None = None
        while places := self._next(session, rows, after):
            begun = time.monotonic()
            chunk = _Chunk(rows, places)
            committed = self._archives.commit(plan, table, session, chunk.rows())
            self._chunk_s = time.monotonic() - begun
            after = chunk.reached
            if committed:
                archive, sealed = committed
                self.done.archived(archive.archive_id, sealed, rows=archive.rows, size=archive.size)
                left, deleted = self._delete_archived(session, rows, chunk.fingerprints)
                self._archives.end(archive, self._ending(chunk.fingerprints, left, deleted, archive.key, chunk.texts))
