"""Forecast when what is sampled of a site runs out, and keep a page of it that people can read."""

from __future__ import annotations

import logging
from typing import Any

from upkeep.domain.capacity_plan import CapacityPlan, Levers, Line, plan_capacity
from upkeep.duties.comparing import first
from upkeep.duties.job import Job
from upkeep.duties.pages import keep_pages
from upkeep.duties.sample_capacity import limits_of
from upkeep.ledger.samples import KEEP, Samples
from upkeep.site import Site
from upkeep.stores.local_store import LocalStore

log = logging.getLogger(__name__)

SOON_CHARS, FIRST_CHARS, ODD_CHARS = 3500, 1200, 800
"""Characters of the ledger row for what runs out, for what comes next after it, and for odd backups."""
CHANGES = 3


def plan_forecast(job: Job) -> CapacityPlan:
    """The forecast of everything that was sampled in the last two years; changes nothing. Errors: ``LedgerError``."""
    now = job.now()
    series = Samples(job.ledger.database).series(job.site.name, since=now - KEEP)
    return plan_capacity(series, limits_of(job.site), _levers(job), now=now)


def forecast_capacity(job: Job, *, dry_run: bool = False) -> dict[str, Any]:
    """Forecast, draw, keep the page, and note what runs out within three months. A forecast fails nothing.

    Red is only what is all but full before the next one. ``dry_run``: the page is drawn, and not kept.

    :raises LedgerError: the samples can't be read.
    """
    from upkeep.reports.capacity_page import capacity_page

    with job.ledger.record(job.act("forecast_capacity", "site", command="forecast capacity")) as entry:
        plan = plan_forecast(job)
        pages = {"html": capacity_page(plan, job.site, now=job.now())}
        page = "" if dry_run else keep_pages(job, "capacity", pages)
        soon = [line for line in plan.lines if line.light != "green"]
        later = [line for line in plan.lines if line.light == "green" and line.forecast.days is not None]
        found: dict[str, Any] = {
            "light": plan.light,
            "summary": plan.summary,
            "hint": next((change for line in soon for change in line.changes), ""),
            "figures": len(plan.lines),
            "soon": first(SOON_CHARS, [_as_dict(line) for line in soon]),
            "later": first(FIRST_CHARS, [_as_dict(line) for line in later]),
            "odd_backups": first(ODD_CHARS, [odd.words for odd in plan.odd_backups]),
            "replicas": first(ODD_CHARS, list(plan.replicas)),
            "counts": {
                "soon": len(soon),
                "later": len(later),
                "odd_backups": len(plan.odd_backups),
                "replicas": len(plan.replicas),
            },
            "page": page,
        }
        entry.note(**found)
    log.info("the forecast is %s: %s", found["light"], found["summary"])
    for line in (*soon, *later):
        log.info("%s: %s", line.name, "; ".join([line.says, *line.changes]))
    for words in (*(odd.words for odd in plan.odd_backups), *plan.replicas):
        log.info("%s", words)
    return found


def _as_dict(line: Line) -> dict[str, Any]:
    return {
        "light": line.light,
        "name": line.name,
        "says": line.says,
        "days": line.forecast.days,
        "changes": list(line.changes[:CHANGES]),
    }


def _levers(job: Job) -> Levers:
    site = job.site
    purged = {}
    for database in site.databases:
        for rule in database.purge:
            table = rule.table if database.engine == "mysql" or "." in rule.table else f"public.{rule.table}"
            purged[f"{database.name}/{table}"] = f"rows go {rule.keep_days} days after {rule.column}"
    return Levers(
        purged=purged,
        retention=_retention(site),
        stores=_store_disks(job),
        endless_logs=tuple(log.path for log in site.logs if log.keep_days is None),
    )


def _retention(site: Site) -> str:
    rule = site.retention
    counts = {"daily": rule.daily, "weekly": rule.weekly, "monthly": rule.monthly, "yearly": rule.yearly}
    counts["last"] = rule.keep_last
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _store_disks(job: Job) -> frozenset[str]:
    """As ``disk_figures`` calls it; a Prometheus has names of its own for the machine, and then nothing is said."""
    from upkeep.engines.host_figures import mount_point

    if not job.site.store.url.startswith("file://") or job.site.host.prometheus_url:
        return frozenset()  # asked first: a plan needs no credentials of a store elsewhere
    if not isinstance(job.store, LocalStore):
        return frozenset()
    return frozenset({f"{job.run.host}:{mount_point(job.store.root)}"})
