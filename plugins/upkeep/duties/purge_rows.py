"""Delete the rows that a site's purge rules let go: behind a proven backup, in small batches, never in the way.

For each rule, in turn: judge the table -> find old rows along the date's index, in chunks -> with ``archive: true``
commit the chunk to the store -> delete exactly its rows, one batch and one commit after the other -> next chunk.

**Why a kill at any line is safe.** Without an archive each batch is a transaction of its own, and the next run finds
whatever is still old. With one, a row is only ever deleted after the manifest that holds it was committed and its file
read back, and in the very transaction in which the row, under lock, was found to be what the archive holds, to the
letter. A run that is killed between leaves an archive that hasn't ended; the next run reads it back and finishes its
deletes before it looks for more, so no row is archived twice. Where it can't be read back (encrypted, and this site
names no private key) its rows are archived again; restoring takes the latest and never inserts a key twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from upkeep.domain.load import Limits, why_wait
from upkeep.domain.purge import Pace, PurgePlan, Rule, cut_off, find_refusals, make_plan, rest_after
from upkeep.domain.row_archive import Ending, Row, RowArchive, fingerprint, line_of, row_of
from upkeep.domain.sealed import digest
from upkeep.domain.tables import Table
from upkeep.domain.units import counted, ends, human_count, human_seconds
from upkeep.duties.fresh_backup import require_fresh_backup
from upkeep.duties.job import Job, require_hold
from upkeep.duties.packing import identity_of
from upkeep.duties.row_archives import Archives
from upkeep.duties.until import CLOSED, WITHOUT_END, Until
from upkeep.engines.row_purge import Deleted, Found, Key, LockedOut, OldRows, Place, RowPurge, open_row_purge
from upkeep.errors import PurgeRefused, SiteFileError
from upkeep.ledger import Hold

log = logging.getLogger(__name__)

CHUNK_ROWS = 100_000
"""Rows found and archived at a time. Their keys are held in memory."""
FOUND_ROWS = 20_000
"""Rows found at a time where nothing is archived: 100,000 keep a processor for 0.14 s, these for 0.02 s."""
CHUNK_BYTES = 64_000_000
"""The most that one archive holds, in bytes of lines."""
PORTION_BYTES = 8_000_000
"""About how much is read from the server at once."""
PROGRESS_EVERY_S = 10
LOOK_EVERY_S = 1.0
"""Between two looks at a server that is too busy."""
PATIENCE_S = 900
"""How long to wait for one that stays too busy; what is left then is for the next night."""
SHARED_FOR_S = 10
"""How long the server counts as shared after others were seen at work: they come and go within milliseconds."""
LOCK_PAUSE_S = 0.5
LOCK_TRIES = 3
"""How often in a row the smallest batch may meet a lock before its rows are left for the next night."""
LOCKED_ROWS = 2_000
"""Once so many were left, the rest of the rule is too: whoever holds them holds the table."""

_GOES_ON = (
    "the next run goes on from here; if rows are left every night, lengthen rhythms.daily.length_h, or move "
    "rhythms.daily.at to an hour at which fewer others are at work"
)

RuleRef = int | tuple[str, str]
"""A rule by its place in the site file, or by its table and column."""


def plan_purge(job: Job, database: str) -> list[PurgePlan]:
    """What each rule of one database would do now; reads, and changes nothing. Errors: ``SourceError``."""
    rules = [Rule(**rule.model_dump()) for rule in job.database(database).purge]
    if not rules:
        return []
    with open_row_purge(job.engine(database)) as session:
        return [_plan(job, database, session, rule)[0] for rule in rules]


def purge_rows(
    job: Job,
    database: str,
    rule: RuleRef,
    *,
    until: Until = WITHOUT_END,
    dry_run: bool = False,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Carry out one rule, or as much of it as fits before ``until``; the next run goes on where this one stopped.

    Errors: ``NoFreshBackup``, ``PurgeRefused`` when the table doesn't allow it,
    ``Busy``, ``SourceError``, ``StoreError``, ``Stopped``.
    """
    wanted = _rule(job, database, rule)
    with job.hold(hold_name(database, wanted.table)) as hold:
        purge = _Purge(job, database, wanted, until, limits or Limits(), hold)
        if dry_run:
            return purge.rehearse()
        act = job.act("purge_rows", database, command=f"purge {wanted.table} by {wanted.column}")
        with job.ledger.record(act, secrets=job.engine(database).secrets) as entry:
            try:
                result = purge.carry_out()
            finally:
                entry.note(rows=purge.done.rows, bytes=purge.done.archived_bytes, checksum=purge.done.seal())
                entry.note(table=wanted.table, column=wanted.column, **purge.done.progress())
            left = purge.done.left()
            entry.note(light="amber" if left else "green", hint=_GOES_ON if left else "", reason=result["reason"])
            entry.note(summary=f"{wanted.table}: {left or result['reason']}", cut_off=result["cut_off"])
            return result


