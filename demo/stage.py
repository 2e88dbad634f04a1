"""What every demonstration shares: a place of its own, both systems with a real Airflow, runs followed, a verdict."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from demo.airflow_home import ROOT, AirflowDown, AirflowHome
from demo.estate import KEYS, ROWS, Estate
from demo.following import Ended, follow, show_failures
from demo.processes import run
from demo.rest import NotAnswered
from demo.restoring import RestoreFailed
from demo.screen import Screen
from tests.servers.base import ServerFailed

SITES = ("kindergarten", "chronoretrace")
RHYTHMS = ("daily", "weekly")
OVERRIDE = {"override_window": True, "override_reason": "demo"}
KEPT = "kept"


@dataclass
class Verdict:
    """What had to hold, and whether it did."""

    points: list[tuple[bool, str]] = field(default_factory=list)

    def add(self, held: bool, what: str) -> None:
        self.points.append((held, what))

    @property
    def good(self) -> bool:
        return all(held for held, _ in self.points)

    def text(self) -> str:
        return "\n".join(f"{'yes' if held else 'NO ':<4} {what}" for held, what in dict.fromkeys(self.points))


@dataclass
class Stage:
    """Both systems at work, with all that a demonstration needs to show them."""

    screen: Screen
    place: Path
    estate: Estate
    airflow: AirflowHome
    verdict: Verdict = field(default_factory=Verdict)

    def run(self, rhythm: str) -> list[Ended]:
        """Both sites' DAGs of one rhythm, from their start to their end."""
        runs = {f"{site}_{rhythm}": self.airflow.rest.trigger(f"{site}_{rhythm}", OVERRIDE) for site in SITES}
        self.screen.title(f"Running {' and '.join(runs)} (outside their windows, reason: demo)")
        ended = follow(self.airflow, self.screen, runs)
        for one in ended:
            self.verdict.add(one.state == "success", f"{one.dag_id} ended with success")
            if one.state != "success":
                show_failures(self.airflow, self.screen, one)
        return ended

    def text_of(self, one: Ended) -> str:
        """The report's short text."""
        report = self.airflow.rest.result(one.dag_id, one.run_id, "report") or {}
        return report.get("text") or "this run has no report"

    def page_of(self, site: str, rhythm: str) -> str:
        """The report's page, as Markdown without the backslashes that only a renderer needs; empty without one."""
        pages = sorted((self.place / "store" / site / "_reports").glob(f"*-{rhythm}-*.md"))
        return re.sub(r"\\([^\w\s])", r"\1", pages[-1].read_text(encoding="utf-8")) if pages else ""

    def show_backups(self, rung: str) -> None:
        """What the command line says of them; each must have reached ``rung``, and each target have one."""
        for site in SITES:
            self.screen.title(f"$ upkeep backups {site}")
            self.screen.show(upkeep("backups", site)[1])
            status, said = upkeep("backups", site, "--json")
            rows: list[dict[str, Any]] = json.loads(said) if status == 0 else []
            proven, wanted = sorted({row["target"] for row in rows if row["standing"] == rung}), _targets(site)
            short = [row["backup_id"] for row in rows if row["standing"] != rung]
            self.verdict.add(
                proven == wanted and not short,
                f"{site}: {len(proven)} of {len(wanted)} targets have a backup proven to {rung}"
                + (f", but {', '.join(short)} has not" if short else ""),
            )

    def show_ledger(self) -> None:
        self.screen.title("$ upkeep ledger verify")
        status, said = upkeep("ledger", "verify")
        self.screen.show(said)
        self.verdict.add(status == 0, "the ledger has no altered, missing or reordered row")


def perform(title: str, act: Callable[[Stage], None]) -> int:
    """The whole of a demonstration; returns its exit status, 0 only if everything held that had to hold."""
    with Screen() as screen, stopped_by_signals(screen), place_of_its_own() as place:
        screen.title(title)
        try:
            good = _perform(screen, place, act)
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


def _perform(screen: Screen, place: Path, act: Callable[[Stage], None]) -> bool:
    with running(screen, place) as (estate, airflow):
        stage = Stage(screen, place, estate, airflow)
        act(stage)
    screen.title("What had to hold")
    screen.show(stage.verdict.text())
    return stage.verdict.good


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
        screen.say(f"site files: the samples; only what leads off this machine or to its files is moved, to {place}")
        dags = [f"{site}_{rhythm}" for site in SITES for rhythm in RHYTHMS]
        airflow.start(screen, estate.sites, estate.connections, dags)
        screen.say(f"Airflow is up at {airflow.url}")
        yield estate, airflow
        screen.doing("stopping Airflow and the servers")


def upkeep(*arguments: str) -> tuple[int, str]:
    """Run the command line; its exit status, and what it printed."""
    done = run([str(Path(sys.executable).with_name("upkeep")), *arguments])
    return done.returncode, done.stdout


def _targets(site: str) -> list[str]:
    from upkeep.resources import sites_folder
    from upkeep.site import load_site

    return sorted(target.name for target in load_site(sites_folder() / f"{site}.yaml").targets)


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
