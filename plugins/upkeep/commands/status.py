"""Whether the nights happen, for an outside watchdog."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from upkeep.commands.base import Commands, add, open_ledger, site_of
from upkeep.resources import sites_folder


def register(commands: Commands) -> None:
    standing = add(commands, "status", status)
    standing.add_argument("site", nargs="?")
    standing.add_argument(
        "--max-age", type=float, metavar="HOURS", help="exit 1 when a good report is older or missing"
    )


def status(options: argparse.Namespace) -> int:
    """Each site's last report and the runs that are missing; with --max-age for an outside watchdog's exit status.

    A site file that can't be used is exit status 1 as well: its DAGs are gone, and nothing else would say so.
    """
    from upkeep.duties.status import standings
    from upkeep.site import load_sites

    now, ledger = datetime.now(UTC), open_ledger()
    found, broken = ({}, []) if options.site else load_sites(sites_folder())
    sites = [site_of(options.site)] if options.site else list(found.values())
    for error in broken:
        print(f"broken  {error}")
    stale = bool(broken)
    for site in sites:
        for standing in standings(site, ledger, now):
            too_old = options.max_age is not None and standing.older_than(timedelta(hours=options.max_age), now)
            stale = stale or too_old
            last = "never"
            if standing.last:
                at = standing.last.at.astimezone(ZoneInfo(site.timezone))
                last = f"{at:%Y-%m-%d %H:%M} {'ok' if standing.last.ok else 'RED'}"
            late = ", too old" if too_old else ""
            print(f"{site.name} {standing.rhythm}: last report {last}{late}; times in {site.timezone}")
            for entry in standing.missed:
                print(f"    missing {entry.what}")
    return 1 if stale else 0
