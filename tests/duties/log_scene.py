"""One site with one log folder on disk, reviewed in this process or in one that will be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.engines.log_files import ROOT, lines
from tests.faults.scene import Moment, Scene, WatchedStore
from upkeep.domain.log_tally import Tally
from upkeep.duties.review_logs import review_logs
from upkeep.ledger import Ledger, Record, default_url

STATE = "store/shop/_state/review_logs.json"


@dataclass
class Logs:
    """A site with one log folder, and a clock that goes forward a day with every ``night``."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    days: float = 0.0

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)

    @property
    def path(self) -> Path:
        return self.folder / "logs"

    @property
    def app(self) -> Path:
        return self.path / "app.log"

    @property
    def scene(self) -> Scene:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        target = {"folders": [{"name": "app", "paths": [str(data)]}], "logs": [{"path": str(self.path)}]}
        return Scene(self.folder, target, self.settings)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)

    def review(
        self, run_id: str = "night", *, dry_run: bool = False, limit_bytes: int = 1 << 40, **changes: Any
    ) -> dict[str, Any]:
        """One review; ``changes`` replace parts of the job."""
        job = self.scene.job(run_id, **{"now": self.now, **changes})
        return review_logs(job, dry_run=dry_run, limit_bytes=limit_bytes)

    def night(self, **settings: Any) -> int:
        """A day later: how many error lines were counted in the folder."""
        self.days += 0.001
        return int(self.review(f"night {self.days}", **settings)["errors"])

    def write(self, first: int, last: int, path: Path | None = None) -> None:
        with (path or self.app).open("a") as file:
            file.write(lines(first, last))

    def records(self) -> list[Record]:
        return Ledger(default_url(self.folder)).acts(site="shop", duty="review_logs")

    @property
    def detail(self) -> dict[str, Any]:
        """Of the last record."""
        return self.records()[-1].detail

    @property
    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / STATE).read_text())
        return content


def killed(folder: Path, moment: str) -> subprocess.CompletedProcess[str]:
    """A review in a process of its own that is killed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.duties.log_scene", str(folder), moment], cwd=ROOT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def _main(folder: Path, moment: str) -> None:
    logs = Logs(folder, days=0.0005)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "while reading":
        Tally.add = lambda *_: die()  # type: ignore[method-assign]
        logs.review("killed")
    operation = {"before its state is kept": "writing", "after its state is kept": "wrote"}[moment]
    logs.review("killed", store=WatchedStore(folder / "store", Moment(operation, "review_logs.json"), die))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
