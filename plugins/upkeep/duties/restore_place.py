"""Where the copy of a database goes: beside the live one or into scratch, under which name; whether there is room."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any

from upkeep.domain.manifest import Manifest
from upkeep.domain.restoring import RestoreRequest, held_name, restored_name, tables_name
from upkeep.domain.units import human_bytes
from upkeep.duties.database_copy import SPACE_FACTOR, open_restorer
from upkeep.duties.job import Job
from upkeep.duties.read_back import plain_bytes
from upkeep.duties.restore_source import Found
from upkeep.duties.same_server import require_same_server
from upkeep.duties.scratches import scratch_of
from upkeep.engines.live_base import LiveServer
from upkeep.engines.restore_base import Restorer
from upkeep.errors import RestoreRefused, RestoreUnavailable, SourceError
from upkeep.site import Database

log = logging.getLogger(__name__)

WAIVER_NEEDED = "nothing keeps applications from writing to it: only a waiver with a reason lets the restore go on"
"""Said of what has no hook that stops writes."""


@dataclass(frozen=True)
class Place:
    """Where a copy of a database goes."""

    restorer: Restorer
    name: str
    label: str


def place_of(job: Job, section: Database, found: Found, request: RestoreRequest) -> Place:
    """Errors: ``NoScratch`` where a scratch is asked for that the site hasn't."""
    backup_id = found.backup_id
    if request.destination == "scratch":
        scratch_of(job, request.target)
        restorer = open_restorer(job, section.engine, str(section.scratch_conn_id))
        label = f"the scratch server of connection {section.scratch_conn_id}"
        return Place(restorer, held_name(request.target, backup_id), label)
    conn_id = _live_conn_id(section)
    restorer = open_restorer(job, section.engine, conn_id, live=True)
    _require_same_server(job, section, restorer, over=request.destination == "over")
    label = f"the live server of connection {conn_id}"
    database = live_name(job, section)
    if tables := tables_wanted(found.manifest, request):
        mark = hashlib.sha256("\0".join(sorted(tables)).encode()).hexdigest()[:4]
        return Place(restorer, tables_name(database, backup_id, mark), label)
    return Place(restorer, restored_name(database, backup_id), label)


def live_name(job: Job, section: Database) -> str:
    """What the live database is called on its server."""
    engine: Any = job.engine(section.name)
    return str(engine.database)


def open_live(job: Job, section: Database) -> LiveServer:
    endpoint = job.connect(_live_conn_id(section))
    if section.engine == "mysql":
        from upkeep.engines.mysql_live import MySqlLive

        return MySqlLive(endpoint, lock_timeout_s=section.lock_timeout_s)
    from upkeep.engines.postgres_live import PostgresLive

    return PostgresLive(endpoint)


def check_room(job: Job, section: Database, found: Found, place: Place) -> list[str]:
    """What can't be made sure of. Errors: ``RestoreUnavailable`` when the copy would fill somebody's disk, when scratch
    is the source, or holds what Upkeep did not make.
    """
    plain = plain_bytes(found.job, found.backup, found.manifest)
    if not place.restorer.live:
        return scratch_of(job, section.name).check(found.manifest, plain)
    need, free = plain * SPACE_FACTOR, place.restorer.free_bytes()
    if free is None:
        return [f"nobody can say how much disk is free on {place.label}; the copy needs about {human_bytes(need)}"]
    if free < need:
        raise RestoreUnavailable(
            f"{place.label} has {human_bytes(free)} of free disk, {found.backup_id} needs about {human_bytes(need)}: a "
            "full disk would stop the live database too",
            hint="free space there, restore into the scratch server, or restore single tables",
        )
    if section.engine == "postgres" and (here := shutil.disk_usage(tempfile.gettempdir()).free) < 64 << 20:
        raise RestoreUnavailable(
            f"{tempfile.gettempdir()} on this worker has only {human_bytes(here)} of free disk",
            hint="free space there, or let TMPDIR lead to a larger disk",
        )
    return []


def hold_name(job: Job, target: str) -> str:
    return f"{job.site.name}/{target}/restore"


def tables_wanted(manifest: Manifest, request: RestoreRequest) -> tuple[str, ...]:
    """The tables asked for, as the manifest calls them. Errors: ``RestoreRefused`` for one that it doesn't hold."""
    if request.destination != "tables":
        return ()
    known = manifest.contents.get("tables", {})
    named = tuple(
        name if name in known or f"public.{name}" not in known else f"public.{name}" for name in request.tables
    )
    if unknown := sorted(set(named) - set(known)):
        raise RestoreRefused(
            f"the backup {manifest.backup.backup_id} has no table {', '.join(unknown)}",
            hint=f"it has: {', '.join(sorted(known)[:20])}",
        )
    if not named:
        raise RestoreRefused("no table is named", hint="name the tables whose rows are wanted")
    return named


def _live_conn_id(section: Database) -> str:
    """Errors: ``RestoreUnavailable`` for a database in a pod: its connection's host is never used, and may be another
    server.
    """
    if section.via and not section.restore_conn_id:
        raise RestoreUnavailable(
            f"database {section.name} is reached through a pod, where nothing is restored",
            hint="name a connection that reaches its server directly under restore_conn_id, or run the manifest's own "
            "restore line in the pod (kubectl exec)",
        )
    return str(section.restore_conn_id or section.conn_id)


def _require_same_server(job: Job, section: Database, restorer: Restorer, *, over: bool) -> None:
    """A server that can't be asked may not be restored over: another one may hold a database of the same name.
    Errors: ``RestoreRefused``.
    """
    try:
        require_same_server(job, section, "restore_conn_id", restorer, RestoreRefused)
    except SourceError as error:
        if over:
            raise RestoreRefused(
                f"nobody knows whether {section.conn_id} and {section.restore_conn_id} of {section.name} lead to one "
                f"server: {error.message}",
                hint=f"fix {section.conn_id}, or for this restore let both be one connection"
                f"{' and leave out via' if section.via else ''}",
            ) from error
        log.warning("%s could not be asked who it is: %s", section.conn_id, error.message)
