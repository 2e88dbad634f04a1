"""What ledger and server know of earlier attempts at a migration: whether it may begin, and with which statement."""

from __future__ import annotations

import re
from itertools import takewhile

from upkeep.domain.migration import MigrationPlan, stands
from upkeep.domain.sql_statements import missing_from_session
from upkeep.duties.job import Job
from upkeep.duties.migration_plan import LiveDatabase, some
from upkeep.errors import MigrationRefused
from upkeep.ledger import Record

_MYSQL_ALL_OR_NOTHING = re.compile(r"(ALTER|CREATE|INSERT|UPDATE|DELETE|REPLACE)\b|DROP\b[^,]*$", re.IGNORECASE)
"""A CALL that fails leaves what it did before, MariaDB's DROP of several tables those it had come to."""


def first_statement(
    job: Job, server: LiveDatabase, plan: MigrationPlan, target: str, earlier: Record | None, start_at: int | None
) -> int:
    """The statement to begin with. Errors: ``MigrationRefused`` for one that was begun before, unless it is said."""
    if start_at is not None:
        _require_start(plan, earlier, start_at)
        return start_at
    if earlier is None:
        return 1
    when, told = earlier.started.at[:19], f"this migration of {target} (SHA-256 {plan.digest[:12]})"
    if earlier.state == "done":
        raise MigrationRefused(
            f"{told} was done on {when}Z by {earlier.started.actor}",
            hint="nothing is to be done; to run it once more all the same, say start at 1",
        )
    what, hint = _what_stands(job, server, plan, target, earlier)
    raise MigrationRefused(f"{told} was begun on {when}Z and {what}", hint=hint)


def _require_start(plan: MigrationPlan, earlier: Record | None, start_at: int) -> None:
    """Errors: ``MigrationRefused`` where the migration can't begin at that statement."""
    count = len(plan.statements)
    if not 1 <= start_at <= count:
        raise MigrationRefused(
            f"there is no statement {start_at}: it has {count}",
            hint=f"give a number from 1 to {count}; the plan lists the statements, and --rehearse shows it",
        )
    if start_at > 1 and plan.whole:
        raise MigrationRefused(
            "this migration is one transaction, none of whose statements can stand alone", hint="start at 1"
        )
    if start_at > 1 and (earlier is None or earlier.state == "done"):
        why = "was done to its end" if earlier else "was not begun, or was taken back"
        raise MigrationRefused(f"it can't start at {start_at}: it {why}", hint="start at 1, or not at all")
    if missing := missing_from_session(plan.engine, plan.statements, start_at):
        raise MigrationRefused(
            f"it can't start at {start_at}: what it needs of {missing} was known to a session that is gone",
            hint="run what is left as a migration of its own, with the value written out",
        )


def earlier_attempt(job: Job, target: str, plan: MigrationPlan) -> Record | None:
    """The newest one of which something stands, or may stand. One that left nothing doesn't hide another before it."""
    attempts = _attempts(job, target, plan)
    return next((one for one in attempts if not _was_undone(job, target, plan, one)), None)


def _attempts(job: Job, target: str, plan: MigrationPlan) -> list[Record]:
    records = job.ledger.acts(job.site.name, target=target, duty="migrate", newest_first=True)
    return [one for one in records if one.started.command.startswith(f"migrate {plan.digest} ")]


def _what_stands(job: Job, server: LiveDatabase, plan: MigrationPlan, target: str, earlier: Record) -> tuple[str, str]:
    """What stands of a migration that did not end well, and how to go on."""
    ended = "was killed" if earlier.state == "died" else "failed"
    if _own_acts(job, target, "undo_migration", plan, earlier, "undo "):
        return (
            f"{ended}, and so did its rollback script on the way: nobody knows what stands",
            f"look at the database; best restore the backup from before it, {backup_behind(earlier)}",
        )
    if earlier.detail.get("in_part"):
        begun = int(earlier.detail.get("begun") or 1)
        by_hand = f"or put those rows right by hand, then say start at {1 if plan.whole else begun}"
        return (
            f"{ended}, and tables without transactions keep a part of what statement {begun} did",
            f"best restore the backup from before it, {backup_behind(earlier)}; {by_hand}",
        )
    if plan.is_command:
        return (
            f"{ended}: nobody knows what the command did",
            "look at the database; if the command itself knows how to go on, say start at 1",
        )
    if plan.whole:
        return _of_transaction(job, server, plan, target, earlier, ended)
    return _of_statements(job, plan, target, earlier, ended)