def hold_name(database: str, table: str) -> str:
    """What keeps two runs off the rows and archives of one table."""
    return f"{database}/purge/{table}"


@dataclass
class _Done:
    """What has been done so far."""

    rows: int = 0
    batches: int = 0
    changed: int = 0
    archived_rows: int = 0
    archived_bytes: int = 0
    archives: list[str] = field(default_factory=list)
    throttled_s: float = 0.0
    locked_out: int = 0
    locked_rows: int = 0
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

    def left(self) -> str:
        """Why expired rows are still there; empty when all of them that may go are gone."""
        if self.stopped_because != "done":
            return self.stopped_because
        return f"{counted(self.locked_rows, 'row')} left because others hold them" if self.locked_rows else ""

    def progress(self) -> dict[str, Any]:
        """Figures for the ledger and the task's result; small, however many archives there are."""
        return {
            "batches": self.batches,
            "left_changed": self.changed,
            "archived_rows": self.archived_rows,
            "archives": len(self.archives),
            "archive_ids": ends(self.archives, 2),
            "throttled_s": round(self.throttled_s, 1),
            "locked_out": self.locked_out,
            "left_locked": self.locked_rows,
            "stopped_because": self.stopped_because,
            "seconds": round(time.monotonic() - self.began, 1),
        }


class _Enough(Exception):
    """Not an error: stop here in good order, for the reason in the message."""


