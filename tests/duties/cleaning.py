"""A site with one log folder and a rule for it."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engines.log_files import age
from tests.faults.scene import Scene
from upkeep.duties.clean_logs import clean_logs
from upkeep.ledger import Ledger, Record, default_url


@dataclass
class Cleaning:
    folder: Path
    rule: dict[str, Any] = field(default_factory=lambda: {"keep_days": 30})
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)

    @property
    def path(self) -> Path:
        return self.folder / "logs"

    @property
    def scene(self) -> Scene:
        target = {
            "folders": [{"name": "app", "paths": [str(self.folder / "data")]}],
            "logs": [{"path": str(self.path), **self.rule}],
        }
        return Scene(self.folder, target, self.more)

    def old(self, name: str, days: float = 40, content: bytes = b"all is well\n" * 10_000) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        age(path, days * 24)
        return path

    def clean(
        self, run_id: str = "sunday", *, changes: dict[str, Any] | None = None, **settings: Any
    ) -> dict[str, Any]:
        time.sleep(0.03)  # what came within the last tick of the kernel's clock counts as new
        return clean_logs(self.scene.job(run_id, **(changes or {})), **settings)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())

    def records(self) -> list[Record]:
        return Ledger(default_url(self.folder)).acts(site="shop", duty="clean_logs")

    def lists(self, place: str = "store") -> list[dict[str, Any]]:
        """What the lists of what is gone say, in their order."""
        return [
            json.loads(line)
            for path in sorted((self.folder / place / "shop" / "_cleaned").glob("*.jsonl.gz"))
            for line in gzip.decompress(path.read_bytes()).splitlines()
        ]
