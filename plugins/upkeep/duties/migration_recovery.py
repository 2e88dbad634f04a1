"""What a migration that failed left on the live database, and what was chosen beforehand for that."""

from __future__ import annotations

import time

from upkeep.domain.copy_comparison import compare_catalogues
from upkeep.domain.migration import MigrationPlan, stands
from upkeep.domain.restoring import RestoreRequest
from upkeep.duties.job import Job
from upkeep.duties.migration_history import leaves_nothing
from upkeep.duties.migration_plan import run_rollback, section_of, server_of, some
from upkeep.duties.migration_run import Progress
from upkeep.duties.restore_over import restore_over
from upkeep.errors import MigrationFailed, MigrationLost, UpkeepError

COMMIT_PAUSES_S = (0.0, 1, 3, 10, 30, 60)
"""Seconds before each time that the server is asked what became of a commit: it may just be starting again."""


def recover(
    job: Job,
    plan: MigrationPlan,
    target: str,
    backup_id: str,
    approver: str,
    progress: Progress,
    failure: MigrationFailed,
) -> str:
    """Do what was chosen, within the target's hold; in words what the live database is now.

    Errors: ``MigrationFailed`` when nobody knows, or when that fails too.
    """
    count = len(plan.statements)
    if not progress.begun:
        half = f"left as it is: {stands(progress.done, count)}, and no other was begun"
        return f"failed, {half if progress.done else 'nothing was begun'}"
    if progress.commit is not None and not progress.done and _ask_of_commit(job, target, progress.commit):
        return "all of it stands: it was committed, and only the answer was lost; its checks were not looked at"
    if plan.whole and not progress.done and not progress.in_part:
        but = " but what tables without transactions keep of it, if there are any"
        unsure = plan.engine == "mysql" and progress.lost
        return f"failed, rolled back by its transaction: nothing of it stands{but if unsure else ''}"
    if isinstance(failure, MigrationLost):
        raise MigrationFailed(
            f"failed, left as it is: {stands(progress.done, count)}, and nobody knows whether statement "
            f"{progress.begun} took; {failure.message}",
            hint=f"{failure.hint}; then start it again: it says how to go on",
        )
    if not progress.done and not progress.in_part and leaves_nothing(plan, 1):
        return "failed, nothing of it stands: its first statement was refused"
    ran = _ran(plan, progress)
    if progress.in_part and plan.on_failure == "rollback":
        # It was rehearsed on whole statements: rows that were changed already would be taken back once too often.
        return f"failed, left as it is: {ran}; the rollback script can't tell which, a restore of {backup_id} can"
    if plan.on_failure == "stop":
        return f"failed, left as it is: {ran}"
    try:
        if plan.on_failure == "rollback":
            return _undo(job, plan, target, approver, progress, ran)
        done = restore_over(job, RestoreRequest(target, "over", backup_id), approver=approver)
    except UpkeepError as second:
        raise MigrationFailed(
            f"failed, and the {plan.on_failure} failed too: {ran}; {second.message}; the migration itself: "
            f"{failure.message}",
            hint=f"{second.hint}; the backup from right before it is {backup_id}",
        ) from second
    return f"failed, restored: {backup_id} is live, the half-migrated one stays as {done.get('old')}"


def _ran(plan: MigrationPlan, progress: Progress) -> str:
    count = len(plan.statements)
    if progress.in_part:
        taken_back = "its transaction was taken back" if plan.whole else stands(progress.done, count)
        return f"{taken_back}, but tables without transactions keep a part of what statement {progress.begun} did"
    if plan.is_command and not progress.done:
        return "nobody knows what the command did before it failed"
    if not progress.done:
        return "no statement ran to its end"
    ran = stands(progress.done, count)
    return f"{ran}, statement {progress.begun} did not" if progress.done < count else ran


def _undo(job: Job, plan: MigrationPlan, target: str, approver: str, progress: Progress, ran: str) -> str:
    """Errors: ``MigrationFailed`` where the script doesn't bring back what was."""
    with server_of(job, section_of(job, target)) as server:
        act = job.act("undo_migration", target, command=f"undo {plan.digest}: {ran}", approver=approver)
        with job.ledger.record(act, secrets=server.restorer.secrets) as entry:
            with server.session() as session:
                run_rollback(session, plan.rollback)
            if unlike := compare_catalogues(progress.before, server.catalogue())[0]:
                raise MigrationFailed(f"after the rollback script {some(unlike)}", hint="compare, and fix by hand")
            entry.note(light="amber", summary=f"failed, rolled back by the rehearsed script: {ran} before it")
    return "failed, rolled back by the rehearsed script"


def _ask_of_commit(job: Job, target: str, number: str) -> bool:
    """Whether it was committed. Errors: ``MigrationFailed`` when nobody knows."""
    committed, said = None, "the server can't say whether it stands"
    for pause_s in COMMIT_PAUSES_S if number else ():
        time.sleep(pause_s)
        try:
            with server_of(job, section_of(job, target)) as server, server.session() as session:
                committed = session.was_committed(number)
        except UpkeepError as error:
            said = f"the server can't be asked whether it stands: {error.message}"
        if committed is not None:
            break
    if committed is None:
        raise MigrationFailed(
            f"failed in its commit, and {said}",
            hint="look at the database; if it doesn't stand, run it again and say start at 1",
        )
    return committed
