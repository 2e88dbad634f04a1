"""May this rhythm work now? The first thing every scheduled run asks: Airflow runs missed ticks in business hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from upkeep.domain.window import Override, WindowVerdict, judge_window
from upkeep.duties.job import Job
from upkeep.errors import WindowClosed
from upkeep.site import Rhythm, Site


def rhythm_of(site: Site, name: str) -> Rhythm:
    rhythm: Rhythm | None = getattr(site.rhythms, name, None)
    if rhythm is None:
        raise WindowClosed(
            f"site {site.name!r} has no {name} window", hint=f"add rhythms.{name} to its site file, or don't run {name}"
        )
    return rhythm


def last_opening(site: Site, name: str, now: datetime) -> datetime:
    """The latest opening of the window at or before ``now``, in the site's time zone."""
    local = now.astimezone(ZoneInfo(site.timezone))
    opening: datetime = croniter(rhythm_of(site, name).at, local + timedelta(seconds=1)).get_prev(datetime)
    return opening


def guard_window(job: Job, rhythm: str, override_reason: str | None = None) -> WindowVerdict:
    """Let the run go on only inside its window, or on the word of a named person; both end in the ledger.

    :param override_reason: why whoever started the run (``job.run.actor``) overrides a closed window; None for no
        override, and a blank one is refused.

    Errors: ``WindowClosed`` with when the window was and what to do.
    """
    now = job.now()
    length = timedelta(hours=rhythm_of(job.site, rhythm).length_h)
    approver = "" if override_reason is None else job.run.actor
    with job.ledger.record(job.act("guard_window", rhythm, command=f"open {rhythm}", approver=approver)) as entry:
        override = None if override_reason is None else Override(job.run.actor, override_reason)
        verdict = judge_window(now, last_opening(job.site, rhythm, now), length, override)
        entry.note(reason=verdict.reason, closes_at=verdict.closes_at.isoformat(), overridden=verdict.overridden)
        if verdict.override:
            entry.note(override_reason=verdict.override.reason)
        if not verdict.open:
            raise WindowClosed(
                f"the {rhythm} window of site {job.site.name!r} is closed: {verdict.reason}; nothing was done",
                hint=verdict.hint,
            )
    return verdict
