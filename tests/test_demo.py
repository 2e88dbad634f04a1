"""make demo-weekly, which is make demo and the week, from end to end: the whole under the real scheduler."""

from __future__ import annotations

import calendar
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENDED_WITHIN_S = 900

pytestmark = pytest.mark.demo


@pytest.fixture(scope="module")
def demo() -> Iterator[subprocess.CompletedProcess[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.weekly"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=ENDED_WITHIN_S)
        yield subprocess.CompletedProcess(process.args, process.returncode, output)
    finally:
        process.send_signal(signal.SIGTERM)  # it removes what it has started; nothing happens when it has ended
        process.wait(60)


def test_that_everything_holds_that_has_to_hold(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout
    held = demo.stdout.partition("== What had to hold")[2]
    for line in (
        "yes  kindergarten_daily ended with success",
        "yes  chronoretrace_daily ended with success",
        "yes  kindergarten: 3 of 3 targets have a backup proven to structure",
        "yes  chronoretrace: 3 of 3 targets have a backup proven to structure",
        "yes  kindergarten: health, capacity, security and logs were looked at",
        "yes  chronoretrace: health, capacity, security and logs were looked at",
        "yes  kindergarten: expired rows are purged (",
        "yes  the ledger has no altered, missing or reordered row",
        "yes  the restored copy has the same 8 tables, row by row",
        "yes  kindergarten_weekly ended with success",
        "yes  chronoretrace_weekly ended with success",
        "yes  kindergarten: 3 of 3 targets have a backup proven to restored",
        "yes  chronoretrace: 3 of 3 targets have a backup proven to restored",
        "yes  kindergarten: logs were cleaned, tables tended, databases reviewed",
        "yes  chronoretrace: logs were cleaned, tables tended, databases reviewed",
    ):
        assert line in held, demo.stdout


def test_that_the_ledger_names_the_person_who_worked_outside_the_window(
    demo: subprocess.CompletedProcess[str],
) -> None:
    now = datetime.now(UTC)
    if now.weekday() == calendar.SATURDAY and 18 <= now.hour <= 22 and "overridden" not in demo.stdout:
        pytest.skip("on a Saturday from 18:30 to 21:00 UTC the nights and weeks of both samples are open")
    assert "overridden by admin: demo" in demo.stdout


def test_that_nothing_of_it_is_left(demo: subprocess.CompletedProcess[str]) -> None:
    place = demo.stdout.partition("is moved, to ")[2].split()[0]
    assert place.startswith("/")
    assert not Path(place).exists()
    assert not [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and place.encode() in _environment(entry)
    ]


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # it has ended, or belongs to somebody else
        return b""
