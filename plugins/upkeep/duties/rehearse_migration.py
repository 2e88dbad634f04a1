"""Rehearse a migration, and its rollback script, on a restored copy of the newest proven backup.

The copy stands on the scratch server for as long as it takes, as in ``prove``; a killed rehearsal leaves it there, and
the next one removes it. What was found stands in the ledger, where ``run_migration`` looks for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from upkeep.domain.copy_comparison import compare_catalogues, compare_tables
from upkeep.domain.manifest import Manifest
from upkeep.domain.migration import MigrationPlan, rehearsal_lines, shapes_changed, tables_changed, within
from upkeep.domain.proving import scratch_name
from upkeep.domain.restoring import RestoreRequest
from upkeep.domain.units import human_seconds
from upkeep.duties.database_copy import open_restorer
from upkeep.duties.job import Job
from upkeep.duties.migration_plan import (
    MOST_TOLD,
    ROLLBACK_LIMIT_S,
    Migration,
    checks_missed,
    open_session,
    plan_migration,
    rehearse_command,
    run_rollback,
    section_of,
    server_of,
    some,
    sql_mode,
)
from upkeep.duties.rebuilding import Rebuilding, RemovedMeanwhile, sweep
from upkeep.duties.restore_source import find_backup
from upkeep.duties.scratches import scratch_of
from upkeep.engines.restore_base import Restorer
from upkeep.errors import MigrationFailed, NoFreshBackup, ObjectMissing
from upkeep.site import Database

if TYPE_CHECKING:
    from upkeep.engines.copies import Copy

log = logging.getLogger(__name__)

YOUNG = timedelta(hours=36)
"""How old the backup may be on which a migration is rehearsed: last night's, and a night that was late."""
HALVES_LIMIT_S = 600.0
"""How long rehearsing the rollback after every possible half may take altogether."""
MOST_KEPT = 60
"""Statements whose figures the ledger keeps."""
CHANGED_CHARS, SHAPES_CHARS = 4000, 1500
"""How much the ledger keeps of the tables whose row counts, and of those whose definitions, changed; of the 8000
characters that it keeps of an act.
"""
SHOWN_CHARS = 50_000
"""How much a person is shown before the approval, of the plan and of the rehearsal."""


@dataclass
class _Rehearsed:
    """``ran``: seconds, rows, locks of each statement; ``unlike``: what the rollback script doesn't bring back."""

    ran: list[tuple[float, int, str]] = field(default_factory=list)
    changed: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)
    shapes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def rehearse_migration(job: Job, migration: Migration) -> dict[str, Any]:
    """Run it, and its rollback script, on a restored copy of the newest proven backup; nothing live is touched.

    Errors: ``MigrationRefused``; ``MigrationFailed`` when a statement, a check or the rollback fails on the copy;
    ``NoFreshBackup``, ``ObjectMissing``, ``RestoreUnavailable`` and ``ProofFailed`` when there is nothing to rehearse
    on; ``Busy``.
    """
    plan, section, target = plan_migration(job, migration), section_of(job, migration.target), migration.target
    for line in plan.lines():
        log.info("%s", line)
    found = find_backup(job, RestoreRequest(target))
    if job.now() - found.backup.taken_at > YOUNG:
        raise NoFreshBackup(
            f"the newest proven backup of {target} is of {found.backup.taken_at:%Y-%m-%d %H:%M}Z: what is rehearsed on "
            "it says little about today",
            hint=f"back it up first: run {job.site.name}_daily, or see why it has not",
        )
    scratch = scratch_of(job, target)
    rehearsed = _Rehearsed()
    with job.ledger.hold(f"{job.site.name}/{target}/scratch"):
        sweep(job, target, scratch)
        act = job.act("rehearse_migration", target, command=rehearse_command(plan, found.backup_id))
        with job.ledger.record(act, secrets=scratch.secrets) as entry:
            rebuilding = Rebuilding(found.job, found.backup, scratch)
            try:
                rebuilding.check(entry)
                with rebuilding.standing(entry):
                    rebuilding.require_alike(entry)
                    _rehearse(job, section, plan, rebuilding.manifest, rehearsed)
            except RemovedMeanwhile as error:
                raise ObjectMissing(
                    f"the backup {found.backup_id} was removed while it was restored", hint="rehearse again"
                ) from error
            lines = list(rehearsal_lines(plan, rehearsed.ran, rehearsed.changed))
            lines += [*(_told_rollback(plan, rehearsed)), *rehearsed.notes]
            for line in lines:
                log.info("%s", line)
            seconds = sum(ran[0] for ran in rehearsed.ran)
            entry.note(
                backup_id=found.backup_id,
                where=scratch.place,
                seconds=round(seconds, 3),
                **_kept(rehearsed),
                light="amber" if rehearsed.unlike else "green",
                summary=f"rehearsed on {found.backup_id} in {human_seconds(seconds)}: "
                f"{len(plan.statements)} statements, {len(rehearsed.changed)} tables with other counts",
            )
            if rehearsed.unlike and migration.on_failure == "rollback":
                raise MigrationFailed(
                    f"the rollback script does not bring back what was: {some(rehearsed.unlike)}",
                    hint="fix the rollback script, or choose restore or stop",
                )
    return {
        "site": job.site.name, "target": target, "sha256": plan.digest, "backup_id": found.backup_id,
        "seconds": round(seconds, 3), "plan": within(plan.lines(), SHOWN_CHARS),
        "rehearsal": within(lines, SHOWN_CHARS),
    }  # fmt: skip


