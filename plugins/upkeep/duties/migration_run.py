"""Run a migration on the live database: its statements, each with its limits, then what must be true."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from upkeep.domain.migration import MigrationPlan, limit_s, otherwise_shaped, rows_missed, stands
from upkeep.domain.sql_statements import Statement
from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.duties.migration_plan import LiveDatabase, checks_missed, some
from upkeep.errors import MigrationFailed, MigrationLost, MigrationRefused, Stopped
from upkeep.ledger import Record

if TYPE_CHECKING:
    from upkeep.engines.migration_base import MigrationSession

log = logging.getLogger(__name__)

RAN_CHARS = 5000
"""How much the ledger keeps of the statements of a transaction, of the 8000 characters that it keeps of an act."""


@dataclass
class Progress:
    """How far a run came: ``done`` statements stand, ``begun`` is the number of the last one that was begun."""

    done: int = 0
    begun: int = 0
    commit: str | None = None
    """The number of the transaction whose commit was begun; empty where the server has none."""
    in_part: bool = False
    """Whether tables without transactions keep a part of what the last statement, or the transaction, did."""
    lost: bool = False
    """Whether the last statement ended without the server's answer."""
    before: dict[str, Any] = field(default_factory=dict)
    """The catalogue as it was."""
    ran: list[str] = field(default_factory=list)


def look_before(server: LiveDatabase, first: int, progress: Progress) -> dict[str, int | None]:
    """Rows of its tables; the catalogue goes to ``progress``. Errors: ``MigrationRefused``, before anything is done."""
    try:
        failed = checks_missed(server.section, server.restorer, server.name) if first == 1 else []
        # Half-way there is nothing to compare a rollback with: its script brings back what was before statement 1.
        progress.before = server.catalogue() if first == 1 else {}
    except MigrationFailed as error:
        raise MigrationRefused(error.message, hint=error.hint) from error
    if failed:
        raise MigrationRefused(
            f"before it begins the site's checks don't hold: {some(failed)}", hint="fix that first, or the checks"
        )
    return server.count()


def run_statements(
    job: Job,
    server: LiveDatabase,
    plan: MigrationPlan,
    first: int,
    backup_id: str,
    rehearsal: Record,
    approver: str,
    progress: Progress,
) -> dict[str, Any]:
    """Within the target's hold. Errors: ``MigrationFailed``; ``progress`` says what stands then."""
    target, count = server.section.name, len(plan.statements)
    command = f"migrate {plan.digest} from statement {first} of {count}, behind {backup_id}"
    begun = time.monotonic()
    before = look_before(server, first, progress)
    act = job.act("migrate", target, command=command, approver=approver)
    with job.ledger.record(act, secrets=server.restorer.secrets) as entry:
        entry.note(backup_id=backup_id, on_failure=plan.on_failure, light="red", stands=first - 1, source=plan.source)
        try:
            with server.session() as session:
                try:
                    _run(job, session, plan, target, first, rehearsal, progress)
                except BaseException as error:
                    # Only the server's own answer says that the last statement did not take.
                    answered = isinstance(error, (MigrationFailed, Stopped)) and not isinstance(error, MigrationLost)
                    progress.lost = not answered or (plan.is_command and isinstance(error, Stopped))
                    raise
                finally:
                    progress.in_part = session.in_part
        finally:
            entry.note(stands=progress.done, begun=progress.begun, in_part=progress.in_part, lost=progress.lost)
            entry.note(summary=stands(progress.done, count), ran=progress.ran)
        changed = _changed(rehearsal)
        failed = checks_missed(server.section, server.restorer, server.name)
        if first == 1 and changed is not None:
            failed += rows_missed(changed, before, server.count())
        if failed:
            raise MigrationFailed(
                f"all statements ran, but {some(failed)}", hint="see what the application says; then fix by hand"
            )
        unlike = otherwise_shaped(rehearsal.detail.get("shapes"), server.catalogue())
        seconds = round(time.monotonic() - begun, 3)
        told = f"migrated in {human_seconds(seconds)}: {stands(progress.done, count)}, "
        told += f"{len(server.section.checks)} checks {'hold' if changed is None else 'and the row counts hold'}"
        entry.note(
            seconds=seconds,
            light="amber" if unlike else "green",
            summary=f"{told}; but not as in the rehearsal came out {some(unlike)}" if unlike else told,
            hint="compare them with what the migration says: live was otherwise than the copy" if unlike else "",
        )
    return {"seconds": seconds, "statements": count - first + 1, "unlike": unlike}


def _run(
    job: Job,
    session: MigrationSession,
    plan: MigrationPlan,
    target: str,
    first: int,
    rehearsal: Record,
    progress: Progress,
) -> None:
    if plan.whole:
        _run_whole(job, session, plan, target, rehearsal, progress)
        return
    for statement in plan.statements[: first - 1]:
        if statement.is_setting:  # it counts for its own session only, which is gone
            session.run(statement, limit_s=limit_s(0))
    for statement in plan.statements[first - 1 :]:
        command = f"{plan.digest} {statement.number}/{len(plan.statements)}: {statement.words}"
        progress.begun = statement.number
        with job.ledger.record(job.act("migrate_statement", target, command=command)) as entry:
            begun = time.monotonic()
            rows = session.run_alone(statement, limit_s=limit_s(_rehearsed_s(rehearsal, statement)))
            entry.note(rows=max(0, rows), seconds=round(time.monotonic() - begun, 3))
        progress.done = statement.number


def _run_whole(
    job: Job, session: MigrationSession, plan: MigrationPlan, target: str, rehearsal: Record, progress: Progress
) -> None:
    """Its statements are no acts of their own: everybody would wait for the ledger behind what they have locked."""
    number, spare = session.begin(), RAN_CHARS
    with session.taken_back():
        for statement in plan.statements:
            progress.begun = statement.number
            begun = time.monotonic()
            rows = session.run(statement, limit_s=limit_s(_rehearsed_s(rehearsal, statement)))
            told = f"{statement.number}: {statement.words}; {time.monotonic() - begun:.3f} s, {max(0, rows)} rows"
            log.info("ran %s", told)
            spare -= len(told)
            if spare > 0:
                progress.ran.append(told)
        progress.commit = number
        with job.ledger.record(job.act("commit_migration", target, command=f"{plan.digest} commit {number}".strip())):
            session.commit()
            progress.done = len(plan.statements)


def _changed(rehearsal: Record) -> dict[str, tuple[int | None, int | None]] | None:
    """None where they were too many for the ledger."""
    changed: Mapping[str, Any] | None = rehearsal.detail.get("changed")
    return None if changed is None else {name: (counts[0], counts[1]) for name, counts in changed.items()}


def _rehearsed_s(rehearsal: Record, statement: Statement) -> float:
    each = rehearsal.detail.get("each_s") or []
    return float(each[statement.number - 1] if each else rehearsal.detail.get("slowest_s", 0))