class _Purge:
    """One rule at work."""

    def __init__(self, job: Job, database: str, rule: Rule, until: Until, limits: Limits, hold: Hold) -> None:
        self._job, self._database, self._rule, self._hold = job, database, rule, hold
        self._until, self._limits = until, limits
        self._archives = Archives(job, database, rule.table)
        self._pace = Pace()
        self._shared_until = 0.0
        self._chunk_s = 0.0
        self._said = time.monotonic()
        self.done = _Done()

    def rehearse(self) -> dict[str, Any]:
        """All of it up to the first delete: the backup, the table, the first rows, and whether they may be deleted."""
        require_fresh_backup(self._job, self._database, self._refused)
        with open_row_purge(self._job.engine(self._database)) as session:
            plan, table = self._accepted(session)
            if plan.rows:
                rows = session.old_rows(table, self._rule, plan.before)
                if found := rows.next(None, 1):
                    rows.rehearse(found.keys)
        if self._rule.archive:
            self._job.store.check()
        return self._result(plan, dry_run=True)

    def carry_out(self) -> dict[str, Any]:
        backup_id = require_fresh_backup(self._job, self._database, self._refused)
        with open_row_purge(self._job.engine(self._database)) as session:
            plan, table = self._accepted(session)
            rows = session.old_rows(table, self._rule, plan.before)
            try:
                if self._rule.archive:
                    self._work_with_archives(session, plan, table, rows)
                else:
                    self._work(session, rows)
                self.done.stopped_because = "done"
            except _Enough as reason:
                about = human_count(rows.estimate().old)
                self.done.stopped_because = f"{reason}: about {about} rows left for the next night"
        log.info("%s: %s rows deleted; %s", self._rule.table, f"{self.done.rows:,}", self.done.stopped_because)
        return {**self._result(plan, dry_run=False), "backup_id": backup_id}

    @property
    def _refused(self) -> str:
        return f"no row of {self._job.site.name}/{self._database} table {self._rule.table} is deleted"

    def _accepted(self, session: RowPurge) -> tuple[PurgePlan, Table]:
        plan, table = _plan(self._job, self._database, session, self._rule)
        for line in plan.lines():
            log.info("%s", line)
        if plan.refusals or table is None:
            raise PurgeRefused(
                f"{self._refused}: {plan.reason}",
                hint="; ".join(refusal.remedy for refusal in plan.refusals),
            )
        return plan, table

    def _work(self, session: RowPurge, rows: OldRows) -> None:
        after: Place | None = None
        while found := self._next(session, rows, after):
            self._delete(session, found.keys, rows.delete)
            after = found.last

    def _work_with_archives(self, session: RowPurge, plan: PurgePlan, table: Table, rows: OldRows) -> None:
        self._archives.sweep()
        for archive in self._archives.unfinished():
            self._finish(session, table, rows, archive)
        after: Place | None = None
        while found := self._next(session, rows, after):
            begun = time.monotonic()
            chunk = _Chunk(rows, found)
            committed = self._archives.commit(plan, table, session, chunk.rows())
            self._chunk_s = time.monotonic() - begun
            if committed:
                archive, sealed = committed
                self.done.archived(archive.archive_id, sealed, rows=archive.rows, size=archive.size)
                self._delete_archived(session, rows, archive, chunk.fingerprints)
            after = chunk.reached

    def _finish(self, session: RowPurge, table: Table, rows: OldRows, archive: RowArchive) -> None:
        """Delete what an earlier run archived and had no time to delete."""
        why = None
        if archive.encrypted and identity_of(self._job) is None:
            why = "it is encrypted and this site names no private key"
        elif archive.key != table.primary_key or archive.column_names != [c.name for c in table.kept_columns]:
            why = "the table's columns have changed since"
        if why:
            log.warning("%s of a run that was cut short can't be compared with the table: %s", archive.archive_id, why)
            self._archives.end(archive, Ending(gone=0, run=self._job.run.as_dict(), at=self._at(), why_unknown=why))
            return
        log.info("finishing %s, which a run that was cut short had archived", archive.archive_id)
        prints = {rows.key_of(row_of(line)): fingerprint(line) for line in self._archives.lines(archive)}
        self._delete_archived(session, rows, archive, prints)

    def _delete_archived(
        self, session: RowPurge, rows: OldRows, archive: RowArchive, prints: Mapping[Key, bytes]
    ) -> None:
        def step(keys: Sequence[Key]) -> Deleted:
            return rows.delete_unchanged({key: prints[key] for key in keys})

        locked = self.done.locked_rows
        left = self._delete(session, list(prints), step)
        if self.done.locked_rows == locked:  # else it stays open, and the next run tries those rows again
            ending = Ending(gone=archive.rows - len(left), left=left, run=self._job.run.as_dict(), at=self._at())
            self._archives.end(archive, ending)

    def _next(self, session: RowPurge, rows: OldRows, after: Place | None) -> Found | None:
        require_hold(self._job, hold_name(self._database, self._rule.table), self._hold)
        self._wait_for_room(session, needs_s=self._chunk_s)
        begun = time.monotonic()
        found = rows.next(after, CHUNK_ROWS if self._rule.archive else FOUND_ROWS)
        time.sleep(rest_after(time.monotonic() - begun, shared=self._is_shared))
        return found

    def _delete(
        self, session: RowPurge, keys: Sequence[Key], step: Callable[[Sequence[Key]], Deleted]
    ) -> tuple[tuple[str | None, ...], ...]:
        """Batch by batch; returns the keys of rows that were left because they had changed."""
        left: list[tuple[str | None, ...]] = []
        at = tries = 0
        while at < len(keys):
            self._wait_for_room(session)
            batch = keys[at : at + self._pace.size]
            begun = time.monotonic()
            try:
                deleted = step(batch)
            except LockedOut as error:
                tries = tries + 1 if self._pace.is_slowest else 0
                if tries >= LOCK_TRIES:
                    self._pass_over(batch, error)
                    at, tries = at + len(batch), 0
                self.done.locked_out += 1
                self._pace = self._pace.slower()
                time.sleep(LOCK_PAUSE_S)
                continue
            seconds = time.monotonic() - begun
            at, tries = at + len(batch), 0
            left += deleted.left
            self.done.rows += deleted.rows
            self.done.changed += len(deleted.left)
            self.done.batches += 1
            self._pace = self._pace.after(len(batch), seconds, shared=self._is_shared)
            self._tell()
            time.sleep(rest_after(seconds, shared=self._is_shared))
        return tuple(left)

    @property
    def _is_shared(self) -> bool:
        return time.monotonic() < self._shared_until

    def _pass_over(self, batch: Sequence[Key], error: LockedOut) -> None:
        self.done.locked_rows += len(batch)
        log.warning(
            "%d rows of %s are left: another session holds some of them (%s)", len(batch), self._rule.table, error
        )
        if self.done.locked_rows >= LOCKED_ROWS:
            raise _Enough("other sessions keep rows locked")

    def _wait_for_room(self, session: RowPurge, needs_s: float = 0) -> None:
        """Return once the server has room for a batch; ``needs_s``: how much of the window the next step will take."""
        began: float | None = None
        while True:
            self._until.require_going(f"rows of {self._rule.table} are left")
            if self._until.is_over(self._job.now(), needs_s=needs_s):
                raise _Enough(CLOSED)
            pressure = session.pressure()
            if pressure.is_shared:
                self._shared_until = time.monotonic() + SHARED_FOR_S
            why = why_wait(pressure, self._limits)
            if why is None:
                return
            now = time.monotonic()
            if began is None:
                began = now
                self._pace = self._pace.slower()
                log.info("waiting: %s", why)
            if now - began >= PATIENCE_S:
                raise _Enough(f"waited {human_seconds(PATIENCE_S)} in vain: {why}")
            time.sleep(LOOK_EVERY_S)
            self.done.throttled_s += time.monotonic() - now

    def _tell(self) -> None:
        if time.monotonic() - self._said >= PROGRESS_EVERY_S:
            self._said = time.monotonic()
            log.info("%s: %s rows deleted so far, %d a batch", self._rule.table, f"{self.done.rows:,}", self._pace.size)

    def _at(self) -> str:
        return self._job.now().isoformat()

    def _result(self, plan: PurgePlan, *, dry_run: bool) -> dict[str, Any]:
        return {
            "site": self._job.site.name,
            "database": self._database,
            "dry_run": dry_run,
            **plan.to_dict(),
            "would_delete": plan.rows if dry_run else 0,
            "deleted": self.done.rows,
            "archived_bytes": self.done.archived_bytes,
            **self.done.progress(),
        }


