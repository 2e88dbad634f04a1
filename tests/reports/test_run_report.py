"""The report on a run: whatever the ledger doesn't show to be well is red, and nothing hostile gets through."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.reports.book import HOSTILE, MB, NOW, OPENING, RUN, TONIGHT, Book, a_site, backup_id, every_page
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.proof import ProofLevel
from upkeep.duties.back_up import back_up
from upkeep.duties.forget import forget
from upkeep.duties.guard import guard_window
from upkeep.duties.job import Job
from upkeep.duties.job import Run as JobRun
from upkeep.duties.verify import verify
from upkeep.errors import (
    BackupSpooled,
    ConnectionUnknown,
    NotSent,
    ObjectHeld,
    ProofFailed,
    StoreUnreachable,
    ToolFailed,
    UpkeepError,
    WindowClosed,
)
from upkeep.ledger import Ledger, default_url
from upkeep.reports import RunReport, Status, TargetLine, build_run_report, to_html, to_markdown, to_text
from upkeep.reports.attempts import take_apart, visible
from upkeep.site import Site

GOLDEN = Path(__file__).with_name("golden")
REFUSED = ToolFailed(
    "mysqldump ended with status 2: Access denied for user 'upkeep'@'10.0.0.7' (using password: YES)",
    hint="check the password in the connection kindergarten_mysql",
    status=2,
)


@pytest.fixture
def alone(book: Book) -> Book:
    """A site with ``app`` as its only target, and a guard that let the run pass."""
    book.site = a_site(caches=[], folders=[])
    book.guard()
    return book


def whats(line: TargetLine, status: Status = Status.RED) -> list[str]:
    return [remark.what for remark in line.remarks if remark.status is status]


def spooled(name: str = TONIGHT) -> BackupSpooled:
    return BackupSpooled(
        f"the backup {name} of kindergarten/app waits in the spool /var/spool/upkeep on worker-1: the store did not "
        "take it",
        hint="bring the store back; the next run on this worker ships it (or run this task again)",
    )


# Whole runs, as pages.


def green_run(book: Book) -> RunReport:
    for target, size in (("app", 394 * MB), ("sessions", 12 * MB), ("config", 400_000)):
        book.earlier_night(target, 1, size)
    book.now = OPENING + timedelta(seconds=4)
    book.guard()
    position = {"file": "mariadb-bin.000042", "position": 73_214_881, "gtid": "0-1-90210"}
    book.back_up("app", size=398_700_000, position=position, seconds=41.2, takes_s=42)
    book.verify("app", size=398_700_000, seconds=12.5)
    book.forget("app", backup_id(15), 371 * MB)
    book.forget("app", backup_id(16), 370 * MB)
    redis = {"replication_id": "8f3a91c4", "offset": 1_204_511}
    book.back_up(
        "sessions", size=12 * MB, position=redis, rows_are="counted a moment before the dump", seconds=1.9, takes_s=2
    )
    book.verify("sessions", size=12 * MB, figures={"dump.rdb": {"plain_bytes": 30 * MB, "keys": 5120}}, seconds=0.42)
    book.back_up("config", size=399_000, seconds=0.14)
    book.verify("config", size=399_000, figures={"files.tar": {"plain_bytes": 2 * MB, "entries": 1}}, seconds=0.061)
    return book.report()


def red_run(book: Book) -> RunReport:
    for target in ("app", "sessions", "config"):
        book.earlier_night(target, 1)
    book.now = OPENING + timedelta(seconds=4)
    book.guard()
    book.back_up("app", error=StoreUnreachable("the store did not answer", hint="look at the network"))
    book.back_up("app", error=REFUSED, act={"try_number": 2})
    book.record("sweep", "sessions", f"remove unfinished {backup_id(1, '00bb')}", objects=2)
    book.back_up("sessions", size=40 * MB)
    book.verify("sessions", size=40 * MB, figures={"dump.rdb": {"plain_bytes": 90 * MB, "keys": 5120}})
    book.back_up("config", warnings=["optional path /root/.kindergarten does not exist"])
    book.verify(
        "config",
        error=ProofFailed(
            f"kindergarten/config/{TONIGHT}/files.tar.zst has another SHA-256 than its manifest says",
            hint="it was damaged in the store after it was written: don't rely on this backup, back up again",
        ),
    )
    return book.report(waiting={"sessions": [backup_id(2)], "config": []})


@pytest.mark.parametrize("make", [green_run, red_run], ids=["green", "red"])
def test_a_typical_run_reads_as_it_should(book: Book, make: Callable[[Book], RunReport]) -> None:
    """After a change on purpose: UPKEEP_GOLDEN=write pytest tests/reports, then read the difference."""
    report = make(book)
    assert report.head is not None
    for suffix, page in (("md", to_markdown(report)), ("txt", to_text(report) + "\n")):
        golden = GOLDEN / f"{make.__name__}.{suffix}"
        text = page.replace(report.head.hash, "<hash>").replace(report.head.hash[:16], "<hash>")
        if os.environ.get("UPKEEP_GOLDEN") == "write":
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8")


def test_a_green_run_is_ok_and_says_so_in_one_sentence(book: Book) -> None:
    report = green_run(book)
    assert report.ok and report.status is Status.GREEN
    assert report.headline == "3 of 3 targets backed up and proven, 411.1 MB, 2 old backups removed"
    assert [line.status for line in report.lines] == [Status.GREEN] * 3
    assert not report.remarks


def test_a_green_line_has_all_its_figures(book: Book) -> None:
    line = next(line for line in green_run(book).lines if line.target == "app")
    assert (line.engine, line.backup_id, line.size) == ("mysql", TONIGHT, 398_700_000)
    assert (line.change_words, line.time_words) == ("+1.2 %", "41.2 s at 9.7 MB/s")
    assert (line.proof, line.holds_words) == (ProofLevel.STRUCTURE, "27 tables, row counts exact")
    assert line.position == "binlog mariadb-bin.000042:73214881, GTID 0-1-90210"
    assert [removal.backup_id for removal in line.removed] == [backup_id(15), backup_id(16)]
    assert line.removed[0].reasons == ("no rule keeps it: older than the 14 daily slots",)
    assert line.earlier is not None and line.earlier.backup_id == backup_id(1)


def test_a_red_run_is_not_ok_and_the_worst_comes_first(book: Book) -> None:
    report = red_run(book)
    assert not report.ok
    assert report.headline.startswith(
        "RED: app has no new backup: mysqldump ended with status 2: Access denied for user 'upkeep'@'10.0.0.7'"
    )
    assert report.headline.endswith("0 of 3 targets backed up and proven")
    assert [remark.status for remark in report.remarks] == sorted(remark.status for remark in report.remarks)
    for page in every_page(report):
        red, amber = page.index("has no new backup"), page.rindex("app")
        assert red < amber
        assert REFUSED.hint in page


def test_the_facts_of_the_run_are_those_of_the_ledger(book: Book) -> None:
    report = green_run(book)
    assert (report.run.actors, report.run.triggers, report.run.hosts) == (("airflow",), ("scheduled",), ("worker-1",))
    assert report.run.window is not None and report.run.window.open
    assert (report.run.started_at, report.run.took) == (OPENING + timedelta(seconds=4), "1 min")
    assert report.head == book.ledger.heads()["kindergarten"]
    assert report.head.hash in to_markdown(report) and report.head.hash in to_html(report)
    assert f"row {report.head.seq}, {report.head.hash[:16]}" in to_text(report)


def test_the_same_ledger_and_moment_give_the_same_pages(book: Book) -> None:
    first = green_run(book)
    assert every_page(first) == every_page(book.report())


# What is not shown to be well is red.


def test_a_target_the_ledger_knows_nothing_of_is_red(alone: Book) -> None:
    line = alone.line()
    assert (line.status, line.reason) == (Status.RED, "has no new backup")
    assert line.remarks[0].why.startswith("nothing was done")
    assert line.earlier_words == "no earlier backup has passed a proof"


def test_a_run_the_ledger_knows_nothing_of_is_red_and_has_pages(book: Book) -> None:
    report = book.report()
    assert not report.ok and report.head is None and report.run.window is None
    for page in every_page(report):
        assert "0 of 3 targets backed up and proven" in page


def test_a_failed_backup_names_its_error_and_hint_and_what_a_restore_would_start_from(alone: Book) -> None:
    alone.earlier_night("app", 1)
    alone.back_up("app", error=REFUSED)
    line = alone.line()
    assert (line.status, whats(line)) == (Status.RED, ["has no new backup"])
    assert (line.remarks[0].why, line.remarks[0].hint) == (REFUSED.message, REFUSED.hint)
    assert line.earlier_words == f"the newest proven backup is {backup_id(1)} (structure), 1 d old"
    for page in every_page(alone.report()):
        assert "1 d old" in page


def test_an_error_without_a_hint_gets_one_that_leads_to_its_log(alone: Book) -> None:
    alone.back_up("app", error=OSError(28, "No space left on device"), act={"try_number": 3})
    remark = alone.line().remarks[0]
    assert remark.why == "OSError: [Errno 28] No space left on device"
    assert remark.hint == "read the log of task app.back_up, try 3, on worker-1"


def test_a_killed_backup_is_red_and_says_where_it_died(alone: Book) -> None:
    alone.kill_during("back_up", "app", f"back up as {TONIGHT}", host="worker-7")
    line = alone.line()
    assert (line.status, line.backup_id) == (Status.RED, TONIGHT)
    assert line.remarks[0].why == "the process that made it was killed on worker-7; it began 2026-11-21 02:00"
    assert "dmesg" in line.remarks[0].hint


def test_a_backup_that_is_still_being_made_is_red(alone: Book) -> None:
    with alone.ledger.record(alone.act("back_up", "app", f"back up as {TONIGHT}")):
        line = alone.line()
    assert (line.status, line.in_store) == (Status.RED, False)
    assert "still being made" in line.remarks[0].why


def test_a_skipped_backup_is_red_with_its_reason(alone: Book) -> None:
    alone.back_up("app", skip="the metadata lock was not had within 5 s")
    line = alone.line()
    assert (line.status, line.remarks[0].what) == (Status.RED, "has no new backup")


def test_a_backup_that_nobody_read_back_is_red(alone: Book) -> None:
    alone.back_up("app")
    line = alone.line()
    assert (line.status, whats(line), line.proven) == (Status.RED, ["is not proven"], False)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        pytest.param(ProofFailed("another SHA-256", hint="back up again"), "failed its proof", id="damaged"),
        pytest.param(StoreUnreachable("no answer", hint="network"), "is not proven", id="the store was away"),
    ],
)
def test_a_proof_that_failed_is_red_and_says_whether_the_backup_is_to_blame(
    alone: Book, error: UpkeepError, what: str
) -> None:
    alone.back_up("app")
    alone.verify("app", error=error)
    line = alone.line()
    assert (line.status, whats(line), line.remarks[0].hint) == (Status.RED, [what], error.hint)


def test_a_proof_that_was_killed_is_red(alone: Book) -> None:
    alone.back_up("app")
    alone.kill_during("verify", "app", f"verify {TONIGHT}")
    assert whats(alone.line()) == ["is not proven"]


@pytest.mark.parametrize(
    ("size", "red", "change"),
    [
        pytest.param(49 * MB, True, "-51 %", id="beyond the limit"),
        pytest.param(50 * MB, False, "-50 %", id="just at the limit"),
        pytest.param(300 * MB, False, "+200 %", id="growth has no limit"),
        pytest.param(100 * MB, False, "same size", id="no change"),
        pytest.param(100 * MB + 1, False, "+<0.1 %", id="hardly any"),
        pytest.param(0, True, "empty", id="nothing at all"),
    ],
)
def test_a_shrink_beyond_the_limit_is_red(alone: Book, size: int, red: bool, change: str) -> None:
    alone.earlier_night("app", 1, 100 * MB)
    alone.night("app", size=size)
    line = alone.line()
    assert (line.status is Status.RED, line.change_words, line.proven) == (red, change, not red)
    assert whats(line) == (["is suspiciously small"] if red else [])


def test_the_measure_is_the_last_backup_whose_proof_held(alone: Book) -> None:
    alone.earlier_night("app", 3, 100 * MB)
    alone.run = {"run_id": "scheduled__yesterday"}
    alone.night("app", backup_id(1), 1 * MB)
    alone.verify("app", backup_id(1), error=ProofFailed("another SHA-256", hint="back up again"))
    alone.run = {"run_id": RUN}
    alone.night("app", size=60 * MB)
    line = alone.line()
    assert line.change_words == "-40 %"
    assert line.earlier is not None and line.earlier.backup_id == backup_id(3)


def test_the_first_backup_of_a_target_is_green(alone: Book) -> None:
    alone.night("app")
    line = alone.line()
    assert (line.status, line.change_words) == (Status.GREEN, "the first")


def test_a_backup_that_was_removed_is_not_offered_for_a_restore(alone: Book) -> None:
    alone.earlier_night("app", 2)
    alone.earlier_night("app", 1)
    alone.forget("app", backup_id(1))
    alone.back_up("app", error=REFUSED)
    assert backup_id(2) in alone.line().earlier_words


# The store was away.


def test_a_backup_in_the_spool_waits_and_is_red(alone: Book) -> None:
    alone.back_up("app", error=spooled())
    for waiting in ({}, {"app": [TONIGHT]}):
        line = alone.line(waiting=waiting)
        assert (line.status, whats(line), line.waiting) == (Status.RED, ["waits in the spool"], (TONIGHT,))
        assert "bring the store back" in line.remarks[0].hint
        assert (line.in_store, line.proven, line.size) == (False, False, 100 * MB)


def test_all_that_waits_is_named(alone: Book) -> None:
    alone.back_up("app", error=spooled())
    line = alone.line(waiting={"app": [TONIGHT, backup_id(1), backup_id(2)]})
    assert whats(line) == ["waits in the spool"]
    assert line.remarks[0].why.endswith(f"the store doesn't have {backup_id(2)}, {backup_id(1)} yet")


def test_an_older_backup_in_the_spool_is_red_beside_a_good_new_one(alone: Book) -> None:
    alone.night("app")
    report = alone.report(waiting={"app": [backup_id(1)]})
    assert report.lines[0].status is Status.RED and report.lines[0].proven
    assert "app has an older backup waiting in the spool" in report.headline
    assert "1 of 1 target backed up and proven" in report.headline


def test_a_backup_that_a_later_try_shipped_is_in_the_store(alone: Book) -> None:
    alone.back_up("app", error=spooled())
    alone.record("ship", "app", f"ship {TONIGHT} from the spool", backup_id=TONIGHT, bytes=100 * MB)
    alone.verify("app")
    line = alone.line()
    assert (line.status, line.in_store, line.proven, line.waiting) == (Status.AMBER, True, True, ())
    assert line.shipped == (TONIGHT,)
    assert "a later try shipped it" in line.remarks[0].why


def test_a_backup_left_in_another_worker_s_spool_is_not_forgotten(alone: Book) -> None:
    alone.run = {"run_id": "scheduled__yesterday", "host": "worker-9"}
    alone.back_up("app", backup_id(1), error=spooled(backup_id(1)))
    alone.run = {"run_id": RUN}
    alone.night("app")
    line = alone.line()
    assert whats(line, Status.AMBER) == [f"may still have {backup_id(1)} in the spool of worker-9"]
    alone.record("ship", "app", f"ship {backup_id(1)} from the spool", backup_id=backup_id(1))
    assert alone.line().status is Status.GREEN


def test_what_stopped_a_target_before_its_dump_is_the_reason(alone: Book) -> None:
    damaged = ProofFailed("app.sql.zst in the spool is not what was written there", hint="look at its disk")
    alone.record("ship", "app", f"ship {backup_id(1)} from the spool", error=damaged)
    line = alone.line()
    assert (whats(line), line.remarks[0].why, line.remarks[0].hint) == (
        ["has no new backup"],
        damaged.message,
        damaged.hint,
    )


# Retries.


def test_a_backup_that_took_several_tries_is_amber_and_names_them(alone: Book) -> None:
    alone.kill_during("back_up", "app", f"back up as {backup_id(0, '0001')}")
    alone.back_up("app", backup_id(0, "0002"), error=REFUSED, act={"try_number": 2})
    alone.back_up("app", act={"try_number": 3})
    alone.verify("app")
    line = alone.line()
    assert (line.status, line.proven) == (Status.AMBER, True)
    assert whats(line, Status.AMBER) == ["took 3 tries"]
    assert line.remarks[0].why.startswith("try 1 was killed on worker-1; try 2 failed: mysqldump ended with status 2")
    assert alone.report().headline == "AMBER: 1 of 1 target backed up and proven, 100.0 MB; look at app"


def test_the_last_try_counts_even_when_an_earlier_one_was_good(alone: Book) -> None:
    alone.back_up("app", backup_id(0, "0001"))
    alone.verify("app", backup_id(0, "0001"), error=ProofFailed("another SHA-256", hint="back up again"))
    alone.back_up("app", error=REFUSED, act={"try_number": 2})
    assert alone.line().status is Status.RED
    assert "has no new backup" in whats(alone.line())


def test_a_backup_killed_after_its_manifest_and_proven_by_the_retry_is_good_but_amber(alone: Book) -> None:
    alone.kill_during("back_up", "app", f"back up as {TONIGHT}")
    alone.verify("app", size=70 * MB)
    line = alone.line()
    assert (line.status, line.proven, line.size, line.backup_id) == (Status.AMBER, True, 70 * MB, TONIGHT)
    assert whats(line, Status.AMBER) == ["was not recorded as done, yet is in the store"]


def test_a_proof_that_held_at_the_second_try_counts(alone: Book) -> None:
    alone.back_up("app")
    alone.verify("app", error=StoreUnreachable("no answer", hint="network"))
    alone.verify("app", act={"try_number": 2})
    line = alone.line()
    assert (line.status, line.proven) == (Status.AMBER, True)
    assert whats(line, Status.AMBER) == ["took 2 tries at its proof"]


# Warnings, ladders, retention, leftovers.


def test_warnings_of_a_dump_are_amber_one_by_one(alone: Book) -> None:
    why = "the account may not read it: grant BINLOG MONITOR"
    warnings = ["table 'logs' uses MyISAM, which has no transactions", f"no binlog position: {why}"]
    alone.back_up("app", warnings=warnings, position={"missing": why}, rows_are=f"estimates: {why}")
    alone.verify("app")
    line = alone.line()
    assert (line.status, line.position_missing) == (Status.AMBER, why)
    assert [remark.why for remark in line.remarks] == warnings, "the missing position isn't told twice"
    assert line.holds_words == f"27 tables, row counts estimates: {why}"


def test_a_missing_position_is_amber_even_when_no_warning_says_it(alone: Book) -> None:
    alone.back_up("app", position={"missing": "log_bin is off"})
    alone.verify("app")
    assert whats(alone.line(), Status.AMBER) == ["has no log position"]


def test_a_rung_below_the_one_retention_counts_from_is_amber(alone: Book) -> None:
    alone.site = a_site(caches=[], folders=[], retention={"daily": 14, "counts_from": "restored"})
    alone.night("app")
    assert whats(alone.line(), Status.AMBER) == ["is proven to structure only"]


def test_an_older_backup_found_damaged_on_the_way_is_red_and_one_proven_late_is_told(alone: Book) -> None:
    alone.night("app")
    alone.verify("app", backup_id(1), error=ProofFailed("another SHA-256", hint="back up again"))
    alone.verify("app", backup_id(2), level="checksum")
    line = alone.line()
    assert whats(line) == [f"has an older backup that failed its proof: {backup_id(1)}"]
    assert [(late.backup_id, late.level) for late in line.proven_late] == [(backup_id(2), ProofLevel.CHECKSUM)]
    assert f"proved the older `{backup_id(2)}` (checksum)" in to_markdown(alone.report())


def test_a_backup_the_store_holds_back_is_told_and_no_failure(alone: Book) -> None:
    alone.night("app")
    held = ObjectHeld("a WORM lock forbids it until 2027-01-01", hint="wait for it")
    alone.forget("app", backup_id(20), error=held)
    line = alone.line()
    assert (line.status, line.removed) == (Status.GREEN, ())
    assert [(removal.backup_id, removal.held) for removal in line.held] == [(backup_id(20), held.message)]
    for page in (to_markdown(alone.report()), to_html(alone.report())):
        assert held.message in page


def test_a_removal_that_failed_is_red_and_one_cut_short_amber(alone: Book) -> None:
    alone.night("app")
    alone.kill_during("forget", "app", f"remove {backup_id(21)}")
    assert whats(alone.line(), Status.AMBER) == [f"did not finish removing {backup_id(21)}"]
    alone.forget("app", backup_id(20), error=StoreUnreachable("no answer", hint="network"))
    assert whats(alone.line()) == [f"could not remove {backup_id(20)}"]


def test_swept_leftovers_are_told(alone: Book) -> None:
    alone.record("sweep", "app", f"remove unfinished {backup_id(3)}", backup_id=backup_id(3), objects=2)
    alone.night("app")
    report = alone.report()
    assert (report.lines[0].status, report.lines[0].swept) == (Status.GREEN, (backup_id(3),))
    assert f"removed the unfinished `{backup_id(3)}` of a killed run" in to_markdown(report)


def test_leftovers_that_a_lock_holds_until_it_ends_are_nothing_to_look_at(alone: Book) -> None:
    alone.record("sweep", "app", f"remove unfinished {backup_id(3)}", backup_id=backup_id(3), skip="409 FileImmutable")
    alone.night("app")
    line = alone.line()
    assert (line.status, line.swept, line.remarks) == (Status.GREEN, (), ())


def test_figures_too_big_for_the_ledger_are_amber_and_not_missing(alone: Book) -> None:
    alone.back_up("app", warnings=["x" * 9000])
    alone.verify("app")
    line = alone.line()
    assert (line.status, line.size, line.proven, line.backup_id) == (Status.AMBER, 100 * MB, True, TONIGHT)
    assert whats(line, Status.AMBER) == ["has figures the ledger could not keep"]


# The run as a whole.


def test_a_closed_window_is_told_once_and_every_target_is_red(book: Book) -> None:
    closed = WindowClosed("the daily window of site 'kindergarten' is closed: nothing was done", hint="wait")
    book.guard(reason="the window closed at 05:00, 7 h ago", error=closed)
    report = book.report()
    assert [line.reason for line in report.lines] == ["has no new backup: the daily window was closed"] * 3
    assert [remark.title for remark in report.remarks] == ["the daily window was closed"]
    assert report.headline.startswith("RED: the daily window was closed: the window closed at 05:00, 7 h ago; 0 of 3")
    assert to_text(report).count("HINT: wait") == 1


def test_an_override_is_amber_with_name_and_reason(alone: Book) -> None:
    alone.guard(
        reason="the window closed at 05:00, 7 h ago; overridden by Li Si: the disk is failing; open until 15:00",
        overridden=True,
        act={"approver": "Li Si", "actor": "Li Si", "trigger": "manual"},
    )
    alone.night("app")
    report = alone.report()
    assert (report.ok, report.status) == (True, Status.AMBER)
    assert report.run.window is not None and report.run.window.overridden_by == "Li Si"
    for page in every_page(report):
        assert "overridden by Li Si: the disk is failing" in page


def test_only_this_rhythm_s_guard_is_the_run_s(alone: Book) -> None:
    """Two rhythms that fall on the same moment have the same run id."""
    alone.record(
        "guard_window", "weekly", "open weekly", error=WindowClosed("the weekly window is closed", hint="wait")
    )
    alone.night("app")
    assert alone.report().status is Status.GREEN


def test_targets_that_were_not_chosen_are_left_out_and_not_missing(book: Book) -> None:
    book.guard()
    book.night("app")
    report = book.report(chosen=["app"])
    assert [(line.target, line.status.label) for line in report.lines] == [
        ("app", "green"),
        ("sessions", "skipped"),
        ("config", "skipped"),
    ]
    assert report.headline == "1 of 1 target backed up and proven, 100.0 MB, 2 left out"
    assert "not chosen in the form" in to_markdown(report)


def test_a_target_left_out_is_red_all_the_same_when_its_backup_waits(book: Book) -> None:
    book.night("app")
    assert book.line("sessions", chosen=["app"], waiting={"sessions": [backup_id(1)]}).status is Status.RED


def test_a_dry_run_misses_nothing(book: Book) -> None:
    book.guard()
    report = book.report(dry_run=True)
    assert (report.ok, report.headline) == (True, "dry run: nothing was written or removed")
    assert {line.status for line in report.lines} == {Status.SKIPPED}


def test_a_target_outside_the_site_file_is_still_told(alone: Book) -> None:
    alone.night("app")
    alone.back_up("old-app", error=REFUSED)
    report = alone.report()
    assert [(line.target, line.engine, line.status) for line in report.lines] == [
        ("old-app", "", Status.RED),
        ("app", "mysql", Status.GREEN),
    ]


def test_a_duty_this_report_does_not_know_can_t_fail_unseen(alone: Book) -> None:
    alone.night("app")
    alone.record("purge", "app.tokens", "delete", rows=10)
    alone.record("purge", "app.audit_logs", "delete", error=StoreUnreachable("no answer", hint="look at the network"))
    alone.record("check_health", "api", "GET /health", skip="no URL is set")
    alone.kill_during("sample_capacity", "host", "read /proc")
    report = alone.report()
    assert [(remark.status.name, remark.title) for remark in report.step_remarks] == [
        ("RED", "purge of app.audit_logs failed"),
        ("AMBER", "check_health of api was skipped"),
        ("RED", "sample_capacity of host was killed"),
    ]
    assert report.step_remarks[0].hint == "look at the network"
    assert "- purge of app.tokens: done" in to_markdown(report)


def test_a_run_that_outlived_its_window_is_amber_and_the_alert_is_no_part_of_it(alone: Book) -> None:
    alone.night("app")
    alert = {"trigger": "deadline", "host": "triggerer", "actor": "deadline"}
    alone.record("miss_deadline", "daily", "still at work after 3 h", act=alert)
    alone.record("notify", "chat", "send to chat", act=alert, error=NotSent("no answer", hint="look"))
    report = alone.report()
    assert [(remark.what, remark.why) for remark in report.step_remarks] == [
        ("the run outlived its window", "still at work after 3 h")
    ]
    assert (report.run.hosts, report.run.actors) == (("worker-1",), ("airflow",))


def test_acts_that_are_told_one_by_one_have_the_time_of_the_site(alone: Book) -> None:
    alone.record("restore", "app", "load it", light="green", summary="it stands")
    report = alone.report(rhythm="restore", expected_targets=())
    assert "Window" not in [fact.name for fact in report.facts], "what is only started by hand asks no guard"
    (section,) = report.sections
    assert [item.subject for item in section.items] == ["02:00:01 restore app"], "as everything on the page, not in UTC"


def test_a_moment_without_a_time_zone_is_refused(book: Book) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        book.report(now=datetime(2026, 11, 21, 2, 0))  # noqa: DTZ001 - that is the point


# Hostile names and texts.


@pytest.fixture
def hostile(book: Book) -> RunReport:
    """Every text that comes from outside is hostile."""
    book.site = a_site(title=f"# {HOSTILE}", caches=[], folders=[])
    outside = {"actor": HOSTILE, "host": HOSTILE, "task_id": HOSTILE, "trigger": HOSTILE, "config_hash": HOSTILE}
    book.run = {"run_id": f"manual__{HOSTILE}", **outside}
    book.guard(reason=HOSTILE, overridden=True, act={"approver": HOSTILE})
    book.back_up("app", warnings=[HOSTILE], position={"missing": HOSTILE}, rows_are=HOSTILE)
    book.verify("app", error=ProofFailed(f"- {HOSTILE}\n# {HOSTILE}\n````\n<b>", hint=HOSTILE))
    book.forget("app", backup_id(9), error=ObjectHeld(HOSTILE, hint=HOSTILE))
    book.record("forget", "app", HOSTILE, reasons=[HOSTILE])
    book.record("purge", HOSTILE, HOSTILE, error=ValueError(HOSTILE))
    book.back_up(HOSTILE, position={HOSTILE: HOSTILE})
    return book.report(waiting={"app": [HOSTILE], f"| {HOSTILE}": [HOSTILE]})


def test_hostile_targets_are_judged_like_any_other(hostile: RunReport) -> None:
    assert [line.status for line in hostile.lines] == [Status.RED] * 3


def test_nothing_hostile_acts_in_html(hostile: RunReport) -> None:
    page = to_html(hostile)
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([A-Za-z!]+)", page)}
    assert not tags & {"script", "img", "a", "iframe", "link", "svg", "form", "object"}
    assert re.findall(r"<[^>]*\son\w+=", page) == []
    assert "&lt;script&gt;" in page and "{{ 7*7 }}" in page
    assert "\x1b" not in page and "\u202e" not in page


def test_the_html_page_asks_for_nothing_from_outside(hostile: RunReport) -> None:
    page = to_html(hostile)
    assert re.findall(r"<[^>]*\s(?:src|href|action|style)\s*=", page) == []
    assert re.findall(r"url\(|@import", "".join(re.findall(r"(?s)<style>.*?</style>", page))) == []


def test_nothing_hostile_acts_in_markdown(hostile: RunReport) -> None:
    page = to_markdown(hostile)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    found = {token.type for block in tokens for token in (block, *(block.children or ()))}
    assert not found & {"html_block", "html_inline", "link_open", "image", "em_open", "s_open", "code_block", "hr"}
    strong = re.findall(r"<strong>(.*?)</strong>", MarkdownIt("commonmark").enable("table").render(page))
    assert not any(text == "bold" for text in strong)
    headings = [block.tag for block in tokens if block.type == "heading_open"]
    assert headings[0] == "h1" and headings.count("h1") == 1
    assert headings.count("h2") == 6, "needs action, worth a look, what changed, targets, other steps, the run"
    assert re.findall(r"https:(?=//)", _without_code(page)) == [], "GitHub would make a link of it"
    assert "\x1b" not in page and "\u202e" not in page


def _without_code(page: str) -> str:
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    raw = [block.content for block in tokens if block.type == "inline"]
    return re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", "\n".join(raw))


def test_no_hostile_pipe_adds_a_cell_to_a_table(hostile: RunReport) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", to_markdown(hostile), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(cells) == 1, table


def test_nothing_hostile_acts_on_a_terminal(hostile: RunReport) -> None:
    text = to_text(hostile)
    assert text.isprintable() or all(part.isprintable() for part in text.split("\n"))
    assert "\\x1b[31mred" in text and "\\u202egnp.exe" in text


def test_a_line_feed_in_a_name_makes_no_new_line(alone: Book) -> None:
    alone.night("app")
    alone.record("purge", "app.a\n# b", "delete", error=ValueError("x"))
    assert "\n# b" not in to_markdown(alone.report()) and "\n# b" not in to_text(alone.report())


@pytest.mark.parametrize(
    "detail", ["[1]", '"text"', "not json", '{"warnings":3,"position":[],"size":"x","seconds":true}']
)
def test_a_forged_detail_is_an_empty_one(alone: Book, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone.night("app")
    acts = alone.ledger.acts

    def forged(*args: Any, **options: Any) -> Any:
        return [
            replace(record, finished=record.finished and replace(record.finished, detail=detail, at="never"))
            for record in acts(*args, **options)
        ]

    monkeypatch.setattr(alone.ledger, "acts", forged)
    line = alone.line()
    assert (line.backup_id, line.size, line.proof) == (TONIGHT, 100 * MB, ProofLevel.CHECKSUM)
    assert every_page(alone.report())


@pytest.mark.parametrize(
    ("error", "kind", "why", "hint"),
    [
        ("upkeep.errors.ToolFailed: it ended\nHINT: do this", "ToolFailed", "it ended", "do this"),
        ("upkeep.errors.Busy: it is held\nHINT: wait\na note\nmore", "Busy", "it is held\na note\nmore", "wait"),
        ("upkeep.duties.verify._StructureFailed: x\nHINT: y", "_StructureFailed", "x", "y"),
        ("ValueError: no: such table", "ValueError", "ValueError: no: such table", ""),
        ("KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("", "", "it gives no error", ""),
    ],
)  # fmt: skip
def test_errors_are_taken_apart(error: str, kind: str, why: str, hint: str) -> None:
    trouble = take_apart(error)
    assert (trouble.kind, trouble.why, trouble.hint) == (kind, why, hint)


def test_what_is_invisible_is_made_visible_and_the_rest_stays() -> None:
    assert visible("表 \t\n😀 é") == "表 \t\n😀 é"
    assert visible("a\x00b\x1b[0m\r\u202e\udcff\u200b") == r"a\x00b\x1b[0m\r\u202e\udcff\u200b"


# The pages.


def test_the_text_stays_within_its_lines_and_counts_what_it_leaves_out(book: Book) -> None:
    names = [f"db{number:02}" for number in range(30)]
    book.site = a_site(
        databases=[{"name": name, "engine": "mysql", "conn_id": name} for name in names], caches=[], folders=[]
    )
    for name in names:
        book.back_up(name, error=REFUSED)
    report = book.report()
    assert "; db01 has no new backup; 28 more; 0 of 30 targets backed up and proven" in report.headline
    lines = to_text(report).splitlines()
    assert len(lines) == 12
    assert lines[0] == "RED: kindergarten daily of 2026-11-21 02:06 Asia/Shanghai: 0 of 30 targets backed up and proven"
    assert lines[1].startswith("RED db00 has no new backup: mysqldump ended with status 2")
    assert lines[-2] == "... 81 more lines are on the page"
    assert lines[-1].startswith("run scheduled__2026-11-20T18:00:00+00:00 by airflow on worker-1; ledger row ")


def test_chinese_stays_chinese_on_every_page(alone: Book) -> None:
    alone.back_up("app", warnings=["表 attendance_records 没有主键"])
    alone.verify("app")
    for page in every_page(alone.report()):
        assert "表 attendance_records 没有主键" in page
        page.encode("utf-8")
    assert "幼儿园 SaaS" in to_html(alone.report())


def test_a_long_error_keeps_its_lines_on_the_pages_and_not_in_the_text(alone: Book) -> None:
    alone.back_up("app", error=ToolFailed("mysqldump ended:\n  line one\n  line two", hint="look", status=2))
    assert "```text\nmysqldump ended:\n  line one\n  line two\n```" in to_markdown(alone.report())
    assert "<pre>mysqldump ended:\n  line one\n  line two</pre>" in to_html(alone.report())
    assert "mysqldump ended: line one line two" in to_text(alone.report())


@pytest.mark.parametrize("size", [None, -1])
def test_a_backup_whose_size_is_unknown_is_red(alone: Book, size: int | None) -> None:
    alone.record("back_up", "app", f"back up as {TONIGHT}", bytes=size)
    alone.verify("app", bytes=None)
    line = alone.line()
    assert (whats(line), line.proven) == (["has no size in the ledger"], False)


def test_a_backup_without_an_id_is_red_and_breaks_nothing(alone: Book) -> None:
    alone.record("back_up", "app", "back up", bytes=1)
    assert alone.line().status is Status.RED
    assert every_page(alone.report())


# With the real duties, so that the report and what they note can't drift apart.


@dataclass
class Night:
    """One site with one folder, worked on by the real duties."""

    job: Job
    site: Site
    now: datetime = OPENING

    def report(self, waiting: dict[str, list[str]] | None = None) -> RunReport:
        return build_run_report(
            self.site, self.job.run.run_id, "daily", self.job.ledger, self.now, ["config"], waiting or {}
        )

    def of_day(self, day: int) -> Night:
        self.now = OPENING + timedelta(days=day, minutes=1)
        run = replace(self.job.run, run_id=f"scheduled__{day}")
        return Night(replace(self.job, run=run, now=lambda: self.now), self.site, self.now)


@pytest.fixture
def real(tmp_path: Path) -> Night:
    if not all(map(shutil.which, ("tar", "zstd"))):
        pytest.skip("needs tar and zstd")
    for folder in ("home", "data", "store", "spool"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "a.txt").write_text("a" * 5000)
    site = a_site(
        store={"url": f"file://{tmp_path}/store"},
        spool=str(tmp_path / "spool"),
        retention={"daily": 1, "keep_at_least": 1, "min_age_days": 0},
        databases=[],
        caches=[],
        folders=[{"name": "config", "paths": [str(tmp_path / "data")], "optional_paths": ["/no/such/path"]}],
    )

    def no_connection(conn_id: str) -> Endpoint:
        raise ConnectionUnknown(f"no connection {conn_id}", hint="add it")

    def no_filesystem(url: str, conn_id: str | None) -> tuple[Any, str]:
        raise AssertionError(url)

    run = JobRun(RUN, task_id="config.back_up", actor="li.si", trigger="manual", host="worker-1")
    job = Job(site, run, Ledger(default_url(tmp_path / "home")), no_connection, no_filesystem, now=lambda: NOW)
    return Night(job, site)


def test_a_night_of_the_real_duties_is_read_right(real: Night) -> None:
    made = []
    for day in range(3):
        night = real.of_day(day)
        guard_window(night.job, "daily")
        made.append(str(back_up(night.job, "config")["backup_id"]))
        verify(night.job, "config", made[-1])
        forget(night.job, "config", made[-1])
    report = night.report()
    line = report.lines[0]
    assert (line.status, line.backup_id, line.proof) == (Status.GREEN, made[2], ProofLevel.STRUCTURE)
    assert line.remarks == ()
    assert (line.holds_words, line.change_words) == ("2 entries", "same size")
    assert line.size and line.seconds is not None and line.proof_seconds is not None
    assert [removal.backup_id for removal in line.removed] == [made[1]] and line.removed[0].reasons
    assert (report.run.actors, report.run.triggers) == (("li.si",), ("manual",))
    assert report.run.window is not None and report.run.window.verdict.startswith("the window is open until")


def test_an_override_of_the_real_guard_is_read_right(real: Night) -> None:
    night = real.of_day(0)
    night.job.now = lambda: OPENING + timedelta(hours=9)
    guard_window(night.job, "daily", "the disk is failing")
    report = night.report()
    assert report.run.window is not None and report.run.window.overridden_by == "li.si"
    assert "overridden by li.si: the disk is failing" in report.run_remarks[0].why


def test_a_closed_window_of_the_real_guard_is_read_right(real: Night) -> None:
    night = real.of_day(0)
    night.job.now = lambda: OPENING + timedelta(hours=9)
    with pytest.raises(WindowClosed):
        guard_window(night.job, "daily")
    report = night.report()
    assert report.headline.startswith("RED: the daily window was closed")
    assert "start the run by hand" in report.run_remarks[0].hint


def test_a_real_bit_flip_is_read_right(real: Night, tmp_path: Path) -> None:
    night = real.of_day(0)
    made = str(back_up(night.job, "config")["backup_id"])
    (stored,) = (tmp_path / "store").rglob("files.tar.zst")
    stored.write_bytes(bytes(byte ^ 1 for byte in stored.read_bytes()))
    with pytest.raises(ProofFailed):
        verify(night.job, "config", made)
    line = night.report().lines[0]
    assert whats(line) == ["failed its proof"]
    assert "SHA-256" in line.remarks[0].why and line.remarks[0].hint


def test_a_real_spool_is_read_right(real: Night, tmp_path: Path) -> None:
    night = real.of_day(0)
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(BackupSpooled):
        back_up(night.job, "config")
    line = night.report().lines[0]
    assert whats(line) == ["waits in the spool"] and line.size
    (tmp_path / "store").unlink()
    (tmp_path / "store").mkdir()
    found = back_up(night.job, "config")
    verify(night.job, "config", str(found["backup_id"]))
    line = night.report().lines[0]
    assert (line.proven, line.shipped, line.waiting) == (True, (line.backup_id,), ())