def _rehearse(job: Job, section: Database, plan: MigrationPlan, manifest: Manifest, rehearsed: _Rehearsed) -> None:
    ref = manifest.backup
    name = scratch_name(ref.site, ref.target, ref.backup_id)
    restorer = open_restorer(job, section.engine, str(section.scratch_conn_id))
    look = partial(_look, section.engine, restorer, name, manifest)
    mode = sql_mode(job, section)
    with open_session(section, restorer, name, mode) as session:
        cut_off = session.cut_off()
    if cut_off:
        rehearsed.notes.append(f"other servers can't be reached from the copy, and none was: {some(cut_off)}")
    before = look()
    live = _live_catalogue(job, section) if plan.is_command else {}
    with open_session(section, restorer, name, mode) as session:
        try:
            if plan.whole:
                session.begin()
            for statement in plan.statements:
                begun = time.monotonic()
                rows, how = session.rehearse(statement, whole=plan.whole)
                rehearsed.ran.append((round(time.monotonic() - begun, 3), rows, how))
            if plan.whole:
                session.commit()
            changes_rows = not all(statement.by_itself for statement in plan.statements)
            if changes_rows and (tables := session.tables_without_transactions()):
                rehearsed.notes.append(
                    f"tables without transactions: {some(tables)}; what fails on them stays done in part, and only a "
                    "restore takes that back"
                )
        except MigrationFailed as error:
            beyond = f"; no other server can be reached from the copy: {some(cut_off)}" if cut_off else ""
            raise MigrationFailed(f"in the rehearsal {error.message}{beyond}", hint=error.hint) from error
    if plan.is_command and live != _live_catalogue(job, section):
        raise MigrationFailed(
            f"the live database of {section.name} changed while the program was rehearsed on a copy",
            hint="if nobody else changed it, the program does not go where DATABASE_URL leads: see what it did to live",
        )
    after = look()
    rehearsed.changed = tables_changed(_rows(before), _rows(after))
    rehearsed.shapes = shapes_changed(before.catalogue, after.catalogue)
    if failed := checks_missed(section, restorer, name):
        raise MigrationFailed(
            f"after the rehearsal the site's checks don't hold: {some(failed)}",
            hint="fix the migration, or the checks in the site file if they no longer fit",
        )
    if plan.rollback:
        again = partial(_rehearse_rollback, section, plan, restorer, name, mode, look, before)
        again(rehearsed, "")
        _rehearse_halves(section, plan, restorer, name, mode, again, rehearsed)


