"""Time a database's fixed queries as every month, and tell what has become slower, or is run in another way.

The same statements, each after a warm-up, in the same number of runs: what differs from last month is the data, the
server, or its plan, and the plan is told. A statement that can't be run stops no other.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.benchmark import Timed, compare_times, timed
from upkeep.domain.units import cut
from upkeep.duties.comparing import first
from upkeep.duties.job import Job
from upkeep.errors import BenchmarkFailed
from upkeep.site import Database

if TYPE_CHECKING:
    from upkeep.engines.stopwatch import Stopwatch

log = logging.getLogger(__name__)

WARM_UPS, RUNS = 2, 7
SLOW_RUNS, SLOW_S = 3, 5
"""A query that takes longer than so many seconds is run less often."""
LIMIT_S = 30
QUERIES_CHARS = 6500
"""What is left of a ledger row for the queries."""
WORDS_CHARS = (400, 120, 30)
"""How much each of many queries may say, so that all of them fit: next month is compared with what the row keeps."""
LOOK_BACK = 60
A_MONTH, LEAST_AGE = timedelta(days=30), timedelta(days=14)
"""A query is compared with the run nearest to a month back, and never with one of the last fortnight: what somebody ran
by hand last night says nothing of the month."""


def measure_benchmark(job: Job, database: str, *, dry_run: bool = False, limit_s: int = LIMIT_S) -> dict[str, Any]:
    """:param dry_run: log in and ask for the plans, time nothing.
    :param limit_s: for each run of a query, in seconds.
    :raises SourceError: the database doesn't answer.
    """
    from upkeep.engines.stopwatch import open_stopwatch

    section = next(one for one in job.site.databases if one.name == database)
    engine: Any = job.engine(database)
    if dry_run:
        with open_stopwatch(engine, limit_s=limit_s) as stopwatch:
            return {"site": job.site.name, "database": database, "dry_run": True, **_would(section, stopwatch)}
    at = job.now()
    last, last_version = _a_month_ago(job, database, at)
    with job.ledger.record(job.act("benchmark", database, command="time the month's queries")) as entry:
        entry.hide(*engine.secrets)
        rows = []
        with open_stopwatch(engine, limit_s=limit_s) as stopwatch:
            version = stopwatch.version
            for name, statement in _queries(section, stopwatch):
                row = _measured(stopwatch, name, statement, last.get(name))
                log.info("%s/%s: %s", database, name, row["says"])
                rows.append(row)
        told = _summed_up(rows, version, last_version)
        found = {"database": database, "at": at.isoformat(), "version": version, **told}
        entry.note(**found)
    return found


def _queries(section: Database, stopwatch: Stopwatch) -> list[tuple[str, str]]:
    return [*((one.name, one.sql.strip().rstrip(";")) for one in section.benchmark), *stopwatch.own()]


def _would(section: Database, stopwatch: Stopwatch) -> dict[str, Any]:
    names, failed = [], {}
    for name, statement in _queries(section, stopwatch):
        try:
            stopwatch.plan(statement)
            names.append(name)
        except BenchmarkFailed as error:
            log.warning("%s can't be timed: %s", name, error)
            failed[name] = error.message
    return {"would_time": names, "failed": failed}


def _measured(stopwatch: Stopwatch, name: str, statement: str, last: Timed | None) -> dict[str, Any]:
    try:
        plan = stopwatch.plan(statement)
        cold = [stopwatch.time(statement) for _ in range(WARM_UPS)]
        runs = SLOW_RUNS if min(cold) > SLOW_S else RUNS
        seconds = [stopwatch.time(statement) for _ in range(runs)]
        now = timed(name, statement, seconds, plan, stopwatch.reads(statement))
    except BenchmarkFailed as error:
        return {"name": name, "verdict": "failed", "says": error.message, "hint": error.hint}
    compared = compare_times(now, last)
    return {
        **vars(now),
        "spread_ms": now.spread_ms,
        "last_ms": last.median_ms if last else None,
        "runs": runs,
        "verdict": compared.verdict,
        "says": compared.says,
        "slower": compared.slower,
    }


def _summed_up(rows: list[dict[str, Any]], version: str, last_version: str) -> dict[str, Any]:
    slower = [row for row in rows if row.get("slower")]
    failed = [row for row in rows if row["verdict"] == "failed"]
    replanned = [row for row in rows if row["verdict"] == "plan changed"]
    parts = [f"{len(rows) - len(failed)} of {len(rows)} queries timed"]
    if fresh := [row["name"] for row in rows if row["verdict"] == "new"]:
        parts.append("all of them new" if len(fresh) == len(rows) else f"new: {', '.join(fresh)}")
    parts += [f"{row['name']} is slower: {row['says']}" for row in slower]
    parts += [f"{row['name']} has another plan" for row in replanned if row not in slower]
    parts += [f"{row['name']} failed: {row['says']}" for row in failed]
    if last_version and version != last_version:
        parts.append(f"the server is {version}, was {last_version}")
    kept = _kept(rows)
    if len(kept) < len(rows):
        parts.append(f"{len(rows) - len(kept)} of them don't fit into the ledger's row and are new again next time")
    hint = "compare the plans; ANALYZE its tables, then look for an index that is gone" if slower else ""
    return {
        "light": "amber" if slower or failed else "green",
        "summary": cut("; ".join(parts), 1000),
        "hint": hint or next((row["hint"] for row in failed), ""),
        "queries": kept,
    }


def _kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for chars in WORDS_CHARS:
        wordy = ("says", "plan_words", "hint")
        kept = first(QUERIES_CHARS, [
            {name: value[:chars] if name in wordy else value for name, value in row.items()} for row in rows
        ])  # fmt: skip
        if len(kept) == len(rows):
            break
    return kept


def _a_month_ago(job: Job, database: str, at: datetime) -> tuple[dict[str, Timed], str]:
    """Each query as it was about a month before, by name, and on which release that was. A run in which a query failed,
    or which didn't have it yet, leaves it to the next nearest.
    """
    runs = []
    for record in job.ledger.acts(job.site.name, duty="benchmark", target=database, limit=LOOK_BACK, newest_first=True):
        if record.state == "done" and record.started.run_id != job.run.run_id and "at" in record.detail:
            age = at - datetime.fromisoformat(record.detail["at"])
            if age >= LEAST_AGE:
                runs.append((abs(age - A_MONTH), record.detail))
    runs.sort(key=lambda run: run[0])
    found: dict[str, Timed] = {}
    names = Timed.__dataclass_fields__
    for query in (query for _, detail in runs for query in detail.get("queries", ())):
        if all(name in query for name in names):
            found.setdefault(query["name"], Timed(**{name: query[name] for name in names}))
    return found, str(runs[0][1].get("version", "")) if runs else ""