class _Chunk:
    """Old rows on their way into one archive, and what is remembered of each."""

    def __init__(self, rows: OldRows, found: Found) -> None:
        self._rows, self._found = rows, found
        self.fingerprints: dict[Key, bytes] = {}
        self.reached = found.last

    def rows(self) -> Iterator[tuple[Row, bytes]]:
        """The rows of as many places as fit into an archive, with their lines, read a portion at a time."""
        size = at = 0
        portion = 100
        last: Row | None = None
        while at < len(self._found.keys) and size < CHUNK_BYTES:
            keys = self._found.keys[at : at + portion]
            read = 0
            for key, row in self._rows.read(keys):
                line = line_of(row)
                self.fingerprints[key] = fingerprint(line)
                read += len(line)
                last = row
                yield row, line
            at, size = at + len(keys), size + read
            portion = max(10, min(5_000, int(portion * PORTION_BYTES / max(read, 1))))
        if at < len(self._found.keys) and last:
            self.reached = self._rows.place_of(last)


def _plan(job: Job, database: str, session: RowPurge, rule: Rule) -> tuple[PurgePlan, Table | None]:
    cut = cut_off(job.now(), rule.keep_days, job.site.timezone)
    table = session.look(rule.table)
    archived = [other.table for other in job.database(database).purge if other.archive]
    refusals = find_refusals(rule, table, read_only=session.read_only(), archived=archived)
    column = table.column(rule.column) if table else None
    if refusals or table is None or column is None:
        return make_plan(rule, cut, table=table, before="", estimate=None, refusals=refusals), table
    before = session.bound(column, cut)
    estimate = session.old_rows(table, rule, before).estimate()
    notes = session.blind_spots
    return make_plan(rule, cut, table=table, before=before, estimate=estimate, refusals=(), notes=notes), table


def _rule(job: Job, database: str, rule: RuleRef) -> Rule:
    rules = job.database(database).purge
    named = [r for place, r in enumerate(rules) if rule in (place, (r.table, r.column))]
    if len(named) != 1:
        said = ", ".join(f"{r.table} by {r.column}" for r in rules) or "none"
        raise SiteFileError(
            f"database {database!r} of site {job.site.name!r} has {'no' if not named else 'more than one'} purge rule "
            f"{rule!r}",
            hint=f"its rules are: {said}",
        )
    return Rule(**named[0].model_dump())
