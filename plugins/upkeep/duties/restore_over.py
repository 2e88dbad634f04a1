"""Restore a database over the live one: beside it first, compared, then swapped by renaming. The old one stays.

secure_live -> (a person approves) -> stop_writes -> bring_beside -> swap_live -> let_write. Each step finds out from
the servers and the ledger, not from whoever calls it, what was done before: any of them may be killed and run again.

**What a kill leaves.** Up to the swap, the old database live (read only, from stop_writes on) and maybe a copy beside
it. The swap itself is one transaction (PostgreSQL) or one statement (MySQL). On MySQL views, routines and events follow
it; what is missing of them is written down in the copy, and the next run makes it before anything else. So there is
never a moment without a live database.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upkeep.domain.names import quoted
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.restoring import RestoreRequest, replaced_name, restored_name
from upkeep.domain.units import human_seconds
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.database_copy import open_restorer
from upkeep.duties.fresh_backup import ended_at, newest_told
from upkeep.duties.job import Job
from upkeep.duties.restore_copy import compare_again, load_copy
from upkeep.duties.restore_others import bring_other_beside, other_was_begun, swap_other
from upkeep.duties.restore_place import check_room, hold_name, live_name, open_live, place_of
from upkeep.duties.restore_source import SAFETY, Found, find_backup
from upkeep.duties.verify import verify
from upkeep.duties.write_stops import GO_ON, WAIVE, last_stop, stop_that_did, stopped_at, write_stop_of
from upkeep.engines.live_base import LiveServer, State
from upkeep.errors import NoFreshBackup, RestoreRefused, UpkeepError
from upkeep.site import Database, ScaleToZero

log = logging.getLogger(__name__)

FRESH = timedelta(hours=1)
"""How old the newest backup of what is live may be, from its end."""
_TEXT = r'"(?:[^"\\]|\\.)*"'
_SWAP = re.compile(rf"swap ({_TEXT}) over ({_TEXT}), which stays as ({_TEXT}); backup (\S+)")


@dataclass(frozen=True)
class Waivers:
    """What a person takes upon themselves, each with a reason that the ledger keeps."""

    backup: str = ""
    """Why there need be no fresh backup of what is live."""
    writes: str = ""
    """Why applications need not be kept from writing."""


@dataclass(frozen=True)
class _Begun:
    """A swap that no act in the ledger finished. ``state``: what the server says of it."""

    new: str
    live: str
    old: str
    backup_id: str
    approver: str
    state: State


def plan_over(job: Job, section: Database, found: Found) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Where to, the steps, and what a person has to know. Errors: ``RestoreUnavailable``."""
    live, server = live_name(job, section), open_live(job, section)
    _refuse_own_ledger(job, section, live)
    place = place_of(job, section, found, RestoreRequest(section.name, "over"))
    there = server.exists(live)
    remarks = []
    if place.name not in place.restorer.databases():
        remarks += check_room(job, section, found, place)
    else:
        remarks.append(f"{place.name} is there already: it is compared again, not loaded again")
    if there:
        remarks += [f"in the way: {obstacle}" for obstacle in server.obstacles(live)]
        remarks += server.remarks(live)
        if hook := write_stop_of(job, section, server, live):
            remarks += hook.remarks()
        else:
            remarks.append(
                f"the site has no stop_writes for {section.name}: only a waiver with a reason lets the restore go on"
            )
    begun = unfinished(job, section, server)
    if begun and begun.state == "begun":
        remarks.append(f"a swap of {begun.backup_id} over {live} was begun and is finished first")
    stop = {"mysql": "make the whole server read only", "postgres": f"make {live} read only and end its sessions"}
    if isinstance(section.stop_writes, ScaleToZero):
        stop[section.engine] = f"scale {', '.join(section.stop_writes.scale_to_zero)} to zero"
    steps = [
        f"back up {live} unless its newest proven backup is younger than {human_seconds(FRESH.total_seconds())}",
        "wait for a person's approval",
        stop[section.engine] if section.stop_writes else "nobody is kept from writing",
        f"load the backup as {place.name} and compare it with what its dump recorded",
        f"swap by renaming: {place.name} becomes {live}, {live} stays as {live}_replaced_<time> until dropped by hand",
        "let applications write again",
    ]
    if not there:
        steps = [*steps[1:2], steps[3], f"rename {place.name} to {live}"]
        remarks.append(f"there is no database {live} now: nothing is backed up, stopped or kept")
    return f"over the live database {live} on {place.label}", tuple(steps), tuple(remarks)


