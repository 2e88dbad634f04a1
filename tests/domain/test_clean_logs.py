"""What a rule lets go, and the reason for everything that stays."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upkeep.domain.clean_logs import Cleaned, CleaningRule, Judge, Use, Verdict, is_unfinished, unfinished_name

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
DEVICE = 7
RULE = CleaningRule(("*.log", "*.log.*"), keep_days=30, compress_over_mb=1, compress_after_days=2)


def ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def state(days: float, *, size: int = 100, mode: int = stat.S_IFREG | 0o644, links: int = 1, **changes: Any) -> Any:
    written = ns(NOW - timedelta(days=days))
    values = {"device": DEVICE, "changed": written, **changes}
    plain = (mode, 1, values["device"], links, 0, 0, size, 0, 0, 0)
    return os.stat_result(plain, {"st_mtime_ns": written, "st_ctime_ns": values["changed"]})


def judged(file: Any, *, name: str = "app.log.1", use: Use = "closed", rule: CleaningRule = RULE) -> Verdict:
    return Judge(rule, now=NOW, scan_began_ns=ns(NOW), device=DEVICE).of(name, file, use)


@pytest.mark.parametrize(
    ("days", "size", "action", "reason"),
    [
        (30.001, 100, "remove", "last written more than 30 d ago"),
        (29.999, 100, "keep", "written within the last 30 d"),
        (2.001, 1_000_001, "compress", "larger than 1.0 MB and not written for 2 d"),
        (2.001, 1_000_000, "keep", "written within the last 30 d"),
        (1.999, 1_000_001, "keep", "larger than 1.0 MB, but written within the last 2 d"),
        (31, 1_000_001, "remove", "last written more than 30 d ago"),
    ],
)
def test_age_and_size_decide(days: float, size: int, action: str, reason: str) -> None:
    assert judged(state(days, size=size)) == (action, reason)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (state(99, mode=stat.S_IFLNK | 0o777), "it is a symbolic link"),
        (state(99, mode=stat.S_IFIFO | 0o644), "it isn't a regular file"),
        (state(99, device=DEVICE + 1), "it is on another filesystem"),
        (state(99, links=2), "it has several hard links, and may be any file of this machine"),
        (state(99, changed=ns(NOW) + 1), "it came or was changed after the scan had begun"),
        (state(-1), "it came or was changed after the scan had begun"),
    ],
)
def test_what_isnt_plainly_an_old_file_of_the_folder_stays(file: Any, reason: str) -> None:
    assert judged(file) == ("keep", reason)


@pytest.mark.parametrize("days", [3, 99])
def test_a_file_that_is_or_may_be_open_stays(days: float) -> None:
    file = state(days, size=2_000_000)
    assert judged(file, use="open") == ("keep", "a process has it open")
    assert judged(file, use="unknown").action == "keep"
    assert "only root can see" in judged(file, use="unknown").reason


def test_whether_a_young_file_is_open_doesnt_matter() -> None:
    assert judged(state(1), use="unknown").reason == "written within the last 30 d"


def test_what_cant_be_compressed_once_more_stays_until_it_is_old() -> None:
    big = state(3, size=2_000_000)
    assert judged(big, name="app.log.1.gz").reason == "already compressed, and not old enough to be removed"
    assert judged(big, name="系" * 84).reason == "its name is too long for another .zst"
    assert judged(big, name="x" * 251).action == "compress"
    assert judged(state(99, size=2_000_000), name="app.log.1.zst").action == "remove"


def test_without_keep_days_nothing_is_ever_removed() -> None:
    rule = CleaningRule(("*.log",), compress_over_mb=0.5)
    assert judged(state(5000), rule=rule) == ("keep", "small enough")
    assert judged(state(5000, size=600_000), rule=rule).action == "compress"
    assert judged(state(25_000), rule=rule) == ("keep", "small enough")  # dated before 1970


def test_a_compressed_copy_is_under_the_rule_of_its_original() -> None:
    judge = Judge(CleaningRule(("*.log",), keep_days=1), now=NOW, scan_began_ns=0, device=0)
    names = ("app.log", "app.log.zst", "app.log.gz", "app.txt", "log\n.log")
    assert [name for name in names if judge.covers(name)] == [
        "app.log", "app.log.zst", "log\n.log",
    ]  # fmt: skip


def test_only_names_that_upkeep_gives_are_unfinished_copies() -> None:
    assert is_unfinished(unfinished_name("0123456789abcdef"))
    assert not any(map(is_unfinished, (".upkeep-0123.part", "app.log.part", ".upkeep-0123456789abcdef.part\n")))


def test_many_files_are_told_in_a_few_lines() -> None:
    cleaned, gone = Cleaned(), Verdict("remove", "old")
    for number in range(1000):
        cleaned.add(gone, f"app-{number}.log", 1000)
    cleaned.add(Verdict("keep", "a process has it open"), "a\nb\udcff.log", 512)
    cleaned.add_trouble("Read-only file system", "c.log")
    assert list(cleaned.lines()) == [
        "remove 1,000 files, 1.0 MB: old: app-0.log, app-1.log, app-2.log and 997 more",
        "keep 1 file, 512 B: a process has it open: a b\\xff.log",
        "could not: 1 file: Read-only file system: c.log",
    ]
