"""The month on the report: the drill against its goals, the benchmark, and what a month of the ledger comes to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.reports.book import MB, OPENING, Book, every_page
from upkeep.domain.capacity import Reading
from upkeep.domain.missed import FinishedRun, Tally, tally_openings
from upkeep.duties.status import standings, tallies
from upkeep.errors import GoalMissed, PurgeRefused
from upkeep.ledger.samples import Samples
from upkeep.reports import RunReport, Status, to_html, to_markdown
from upkeep.reports.month import MONTH, tell_month
from upkeep.reports.section import Section

TARGETS = [
    {"target": "app", "outcome": "rebuilt", "backup_id": "20261120T180000Z-0a1b", "fetch": 1.0, "decrypt": 2.0,
     "load": 90.0, "verify": 7.0, "total": 100.0, "rpo_s": 7200, "by": "its newest row (users.updated_at)"},
    {"target": "pics", "outcome": "infrastructure", "backup_id": "", "why": "the scratch | server <b>is</b> away"},
]  # fmt: skip


@pytest.fixture
def month(book: Book) -> Book:
    book.run = {"run_id": "this month"}
    book.record("guard_window", "monthly", "open monthly", reason="the window is open", overridden=False)
    return book


def drill(book: Book, **changes: Any) -> None:
    detail: dict[str, Any] = {
        "light": "green", "summary": "rebuilt 1 of 2 targets in 2 min", "targets": TARGETS, "rto_s": 120.0,
        "rpo_s": 7200, "goals": {"rto_s": 100.0, "rpo_s": 86400.0}, "partial": False, "dry_run": False,
        "outcomes": {"rebuilt": 1, "infrastructure": 1}, "proven": {"restored": 1}, "stood": False,
        "last": {"rto_s": 60.0, "rpo_s": 60, "totals": {"app": 50.0}},
    }  # fmt: skip
    book.record("rebuild", "app", "restore 20261120T180000Z-0a1b into scratch", light="green", summary="restored")
    book.record("drill", "site", "rebuild the whole site", **{**detail, **changes})


def report(book: Book) -> RunReport:
    return book.report(rhythm="monthly", expected_targets=())


def section(found: RunReport, title: str) -> Section:
    (one,) = [section for section in found.sections if section.title == title]
    return one


def test_a_drill_is_a_table_by_step_against_its_goals_and_the_last_one(month: Book) -> None:
    drill(month, error=GoalMissed("the site stood again after 2 min, its goal is 1 min 40 s", hint="see the runbook"))
    found = report(month)
    told = section(found, "Disaster drill")
    assert told.table is not None
    assert told.table.rows[0] == ("app", "1 s", "2 s", "1 min 30 s", "7 s", "1 min 40 s", "50 s", "2 h", "rebuilt")
    assert [(item.label, item.says) for item in told.items] == [
        ("missed", "2 min, the goal is 1 min 40 s; last time 1 min"),
        ("measured", "2 h, the goal is 1 d; last time 1 min"),  # kept is only what the whole site kept
        ("rebuilt", "20261120T180000Z-0a1b, recovered up to its newest row (users.updated_at)"),
        ("infrastructure", "the scratch | server <b>is</b> away"),
    ]
    assert found.status is Status.RED
    (red,) = found.remarks_of(Status.RED)
    assert "its goal is 1 min 40 s" in red.why
    assert "| app | 1 s | 2 s | 1 min 30 s |" in to_markdown(found)
    assert "<td>1 min 30 s</td>" in to_html(found)
    assert "<b>is</b>" not in to_html(found)
    every_page(found)


def test_a_target_for_which_the_drill_had_no_room_is_in_the_table_by_its_own_restore(month: Book) -> None:
    phases = {"fetch": 1.0, "load": 3.0, "load: indexes": 2.0, "total": 4.0}
    month.record("rebuild", "logs", "restore 20261120T180000Z-0a1b into scratch", light="green", phases=phases)
    drill(month)
    told = section(report(month), "Disaster drill")
    assert told.table is not None
    assert [row[0] for row in told.table.rows] == ["app", "pics", "logs"]
    assert told.table.rows[2] == ("logs", "1 s", "", "3 s", "", "4 s", "", "", "rebuilt")


def test_a_benchmark_names_what_is_slower_and_which_plan_changed(month: Book) -> None:
    queries = [
        {"name": "busy", "median_ms": 12.5, "spread_ms": 1.0, "last_ms": 12.4, "verdict": "same", "says": "...",
         "plan_words": "Index Scan users", "reads": {"hit": 1200, "read": 3}},
        {"name": "report", "median_ms": 90.0, "spread_ms": 2.0, "last_ms": 12.0, "verdict": "plan changed",
         "says": "another plan: Seq Scan users; was: Index Scan users", "slower": True, "plan_words": "Seq Scan users"},
        {"name": "gone", "verdict": "failed", "says": "it can't be run: no such table"},
    ]  # fmt: skip
    month.record(
        "benchmark", "app", "time the month's queries", light="amber", summary="report is slower", queries=queries
    )
    told = section(report(month), "Benchmark")
    assert told.table is not None
    assert told.table.rows[0] == (
        "app/busy", "12.50 ms", "1.00 ms", "12.40 ms", "Index Scan users", "hit 1,200, read 3"
    )  # fmt: skip
    assert [(item.status, item.label, item.subject) for item in told.items] == [
        (Status.AMBER, "plan changed", "app/report"), (Status.AMBER, "failed", "app/gone"),
    ]  # fmt: skip


def test_the_month_counts_runs_proofs_space_findings_and_changes_by_person(month: Book) -> None:
    since = month.now - timedelta(minutes=1)
    samples = Samples(month.ledger.database)
    for days, size in ((0, 100), (20, 150)):
        at = month.now + timedelta(days=days)
        samples.append(month.site.name, at, [
            Reading("store_bytes", month.site.name, size * MB, "bytes"),
            Reading("store_bytes", f"{month.site.name}/app", (size - 10) * MB, "bytes"),
        ])  # fmt: skip
    for level, count in (("structure", 3), ("restored", 2)):
        for number in range(count):
            month.record("verify" if level == "structure" else "prove", "app", f"{level} {number}", level=level)
    for number in range(2):
        month.record("purge_rows", "app", f"purge logs {number}", rows=400, bytes=None)
    month.record("purge_rows", "app", "purge tokens", error=PurgeRefused("no key", hint="make one"))
    month.record("restore", "app", "restore over live", act={"actor": "li", "approver": "wang"}, rows=9)
    month.record("check_health", "store", "look", light="green")
    month.record(
        "check_security", "site", "check", counts={"new": 2, "standing": 1, "gone": 4, "high": 1}, light="amber"
    )
    drill(month, outcomes={"rebuilt": 1, "infrastructure": 1, "bad": 1})
    runs = {"daily": Tally(30, 28, 1, 1), "weekly": Tally(4, 4, 0, 0), "monthly": Tally(0, 0, 0, 0)}
    told = tell_month(month.site, month.ledger, since, month.now + timedelta(days=25), runs)
    assert told.summary.startswith("the last 25 days: 32 of 34 runs that were due took place and ended well (94.1%)")
    assert told.summary.endswith("3 changes by airflow, li")
    says = {(item.label, item.subject): item.says for item in told.items}
    assert says["runs", "daily"] == "30 due, 28 well, 1 failed, 1 missing"
    assert says["proofs", ""] == "3 structure, 3 restored, 1 bad", "a site that did not stand whole drilled nothing"
    assert says["space", ""].startswith("150.0 MB of backups, +50.0 MB since")
    assert says["space", ""].endswith("most of it app, +50.0 MB")
    assert says["findings", "security"] == "3 open, 1 of them high; 2 came, 4 went"
    (drilled,) = [item for item in told.items if item.label == "drill"]
    assert drilled.says == "rebuilt in 2 min, 2 h lost, a goal missed"
    assert told.table is not None
    assert set(told.table.rows) == {
        ("purge_rows", "app", "airflow", "", "3, 1 failed", "800", ""),
        ("restore", "app", "li", "wang", "1", "9", ""),
    }


def test_a_rollout_and_a_migration_are_one_change_each_however_many_acts_they_took(month: Book) -> None:
    since, told_by = month.now - timedelta(minutes=1), {"actor": "li", "approver": "wang"}
    for duty in ("plan_rollout", "ask_approval", "approve_change", "check_gates", "confirm_rollout", "finish_rollout"):
        month.record(duty, "api", duty, act=told_by)
    month.record("roll_out", "api", "set image", act=told_by)
    for duty in ("rehearse_migration", "migrate_statement", "commit_migration", "secure_live", "migrate"):
        month.record(duty, "app", duty, act=told_by)
    told = tell_month(month.site, month.ledger, since, month.now, {})
    assert told.table is not None
    assert [row[:2] for row in told.table.rows] == [("roll_out", "api"), ("migrate", "app")]
    assert "2 changes by li" in told.summary


def test_a_forecast_says_how_much_it_leaves_out(month: Book) -> None:
    line = {"light": "amber", "name": "disk /", "says": "in 9 days at 85 %"}
    month.record(
        "forecast_capacity", "site", "forecast", light="amber", summary="disk /", figures=40, soon=[line] * 12,
        later=[{**line, "light": "green"}] * 5, odd_backups=["app fell"], replicas=[],
        counts={"soon": 30, "later": 5, "odd_backups": 1, "replicas": 2},
    )  # fmt: skip
    told = section(report(month), "Forecast")
    assert [(item.label, item.says.partition(":")[0]) for item in told.items if item.says.startswith("and ")] == [
        ("soon", "and 20 more"), ("later", "and 2 more"), ("replicas", "and 2 more"),
    ]  # fmt: skip


@pytest.mark.parametrize(("title", "duty"), [("Restore", "swap"), ("Migration", "migrate")])
def test_what_failed_first_and_then_succeeded_is_told_by_its_last_try(month: Book, title: str, duty: str) -> None:
    month.record(duty, "app", "try it", error=GoalMissed("the server went away", hint="clear the task"))
    month.record(duty, "app", "try it", act={"approver": "wang"}, light="green", summary="app is new now")
    told = section(report(month), title)
    assert told.summary == "app is new now; approved by wang"
    assert [(item.label, item.subject.partition(" ")[2]) for item in told.items] == [
        ("failed", f"{duty} app"), ("done", f"{duty} app"),
    ]  # fmt: skip


def test_a_backup_or_a_swap_that_succeeded_at_its_second_try_is_not_red(book: Book) -> None:
    """Each try names another backup, and another moment at which the old database was put aside."""
    away = GoalMissed("the server went away", hint="clear the task")
    book.run = {"run_id": "by hand"}
    book.back_up("app", "20261120T180010Z-00aa", error=away)
    book.back_up("app", "20261120T180510Z-00bb")
    swap = 'swap "app_restored" over "app", which stays as "app_replaced_20261120_{}"; backup 20261120T180510Z-00bb'
    book.record("swap", "app", swap.format("181000"), error=away)
    book.record("swap", "app", swap.format("181500"), light="green", summary="app is new now")
    found = book.report(rhythm="restore", expected_targets=())
    assert found.remarks_of(Status.RED) == ()
    assert found.ok
    book.record("swap", "config", "exchange /b (7) for /a", error=away)
    book.record("swap", "config", "exchange /d (8) for /c", light="green", summary="/c is new now")
    (red,) = book.report(rhythm="restore", expected_targets=()).remarks_of(Status.RED)
    assert red.subject == "swap of config", "another folder of the same target is another thing"


def test_openings_are_counted_by_what_answered_them() -> None:
    openings = [OPENING + timedelta(days=day) for day in range(4)]
    runs = [FinishedRun(openings[0] + timedelta(hours=1), True), FinishedRun(openings[1] + timedelta(hours=1), False)]
    now = openings[3] + timedelta(hours=1)
    assert tally_openings(openings, runs, grace=timedelta(hours=3), now=now) == Tally(3, 1, 1, 1), "one is open still"


def test_a_month_that_did_not_come_is_missing_like_a_night(month: Book) -> None:
    month.site = month.site.model_validate(
        {
            **month.site.model_dump(mode="json"),
            "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}, "monthly": {"at": "0 1 1 * *", "length_h": 8}},
        }
    )
    later = month.now + timedelta(days=40)
    assert tallies(month.site, month.ledger, later - MONTH, later)["monthly"] == Tally(1, 0, 0, 1)
    standing = {one.rhythm: one for one in standings(month.site, month.ledger, later)}["monthly"]
    assert len(standing.missed) == 1
    assert standing.older_than(timedelta(hours=26), later)
