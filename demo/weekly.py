"""make demo-weekly: what make demo shows, then both sample sites' week, under the same scheduler, on the same servers.

Exit status 0 only if everything held that had to hold, first of all that every backup was restored and is alike.
"""

from __future__ import annotations

import sys

from demo.demo import show_day
from demo.stage import SITES, Stage, perform

PARTS = ("Restored backups", "Tables", "Log files", "Databases")
"""The page's sections that both sites' weeks have."""
ONLY = {"kindergarten": ("Partitions", "Docker")}
"""And those that one site's file alone asks for."""


def main() -> int:
    title = "Upkeep's week: every backup of two systems restored and compared, logs cleaned, tables tended"
    return perform(title, _show_week)


def _show_week(stage: Stage) -> None:
    show_day(stage)
    if not stage.verdict.good:
        return  # the week tends nothing behind a failed night
    stage.run("weekly")
    for site in SITES:
        _show_page(stage, site)
    stage.screen.waiting("asking the command line")
    stage.show_backups("restored")
    stage.show_ledger()


def _show_page(stage: Stage, site: str) -> None:
    page = stage.page_of(site, "weekly")
    stage.screen.title(f"{site}_weekly: its report's page")
    stage.screen.show(page or "this run has no page")
    missing = [title for title in (*PARTS, *ONLY.get(site, ())) if f"## {title}\n" not in page]
    held = f"{site}: logs were cleaned, tables tended, databases reviewed"
    stage.verdict.add(not missing, f"{held}, but the page has no {', '.join(missing)}" if missing else held)


if __name__ == "__main__":
    sys.exit(main())
