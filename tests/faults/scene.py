"""One site on disk, with duties run in this process or in one that will be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.plain_site import plain_job, plain_site
from upkeep.domain.proof import ProofLevel
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import Backup, read_catalogue
from upkeep.duties.forget import forget
from upkeep.duties.job import Job
from upkeep.duties.verify import verify
from upkeep.ledger import Ledger, default_url
from upkeep.ledger import verify as verify_ledger
from upkeep.site import Site
from upkeep.stores.base import ObjectWriter
from upkeep.stores.local_store import LocalStore

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Moment:
    """When something happens to a run: at a store operation (write, put, delete) on a key that contains ``match``.

    For ``write``, once ``after`` bytes of that object were written.
    """

    operation: str
    match: str
    after: int = 0


class WatchedStore(LocalStore):
    """A real folder store that calls ``happens`` once, at one moment."""

    def __init__(self, root: Path, moment: Moment, happens: Callable[[], None]) -> None:
        super().__init__(root)
        self._moment, self._happens, self._done = moment, happens, False

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        with super().writer(key) as sink:
            yield _WatchedWriter(self, key, sink)
        self.seen("wrote", key)

    def delete(self, key: str) -> None:
        super().delete(key)
        self.seen("deleted", key)

    def seen(self, operation: str, key: str, size: int = 0) -> None:
        moment = self._moment
        if self._done or operation != moment.operation or moment.match not in key or size < moment.after:
            return
        self._done = True
        self._happens()


class _WatchedWriter:
    def __init__(self, store: WatchedStore, key: str, sink: ObjectWriter) -> None:
        self._store, self._key, self._sink, self._size = store, key, sink, 0

    def write(self, chunk: bytes) -> None:
        self._sink.write(chunk)
        self._size += len(chunk)
        self._store.seen("writing", self._key, self._size)


@dataclass
class Scene:
    """A site with one target ``app`` below a temporary folder."""

    folder: Path
    target: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        retention = {"daily": 2, "keep_at_least": 1, "min_age_days": 0}
        return plain_site(self.folder, **{"retention": retention, **self.target, **self.settings})

    def job(self, run_id: str, **changes: Any) -> Job:
        (self.folder / "store").mkdir(exist_ok=True)
        return plain_job(self.site, self.folder, run_id, **changes)

    def when(self, moment: Moment, happens: Callable[[], None], run_id: str = "night") -> Job:
        """A job to which ``happens`` will happen."""
        return self.job(run_id, store=WatchedStore(self.folder / "store", moment, happens))

    def night(self, run_id: str, **changes: Any) -> str:
        """The whole chain for one night; returns the backup's id."""
        job = self.job(run_id, **changes)
        backup_id = str(back_up(job, "app")["backup_id"])
        verify(job, "app", backup_id)
        forget(job, "app", backup_id)
        return backup_id

    def killed_at(self, moment: Moment, run_id: str = "night") -> None:
        """The whole chain in a process of its own, which is killed with SIGKILL at ``moment``."""
        ended = self.in_process(moment, run_id)
        output = ended.communicate()[0].decode()
        assert ended.returncode == -signal.SIGKILL, f"was not killed at {moment}: {output}"

    def in_process(self, moment: Moment, run_id: str, *, pause: bool = False) -> subprocess.Popen[bytes]:
        """Start the chain elsewhere; at ``moment`` it kills itself, or with ``pause`` says so and waits for a line."""
        what = {
            "folder": str(self.folder), "target": self.target, "settings": self.settings, "run_id": run_id,
            "pause": pause,
            "moment": vars(moment),
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.scene", json.dumps(what)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def backups(self) -> tuple[Backup, ...]:
        return read_catalogue(LocalStore(self.folder / "store"), "shop", "app").backups

    def good(self) -> list[str]:
        """The ids that are listed as good."""
        return [b.ref.backup_id for b in self.backups() if not b.failure and b.level >= ProofLevel.STRUCTURE]

    def leftovers(self) -> list[str]:
        """Files in the store that belong to no finished backup."""
        finished = tuple(backup.ref.prefix for backup in self.backups())
        root = self.folder / "store"
        keys = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        return [key for key in keys if not key.startswith(finished)] if finished else keys

    def require_clean_ledger(self) -> None:
        assert verify_ledger(Ledger(default_url(self.folder))).problems == ()


def files_scene(folder: Path, size: int = 8_000_000) -> Scene:
    """A folder of incompressible data: a dump that takes a moment and needs no server."""
    data = folder / "data"
    if not data.exists():
        data.mkdir(parents=True)
        for number in range(4):
            (data / f"部分-{number}").write_bytes(os.urandom(size // 4))
    return Scene(folder, {"folders": [{"name": "app", "paths": [str(data)]}]})


def _main(what: dict[str, Any]) -> None:
    scene = Scene(Path(what["folder"]), what["target"], what["settings"])

    def happens() -> None:
        if not what["pause"]:
            os.kill(os.getpid(), signal.SIGKILL)
        print("paused", flush=True)  # noqa: T201 - the parent waits for this line
        sys.stdin.readline()

    job = scene.when(Moment(**what["moment"]), happens, what["run_id"])
    backup_id = back_up(job, "app")["backup_id"]
    verify(job, "app", backup_id)
    forget(job, "app", backup_id)


def days_later(days: float) -> Callable[[], datetime]:
    """A clock that runs ``days`` ahead."""
    from datetime import timedelta

    return lambda: datetime.now(UTC) + timedelta(days=days)


def for_command_line(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Where the command line finds the scene's site file and ledger."""
    sites = scene.folder / "sites"
    sites.mkdir()
    content = scene.site.model_dump(mode="json", exclude_none=True)
    (sites / "shop.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    monkeypatch.setenv("UPKEEP_SITES", str(sites))
    monkeypatch.setenv("AIRFLOW_HOME", str(scene.folder))
    monkeypatch.delenv("AIRFLOW_CONN_UPKEEP_LEDGER", raising=False)
    return scene


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
