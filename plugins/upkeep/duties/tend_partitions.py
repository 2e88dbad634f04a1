"""Make partitions ahead, move what landed in a catch-all into its months, and take old ones away.

For each rule: read the table -> plan -> one step after the other, each on the record, each only if a plan made from
what the table is like at that moment still holds it -> read the table again and tell how far it reaches.

**Why a kill at any line is safe.** A step is one statement or one transaction. A concurrent detach that was cut short
leaves a partition that the next plan finishes first. Whatever else is missing, the next plan finds missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from upkeep.domain.backup import BackupRef
from upkeep.domain.health import Light
from upkeep.domain.partition_plan import find_old, make_plan
from upkeep.domain.partitions import Archived, Layout, Measured, PartitionPlan, Rule, Step
from upkeep.domain.proof import is_proven
from upkeep.domain.refusal import Refusal
from upkeep.domain.units import cut
from upkeep.duties.catalogue import read_catalogue, read_manifest
from upkeep.duties.fresh_backup import require_fresh_backup
from upkeep.duties.job import Job, require_hold
from upkeep.duties.until import CLOSED, WITHOUT_END, Until
from upkeep.engines.partitions import Partitioning, open_partitioning
from upkeep.engines.row_purge import LockedOut
from upkeep.errors import Stopped, UpkeepError
from upkeep.ledger import Entry, Hold

log = logging.getLogger(__name__)

SHOWN = 12
"""Lines of a plan that the ledger's row has room for."""


def plan_partitions(job: Job, database: str) -> list[PartitionPlan]:
    """What each rule of one database would do now; reads, and changes nothing. Errors: ``SourceError``."""
    rules = rules_of(job, database)
    if not rules:
        return []
    with open_partitioning(job.engine(database)) as session:
        tending = _Tending(job, database, session, None)
        return [tending.plan(rule)[0] for rule in rules]


