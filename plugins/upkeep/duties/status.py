"""How a site stands: its last report, and the runs that should have been and weren't."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from upkeep.domain.missed import FinishedRun, Missed, Tally, missed_openings, tally_openings
from upkeep.duties.guard import last_opening
from upkeep.ledger import Ledger
from upkeep.site import Site

LOOKED_BACK = {"daily": timedelta(days=21), "weekly": timedelta(days=21), "monthly": timedelta(days=93)}
SLACKER = {"daily": timedelta(0), "weekly": timedelta(days=6), "monthly": timedelta(days=30)}
"""The rhythms that have a DAG, and how much older than a daily report each one's may be."""


@dataclass(frozen=True)
class Standing:
    """One rhythm of one site. ``last`` is its newest report."""

    site: str
    rhythm: str
    last: FinishedRun | None
    missed: tuple[Missed, ...]

    def older_than(self, age: timedelta, now: datetime) -> bool:
        """Whether the newest report that found all well is older than ``age`` (for a daily one), or there is none."""
        return self.last is None or not self.last.ok or now - self.last.at > age + SLACKER[self.rhythm]


def standings(site: Site, ledger: Ledger, now: datetime) -> list[Standing]:
    return [standing(site, rhythm, ledger, now) for rhythm in SLACKER if getattr(site.rhythms, rhythm)]


def standing(site: Site, rhythm: str, ledger: Ledger, now: datetime, *, own: str = "") -> Standing:
    """Openings count from when the site was given the rhythm: one that it has since today missed nothing.

    :param own: the rhythm of the run that asks. The opening that it answers isn't due: its report is still to come.
    """
    runs = _runs(site, rhythm, ledger, now - LOOKED_BACK[rhythm])
    settings = getattr(site.rhythms, rhythm)
    openings = openings_of(site, settings.at, _in_care_since(site, rhythm, ledger, now - LOOKED_BACK[rhythm], now), now)
    grace = timedelta(hours=settings.length_h)
    missed = missed_openings(openings, runs, grace=grace, now=_due_by(site, rhythm, now, own))
    return Standing(site.name, rhythm, max(runs, key=lambda run: run.at, default=None), missed)


def tallies(site: Site, ledger: Ledger, since: datetime, now: datetime, *, own: str = "") -> dict[str, Tally]:
    """By rhythm, how many of the runs that were due since then took place and found all well. ``own``: as above."""
    found = {}
    for rhythm in SLACKER:
        if settings := getattr(site.rhythms, rhythm):
            openings = openings_of(site, settings.at, _in_care_since(site, rhythm, ledger, since, now), now)
            grace = timedelta(hours=settings.length_h)
            due_by = _due_by(site, rhythm, now, own)
            found[rhythm] = tally_openings(openings, _runs(site, rhythm, ledger, since), grace=grace, now=due_by)
    return found


def _due_by(site: Site, rhythm: str, now: datetime, own: str) -> datetime:
    return last_opening(site, rhythm, now) if rhythm == own else now


def _runs(site: Site, rhythm: str, ledger: Ledger, since: datetime) -> list[FinishedRun]:
    """A dry run is none, nor is one of some targets only: neither may keep a watchdog quiet about the others."""
    return [
        FinishedRun(datetime.fromisoformat(record.started.at), bool(record.detail.get("ok")))
        for record in ledger.acts(site.name, duty="report", target=rhythm, since=since)
        if record.state == "done" and not (record.detail.get("dry_run") or record.detail.get("partial"))
    ]


def _in_care_since(site: Site, rhythm: str, ledger: Ledger, since: datetime, now: datetime) -> datetime:
    """Since the rhythm's first run. A scheduler that never ran it is no excuse, so any act will do under the site file
    in force, which has it; those under earlier files don't say whether they had it.
    """
    first = [
        *ledger.rows(site.name, duty="guard_window", target=rhythm, limit=1),
        *ledger.rows(site.name, config_hash=site.fingerprint, limit=1),
    ]
    return max(since, min((datetime.fromisoformat(row.at) for row in first), default=now))


def openings_of(site: Site, cron: str, since: datetime, until: datetime) -> list[datetime]:
    """After ``since``, up to and with ``until``; in the site's time zone."""
    ticks = croniter(cron, since.astimezone(ZoneInfo(site.timezone)))
    openings: list[datetime] = []
    while (opening := ticks.get_next(datetime)) <= until:
        openings.append(opening)
    return openings
