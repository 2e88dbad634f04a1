"""A ledger's database as its administrator, an attacker or another process sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, NullPool, create_engine, make_url, text

from upkeep.ledger import Act, Ledger

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

_PREAMBLE = """
import os, sys, time
from upkeep.errors import *
from upkeep.ledger import *
ledger = Ledger(os.environ["LEDGER"])
def an_act(**changes):
    fields = dict(site="kindergarten", duty="back_up", target="app", run_id="scheduled__1", task_id="back_up",
                  try_number=1, actor="scheduler", trigger="scheduled", host="worker-1", command="mysqldump app",
                  config_hash="c0ffee")
    return Act(**{**fields, **changes})
def say(word):
    print(word, flush=True)
"""


def an_act(**changes: Any) -> Act:
    fields: dict[str, Any] = {
        "site": "kindergarten",
        "duty": "back_up",
        "target": "app",
        "run_id": "scheduled__1",
        "task_id": "back_up",
        "try_number": 1,
        "actor": "scheduler",
        "trigger": "scheduled",
        "host": "worker-1",
        "command": "mysqldump app",
        "config_hash": "c0ffee",
    }
    return Act(**{**fields, **changes})


@dataclass
class Setting:
    url: str | URL
    take_away: Callable[[], None]
    """Make the database unreachable."""
    bring_back: Callable[[], None]
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def is_sqlite(self) -> bool:
        return make_url(self.url).get_backend_name() == "sqlite"

    def ledger(self, **options: Any) -> Ledger:
        return Ledger(self.url, **options)

    def execute(self, statement: str, **values: Any) -> list[Any]:
        """Run one statement past Upkeep and return the rows it gives, if any."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def drop_guards(self) -> None:
        """What an attacker who owns the tables does first."""
        if self.is_sqlite:
            for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                self.execute(f"DROP TRIGGER {name}")
        else:
            self.execute("ALTER TABLE upkeep_ledger DISABLE TRIGGER ALL")
            self.execute("ALTER TABLE upkeep_ledger_heads DISABLE TRIGGER ALL")

    def drop_keys(self) -> None:
        """Let two rows have one number, and an act two finishes."""
        if self.is_sqlite:
            self.execute("ALTER TABLE upkeep_ledger RENAME TO genuine")
            self.execute("CREATE TABLE upkeep_ledger AS SELECT * FROM genuine")
        else:
            self.execute("ALTER TABLE upkeep_ledger DROP CONSTRAINT upkeep_ledger_pkey")
            self.execute("ALTER TABLE upkeep_ledger DROP CONSTRAINT upkeep_ledger_once")

    def child(self, program: str) -> subprocess.Popen[str]:
        """Another Python process with ``ledger``, ``an_act`` and ``say`` at hand."""
        url = make_url(self.url).render_as_string(hide_password=False)
        process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + program],
            env={**os.environ, "PYTHONPATH": str(PLUGINS), "LEDGER": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(process)
        return process

    def close(self) -> None:
        for process in self.children:
            process.kill()
            process.communicate()


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Until the child has said ``word``."""
    assert process.stdout is not None
    heard = process.stdout.readline().strip()
    if heard != word:
        process.kill()
        raise AssertionError(f"heard {heard!r}: {process.communicate()[1]}")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def must_succeed(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output
