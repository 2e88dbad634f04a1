"""make demo: both sample sites' nightly backup, once, under the real scheduler, on servers it starts and removes.

Exit status 0 only if everything held that had to hold.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from demo.airflow_home import ROOT, AirflowDown, AirflowHome
from demo.estate import KEYS, ROWS, Estate
from demo.following import Ended, follow, show_failures
from demo.processes import run
from demo.rest import NotAnswered
from demo.restoring import RestoreFailed, restore
from demo.screen import Screen
from tests.servers.base import ServerFailed

SITES = ("kindergarten", "chronoretrace")
KEPT = "kept"
ROUND = ("Health", "Capacity", "Security", "Logs")
"""The page's sections on what both sites' nights look at beside their backups."""
OVERRIDE = {"override_window": True, "override_reason": "demo"}


class Verdict:
    """What had to hold, and whether it did."""

    def __init__(self) -> None:
        self.points: list[tuple[bool, str]] = []

    def add(self, held: bool, what: str) -> None:
        self.points.append((held, what))

    @property
    def good(self) -> bool:
        return all(held for held, _ in self.points)

    def text(self) -> str:
        return "\n".join(f"{'yes' if held else 'NO ':<4} {what}" for held, what in self.points)


def main() -> int:
    with Screen() as screen, stopped_by_signals(screen), place_of_its_own() as place:
        screen.title("Upkeep's demo: the nightly backup of two systems, on throwaway servers, by a real Airflow")
        try:
            good = _demonstrate(screen, place)
        except (AirflowDown, NotAnswered, RestoreFailed, ServerFailed) as error:
            screen.title(f"It did not work: {type(error).__name__}")
            screen.show(str(error))
            good = False
        except Exception:
            keep(screen, place)
            raise
        if not good:
            keep(screen, place)
        screen.say("the demo ends here; its servers are gone" if good else "FAILED")
        return 0 if good else 1


def _demonstrate(screen: Screen, place: Path) -> bool:
    verdict = Verdict()
    with running(screen, place) as (estate, airflow):
        runs = {f"{site}_daily": airflow.rest.trigger(f"{site}_daily", OVERRIDE) for site in SITES}
        screen.title(f"Running {' and '.join(runs)} (outside their windows, reason: demo)")
        ended = follow(airflow, screen, runs)
        for one in ended:
            _show_run(airflow, screen, one)
            verdict.add(one.state == "success", f"{one.dag_id} ended with success")
        _show_round(screen, verdict, place)
        screen.waiting("asking the command line")
        _show_backups(screen, verdict)
        _show_ledger(screen, verdict)
        if verdict.good:
            _show_restore(screen, verdict, estate, place)
    screen.title("What had to hold")
    screen.show(verdict.text())
    return verdict.good


@contextmanager
def running(screen: Screen, place: Path, *, port: int = 0) -> Iterator[tuple[Estate, AirflowHome]]:
    """Both systems and an Airflow that looks after them; all of it ends with the block."""
    with ExitStack() as stack:
        airflow = stack.enter_context(AirflowHome(place / "airflow", port=port))
        estate = Estate(place, ROOT / "include" / "sites")
        screen.doing(
            f"starting {estate.mysql_name}, PostgreSQL and two Redis, with {ROWS:,} rows and {KEYS:,} keys each"
        )
        stack.enter_context(estate)
        screen.say(f"site files: the samples; only store, spool, folders, logs and endpoints are moved, to {place}")
        airflow.start(screen, estate.sites, estate.connections, [f"{site}_daily" for site in SITES])
        screen.say(f"Airflow is up at {airflow.url}")
        yield estate, airflow
        screen.doing("stopping Airflow and the servers")


def _show_run(airflow: AirflowHome, screen: Screen, one: Ended) -> None:
    report = airflow.rest.result(one.dag_id, one.run_id, "report") or {}
    screen.title(f"{one.dag_id}: what its report says")
    screen.show(report.get("text") or "this run has no report")
    if one.state != "success":
        show_failures(airflow, screen, one)


def _show_round(screen: Screen, verdict: Verdict, place: Path) -> None:
    """What the day's other duties found, as the report's page tells it."""
    for site in SITES:
        pages = sorted((place / "store" / site / "_reports").glob("*.md"))
        page = pages[-1].read_text(encoding="utf-8") if pages else ""
        told = page[page.find("## Health") :].partition("## The run")[0] if "## Health" in page else ""
        screen.title(f"{site}: the rest of the day, from its report's page")
        screen.show(told.strip() or "this run has no page")
        missing = [title for title in ROUND if f"## {title}\n" not in told]
        held = f"{site}: health, capacity, security and logs were looked at"
        verdict.add(not missing, f"{held}, but not {', '.join(missing)}" if missing else held)
        if site == "kindergarten":
            purged = re.search(r"^([\d,]+) rows deleted, ([\d,]+) archived first$", told, re.M)
            verdict.add(bool(purged), f"{site}: expired rows are purged ({purged[0] if purged else 'none is'})")


def _show_backups(screen: Screen, verdict: Verdict) -> None:
    for site in SITES:
        screen.title(f"$ upkeep backups {site}")
        screen.show(_upkeep("backups", site)[1])
        status, said = _upkeep("backups", site, "--json")
        rows: list[dict[str, Any]] = json.loads(said) if status == 0 else []
        proven = sorted({row["target"] for row in rows if row["standing"] == "structure"})
        wanted = _targets(site)
        verdict.add(
            proven == wanted, f"{site}: {len(proven)} of {len(wanted)} targets have a backup proven to structure"
        )


def _show_ledger(screen: Screen, verdict: Verdict) -> None:
    screen.title("$ upkeep ledger verify")
    status, said = _upkeep("ledger", "verify")
    screen.show(said)
    verdict.add(status == 0, "the ledger has no altered, missing or reordered row")


def _show_restore(screen: Screen, verdict: Verdict, estate: Estate, place: Path) -> None:
    screen.title("A backup is not a backup until it has been restored")
    screen.doing("restoring kindergarten/app into a second server, with the line from its manifest")
    restored = restore(estate, place)
    screen.show(f"$ {restored.line}\n\n{restored.table()}")
    verdict.add(restored.exact, f"the restored copy has the same {len(restored.copy.tables)} tables, row by row")


def _targets(site: str) -> list[str]:
    from upkeep.resources import sites_folder
    from upkeep.site import load_site

    return sorted(target.name for target in load_site(sites_folder() / f"{site}.yaml").targets)


def _upkeep(*arguments: str) -> tuple[int, str]:
    done = run([str(Path(sys.executable).with_name("upkeep")), *arguments])
    return done.returncode, done.stdout


def keep(screen: Screen, place: Path) -> None:
    """Leave the folder for whoever looks into what went wrong."""
    (place / KEPT).touch()
    screen.say(f"what it wrote, logs too, is kept in {place}")


@contextmanager
def place_of_its_own() -> Iterator[Path]:
    """A temporary folder, removed at the end unless ``keep`` was called."""
    place = Path(tempfile.mkdtemp(prefix="upkeep-demo-"))
    try:
        yield place
    finally:
        if not (place / KEPT).exists():
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def stopped_by_signals(screen: Screen) -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: by way of every ``finally``. A second one doesn't hurry it."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        screen.interrupted(f"cleaning up after {signal.Signals(number).name}")
        raise SystemExit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    yield


if __name__ == "__main__":
    sys.exit(main())