def secure_live(job: Job, request: RestoreRequest, *, waived: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Have a proven backup of what is live now, so that even the old state could be had back from the store.

    Errors: ``RestoreRefused`` where a foreign key, say, forbids the swap; those of ``back_up`` and ``verify``.
    """
    section, target = job.site.section(request.target), request.target
    result = {"site": job.site.name, "target": target, "dry_run": dry_run}
    if isinstance(section, Database):
        server, live = open_live(job, section), live_name(job, section)
        if not server.exists(live):
            return {**result, "backup_id": None, "reason": f"there is no database {live} now"}
        if _swapped_already(job, request) or unfinished(job, section, server):
            return {**result, "backup_id": None, "reason": "the swap was begun behind a backup"}
        _refuse_own_ledger(job, section, live)
        refuse_obstacles(server, live)
    if waived and not dry_run:
        with job.ledger.record(job.act(SAFETY, target, command="go without a fresh backup")) as entry:
            entry.note(light="amber", summary=f"no fresh backup of what is live: waived, {waived}", waived=waived)
    if waived:
        return {**result, "backup_id": None, "reason": f"waived: {waived}"}
    if backup_id := fresh_backup(job, target):
        return {**result, "backup_id": backup_id, "reason": "young enough and proven"}
    if dry_run:
        return {**result, "backup_id": None, "reason": "would be backed up and verified"}
    # Noted in an act of its own: by it the next restore knows that this one holds what was wrong.
    with job.ledger.record(job.act(SAFETY, target, command="back up what is live")) as entry:
        # Not one that this run made before: of before the migration that failed, or an approval that came late.
        made = str(back_up(job, target, reuse_since=_fresh_since(job, target))["backup_id"])
        entry.note(backup_id=made)
        verify(job, target, made)
        entry.note(light="green", summary=f"what is live is kept as {made}")
    return {**result, "backup_id": made, "reason": "made for this restore"}


def stop_writes(
    job: Job, request: RestoreRequest, *, approver: str, waived: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """Keep applications from writing, by the site's hook. Errors: ``RestoreRefused`` where there is neither hook nor
    waiver.
    """
    section, target = job.site.section(request.target), request.target
    result = {"site": job.site.name, "target": target, "dry_run": dry_run}
    begun: _Begun | None = None
    if isinstance(section, Database):
        server, live = open_live(job, section), live_name(job, section)
        if not server.exists(live):
            return {**result, "how": "there is no live database"}
        begun = unfinished(job, section, server)
    if _swapped_already(job, request) or (begun and begun.state == "done" and begun.backup_id == request.backup_id):
        return {**result, "how": "nothing is left to be done"}
    if waived and not dry_run:
        with job.ledger.record(job.act("stop_writes", target, command=GO_ON, approver=approver)) as entry:
            entry.note(light="amber", summary=f"writes go on: waived, {waived}", waived=waived)
    if waived:
        return {**result, "how": f"waived: {waived}"}
    hook = write_stop_of(job, section, server, live) if isinstance(section, Database) else None
    if hook is None:
        raise RestoreRefused(
            f"nothing keeps applications from writing to {job.site.name}/{target} while it is replaced",
            hint=f"set stop_writes for it in the site file, or stop the applications by hand and {WAIVE}",
        )
    stop = last_stop(job, target)
    holds = hook.holds()
    if holds and stop is None:
        hook.refuse_foreign()
    hook.refuse_writers()
    if holds and (stop is None or stop.state == "done"):  # one that died may have left sessions from before it
        return {**result, "how": "stopped already"}
    how = hook.how(stop.started.command if stop else "")
    if not dry_run:
        act = job.act("stop_writes", target, command=f"stop writes: {how}", approver=approver)
        with job.ledger.record(act) as entry:
            hook.stop()
            entry.note(light="amber", summary=f"nobody writes to {live} until this restore ends: {how}", how=how)
    return {**result, "how": how}


def let_write(job: Job, target: str) -> dict[str, Any]:
    """Undo ``stop_writes``, if that was Upkeep and nobody undid it since. A swap that was begun is finished first."""
    section = job.site.section(target)
    result = {"site": job.site.name, "target": target}
    if not isinstance(section, Database):
        return {**result, "how": "nothing was stopped"}
    server, live = open_live(job, section), live_name(job, section)
    begun = unfinished(job, section, server)
    if begun and begun.state == "begun":
        raise RestoreRefused(
            f"the swap of {begun.backup_id} over {live} was begun and is not finished: writes stay stopped",
            hint=f"clear the task swap, or: upkeep restore resume {job.site.name} {target} --finish-swap",
        )
    stopped = stopped_at(job, target)
    if stopped is None:
        return {**result, "how": "nothing was stopped"}
    with job.ledger.record(job.act("let_write", target, command="let applications write again")) as entry:
        stop_that_did(job, server, live, stopped.command).let(stopped.command)
        entry.note(light="green", summary=f"applications may write to {live} again")
    return {**result, "how": "as before"}


def finish_swap(job: Job, target: str, *, approver: Callable[[], str]) -> dict[str, Any]:
    """Finish the swap that was begun, if one was, and let applications write: without the store, which may be away.

    ``approver``: who lets it pass, asked only where the ledger doesn't know who let it begin.
    """
    section = job.site.section(target)
    begun = unfinished(job, section, open_live(job, section)) if isinstance(section, Database) else None
    if begun is None:
        raise RestoreRefused(
            f"the ledger knows of no swap of {job.site.name}/{target} that was begun and not finished",
            hint=f"upkeep restore backup {job.site.name} {target} --to over --backup ID finishes one of another ledger",
        )
    done = swap_live(job, RestoreRequest(target, "over", begun.backup_id), approver=begun.approver or approver())
    return {**done, **let_write(job, target)}


def bring_beside(job: Job, request: RestoreRequest) -> dict[str, Any]:
    """The copy that is going to be live, loaded and compared; nothing to do where the swap was begun already."""
    section = job.site.section(request.target)
    backup_id = _require_named(request)
    if not isinstance(section, Database):
        return bring_other_beside(job, section, find_backup(job, request))
    with job.ledger.hold(hold_name(job, request.target)):
        if begun := _begun(job, section, open_live(job, section), backup_id):
            return {"site": job.site.name, "target": request.target, "backup_id": begun.backup_id, "found": True}
        if done := _swapped_already(job, request):
            return {**done, "found": True}
        found = find_backup(job, request)
        return load_copy(job, section, found, place_of(job, section, found, request), ())


def swap_live(job: Job, request: RestoreRequest, *, approver: str, waivers: Waivers = Waivers()) -> dict[str, Any]:
    """Put the copy in the place of the live database, which stays under a dated name.

    Errors: ``RestoreRefused`` when something that has to hold before no longer does; ``ProofFailed`` when the copy was
    changed since it was restored; ``NoFreshBackup``; ``RestoreUnavailable``; ``Busy``.
    """
    section, target = job.site.section(request.target), request.target
    backup_id = _require_named(request)
    if not isinstance(section, Database):
        found = find_backup(job, request)
        if not other_was_begun(job, section, found):
            _require_waived(job, request.target, waivers)
        return swap_other(job, section, found, approver=approver, waived=waivers.writes)
    server, live = open_live(job, section), live_name(job, section)
    result = {"site": job.site.name, "target": target, "backup_id": backup_id, "database": live}
    # The night's backup must not read while names change under it.
    with job.ledger.hold(hold_name(job, target)), job.hold(target):
        begun = _begun(job, section, server, backup_id)
        if begun is None and (done := _swapped_already(job, request)):
            return {**result, **done, "found": True}
        new, counted = begun.new if begun else restored_name(live, backup_id), ""
        if begun is None:  # what was begun is finished without the store, which may be away
            found = find_backup(job, request)
            place = place_of(job, section, found, request)
            _require_all(job, section, server, live, waivers)
            server.tidy(new)
            compare_again(section, found, place)
            rows = sum(int(table["rows"]) for table in found.manifest.contents.get("tables", {}).values())
            counted = f", {rows:,} rows"
        old = begun.old if begun else replaced_name(live, job.now()) if server.exists(live) else ""
        if not (approver or (begun and begun.approver)):
            raise RestoreRefused(f"nobody approved the swap of {live}", hint="have a person approve it")
        who = approver or (begun.approver if begun else "")
        act = job.act("swap", target, command=_command(new, live, old, backup_id), approver=who)
        with job.ledger.record(act, secrets=server.secrets) as entry:
            swapped = server.swap(live, new, old)
            kept = f"the old one stays as {swapped.old}" if swapped.old else "there was none before"
            entry.note(
                backup_id=backup_id,
                old=swapped.old,
                notes=list(swapped.notes[:20]),
                waived={name: reason for name, reason in vars(waivers).items() if reason},
                light="amber" if swapped.notes else "green",
                summary=f"{live} is {backup_id} now{counted}; {kept}",
                hint=f"when nobody misses anything any more: DROP DATABASE {quoted(section.engine, swapped.old)}"
                if swapped.old
                else "",
            )
    return {**result, "old": swapped.old, "notes": list(swapped.notes[:20]), "found": False}


def restore_over(job: Job, request: RestoreRequest, *, approver: str, waivers: Waivers = Waivers()) -> dict[str, Any]:
    """All of it in one go, for the command line. Applications may write again however it ends, unless it is killed:
    then the next run, or ``let_write``, sees to it.
    """
    _require_named(request)
    secured = secure_live(job, request, waived=waivers.backup)
    try:
        stop_writes(job, request, waived=waivers.writes, approver=approver)
        beside = bring_beside(job, request)
        swapped = swap_live(job, request, approver=approver, waivers=waivers)
    except BaseException as error:
        try:
            let_write(job, request.target)
        except UpkeepError as second:
            error.add_note(f"writes are still stopped: {second}")
        raise
    let_write(job, request.target)
    return {**beside, **swapped, "secured": secured["backup_id"]}


def fresh_backup(job: Job, target: str) -> str:
    """The id of the newest backup, if it is proven and younger than ``FRESH``; else empty."""
    backups = read_catalogue(job.store, job.site.name, target).backups
    level = min(job.site.retention.policy(job.site.timezone).counts_from, ProofLevel.STRUCTURE)
    newest = backups[-1] if backups else None
    if newest is None or ended_at(job, newest) < _fresh_since(job, target):
        return ""
    proven = is_proven(newest.level, newest.failure is not None, counts_from=level)
    return newest.ref.backup_id if proven else ""


def _fresh_since(job: Job, target: str) -> datetime:
    """Where writes are stopped, nothing has changed since: a backup's age counts up to then."""
    stopped = stopped_at(job, target)
    return (datetime.fromisoformat(stopped.at) if stopped else job.now()) - FRESH


def refuse_obstacles(server: LiveServer, live: str) -> None:
    if obstacles := server.obstacles(live):
        raise RestoreRefused(
            f"{live} can't be swapped: {'; '.join(obstacles)}", hint="settle that first, or restore beside it"
        )


def _refuse_own_ledger(job: Job, section: Database, live: str) -> None:
    """The ledger must not lie in the database that is replaced: its rows would be lost with it."""
    if section.engine != "postgres" or not (ledger := job.ledger.database.lies_in()):
        return
    conn_id = section.restore_conn_id or section.conn_id
    if ledger == (open_restorer(job, section.engine, conn_id, live=True).identity(), live):
        raise RestoreRefused(
            f"the ledger of Upkeep lies in {live} itself: it would be read only, and then as old as the backup",
            hint="let the connection upkeep_ledger lead to a database of its own; or restore beside, and copy",
        )


def unfinished(job: Job, section: Database, server: LiveServer) -> _Begun | None:
    """The last swap of the target, if it neither ended well nor left everything as it was."""
    last = job.last_act("swap", section.name)
    if last is None or last.state == "done" or not (found := _SWAP.fullmatch(last.started.command)):
        return None
    new, live, old = (str(json.loads(text)) for text in found.groups()[:3])
    state = server.swap_state(live, new, old)
    return None if state == "before" else _Begun(new, live, old, found[4], last.started.approver, state)


def _require_all(job: Job, section: Database, server: LiveServer, live: str, waivers: Waivers) -> None:
    """Ask again right before the swap: hours may have gone by since the steps before."""
    if not server.exists(live):
        return
    refuse_obstacles(server, live)
    if not waivers.writes:
        hook = write_stop_of(job, section, server, live)
        if hook is None or not hook.holds():
            raise RestoreRefused(
                f"applications may write to {live}: what they write now would be missing from it after the swap",
                hint=f"run the whole restore again, so that stop_writes comes first, or {WAIVE}",
            )
        hook.refuse_writers()
    _require_fresh(job, section.name, waivers)


def _require_waived(job: Job, target: str, waivers: Waivers) -> None:
    """The same for what nothing keeps from being written to: a Redis, folders."""
    if not waivers.writes:
        raise RestoreRefused(
            f"nothing keeps applications from writing to {job.site.name}/{target} while it is replaced",
            hint=f"stop the applications by hand and {WAIVE}",
        )
    _require_fresh(job, target, waivers)


def _require_fresh(job: Job, target: str, waivers: Waivers) -> None:
    if not waivers.backup and not fresh_backup(job, target):
        raise NoFreshBackup(
            f"{job.site.name}/{target} has no proven backup of the last {human_seconds(FRESH.total_seconds())}: "
            f"{newest_told(job, target)}",
            hint="run the whole restore again: it makes one first; where live can't be dumped any more, give "
            "--waive-backup REASON (in the form: no fresh backup first, because)",
        )


def _begun(job: Job, section: Database, server: LiveServer, backup_id: str) -> _Begun | None:
    """An unfinished swap of this very backup. Errors: ``RestoreRefused`` for one of another that has to be finished."""
    begun = unfinished(job, section, server)
    if begun is None:
        # With Airflow down, the ledger at hand may be another one: the server knows too.
        live = live_name(job, section)
        new = restored_name(live, backup_id)
        state = server.swap_state(live, new, "")
        return _Begun(new, live, replaced_name(live, job.now()), backup_id, "", state) if state == "begun" else None
    if begun.backup_id == backup_id:
        return begun
    if begun.state == "begun":
        raise RestoreRefused(
            f"the swap of {begun.backup_id} over {begun.live} was begun and has to be finished before any other",
            hint=f"restore {begun.backup_id} over live once more: it finishes at once; then restore {backup_id}",
        )
    return None


def _swapped_already(job: Job, request: RestoreRequest) -> dict[str, Any] | None:
    """A cleared task must not restore a second time over what people have written since. Nor must a command that was
    killed after the swap: it is the same restore until applications may write again.
    """
    last = job.last_act("swap", request.target)
    if last is None or last.state != "done" or last.detail.get("backup_id") != request.backup_id:
        return None
    stopped = stopped_at(job, request.target)
    if last.started.run_id != job.run.run_id and not (stopped and stopped.seq < last.started.seq):
        return None
    old = last.detail.get("old")
    return {"site": job.site.name, "target": request.target, "backup_id": request.backup_id, "old": old}


def _require_named(request: RestoreRequest) -> str:
    """The newest backup may be the one that was just made of what is to be replaced."""
    if request.backup_id is None:
        raise RestoreRefused(
            f"no backup is named to restore over {request.target}",
            hint=f"give --backup ID; upkeep backups SITE {request.target} lists them",
        )
    return request.backup_id


def _command(new: str, live: str, old: str, backup_id: str) -> str:
    new, live, old = (json.dumps(name, ensure_ascii=False) for name in (new, live, old))
    return f"swap {new} over {live}, which stays as {old}; backup {backup_id}"
