"""A first look at a system before its first night: what is there, what is missing, what would be done. Changes nothing
but for a probe that is written to the store and removed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from croniter import croniter

from upkeep.domain.first_site import FoundDatabase
from upkeep.domain.proving import is_foreign
from upkeep.duties.database_copy import open_restorer
from upkeep.duties.job import Job
from upkeep.duties.restore_place import live_name
from upkeep.duties.tend_tables import plan_tables
from upkeep.duties.waiting import check_spool
from upkeep.errors import RestoreUnavailable, UpkeepError
from upkeep.site import Database

if TYPE_CHECKING:
    from upkeep.domain.endpoint import Endpoint
    from upkeep.engines.survey import Surveyed

PLANNED = 10


@dataclass(frozen=True)
class Missing:
    """``what`` is not as a first night needs it; ``remedy`` is the next action."""

    what: str
    remedy: str


def look_at(job: Job, name: str) -> Surveyed:
    """Log in to one database of the site and look around. Errors: ``ConnectionUnknown``, ``SourceError``."""
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine
    from upkeep.engines.survey import mysql_survey, postgres_survey

    engine = job.engine(name)
    section = job.database(name)
    parts = ("daily", "weekly") if job.site.rhythms.weekly else ("daily",)
    tables = {
        "purge_rows": [rule.table for rule in section.purge],
        "tend_tables": [*section.upkeep.tables, *section.upkeep.analyze] if section.upkeep.tables else ["*"],
        "tend_partitions": [rule.table for rule in section.partitions],
    }
    if isinstance(engine, MySqlEngine):
        return mysql_survey(engine, parts, tables)
    assert isinstance(engine, PostgresEngine)  # noqa: S101 - a database's engine is one of the two
    return postgres_survey(engine, parts, tables)


def look_at_restorer(job: Job, name: str) -> Surveyed:
    """The same as the account of ``restore_conn_id``, for restores by hand. Errors: as ``look_at``."""
    section = job.database(name)
    # On MySQL its rights are the server's: it may not be let into the database before it has them.
    database = "" if section.engine == "mysql" else live_name(job, section)
    return _surveyed(section.engine, job.connect(str(section.restore_conn_id)), database, "restore")


def _surveyed(engine: str, endpoint: Endpoint, database: str, part: str) -> Surveyed:
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine
    from upkeep.engines.survey import mysql_survey, postgres_survey

    if engine == "mysql":
        return mysql_survey(MySqlEngine(endpoint, database), [part])
    return postgres_survey(PostgresEngine(endpoint, database), [part])


def looked_at(surveyed: Surveyed, database: str) -> FoundDatabase:
    return FoundDatabase(
        surveyed.server,
        database,
        tuple((table.name, table.bytes) for table in surveyed.tables),
        tuple(table.name for table in surveyed.tables if not table.has_key),
    )


def missing(job: Job, name: str, surveyed: Surveyed) -> Iterator[Missing]:
    """What the first night and the first week would stumble over: grants, client programs, store, spool, scratch."""
    for grant in surveyed.lacking:
        yield Missing("a grant", grant.line)
    yield from _trouble("a client program", lambda: _programs(surveyed))
    yield from _trouble("the store", job.store.check)
    yield from _trouble("the spool", lambda: check_spool(job))
    section = job.database(name)
    if section.scratch_conn_id:
        yield from _trouble("the scratch server", lambda: _scratch(job, section))


def first_plan(job: Job, name: str, now: datetime) -> Iterator[str]:
    """What would happen, and when, if nothing in the file were changed."""
    site = job.site
    here = now.astimezone(ZoneInfo(site.timezone))
    for rhythm, window in (("daily", site.rhythms.daily), ("weekly", site.rhythms.weekly)):
        if window:
            opens = croniter(window.at, here).get_next(datetime)
            length = f"may work for {window.length_h:g} h"
            yield f"{site.name}_{rhythm} starts at {opens:%Y-%m-%d %H:%M} {site.timezone} and {length}"
    kept = ", ".join(
        f"{count} {name}" for name, count in site.retention.model_dump().items() if name in _KEPT and count
    )
    least = f"never fewer than {site.retention.keep_at_least} proven"
    yield f"every night {name} goes to {site.store.url}; kept: {kept}, {least}"
    try:
        plan = list(plan_tables(job, name).lines())
    except UpkeepError as error:
        yield f"what tables need can't be said yet: {error.message}"
        return
    yield "the week would look after tables like this:"
    yield from (f"  {line}" for line in plan[:PLANNED])
    if len(plan) > PLANNED:
        yield f"  and {len(plan) - PLANNED} more lines: upkeep plan tables {site.name}"


_KEPT = ("daily", "weekly", "monthly", "yearly", "keep_last")


def _trouble(what: str, look: Callable[[], Iterable[Missing] | None]) -> Iterator[Missing]:
    try:
        yield from look() or ()
    except UpkeepError as error:
        yield Missing(f"{what}: {error.message}", error.hint)


def _programs(surveyed: Surveyed) -> None:
    from upkeep.engines.tools import mysql_client, mysql_dump, postgres_tool, require

    require("zstd", package="zstd")
    if surveyed.flavour == "postgres":
        for program in ("pg_dump", "pg_dumpall", "pg_restore"):
            postgres_tool(program, surveyed.version[0])
    else:
        mysql_dump(surveyed.flavour, surveyed.version)
        mysql_client(surveyed.flavour)


def _scratch(job: Job, section: Database) -> Iterator[Missing]:
    """Errors: ``RestoreUnavailable``, ``ConnectionUnknown``, ``SourceError``."""
    conn_id = str(section.scratch_conn_id)
    scratch, live = open_restorer(job, section.engine, conn_id), open_restorer(job, section.engine, section.conn_id)
    if scratch.identity() in ("", live.identity()):
        raise RestoreUnavailable(
            f"connection {conn_id} leads to the very server that is backed up, or to one that doesn't say who it is",
            hint="name another server: nothing is ever restored into a source",
        )
    if foreign := [name for name in scratch.databases() if is_foreign(name)]:
        raise RestoreUnavailable(
            f"it holds databases that Upkeep did not make: {', '.join(sorted(foreign)[:5])}",
            hint="name an empty server, or move these away: a restored copy can fill its disk",
        )
    endpoint = job.connect(conn_id)
    database = endpoint.schema or ("" if section.engine == "mysql" else "postgres")
    for grant in _surveyed(section.engine, endpoint, database, "scratch").lacking:
        yield Missing("a grant on the scratch server", grant.line)
