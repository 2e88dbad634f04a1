"""make demo: both sample sites' nightly backup, once, under the real scheduler, on servers it starts and removes.

Exit status 0 only if everything held that had to hold.
"""

from __future__ import annotations

import re
import sys

from demo.restoring import restore
from demo.stage import SITES, Stage, perform

ROUND = ("Health", "Capacity", "Security", "Logs")
"""The page's sections on what both sites' nights look at beside their backups."""


def main() -> int:
    title = "Upkeep's demo: the nightly backup of two systems, on throwaway servers, by a real Airflow"
    return perform(title, show_day)


def show_day(stage: Stage) -> None:
    """Both sites' nightly runs: their reports, what is in the store now, one backup restored by its manifest's line."""
    for one in stage.run("daily"):
        stage.screen.title(f"{one.dag_id}: what its report says")
        stage.screen.show(stage.text_of(one))
    for site in SITES:
        _show_round(stage, site)
    stage.screen.waiting("asking the command line")
    stage.show_backups("structure")
    stage.show_ledger()
    if stage.verdict.good:
        _show_restore(stage)


def _show_round(stage: Stage, site: str) -> None:
    """What the day's other duties found, as the report's page tells it."""
    page = stage.page_of(site, "daily")
    told = page[page.find("## Health") :].partition("## The run")[0] if "## Health" in page else ""
    stage.screen.title(f"{site}: the rest of the day, from its report's page")
    stage.screen.show(told.strip() or "this run has no page")
    missing = [title for title in ROUND if f"## {title}\n" not in told]
    held = f"{site}: health, capacity, security and logs were looked at"
    stage.verdict.add(not missing, f"{held}, but not {', '.join(missing)}" if missing else held)
    if site == "kindergarten":
        purged = re.search(r"^([\d,]+) rows deleted, ([\d,]+) archived first$", told, re.M)
        stage.verdict.add(bool(purged), f"{site}: expired rows are purged ({purged[0] if purged else 'none is'})")


def _show_restore(stage: Stage) -> None:
    stage.screen.title("A backup is not a backup until it has been restored")
    stage.screen.doing("restoring kindergarten/app into a second server, with the line from its manifest")
    restored = restore(stage.estate, stage.place)
    stage.screen.show(f"$ {restored.line}\n\n{restored.table()}")
    stage.verdict.add(restored.exact, f"the restored copy has the same {len(restored.copy.tables)} tables, row by row")


if __name__ == "__main__":
    sys.exit(main())