def _rehearse_halves(
    section: Database,
    plan: MigrationPlan,
    restorer: Restorer,
    name: str,
    mode: str,
    again: Callable[[_Rehearsed, str], None],
    rehearsed: _Rehearsed,
) -> None:
    """Where each statement stands by itself, the rollback script has to take back every half of the migration too."""
    halves = range(1, len(plan.statements)) if not plan.whole else ()
    expected_s = sum(ran[0] for ran in rehearsed.ran) * len(halves)
    if expected_s > HALVES_LIMIT_S:
        rehearsed.notes.append(
            f"the rollback after a failure half-way was not rehearsed: it would take about {human_seconds(expected_s)}"
        )
        return
    for done in halves:
        if rehearsed.unlike:
            return  # the copy is no longer what it was
        with open_session(section, restorer, name, mode) as session:
            for statement in plan.statements[:done]:
                session.run_alone(statement, limit_s=ROLLBACK_LIMIT_S)
        again(rehearsed, f"after a failure of statement {done + 1} ")


def _rehearse_rollback(
    section: Database,
    plan: MigrationPlan,
    restorer: Restorer,
    name: str,
    mode: str,
    look: Callable[[], Copy],
    before: Copy,
    rehearsed: _Rehearsed,
    when: str,
) -> None:
    try:
        with open_session(section, restorer, name, mode) as session:
            run_rollback(session, plan.rollback)
    except MigrationFailed as error:
        rehearsed.unlike.append(f"{when}its {error.message}")
        return
    back = look()
    unlike, _ = compare_catalogues(before.catalogue, back.catalogue)
    unlike += compare_tables(before.tables, back.tables, exact=True)
    rehearsed.unlike += [f"{when}{line.replace('its manifest says', 'it had')}" for line in unlike]


def _live_catalogue(job: Job, section: Database) -> dict[str, Any]:
    with server_of(job, section) as server:
        return server.catalogue()


def _look(engine: str, restorer: Restorer, name: str, manifest: Manifest) -> Copy:
    from upkeep.engines.copies import look_at_mysql, look_at_postgres

    with closing(restorer.connect(name)) as connection:
        if engine == "mysql":
            return look_at_mysql(connection, name, manifest)
        return look_at_postgres(connection, manifest)


def _rows(copy: Copy) -> dict[str, int]:
    return {name: int(table["rows"]) for name, table in copy.tables.items()}


def _told_rollback(plan: MigrationPlan, rehearsed: _Rehearsed) -> Iterator[str]:
    if plan.rollback and not rehearsed.unlike:
        yield "rollback script: rehearsed, structure, row counts and checksums are as before"
    for line in rehearsed.unlike[:MOST_TOLD]:
        yield f"rollback script does not bring back: {line}"


def _kept(rehearsed: _Rehearsed) -> dict[str, Any]:
    """For the ledger, within its bounds; the slowest statement speaks for those that are left out."""
    kept: dict[str, Any] = {
        "slowest_s": max(ran[0] for ran in rehearsed.ran),
        "unlike": [line[:200] for line in rehearsed.unlike[:MOST_TOLD]],
        "notes": rehearsed.notes[:MOST_TOLD],
        # All or none: a table that is left out would be taken for one that keeps its rows.
        "changed": rehearsed.changed if len(json.dumps(rehearsed.changed)) <= CHANGED_CHARS else None,
        "shapes": rehearsed.shapes if len(json.dumps(rehearsed.shapes)) <= SHAPES_CHARS else None,
    }
    if len(rehearsed.ran) <= MOST_KEPT:
        kept["each_s"] = [ran[0] for ran in rehearsed.ran]
    return kept
