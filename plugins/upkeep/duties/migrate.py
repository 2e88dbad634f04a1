"""Migrate one database by hand: rehearsed on a restored copy, then run behind a fresh backup.

rehearse_migration -> (a person approves) -> secure_migration -> run_migration. What one step knows of those before it
comes from the ledger, so any of them may be killed and run again.

**What a kill leaves.** A copy on the scratch server, which the next rehearsal removes; or a migration that was begun.
Where it is one transaction, the server takes it back, unless its commit had begun: then the server is asked by the
transaction's number. Elsewhere the ledger says which statement was begun last. Neither is ever run again unless a
person says with which statement to go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.likeness import compare_catalogues
from upkeep.domain.migration import MigrationPlan, Statement, limit_s, rows_missed, stands
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.restoring import Wish
from upkeep.domain.units import human_seconds
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.job import Job
from upkeep.duties.migration_history import (
    backup_behind,
    earlier_attempt,
    first_statement,
    takes_back_the_first,
)
from upkeep.duties.migration_plan import (
    LiveDatabase,
    Migration,
    checks_missed,
    plan_migration,
    rehearse_command,
    run_rollback,
    section_of,
    server_of,
    some,
)
from upkeep.duties.restore_over import FRESH, restore_over
from upkeep.duties.verify import verify
from upkeep.errors import MigrationFailed, MigrationLost, MigrationRefused, NoFreshBackup, UpkeepError
from upkeep.ledger import Record
from upkeep.site import Database

if TYPE_CHECKING:
    from upkeep.engines.migration_base import MigrationSession

log = logging.getLogger(__name__)

REHEARSED = timedelta(hours=24)
"""How long a rehearsal counts."""
LOOK_BACK = 20
"""Acts among which the one that made the newest backup is looked for."""


@dataclass
class _Progress:
    """How far a run came: ``done`` statements stand, ``begun`` is the number of the last one that was begun."""

    done: int = 0
    begun: int = 0
    commit: str | None = None
    """The number of the transaction whose commit was begun; empty where the server has none."""
    before: dict[str, Any] = field(default_factory=dict)
    """The catalogue as it was."""


def refuse_begun(job: Job, migration: Migration, *, start_at: int | None = None) -> None:
    """Before anybody takes any trouble. Errors: ``MigrationRefused`` for one that was begun, or done, before."""
    plan, section = plan_migration(job, migration), section_of(job, migration.target)
    with server_of(job, section) as server:
        earlier = earlier_attempt(job, migration.target, plan)
        first_statement(job, server, plan, migration.target, earlier, start_at)


def secure_migration(
    job: Job, migration: Migration, *, start_at: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Have a proven backup that is younger than the rehearsal; one that goes on half-way has its own, from before it.

    Errors: ``MigrationRefused``; those of ``back_up`` and ``verify``.
    """
    target, plan = migration.target, plan_migration(job, migration)
    result = {"site": job.site.name, "target": target, "dry_run": dry_run}
    refuse_begun(job, migration, start_at=start_at)
    earlier = earlier_attempt(job, target, plan)
    if earlier and (start_at or 1) > 1:
        return {**result, "backup_id": backup_behind(earlier), "reason": "it was begun behind this one"}
    if backup_id := _secured(job, target, _rehearsal(job, plan, target)):
        return {**result, "backup_id": backup_id, "reason": "young enough and proven"}
    if dry_run:
        return {**result, "backup_id": None, "reason": "would be backed up and verified"}
    backup_id = str(back_up(job, target)["backup_id"])
    verify(job, target, backup_id)
    return {**result, "backup_id": backup_id, "reason": "made for this migration"}