def tend_partitions(
    job: Job,
    database: str,
    *,
    until: Until = WITHOUT_END,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Carry out the partition rules of one database.

    A table that somebody else holds, and one that doesn't fit its rule, is told and left; the other tables are tended.

    :param until: no step begins after it.
    :raises Stopped: told to stop, between two steps.
    :raises Busy: another run tends these partitions, or the hold on them was lost.
    :raises SourceError: the server can't be read, or refuses a step; after all the other tables.
    """
    rules = rules_of(job, database)
    told: list[dict[str, Any]] = []
    failed: list[UpkeepError] = []
    with (
        job.hold(f"{database}/partitions") as hold,
        open_partitioning(job.engine(database)) as session,
    ):
        tending = _Tending(job, database, session, hold, until)
        for rule in rules:
            try:
                told.append(tending.rehearse(rule) if dry_run else tending.tend(rule))
            except Stopped:
                raise
            except UpkeepError as error:
                log.error("%s", error)
                failed.append(error)
                told.append(
                    {"table": rule.table, "light": "red", "summary": cut(error.message, 300), "hint": error.hint}
                )
    if failed:
        raise failed[0]
    return {"database": database, "dry_run": dry_run, "light": _worst([one["light"] for one in told]), "tables": told}


def rules_of(job: Job, database: str) -> list[Rule]:
    return [Rule(**rule.model_dump(exclude={"by"})) for rule in job.database(database).partitions]


class _Tending:
    """The partitions of one database at work."""

    def __init__(
        self,
        job: Job,
        database: str,
        session: Partitioning,
        hold: Hold | None,
        until: Until = WITHOUT_END,
    ) -> None:
        self._job, self._database, self._session = job, database, session
        self._hold, self._until = hold, until
        self._measured: dict[tuple[str, str], Measured] = {}
        self._lock_timeout_s = job.database(database).lock_timeout_s

    def plan(self, rule: Rule, *, again: str | None = None) -> tuple[PartitionPlan, Layout | None]:
        """What to do, from what the server says now.

        :param again: of the old partitions only this one is measured anew; counting rows takes its time.
        """
        session, now, zone = self._session, self._job.now(), self._job.site.timezone
        read_only = session.read_only()
        layout = None if read_only else session.look(rule, zone)
        old = find_old(rule, layout, now=now, timezone=zone) if layout else []
        archived = self._archived if old else Refusal("nothing is old", "")
        if layout and isinstance(archived, Archived):
            for name in old:
                key = (layout.label, name)
                if key not in self._measured or again in (None, name):
                    self._measured[key] = session.measure(layout, rule, name)
        plan = make_plan(
            rule,
            layout,
            now=now,
            timezone=zone,
            lock_timeout_s=self._lock_timeout_s,
            archived=archived,
            measured={
                name: found for (label, name), found in self._measured.items() if layout and layout.label == label
            },
            read_only=read_only,
        )
        return plan, layout

    def rehearse(self, rule: Rule) -> dict[str, Any]:
        """All of it but the statements, which are told."""
        plan, layout = self.plan(rule)
        for line in plan.lines():
            log.info("%s", line)
        would = [self._session.statement(layout, rule, step) for step in plan.steps] if layout else []
        return {**self._result(plan, plan.light(self._job.now()), plan.summary), "would_run": would[:SHOWN]}

    def tend(self, rule: Rule) -> dict[str, Any]:
        act = self._job.act("tend_partitions", self._database, command=f"tend the partitions of {rule.table}")
        with self._job.ledger.record(act, secrets=self._job.engine(self._database).secrets) as entry:
            plan, _ = self.plan(rule)
            for line in plan.lines():
                log.info("%s", line)
            done, left = self._carry_out(rule, plan)
            after = self.plan(rule, again="")[0] if done else plan
            result = self._conclude(entry, rule, done, left, after)
            entry.note(plan=list(plan.lines())[:SHOWN])
            return result

    def _carry_out(self, rule: Rule, plan: PartitionPlan) -> tuple[list[Step], str]:
        """The steps that were done, and why the others were not."""
        done: list[Step] = []
        for planned in plan.steps:
            self._until.require_going(f"partitions of {rule.table} are left")
            if self._until.is_over(self._job.now()):
                return done, CLOSED
            live, layout = self.plan(rule, again=planned.partition)
            step = next((step for step in live.steps if step.same_as(planned)), None)
            if step is None or layout is None:
                log.info("%s: %s is no longer needed", rule.table, planned.what)
                continue
            if self._hold:
                require_hold(self._job, f"{self._database}/partitions", self._hold)
            locked = self._apply(layout, rule, step)
            if locked:
                return done, locked
            done.append(step)
        return done, ""

    def _apply(self, layout: Layout, rule: Rule, step: Step) -> str:
        """Why it could not be done now; empty when it was."""
        act = self._job.act("alter_partitions", self._database, command=self._session.statement(layout, rule, step))
        with self._job.ledger.record(act, secrets=self._job.engine(self._database).secrets) as entry:
            entry.note(table=layout.label, step=step.what, summary=f"{layout.label}: {step.what}", why=step.reason)
            try:
                self._session.apply(layout, rule, step)
            except LockedOut as error:
                why = f"others held {layout.label} for longer than lock_timeout_s ({self._lock_timeout_s} s)"
                entry.skip(f"{step.what}: {why}: {error}")
                log.warning("%s: %s", step.what, why)
                return why
        log.info("%s: %s: %s", layout.label, step.what, step.reason)
        return ""

    def _conclude(
        self, entry: Entry, rule: Rule, done: Sequence[Step], left: str, after: PartitionPlan
    ) -> dict[str, Any]:
        light = after.light(self._job.now())
        said = [*(step.what for step in done), *(advice.reason for advice in after.advice)]
        hints = [advice.remedy for advice in after.advice]
        if left:
            said.append(f"{len(after.steps)} left to do: {left}")
            hints.insert(0, "clear the task at a quieter time; look for a transaction that is open for long")
            light = _worst([light, "amber"])
        if light == "red" and after.covered_until:
            said.insert(0, f"rows from {after.covered_until:%Y-%m-%d %H:%M} UTC on are refused")
        summary = "; ".join([*said, *after.notes]) or "nothing to do"
        summary = f"{summary}; {after.newest}" if after.newest else summary
        hint = "; ".join(hints)
        entry.note(light=light, summary=cut(f"{rule.table}: {summary}", 600), hint=cut(hint, 600), steps=len(done))
        return {**self._result(after, light, summary), "done": [step.what for step in done], "hint": hint}

    @staticmethod
    def _result(plan: PartitionPlan, light: Light, summary: str) -> dict[str, Any]:
        return {
            "table": plan.rule.table,
            "light": light,
            "summary": cut(summary, 600),
            "hint": "; ".join(advice.remedy for advice in plan.advice),
            "steps": [f"{step.what}: {step.reason}" for step in plan.steps][:SHOWN],
        }

    @cached_property
    def _archived(self) -> Archived | Refusal:
        """What stands behind a removal. A store that is away keeps old partitions, and stops nothing else."""
        job = self._job
        try:
            backup_id = require_fresh_backup(
                job, self._database, f"no partition of {job.site.name}/{self._database} is taken away"
            )
            manifest, _ = read_manifest(job.store, BackupRef(job.site.name, self._database, backup_id))
            backups = read_catalogue(job.store, job.site.name, self._database).backups
        except UpkeepError as error:
            return Refusal(error.message, error.hint)
        counts_from = job.site.retention.policy(job.site.timezone).counts_from
        proven = [
            backup.taken_at
            for backup in backups
            if is_proven(backup.level, backup.failure is not None, counts_from=counts_from)
        ]
        exact = manifest.rows_are == "exact"
        tables = manifest.contents.get("tables", {})
        return Archived(
            backup_id,
            next(backup.taken_at for backup in backups if backup.ref.backup_id == backup_id),
            {name: int(table["rows"]) if exact else None for name, table in tables.items()},
            max(proven, default=None),
            counts_from.label,
        )


def _worst(lights: Sequence[Light]) -> Light:
    order: tuple[Light, ...] = ("red", "amber", "green")
    return min(lights, key=order.index, default="green")
