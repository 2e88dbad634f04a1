"""Check one thing of a site: a database, a cache, an endpoint, the store. A red one is told, and stops nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from upkeep.domain.health import (
    Health,
    Symptom,
    judge_cache,
    judge_database,
    judge_endpoint,
    judge_stop,
    judge_store,
    unreachable,
)
from upkeep.duties.job import Job
from upkeep.duties.sources import LIMIT_S, answer_within
from upkeep.duties.waiting import check_spool
from upkeep.errors import StoreError, UpkeepError
from upkeep.site import Cache, Database, HttpEndpoint

log = logging.getLogger(__name__)

STORE = "store"


def check_health(job: Job, check: str, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Read and judge one thing; what doesn't answer is red, not an error. ``check`` is one of ``Site.checks``.

    :param limit_s: for all of it, in seconds: no library's own time limit covers a resolver or a disk that hangs.
    """
    hint = ""
    with job.ledger.record(job.act("check_health", check, command=f"check {check}")) as entry:
        try:
            health = answer_within(limit_s, check, lambda: _examine(job, check))
        except UpkeepError as error:
            log.warning("%s: %s", check, error)
            health = unreachable(check.rpartition("/")[2], check.partition("/")[0], error.message)
            hint = error.hint
        health = replace(health, symptoms=(*_stop(job, check), *health.symptoms))
        found = health.as_dict()
        entry.note(**found, hint=hint)
    log.info("%s is %s: %s", check, health.light, health.summary)
    return {**found, "hint": hint}


def _examine(job: Job, check: str) -> Health:
    kind, _, name = check.partition("/")
    if kind == STORE:
        return _store(job)
    if kind == "endpoint":
        return _endpoint(next(endpoint for endpoint in job.site.endpoints if endpoint.name == name))
    section = job.site.section(name)
    if isinstance(section, Database):
        return _database(job, section)
    if isinstance(section, Cache):
        return _cache(job, section)
    raise ValueError(f"{check!r} is nothing that can be checked")


def _stop(job: Job, check: str) -> Iterator[Symptom]:
    """A restore over live that was given up leaves applications unable to write, and nothing else tells of it."""
    from upkeep.duties.write_stops import stopped_at

    kind, _, target = check.partition("/")
    if kind == "database" and (stop := stopped_at(job, target)):
        who = f"{stop.approver or stop.actor} in {stop.run_id}"
        undo = f"upkeep restore resume {job.site.name} {target}"
        how = stop.command.removeprefix("stop writes: ")
        yield judge_stop(datetime.fromisoformat(stop.at), job.now(), how=how, who=who, undo=undo)


def _database(job: Job, section: Database) -> Health:
    from upkeep.engines.health import mysql_figures, postgres_figures

    engine: Any = job.engine(section.name)
    figures = mysql_figures(engine) if section.engine == "mysql" else postgres_figures(engine)
    return judge_database(
        section.name,
        section.engine,
        figures,
        latency_ms=section.latency_ms,
        connections_pct=job.site.thresholds.connections_pct,
        max_lag_s=section.max_lag_s,
        long_transaction_s=section.long_transaction_s,
    )


def _cache(job: Job, section: Cache) -> Health:
    from upkeep.engines.health import redis_figures

    engine: Any = job.engine(section.name)
    before = _last_figure(job, f"cache/{section.name}", "evicted")
    return judge_cache(
        section.name,
        {**redis_figures(engine), "evicted_before": before},
        latency_ms=section.latency_ms,
        max_memory_pct=section.max_memory_pct,
        max_lag_s=section.max_lag_s,
        big_key_bytes=section.big_key_mb * 1_000_000,
    )


def _endpoint(endpoint: HttpEndpoint) -> Health:
    from upkeep.engines.health import endpoint_figures

    return judge_endpoint(
        endpoint.name,
        endpoint_figures(endpoint),
        expect_status=endpoint.expect_status,
        latency_ms=endpoint.latency_ms,
        certificate_days=endpoint.certificate_days,
    )


def _store(job: Job) -> Health:
    begun = time.monotonic()
    job.store.check()
    figures: dict[str, Any] = {"latency_ms": round((time.monotonic() - begun) * 1000, 1)}
    try:
        check_spool(job)
    except StoreError as error:
        figures["spool"] = f"{error.message}: {error.hint}"
    return judge_store(figures, latency_ms=job.site.store.latency_ms)


def _last_figure(job: Job, check: str, figure: str) -> Any:
    """A figure of the last check that was finished; None when there was none."""
    last = job.last_act("check_health", check, lambda record: record.state == "done", among=5)
    return last.detail.get("figures", {}).get(figure) if last else None
