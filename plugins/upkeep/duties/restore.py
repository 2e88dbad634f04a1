"""Restore one backup by hand: beside the live database, into the scratch server, or single tables.

First a plan that changes nothing: which backup, how old, where it would go, how long it would take, and what the live
database has that the backup hasn't. Then the copy is loaded under a name with the backup's time in it, and compared
with what its dump recorded. Nothing that is there already is written into, and nothing is taken away.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from upkeep.domain.backup import taken_at
from upkeep.domain.proof import ProofLevel
from upkeep.domain.restoring import RestorePlan, RestoreRequest, TableLoss
from upkeep.duties.job import Job
from upkeep.duties.read_back import plain_bytes
from upkeep.duties.restore_copy import load_copy
from upkeep.duties.restore_others import others_plan, restore_other
from upkeep.duties.restore_over import plan_over
from upkeep.duties.restore_place import check_room, hold_name, place_of, tables_wanted
from upkeep.duties.restore_source import Found, find_backup
from upkeep.errors import RestoreRefused, RestoreUnavailable, SourceError
from upkeep.site import Database


def plan_restore(job: Job, request: RestoreRequest) -> RestorePlan:
    """What would be restored where, and what would be lost; changes nothing.

    Errors: as ``find_backup``; ``RestoreUnavailable`` and ``RestoreRefused`` for what would stop the restore itself.
    """
    found = find_backup(job, request)
    section = job.site.section(request.target)
    request = replace(request, backup_id=found.backup_id)
    plan = RestorePlan(
        request=request,
        backup_id=found.backup_id,
        taken_at=found.backup.taken_at,
        standing=found.backup.standing,
        size=found.manifest.size,
        plain_bytes=plain_bytes(found.job, found.backup, found.manifest),
        source=found.source,
        into="",
        estimate_s=found.estimate_s,
        now=job.now(),
        remarks=tuple(
            f"{one} is passed over: an earlier restore made it of what was live then; name it to have it"
            for one in found.passed_over
        ),
    )
    if not isinstance(section, Database):
        return others_plan(job, section, found, plan)
    losses, remarks = _losses(job, section, found)
    remarks[:0] = plan.remarks
    if found.backup.level < ProofLevel.STRUCTURE:
        remarks.append(f"this backup is only {found.backup.standing}: its hashes and rows are checked on the way")
    if request.destination == "over":
        into, steps, more = plan_over(job, section, found)
        return replace(plan, into=into, losses=losses, remarks=(*remarks, *more), steps=steps)
    place = place_of(job, section, found, request)
    remarks += check_room(job, section, found, place)
    tables = tables_wanted(found.manifest, request)
    if tables:
        losses = tuple(loss for loss in losses if loss.name in tables)
        remarks.append("all other tables are made too, but stay empty; no foreign keys are made or checked")
    return replace(
        plan,
        into=f"database {place.name} on {place.label}; the live database is not touched",
        losses=losses,
        remarks=tuple(remarks),
        steps=("load it", "compare it with what its dump recorded", "leave it there until somebody drops it"),
    )


def restore(job: Job, request: RestoreRequest) -> dict[str, Any]:
    """Load the backup beside everything else, compare it, leave it there.

    Errors: ``ProofFailed`` when it differs from its source (the copy stays to be looked at); ``RestoreRefused`` when
    something else has its name; ``RestoreUnavailable``; ``Busy``; as ``find_backup``.
    """
    if request.destination not in ("beside", "scratch", "tables"):
        raise RestoreRefused(f"{request.destination} isn't restored beside", hint="use the steps of restore_over")
    found, section = find_backup(job, request), job.site.section(request.target)
    if not isinstance(section, Database):
        return restore_other(job, section, found, request)
    with job.ledger.hold(hold_name(job, request.target)):
        place = place_of(job, section, found, request)
        return load_copy(job, section, found, place, tables_wanted(found.manifest, request))


def _losses(job: Job, section: Database, found: Found) -> tuple[tuple[TableLoss, ...], list[str]]:
    """Each table now against the backup. A live database that can't be asked is a remark: it may be gone."""
    from upkeep.engines.live_rows import count_rows
    from upkeep.engines.newest_rows import newest_rows

    recorded = found.manifest.contents.get("tables", {})
    engine: Any = job.engine(section.name)
    named = {(rule.table, rule.column) for rule in section.purge}
    named |= {(rule.table, rule.column) for rule in section.partitions}
    try:
        with closing(engine.connect()) as connection:
            rows = count_rows(connection, section.engine)
            newest = newest_rows(connection, section.engine, named, until=job.now(), zone=None).newest
    except (SourceError, RestoreUnavailable) as error:
        return (), [f"nobody can say what would be lost, for the live database can't be looked at: {error.message}"]
    begun = taken_at(found.backup_id)
    losses = []
    for name in sorted({*recorded, *rows}):
        at, column = _newest(name, newest)
        counted, exact = rows.get(name, (None, True))
        losses.append(
            TableLoss(
                name,
                int(recorded[name]["rows"]) if name in recorded else None,
                counted,
                newest=f"{at:%Y-%m-%d %H:%M:%S}Z" if at else "",
                column=column,
                is_newer=bool(at and at > begun),
                exact=exact,
            )
        )
    return tuple(losses), []


def _newest(table: str, newest: dict[str, datetime]) -> tuple[datetime | None, str]:
    label = table.removeprefix("public.")
    found = [(at, name.removeprefix(f"{label}.")) for name, at in newest.items() if name.rpartition(".")[0] == label]
    return max(found, default=(None, ""), key=lambda one: one[0] or datetime.min.replace(tzinfo=UTC))
