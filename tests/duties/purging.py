"""A site with purge rules over a throwaway server, with duties run in this process or in one that will be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import upkeep.domain.purge as purge_domain
import upkeep.duties.purge_rows as purge_duty
from tests.faults.scene import Moment, WatchedStore
from tests.plain_site import plain_job, plain_site
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from upkeep.domain.backup import BackupRef, new_backup_id
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import write_proof
from upkeep.duties.job import Job
from upkeep.duties.purge_rows import purge_rows
from upkeep.duties.row_archives import Archives
from upkeep.engines.mysql_row_purge import MySqlRowPurge
from upkeep.engines.postgres_row_purge import PostgresRowPurge
from upkeep.ledger import Ledger, Record, default_url
from upkeep.ledger import verify as verify_ledger
from upkeep.site import Site
from upkeep.stores.local_store import LocalStore

ROOT = Path(__file__).resolve().parents[2]
CONN = "AIRFLOW_CONN_PURGED"
NOW = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
"""10:30 in Shanghai: with keep_days 30 the cut-off is 2026-10-23 00:00 there, 2026-10-22 16:00 in UTC."""


def now() -> datetime:
    return NOW


class Purging:
    """One site ``shop`` with one database ``app``.

    :param rules: the database's purge rules.
    """

    def __init__(
        self, folder: Path, database: MySqlDatabase | PostgresDatabase, *rules: dict[str, Any], **settings: Any
    ) -> None:
        self.folder, self.name, self.is_mysql = folder, database.name, isinstance(database, MySqlDatabase)
        self.rules, self.settings = [dict(rule) for rule in rules], settings
        os.environ[CONN] = database.server.conn_json(database.name)
        (folder / "store").mkdir(exist_ok=True)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "store")

    def site(self) -> Site:
        section = {
            "name": "app", "engine": "mysql" if self.is_mysql else "postgres", "conn_id": "purged",
            "database": self.name, "lock_timeout_s": 1, "purge": self.rules,
        }  # fmt: skip
        return plain_site(self.folder, databases=[section], **self.settings)

    def job(self, run_id: str = "night", **changes: Any) -> Job:
        return plain_job(self.site(), self.folder, run_id, **{"now": now, **changes})

    def backed_up(self, *, age: timedelta = timedelta(hours=1), level: ProofLevel | None = ProofLevel.STRUCTURE) -> str:
        """As if a backup had been made ``age`` ago and proven; ``level`` None: not proven at all."""
        ref = BackupRef("shop", "app", new_backup_id(NOW - age))
        self.store.put(ref.prefix + MANIFEST, b"{}")
        if level is not None:
            write_proof(self.store, ref, level, ok=True, at=NOW - age, run={}, figures={})
        return ref.backup_id

    def purge(self, rule: Any = 0, **options: Any) -> dict[str, Any]:
        return purge_rows(self.job(), "app", rule, **options)

    def archives(self, table: str = "logs") -> Archives:
        return Archives(self.job(), "app", table)

    def lines(self, table: str = "logs") -> list[dict[str, str | None]]:
        """Every row of every committed archive, in the order in which they were archived."""
        shelf = self.archives(table)
        return [json.loads(line) for archive in shelf.committed()[0] for line in shelf.lines(archive)]

    def acts(self, duty: str = "purge_rows") -> list[Record]:
        return self.job().ledger.acts(site="shop", duty=duty)

    def require_clean_ledger(self) -> None:
        assert verify_ledger(Ledger(default_url(self.folder))).problems == ()

    def killed(self, moment: Moment) -> None:
        """The purge in a process of its own that is killed with SIGKILL at ``moment``."""
        what = {
            "folder": str(self.folder), "name": self.name, "mysql": self.is_mysql, "rules": self.rules,
            "settings": self.settings, "moment": vars(moment),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.duties.purging", json.dumps(what)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, f"was not killed at {moment}: {done.stdout}{done.stderr}"


def small_steps(change: Callable[[Any, str, Any], None] = setattr, *, rows: int = 40, chunk: int = 100) -> None:
    """Batches and chunks small enough to be interrupted; the rest is the same code.

    :param change: a monkeypatch's ``setattr``, where it must not last.
    """
    change(purge_domain, "SMALLEST", rows)
    change(purge_domain, "LARGEST", rows)
    change(purge_duty, "Pace", partial(purge_domain.Pace, rows))
    change(purge_duty, "CHUNK_ROWS", chunk)


def _main(what: dict[str, Any]) -> None:
    small_steps()
    moment = Moment(**what["moment"])

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    scene = Purging.__new__(Purging)  # the child neither makes nor drops the database
    scene.folder, scene.name, scene.is_mysql = Path(what["folder"]), what["name"], what["mysql"]
    scene.rules, scene.settings = what["rules"], what["settings"]
    changes: dict[str, Any] = {}
    if moment.operation in ("deleted", "committed"):
        _die_in_a_batch(moment, die)
    else:
        changes["store"] = WatchedStore(scene.folder / "store", moment, die)
    purge_rows(scene.job("killed", **changes), "app", 0)


def _die_in_a_batch(moment: Moment, die: Callable[[], None]) -> None:
    """Before the commit of batch number ``after`` (operation ``deleted``), or right after it (``committed``)."""
    for kind in (MySqlRowPurge, PostgresRowPurge):
        plain = kind.changing
        count = 0

        @contextmanager
        def changing(self: Any, table: Any, plain: Any = plain) -> Any:
            nonlocal count
            count += 1
            with plain(self, table):
                yield
                if moment.operation == "deleted" and count == moment.after:
                    die()
            if moment.operation == "committed" and count == moment.after:
                die()

        kind.changing = changing  # type: ignore[method-assign]  # the test watches it


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
