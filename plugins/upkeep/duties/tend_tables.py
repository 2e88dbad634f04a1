"""Tend the tables of one database: on evidence, behind a proven backup, worst first, and never in the way.

Measure -> plan -> for each action: look again whether it is still needed and whether the way is free -> carry it out ->
measure what it did. A table whose statistics or dead rows were seen to is judged anew, since its waste is now known.
What doesn't fit into the window is noted in the ledger and comes first the next time.

**Why a kill at any line is safe.** Each action is one statement that the server undoes when it doesn't end. All that
can stay behind is the invalid index of a broken REINDEX CONCURRENTLY, which the next run drops.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from upkeep.domain.load import Limits, why_wait
from upkeep.domain.plan_care import plan_care
from upkeep.domain.table_care import REBUILDS, Care, CarePlan, Item, Past, Rebuilt
from upkeep.domain.units import cut, human_bytes, human_seconds
from upkeep.duties.fresh_backup import require_fresh_backup
from upkeep.duties.job import Job, require_hold
from upkeep.duties.until import WITHOUT_END, Until
from upkeep.engines.row_purge import ServerLoad, open_row_purge
from upkeep.engines.table_care import Ended, NotNow, TableCareSession, open_table_care
from upkeep.errors import Busy, SourceError, TableCareFailed
from upkeep.ledger import Entry, Hold

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long to wait for a busy server or an open transaction before one action is left for the next window."""
LOOK_EVERY_S = 1.0
REMEMBERED = timedelta(days=200)
SPEED_FROM_S = 1.0
"""What took less says nothing about speed."""
SHOWN = 25
"""Verdicts and names that the ledger's row and the task's result have room for."""
LET_OTHERS_GO_ON = frozenset({"vacuum", "vacuum freeze", "analyze"})
"""PostgreSQL's work that waits for no transaction."""


def plan_tables(job: Job, database: str) -> CarePlan:
    """What would be done to each table now, and why; reads, and changes nothing. Errors: ``SourceError``."""
    with open_table_care(job.engine(database)) as session:
        return _Judging(job, database, session).plan()


