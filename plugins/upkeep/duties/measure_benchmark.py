"""Time a database's fixed queries as every month, and tell what has become slower, or is run in another way.

The same statements, each after a warm-up, in the same number of runs: what differs from last month is the data, the
server, or its plan, and the plan is told. A statement that can't be run stops no other.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from upkeep.domain.benchmark import Timed, compare_times, timed
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
LOOK_BACK = 20


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
            names = [name for name, _ in _queries(section, stopwatch)]
        return {"site": job.site.name, "database": database, "dry_run": True, "would_time": names}
    last, last_version = _last(job, database)
    with job.ledger.record(job.act("benchmark", database, command="time the month's queries")) as entry:
        entry.hide(*engine.secrets)
        rows = []
        with open_stopwatch(engine, limit_s=limit_s) as stopwatch:
            version = stopwatch.version
            for name, statement in _queries(section, stopwatch):
                row = _measured(stopwatch, name, statement, last.get(name))
                log.info("%s/%s: %s", database, name, row["says"])
                rows.append(row)
        found = {"database": database, "version": version, **_told(rows, version, last_version)}
        entry.note(**found)
    return found


def _queries(section: Database, stopwatch: Stopwatch) -> list[tuple[str, str]]:
    return [*((one.name, one.sql.strip().rstrip(";")) for one in section.benchmark), *stopwatch.own()]


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


def _told(rows: list[dict[str, Any]], version: str, last_version: str) -> dict[str, Any]:
    slower = [row for row in rows if row.get("slower")]
    failed = [row for row in rows if row["verdict"] == "failed"]
    replanned = [row for row in rows if row["verdict"] == "plan changed"]
    parts = [f"{len(rows) - len(failed)} of {len(rows)} queries timed"]
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
        "summary": "; ".join(parts)[:1000],
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


def _last(job: Job, database: str) -> tuple[dict[str, Timed], str]:
    """What another run measured last, by name, and on which release."""
    for record in job.ledger.acts(job.site.name, duty="benchmark", target=database, limit=LOOK_BACK, newest_first=True):
        queries = record.detail.get("queries")
        if record.state == "done" and queries and record.started.run_id != job.run.run_id:
            names = Timed.__dataclass_fields__
            found = [
                Timed(**{name: query[name] for name in names})
                for query in queries
                if all(name in query for name in names)
            ]
            return {one.name: one for one in found}, str(record.detail.get("version", ""))
    return {}, ""
