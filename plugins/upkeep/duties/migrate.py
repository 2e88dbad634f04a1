"""Migrate one database by hand: rehearsed on a restored copy, then run behind a fresh backup.

rehearse_migration -> (a person approves) -> secure_migration -> run_migration. What one step knows of those before it
comes from the ledger, so any of them may be killed and run again.

**What a kill leaves.** A copy on the scratch server, which the next rehearsal removes; or a migration that was begun.
Where it is one transaction, the server takes it back, unless its commit had begun: then the server is asked by the
transaction's number. Elsewhere the ledger says which statement was begun last. Neither is ever run again unless a
person says with which statement to go on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from upkeep.domain.migration import MigrationPlan
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.units import human_seconds
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.fresh_backup import ended_at, newest_told
from upkeep.duties.job import Job, within
from upkeep.duties.migration_history import backup_behind, earlier_attempt, first_statement
from upkeep.duties.migration_plan import (
    Migration,
    plan_migration,
    rehearse_command,
    section_of,
    server_of,
    some,
)
from upkeep.duties.migration_recovery import recover
from upkeep.duties.migration_run import Progress, run_statements
from upkeep.duties.restore_over import FRESH
from upkeep.duties.verify import verify
from upkeep.errors import MigrationFailed, MigrationRefused, NoFreshBackup
from upkeep.ledger import Record

REHEARSED = timedelta(hours=24)
"""How long a rehearsal counts."""
LOOK_BACK = 20
"""Acts among which the one that made the newest backup is looked for."""


def refuse_begun(job: Job, migration: Migration, *, start_at: int | None = None) -> None:
    """Before anybody takes any trouble. Errors: ``MigrationRefused`` for one that was begun, or done, before."""
    plan, section = plan_migration(job, migration), section_of(job, migration.target)
    with server_of(job, section) as server:
        earlier = earlier_attempt(job, migration.target, plan)
        first_statement(job, server, plan, migration.target, earlier, start_at)


def secure_migration(job: Job, migration: Migration, *, start_at: int | None = None) -> dict[str, Any]:
    """Have a proven backup that is younger than the rehearsal; one that goes on half-way has its own, from before it.

    Errors: ``MigrationRefused``; those of ``back_up`` and ``verify``.
    """
    target, plan = migration.target, plan_migration(job, migration)
    result = {"site": job.site.name, "target": target}
    refuse_begun(job, migration, start_at=start_at)
    earlier = earlier_attempt(job, target, plan)
    if earlier and (start_at or 1) > 1:
        return {**result, "backup_id": backup_behind(earlier), "reason": "it was begun behind this one"}
    if backup_id := _secured(job, target, _rehearsal(job, plan, target)):
        return {**result, "backup_id": backup_id, "reason": "young enough and proven"}
    backup_id = str(back_up(job, target, reuse_since=job.now() - FRESH)["backup_id"])
    verify(job, target, backup_id)
    return {**result, "backup_id": backup_id, "reason": "made for this migration"}


def run_migration(job: Job, migration: Migration, *, approver: str, start_at: int | None = None) -> dict[str, Any]:
    """Run it on the live database; when it fails, what was chosen beforehand.

    :param start_at: the statement to begin with, of a migration that was begun, or done, before; 1 is all of it again.

    Errors: ``MigrationRefused`` and ``NoFreshBackup``, and nothing was done; ``MigrationFailed`` with what stands of it
    now; ``Busy``.
    """
    plan, section, target = plan_migration(job, migration), section_of(job, migration.target), migration.target
    result = {"site": job.site.name, "target": target, "sha256": plan.digest}
    with job.ledger.hold(f"{job.site.name}/{target}/migrate"):
        earlier = earlier_attempt(job, target, plan)
        rehearsal = _rehearsal(job, plan, target, resumed=earlier is not None and (start_at or 1) > 1)
        with server_of(job, section) as server:
            first = first_statement(job, server, plan, target, earlier, start_at)
            resumed = first > 1 and earlier is not None
            # What it was before its first statement is what a restore has to bring back.
            backup_id = backup_behind(earlier) if resumed and earlier else _secured(job, target, rehearsal)
            if not backup_id:
                raise NoFreshBackup(
                    f"{target} has no proven backup that is younger than the rehearsal and "
                    f"{human_seconds(FRESH.total_seconds())}: {newest_told(job, target)}",
                    hint="start the migration anew, as another run: it makes one before it begins",
                )
            if resumed and plan.on_failure == "restore":
                _refuse_old(job, target, backup_id)
            if not approver:
                raise MigrationRefused(f"nobody approved the migration of {target}", hint="have a person approve it")
            progress = Progress(first - 1)
            # The night's backup must not read a half, nor come between it and what takes it back.
            with job.hold(target) as hold:
                held = within(job, target, hold)
                try:
                    figures = run_statements(held, server, plan, first, backup_id, rehearsal, approver, progress)
                except MigrationFailed as error:
                    failure = error
                else:
                    return {**result, "outcome": "migrated", "behind": backup_id, **figures}
                command = f"{plan.digest} failed, chosen for that: {plan.on_failure}"
                with job.ledger.record(job.act("end_migration", target, command=command)) as entry:
                    outcome = recover(held, plan, target, backup_id, approver, progress, failure)
                    light = "red" if outcome.startswith("failed, left as it is") else "amber"
                    told = f"{outcome}: {failure.message}"
                    entry.note(light=light, summary=told, hint=failure.hint, behind=backup_id)
    raise MigrationFailed(f"{outcome}: {failure.message}", hint=failure.hint) from failure


def migrate(job: Job, migration: Migration, *, approver: str, start_at: int | None = None) -> dict[str, Any]:
    """What comes after a person said yes, in one go, for the command line. Errors: as ``run_migration``."""
    secure_migration(job, migration, start_at=start_at)
    return run_migration(job, migration, approver=approver, start_at=start_at)


def _refuse_old(job: Job, target: str, backup_id: str) -> None:
    """Errors: ``MigrationRefused`` for a restore that would take with it what applications wrote for days."""
    backup = read_catalogue(job.store, job.site.name, target).find(backup_id)
    if backup is None or job.now() - backup.taken_at > REHEARSED:
        raise MigrationRefused(
            f"{backup_id}, made before the first statement of this migration, is gone or older than "
            f"{human_seconds(REHEARSED.total_seconds())}: a restore of it would lose what was written since",
            hint="choose rollback or stop to go on",
        )


def _rehearsal(job: Job, plan: MigrationPlan, target: str, *, resumed: bool = False) -> Record:
    """The rehearsal of exactly this, of any age for one that was begun behind it. Errors: ``MigrationRefused``."""
    wanted = rehearse_command(plan, "")
    since = None if resumed else job.now() - REHEARSED
    records = job.ledger.acts(job.site.name, target=target, duty="rehearse_migration", since=since, newest_first=True)
    record = next((one for one in records if one.started.command.startswith(wanted)), None)
    if record is None or record.state != "done":
        raise MigrationRefused(
            f"this migration of {target} (SHA-256 {plan.digest[:12]}) was not rehearsed well within the last "
            f"{human_seconds(REHEARSED.total_seconds())}",
            hint="rehearse it: upkeep migrate ... --rehearse, or run the DAG from its beginning",
        )
    if plan.on_failure == "rollback" and (unlike := record.detail.get("unlike")):
        raise MigrationRefused(
            f"in the rehearsal the rollback script did not bring back what was: {some(unlike)}",
            hint="fix the rollback script and rehearse it, or choose restore or stop",
        )
    return record


def _secured(job: Job, target: str, rehearsal: Record) -> str:
    """A proven backup that was finished within the last hour and begun after the rehearsal, by the ledger's order: what
    was written in between would be lost by a restore, and backups' ids know whole seconds only. Else empty.
    """
    catalogue = read_catalogue(job.store, job.site.name, target)
    counts_from = min(job.site.retention.policy(job.site.timezone).counts_from, ProofLevel.STRUCTURE)
    for one in job.ledger.acts(job.site.name, target=target, duty="back_up", newest_first=True, limit=LOOK_BACK):
        backup = catalogue.find(str(one.detail.get("backup_id")))
        if backup is None or one.detail.get("found") or job.now() - ended_at(job, backup) > FRESH:
            continue
        proven = is_proven(backup.level, backup.failure is not None, counts_from=counts_from)
        if proven and rehearsal.finished and one.started.seq > rehearsal.finished.seq:
            return backup.ref.backup_id
    return ""