def tend_tables(
    job: Job,
    database: str,
    *,
    until: Until = WITHOUT_END,
    dry_run: bool = False,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Do what the tables of one database need, or as much of it as fits before ``until``.

    A table that is in use, or where something speaks against the work, is told and left; the others are tended.

    :raises NoFreshBackup: nothing proven and young stands behind it.
    :raises TableCareFailed: the server is read-only, or an action failed; after all the others.
    :raises Busy: another run tends these tables, or the hold on them was lost.
    :raises SourceError: the server can't be read.
    :raises Stopped: the task was told to stop.
    """
    job.database(database)
    with job.hold(f"{database}/tables") as hold:
        tending = _Tending(job, database, until, limits or Limits(), hold)
        if dry_run:
            return tending.run(dry_run=True)
        act = job.act("tend_tables", database, command=f"tend the tables of {database}")
        with job.ledger.record(act, secrets=job.engine(database).secrets) as entry:
            try:
                return tending.run(dry_run=False)
            finally:
                entry.note(bytes=max(0, tending.done.freed), **tending.done.told())


class _Judging:
    """Verdicts from what the server says now and what the ledger remembers."""

    def __init__(self, job: Job, database: str, session: TableCareSession) -> None:
        self._session = session
        care = job.database(database).upkeep
        self._care = Care(
            tuple(care.tables), tuple(care.analyze), tuple(care.vacuum_full), care.bloat_pct, care.bloat_mb
        )
        self._past = read_past(job, database)

    def plan(self) -> CarePlan:
        tables = self._session.measure()
        return plan_care(self._session.server, tables, self._care, self._past, self._session.notes)

    def again(self, table: str) -> tuple[Item, ...]:
        """The verdicts about one table as it is now."""
        tables = self._session.measure(table)  # first: it also measures the server's free disk
        plan = plan_care(self._session.server, tables, self._care, self._past)
        return tuple(item for item in plan.items if item.table == table)


@dataclass
class _Done:
    """What has been done so far."""

    tended: list[Item] = field(default_factory=list)
    skipped: list[tuple[Item, str]] = field(default_factory=list)
    postponed: list[Item] = field(default_factory=list)
    failed: list[tuple[Item, SourceError]] = field(default_factory=list)
    refused: tuple[Item, ...] = ()
    warned: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    healthy: int = 0
    freed: int = 0
    would: list[str] = field(default_factory=list)
    """In a dry run: the statements that were left out."""
    whole: bool = False
    """Whether the end of the plan was reached."""

    @property
    def light(self) -> str:
        if self.failed or not self.whole:
            return "red"
        return "amber" if self.skipped or self.postponed or self.refused or self.warned else "green"

    def told(self) -> dict[str, Any]:
        """For the ledger and the task's result; small, however many tables there are."""
        return {
            "light": self.light,
            "summary": self._summary(),
            "hint": self._hint(),
            "tended": [f"{item.kind} {item.label}" for item in self.tended[:SHOWN]],
            "skipped": [cut(f"{item.kind} {item.label}: {why}", 200) for item, why in self.skipped[:SHOWN]],
            "refused": [cut(item.line(), 200) for item in self.refused[:SHOWN]],
            "postponed": [[item.kind, item.label] for item in self.postponed[:SHOWN]],
            "notes": [cut(note, 200) for note in (*self.warned, *self.notes)[:5]],
        }

    def _summary(self) -> str:
        counts = {
            "would be tended": len(self.would),
            "tended": len(self.tended),
            "failed": len(self.failed),
            "skipped": len(self.skipped),
            "refused": len(self.refused),
            "left for the next window": len(self.postponed),
            "in order": self.healthy,
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no tables"
        if self.freed > 0:
            said += f"; {human_bytes(self.freed)} freed"
        named = [f"{item.label}: {why}" for item, why in self.skipped[:1]] + [item.line() for item in self.refused[:1]]
        return "; ".join([said, *named, *self.warned[:1]])

    def _hint(self) -> str:
        if self.failed:
            return self.failed[0][1].hint
        if self.refused:
            return self.refused[0].remedy
        if self.skipped:
            return "nothing is broken: the next window tries again; if it stays so, find out who keeps the table busy"
        if self.postponed:
            return "they come first in the next window; if they never fit, lengthen it"
        return "the work was done: see to what the server warned of" if self.warned else ""


class _Needless(Exception):
    """What was planned has become unnecessary, which is good news."""


class _Tending:
    """One database at work."""

    def __init__(self, job: Job, database: str, until: Until, limits: Limits, hold: Hold) -> None:
        self._job, self._database, self._hold = job, database, hold
        self._until, self._limits = until, limits
        self._section = job.database(database)
        self._engine = job.engine(database)
        self.done = _Done()

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        what = f"no table of {self._job.site.name}/{self._database} is tended"
        backup_id = require_fresh_backup(self._job, self._database, what)
        with open_row_purge(self._engine) as load, open_table_care(self._engine) as session:
            if read_only := load.read_only():
                raise TableCareFailed(f"{what}: {read_only}", hint="point conn_id of this database at the primary")
            judging = _Judging(self._job, self._database, session)
            plan = judging.plan()
            for line in plan.lines():
                log.info("%s", line)
            self.done.refused = plan.refused
            self.done.healthy = sum(item.verdict == "none" for item in plan.items)
            self.done.notes = (*plan.notes, *load.blind_spots)
            queue, known = list(plan.actions), {item.key for item in plan.items}
            while queue:
                self._until.require_going(f"tables of {self._database} are left")
                action = queue.pop(0)
                if self._until.is_over(self._job.now(), needs_s=action.seconds):
                    self.done.postponed.append(action)
                    continue
                require_hold(self._job, f"{self._database}/tables", self._hold)
                if dry_run:
                    self._rehearse(action, judging, session, load)
                elif self._tend(action, judging, session, load) and action.kind not in REBUILDS:
                    # Only now is it known what a rebuild would free.
                    new = [item for item in judging.again(action.table) if item.key not in known]
                    known |= {item.key for item in new}
                    queue += [item for item in new if item.verdict == "act"]
                    self.done.refused += tuple(item for item in new if item.verdict == "refused")
        self.done.whole = True
        if self.done.failed:
            raise self._failure()
        told = {"database": self._database, "dry_run": dry_run, "backup_id": backup_id, **self.done.told()}
        return {**told, "would_run": self.done.would[:SHOWN]} if dry_run else {**told, "freed_bytes": self.done.freed}

    def _rehearse(self, action: Item, judging: _Judging, session: TableCareSession, load: ServerLoad) -> None:
        """All of it but the statement."""
        try:
            self._clear_the_way(action, judging, session, load)
        except _Needless:
            self.done.healthy += 1
        except (NotNow, Ended) as reason:
            self.done.skipped.append((action, str(reason)))
        else:
            self.done.would.append(action.statement)

    def _tend(self, action: Item, judging: _Judging, session: TableCareSession, load: ServerLoad) -> bool:
        """Whether it was done, by whomever."""
        act = self._job.act("tend_table", f"{self._database}/{action.label}", command=action.statement)
        try:
            with self._job.ledger.record(act, secrets=self._engine.secrets) as entry:
                entry.note(kind=action.kind, why=action.reason, before=action.bytes, promised=action.waste)
                try:
                    self._carry_out(action, judging, session, load, entry)
                except _Needless as reason:
                    entry.note(light="green", summary=str(reason))
                    self.done.healthy += 1
                    return True
                except Ended as reason:
                    entry.skip(f"{reason}; what it had begun is undone")
                    self.done.postponed.append(action)
                    return False
                except (NotNow, Busy) as reason:
                    require_hold(self._job, f"{self._database}/tables", self._hold)
                    why = reason.message if isinstance(reason, Busy) else str(reason)
                    entry.skip(why)
                    self.done.skipped.append((action, why))
                    return False
        except SourceError as error:
            log.error("%s", error)
            self.done.failed.append((action, error))
            return False
        return True

    def _carry_out(
        self, action: Item, judging: _Judging, session: TableCareSession, load: ServerLoad, entry: Entry
    ) -> None:
        # A dump that is under way would break off at a table that was rebuilt under it.
        with self._job.hold(self._database):
            self._clear_the_way(action, judging, session, load)
            log.info("%s (%s)", action.statement, action.reason)
            begun = time.monotonic()
            warned = session.apply(action, self._why_stop, self._until.seconds_left(self._job.now()))
            seconds = time.monotonic() - begun
        after = session.size(action)
        freed = action.bytes - after if action.kind != "analyze" else 0  # others may be at work on it meanwhile
        self.done.freed += freed
        self.done.tended.append(action)
        self.done.warned += [cut(f"{action.kind} {action.label}: the server warned: {words}", 200) for words in warned]
        sizes = f"{human_bytes(action.bytes)} -> {human_bytes(after)}, " if freed else ""
        entry.note(
            bytes=max(0, freed),
            after=after,
            seconds=round(seconds, 2),
            light="amber" if warned else "green",
            warned=[cut(words, 200) for words in warned],
            summary="; ".join((f"{action.kind}: {sizes}{human_seconds(seconds)}", action.reason, *warned[:1])),
        )

    def _clear_the_way(self, action: Item, judging: _Judging, session: TableCareSession, load: ServerLoad) -> None:
        """Return once the action is still needed and would be in nobody's way.

        Errors: ``NotNow``, ``Ended``, ``_Needless``.
        """
        live = next((item for item in judging.again(action.table) if item.key == action.key), None)
        if live is None:
            raise _Needless("it is no longer needed: autovacuum or somebody else has seen to it since it was planned")
        if live.verdict != "act":
            raise NotNow(f"it is no longer possible since it was planned: {live.reason}")
        begun = time.monotonic()
        while why := why_wait(load.pressure(), self._limits) or self._why_transactions(action, session):
            if reason := self._why_stop():
                raise Ended(reason)
            if time.monotonic() - begun > PATIENCE_S:
                raise NotNow(why)
            time.sleep(LOOK_EVERY_S)
        session.require_quiet(action, self._why_stop)

    def _why_transactions(self, action: Item, session: TableCareSession) -> str:
        """A rebuild waits behind an open transaction, and others behind the rebuild; VACUUM is in vain beside one."""
        waits = session.server.engine == "mysql" or action.kind not in LET_OTHERS_GO_ON
        if action.kind == "analyze" and not waits:
            return ""
        limit = self._section.lock_timeout_s if waits else self._section.long_transaction_s
        oldest = session.oldest_transaction_s()
        if oldest <= limit:
            return ""
        why = "it would have to wait for it" if waits else "VACUUM could remove nothing that it may still see"
        return f"a transaction has been open for {human_seconds(oldest)}: {why}"

    def _why_stop(self) -> str:
        return self._until.why_stop(self._job.now())

    def _failure(self) -> TableCareFailed:
        labels = ", ".join(f"{item.kind} of {item.label}" for item, _ in self.done.failed)
        first = self.done.failed[0][1]
        return TableCareFailed(
            f"{self._job.site.name}/{self._database}: {labels} failed: {first.message}", hint=first.hint
        )


def read_past(job: Job, database: str) -> Past:
    """How fast each kind of work was, what the last rebuilds did, and what the last window had no time for."""
    since = job.now() - REMEMBERED
    work: dict[str, tuple[float, float]] = {}
    rebuilt: dict[tuple[str, str], Rebuilt] = {}
    for record in job.ledger.acts(job.site.name, duty="tend_table", since=since):
        owner, _, label = record.started.target.partition("/")
        detail = record.detail
        if owner != database or record.state != "done" or "seconds" not in detail:
            continue
        kind, before, seconds = str(detail["kind"]), int(detail["before"]), float(detail["seconds"])
        if seconds >= SPEED_FROM_S:
            size, took = work.get(kind, (0.0, 0.0))
            work[kind] = (size + before, took + seconds)
        if kind in REBUILDS:
            rebuilt[kind, label] = Rebuilt(before, int(detail["after"]), int(detail["promised"]))
    speeds = {kind: size / took for kind, (size, took) in work.items() if size}
    last = job.ledger.acts(job.site.name, duty="tend_tables", target=database, limit=20, newest_first=True, since=since)
    postponed: list[list[str]] = next((r.detail["postponed"] for r in last if "postponed" in r.detail), [])
    return Past(speeds, frozenset((str(kind), str(label)) for kind, label in postponed), rebuilt)
