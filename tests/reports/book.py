"""A ledger written as the duties write it, and the pages that are made of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from upkeep.errors import BackupSpooled
from upkeep.ledger import Act, Entry, Ledger
from upkeep.reports import RunReport, TargetLine, build_run_report, to_html, to_markdown, to_text
from upkeep.site import Site

ROOT = Path(__file__).resolve().parents[2]
RUN = "scheduled__2026-11-20T18:00:00+00:00"
OPENING = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
"""2 o'clock in Shanghai."""
NOW = OPENING + timedelta(minutes=6)
TONIGHT = "20261120T180010Z-00aa"
MB = 1_000_000


def a_site(**changes: Any) -> Site:
    fields: dict[str, Any] = {
        "name": "kindergarten",
        "title": "幼儿园 SaaS (Kindergarten)",
        "timezone": "Asia/Shanghai",
        "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
        "store": {"url": "file:///backup"},
        "retention": {"daily": 14, "keep_at_least": 3},
        "databases": [{"name": "app", "engine": "mysql", "conn_id": "kindergarten_mysql"}],
        "caches": [{"name": "sessions", "conn_id": "kindergarten_redis"}],
        "folders": [{"name": "config", "paths": ["/etc/kindergarten"]}],
    }
    return Site.model_validate({**fields, **changes})


def backup_id(days_ago: int, suffix: str = "00aa") -> str:
    return f"{OPENING - timedelta(days=days_ago):%Y%m%dT%H%M}10Z-{suffix}"


@dataclass
class Book:
    """Writes a ledger as the duties do, by a clock of its own."""

    ledger: Ledger
    site: Site
    now: datetime = OPENING
    run: dict[str, Any] = field(default_factory=lambda: {"run_id": RUN})

    def act(self, duty: str, target: str, command: str, **changes: Any) -> Act:
        fields: dict[str, Any] = {
            "site": self.site.name,
            "duty": duty,
            "target": target,
            "task_id": f"{target}.{duty}",
            "try_number": 1,
            "actor": "airflow",
            "trigger": "scheduled",
            "host": "worker-1",
            "command": command,
            "config_hash": "c0ffee" * 8,
        }
        return Act(**{**fields, **self.run, **changes})

    def record(
        self,
        duty: str,
        target: str,
        command: str,
        *,
        error: BaseException | None = None,
        skip: str = "",
        takes_s: float = 1,
        bytes: int | None = None,
        act: dict[str, Any] | None = None,
        **detail: Any,
    ) -> None:
        def work(entry: Entry) -> None:
            entry.note(bytes=bytes, **detail)
            self.now += timedelta(seconds=takes_s)
            if skip:
                entry.skip(skip)
            if error:
                raise error

        expected = suppress(type(error)) if error else nullcontext()
        with expected, self.ledger.record(self.act(duty, target, command, **(act or {}))) as entry:
            work(entry)

    def guard(self, **changes: Any) -> None:
        detail = {
            "reason": "the window is open until 2026-11-21 05:00:00+08:00, 3 h left",
            "closes_at": "2026-11-21T05:00:00+08:00",
            "overridden": False,
        }
        self.record("guard_window", "daily", "open daily", **{**detail, **changes})

    def back_up(self, target: str, name: str = TONIGHT, size: int = 100 * MB, **changes: Any) -> None:
        """Done, unless ``error`` is given: then nothing was noted."""
        detail: dict[str, Any] = {
            "bytes": size,
            "checksum": "5eal",
            "backup_id": name,
            "size": size,
            "rows_are": "exact",
            "position": {},
            "warnings": [],
            "seconds": 10.0,
            "waits_in": "",
        }
        if changes.get("error") and not isinstance(changes["error"], BackupSpooled):
            detail = {}
        self.record("back_up", target, f"back up as {name}", **{"takes_s": 10, **detail, **changes})

    def verify(self, target: str, name: str = TONIGHT, size: int = 100 * MB, **changes: Any) -> None:
        detail: dict[str, Any] = {
            "bytes": size,
            "level": "structure",
            "seconds": 2.5,
            "figures": {"dump.sql": {"plain_bytes": 9 * size, "tables": 27}},
        }
        if changes.get("error") or changes.get("skip"):
            detail = {}
        self.record("verify", target, f"verify {name}", **{"backup_id": name, **detail, **changes})

    def forget(self, target: str, name: str, size: int = 90 * MB, **changes: Any) -> None:
        reasons = ["no rule keeps it: older than the 14 daily slots"]
        self.record("forget", target, f"remove {name}", backup_id=name, bytes=size, reasons=reasons, **changes)

    def night(self, target: str, name: str = TONIGHT, size: int = 100 * MB) -> None:
        self.back_up(target, name, size)
        self.verify(target, name, size)

    def earlier_night(self, target: str, days_ago: int = 1, size: int = 100 * MB) -> None:
        tonight, self.run = self.run, {"run_id": f"scheduled__{days_ago}_days_ago"}
        self.night(target, backup_id(days_ago), size)
        self.run = tonight

    def kill_during(self, duty: str, target: str, command: str, **changes: Any) -> None:
        """An act whose process really is killed by SIGKILL."""
        act = vars(self.act(duty, target, command, **changes))
        program = (
            "import os, time\nfrom datetime import datetime\nfrom upkeep.ledger import Act, Ledger\n"
            f"clock = lambda: datetime.fromisoformat({self.now.isoformat()!r})\n"
            f"with Ledger(os.environ['LEDGER'], clock=clock).record(Act(**{act!r})):\n"
            "    print('begun', flush=True)\n    time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT / "plugins"), "LEDGER": f"sqlite:///{self.ledger.database.file}"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGKILL)

    def report(self, **changes: Any) -> RunReport:
        arguments: dict[str, Any] = {
            "site": self.site,
            "run_id": self.run["run_id"],
            "rhythm": "daily",
            "ledger": self.ledger,
            "now": NOW,
            "expected_targets": [target.name for target in self.site.targets],
            "waiting": {},
        }
        return build_run_report(**{**arguments, **changes})

    def line(self, target: str = "app", **changes: Any) -> TargetLine:
        return next(line for line in self.report(**changes).lines if line.target == target)


def every_page(report: RunReport) -> list[str]:
    return [to_markdown(report), to_html(report), to_text(report)]


# Hostile names and texts.
HOSTILE = (
    "</pre></code><script>alert(1)</script> | `code` ``` **bold** [x](javascript:alert(1)) <img src=x onerror=a> "
    "{{ 7*7 }} {% raw %} \x1b[31mred\x1b[0m \u202egnp.exe &lt; _x_ audit_logs ~~s~~ https://evil.example $1$"
)