def _of_transaction(
    job: Job, server: LiveDatabase, plan: MigrationPlan, target: str, earlier: Record, ended: str
) -> tuple[str, str]:
    """What stands of one transaction: the server is asked whether its commit took."""
    commits = _own_acts(job, target, "commit_migration", plan, earlier)
    if not commits:
        if tables := server.tables_without_transactions():
            kept = f"but what it did to tables without transactions ({some(tables)})"
            look = "look at those of them that it changes; say start at 1 to run it"
            return f"{ended} before its commit: the server took all of it back {kept}", look
        return f"{ended} before its commit: the server took all of it back", "say start at 1 to run it"
    number = commits[0].started.command.rpartition(" commit ")[2]
    with server.session() as session:
        committed = session.was_committed(number) if number.isdigit() else None
    if committed is None:
        return f"{ended} in its commit: nobody knows whether it stands", "look; if it doesn't, say start at 1"
    if committed:
        return f"{ended} after its commit: all of it stands", "nothing is to be done; look at the checks"
    return "its commit was taken back: nothing of it stands", "say start at 1 to run it"


def _of_statements(job: Job, plan: MigrationPlan, target: str, earlier: Record, ended: str) -> tuple[str, str]:
    """What stands of statements that each commit by themselves: up to which one they came."""
    count = len(plan.statements)
    acts = _own_acts(job, target, "migrate_statement", plan, earlier)
    if not acts:
        first = int(earlier.started.command.partition(" from statement ")[2].partition(" ")[0])
        return f"{ended} before it came to a statement: {stands(first - 1, count)}", f"say start at {first} to run it"
    last = acts[0]
    at = int(last.started.command.split()[1].partition("/")[0])
    if last.state == "done":
        go_on = f"say start at {at + 1} to go on" if at < count else "nothing is left to run; look at the checks"
        return f"did not end well: {stands(at, count)}", go_on
    ran = stands(at - 1, count)
    lost = bool(earlier.detail.get("lost"))
    if last.state == "failed" and not lost and leaves_nothing(plan, at):
        return f"failed: {ran}, statement {at} was refused", f"say start at {at} to go on with that one"
    if earlier.state != "died":
        ended = "lost its connection, or was stopped" if lost else "failed"
    return (
        f"{ended}: {ran}, statement {at} was begun, and nobody knows whether it took: {last.started.command}",
        f"look at the database; say start at {at} if it did not, at {at + 1} if it did",
    )


def _own_acts(job: Job, target: str, duty: str, plan: MigrationPlan, attempt: Record, prefix: str = "") -> list[Record]:
    """Acts of that attempt, newest first, whatever other migrations and attempts came since."""
    begun = attempt.started.seq
    until = min((one.started.seq for one in _attempts(job, target, plan) if one.started.seq > begun), default=None)
    return [
        one
        for one in job.ledger.acts(job.site.name, target=target, duty=duty, newest_first=True)
        if one.started.seq > begun
        and (until is None or one.started.seq < until)
        and re.match(rf"{prefix}{plan.digest}[ :]", one.started.command)
    ]


def _was_undone(job: Job, target: str, plan: MigrationPlan, attempt: Record) -> bool:
    """Whether nothing of it stands any more, by what the ledger says for certain."""
    if attempt.state == "failed" and attempt.detail.get("stands") == 0:
        if attempt.detail.get("lost"):
            # A server that lost its client takes back what has transactions; PostgreSQL has nothing else.
            unharmed = plan.whole and plan.engine == "postgres"
        else:
            unharmed = not attempt.detail.get("in_part") and (plan.whole or leaves_nothing(plan, 1))
        if unharmed and not _own_acts(job, target, "commit_migration", plan, attempt):
            return True
    later = [one for one in reversed(_attempts(job, target, plan)) if one.started.seq > attempt.started.seq]
    # The script of one that went on half-way takes back what those before it did, too.
    for one in (attempt, *takewhile(lambda one: " from statement 1 of " not in one.started.command, later)):
        if any(act.state == "done" for act in _own_acts(job, target, "undo_migration", plan, one, "undo ")):
            return True
    # A backup from after it holds what it did; backups' ids sort by their time.
    return any(
        one.state == "done"
        and one.started.seq > attempt.started.seq
        and str(one.detail.get("backup_id") or "~") <= backup_behind(attempt)
        for one in job.ledger.acts(job.site.name, target=target, duty="swap")
    )


def leaves_nothing(plan: MigrationPlan, number: int) -> bool:
    """Whether a statement that the server refuses leaves nothing. PostgreSQL's CONCURRENTLY leaves an invalid index."""
    statement = plan.statements[number - 1]
    if plan.engine == "postgres" or not statement.by_itself:
        return not statement.by_itself
    return not statement.argv and bool(_MYSQL_ALL_OR_NOTHING.match(statement.bare))


def backup_behind(earlier: Record) -> str:
    return earlier.started.command.rpartition(" behind ")[2]