def run_migration(
    job: Job, migration: Migration, *, approver: str, start_at: int | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Run it on the live database; when it fails, what was chosen beforehand.

    :param start_at: the statement to begin with, of a migration that was begun, or done, before; 1 is all of it again.

    Errors: ``MigrationRefused`` and ``NoFreshBackup``, and nothing was done; ``MigrationFailed`` with what stands of it
    now; ``Busy``.
    """
    plan, section, target = plan_migration(job, migration), section_of(job, migration.target), migration.target
    result = {"site": job.site.name, "target": target, "sha256": plan.digest, "dry_run": dry_run}
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
                    f"{target} has no proven backup that is younger than the rehearsal",
                    hint="start the migration anew, as another run: it makes one before it begins",
                )
            if resumed and plan.on_failure == "restore":
                _refuse_old(job, target, backup_id)
            if dry_run:
                return {**result, "would_run": [one.words for one in plan.statements[first - 1 :]], "behind": backup_id}
            if not approver:
                raise MigrationRefused(f"nobody approved the migration of {target}", hint="have a person approve it")
            progress = _Progress(first - 1)
            try:
                figures = _run(job, server, plan, target, first, backup_id, rehearsal, approver, progress)
            except MigrationFailed as error:
                failure = error
            else:
                return {**result, "outcome": "migrated", "behind": backup_id, **figures}
        act = job.act("end_migration", target, command=f"{plan.digest} failed, chosen for that: {plan.on_failure}")
        with job.ledger.record(act) as entry:
            outcome = _after_failure(job, section, plan, migration, backup_id, approver, progress, failure)
            light = "red" if outcome.startswith("failed, left as it is") else "amber"
            entry.note(light=light, summary=f"{outcome}: {failure.message}", hint=failure.hint, behind=backup_id)
    raise MigrationFailed(f"{outcome}: {failure.message}", hint=failure.hint) from failure


def migrate(job: Job, migration: Migration, *, approver: str, start_at: int | None = None) -> dict[str, Any]:
    """What comes after a person said yes, in one go, for the command line. Errors: as ``run_migration``."""
    secure_migration(job, migration, start_at=start_at)
    return run_migration(job, migration, approver=approver, start_at=start_at)


def _run(
    job: Job,
    server: LiveDatabase,
    plan: MigrationPlan,
    target: str,
    first: int,
    backup_id: str,
    rehearsal: Record,
    approver: str,
    progress: _Progress,
) -> dict[str, Any]:
    """Errors: ``MigrationFailed``; ``progress`` says what stands then."""
    act = job.act("migrate", target, command=_command(plan, first, backup_id), approver=approver)
    begun = time.monotonic()
    # The night's backup must not read a half.
    with job.hold(target), ExitStack() as stack:
        before = _look_before(server, first, progress)
        entry = stack.enter_context(job.ledger.record(act, secrets=server.restorer.secrets))
        entry.note(backup_id=backup_id, on_failure=plan.on_failure, light="red", stands=first - 1)
        try:
            with server.session() as session:
                if plan.whole:
                    _run_whole(job, session, plan, target, rehearsal, progress)
                else:
                    for statement in plan.statements[: first - 1]:
                        if statement.is_setting:  # it counts for its own session only, which is gone
                            session.run(statement, limit_s=limit_s(0))
                    for statement in plan.statements[first - 1 :]:
                        _run_one(job, session, plan, statement, target, rehearsal, progress)
                        progress.done = statement.number
        finally:
            entry.note(stands=progress.done, begun=progress.begun)
            entry.note(summary=stands(progress.done, len(plan.statements)))
        failed = checks_missed(server.section, server.restorer, server.name)
        changed = _changed(rehearsal)
        if first == 1 and changed is not None:
            failed += rows_missed(changed, before, server.count())
        if failed:
            raise MigrationFailed(
                f"all statements ran, but {some(failed)}", hint="see what the application says; then mend by hand"
            )
        seconds = round(time.monotonic() - begun, 3)
        entry.note(
            seconds=seconds,
            light="green",
            summary=f"migrated in {human_seconds(seconds)}: {stands(progress.done, len(plan.statements))}, "
            f"{len(server.section.checks)} checks {'hold' if changed is None else 'and the row counts hold'}",
        )
    return {"seconds": seconds, "statements": len(plan.statements) - first + 1}


def _refuse_old(job: Job, target: str, backup_id: str) -> None:
    """Errors: ``MigrationRefused`` for a restore that would take with it what applications wrote for days."""
    backup = read_catalogue(job.store, job.site.name, target).find(backup_id)
    if backup is None or job.now() - backup.taken_at > REHEARSED:
        raise MigrationRefused(
            f"{backup_id}, made before the first statement of this migration, is gone or older than "
            f"{human_seconds(REHEARSED.total_seconds())}: a restore of it would lose what was written since",
            hint="choose rollback or stop to go on",
        )


def _look_before(server: LiveDatabase, first: int, progress: _Progress) -> dict[str, int | None]:
    """Rows of its tables; the catalogue goes to ``progress``. Errors: ``MigrationRefused``, before anything is done."""
    try:
        failed = checks_missed(server.section, server.restorer, server.name) if first == 1 else []
        # Half-way there is nothing to compare a rollback with: its script brings back what was before statement 1.
        progress.before = server.catalogue() if first == 1 else {}
    except MigrationFailed as error:
        raise MigrationRefused(error.message, hint=error.hint) from error
    if failed:
        raise MigrationRefused(
            f"before it begins the site's checks don't hold: {some(failed)}", hint="mend that first, or the checks"
        )
    return server.count()


def _run_whole(
    job: Job, session: MigrationSession, plan: MigrationPlan, target: str, rehearsal: Record, progress: _Progress
) -> None:
    number = session.begin()
    for statement in plan.statements:
        _run_one(job, session, plan, statement, target, rehearsal, progress)
    count = len(plan.statements)
    progress.commit = number
    with job.ledger.record(job.act("commit_migration", target, command=f"{plan.digest} commit {number}".strip())):
        session.commit()
    progress.done = count


def _run_one(
    job: Job,
    session: MigrationSession,
    plan: MigrationPlan,
    statement: Statement,
    target: str,
    rehearsal: Record,
    progress: _Progress,
) -> None:
    progress.begun = statement.number
    command = f"{plan.digest} {statement.number}/{len(plan.statements)}: {statement.words}"
    with job.ledger.record(job.act("migrate_statement", target, command=command)) as entry:
        begun = time.monotonic()
        try:
            rows = session.run(statement, limit_s=limit_s(_rehearsed_s(rehearsal, statement)))
        except MigrationLost:
            entry.note(lost=True)
            raise
        entry.note(rows=max(0, rows), seconds=round(time.monotonic() - begun, 3))


def _after_failure(
    job: Job,
    section: Database,
    plan: MigrationPlan,
    migration: Migration,
    backup_id: str,
    approver: str,
    progress: _Progress,
    failure: MigrationFailed,
) -> str:
    """Do what was chosen; in words what the live database is now. Errors: ``MigrationFailed`` when that fails too."""
    count, target = len(plan.statements), migration.target
    if not progress.begun:
        return "failed, nothing was begun"
    if progress.commit is not None and not progress.done:
        _ask_of_commit(job, section, plan, progress)
    if not progress.done and plan.whole:
        return "failed, rolled back by its transaction: nothing of it stands"
    if isinstance(failure, MigrationLost):
        raise MigrationFailed(
            f"failed, left as it is: {stands(progress.done, count)}, and nobody knows whether statement "
            f"{progress.begun} took, or runs on; {failure.message}",
            hint=f"{failure.hint}; then start it again: it says how to go on",
        )
    if not progress.done and takes_back_the_first(plan):
        return "failed, nothing of it stands: its first statement was refused"
    ran = stands(progress.done, count)
    if plan.is_command and not progress.done:
        ran = "nobody knows what the command did before it failed"
    elif not progress.done:
        ran = "no statement ran to its end"
    elif progress.done < count:
        ran = f"{ran}, statement {progress.begun} did not"
    if plan.on_failure == "stop":
        return f"failed, left as it is: {ran}"
    try:
        if plan.on_failure == "rollback":
            with server_of(job, section) as server:
                act = job.act("undo_migration", target, command=f"undo {plan.digest}: {ran}", approver=approver)
                with job.hold(target), job.ledger.record(act, secrets=server.restorer.secrets) as entry:
                    with server.session() as session:
                        run_rollback(session, plan.rollback)
                    if unlike := compare_catalogues(progress.before, server.catalogue())[0]:
                        raise MigrationFailed(
                            f"after the rollback script {some(unlike)}", hint="compare, and mend by hand"
                        )
                    entry.note(light="amber", summary=f"failed, rolled back by the rehearsed script: {ran} before it")
            return "failed, rolled back by the rehearsed script"
        done = restore_over(job, Wish(target, "over", backup_id), approver=approver)
    except UpkeepError as second:
        raise MigrationFailed(
            f"failed, and the {plan.on_failure} failed too: {ran}; {second.message}; the migration itself: "
            f"{failure.message}",
            hint=f"{second.hint}; the backup from right before it is {backup_id}",
        ) from second
    return f"failed, restored: {backup_id} is live, the half-migrated one stays as {done.get('old')}"


def _ask_of_commit(job: Job, section: Database, plan: MigrationPlan, progress: _Progress) -> None:
    """Errors: ``MigrationFailed`` when nobody knows whether it was committed."""
    number = progress.commit or ""
    with server_of(job, section) as server, server.session() as session:
        committed = session.was_committed(number) if number else None
    if committed is None:
        raise MigrationFailed(
            "failed in its commit, and the server can't say whether it stands",
            hint="look at the database; if it doesn't stand, run it again and say start at 1",
        )
    progress.done = len(plan.statements) if committed else 0


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
            hint="mend the rollback script and rehearse it, or choose restore or stop",
        )
    return record


def _secured(job: Job, target: str, rehearsal: Record) -> str:
    """A proven backup of the last hour that was begun after the rehearsal, by the ledger's order: what was written in
    between would be lost by a restore, and backups' ids know whole seconds only. Else empty.
    """
    catalogue = read_catalogue(job.store, job.site.name, target)
    counts_from = min(job.site.retention.policy(job.site.timezone).counts_from, ProofLevel.STRUCTURE)
    for one in job.ledger.acts(job.site.name, target=target, duty="back_up", newest_first=True, limit=LOOK_BACK):
        backup = catalogue.find(str(one.detail.get("backup_id")))
        if backup is None or one.detail.get("found") or job.now() - backup.taken_at > FRESH:
            continue
        proven = is_proven(backup.level, backup.failure is not None, counts_from=counts_from)
        if proven and rehearsal.finished and one.started.seq > rehearsal.finished.seq:
            return backup.ref.backup_id
    return ""


def _command(plan: MigrationPlan, first: int, backup_id: str) -> str:
    return f"migrate {plan.digest} from statement {first} of {len(plan.statements)}, behind {backup_id}"


def _changed(rehearsal: Record) -> dict[str, tuple[int | None, int | None]] | None:
    """None where they were too many for the ledger."""
    changed: Mapping[str, Any] | None = rehearsal.detail.get("changed")
    return None if changed is None else {name: (counts[0], counts[1]) for name, counts in changed.items()}


def _rehearsed_s(rehearsal: Record, statement: Statement) -> float:
    each = rehearsal.detail.get("each_s") or []
    return float(each[statement.number - 1] if each else rehearsal.detail.get("slowest_s", 0))
