"""The day's other duties on the report: what they found, and what changed since the last run of the same rhythm."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.plain_site import plain_site
from tests.reports.book import HOSTILE, MB, NOW, OPENING, RUN, Book, a_site, every_page
from upkeep.connections import filesystem_from_environment
from upkeep.domain.endpoint import Endpoint
from upkeep.duties import check_security as security
from upkeep.duties.check_security import Machine, check_security
from upkeep.duties.guard import guard_window
from upkeep.duties.job import Job, Run
from upkeep.duties.review_logs import review_logs
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.errors import PurgeRefused
from upkeep.ledger import Ledger, default_url
from upkeep.reports import RunReport, build_run_report, to_markdown, to_text
from upkeep.reports.since_last import MOST, Light, Standing, changes_between
from upkeep.reports.target_line import Status


@pytest.fixture
def day(book: Book) -> Book:
    """A site with one backup, two checks and a store."""
    book.site = a_site(caches=[], folders=[], endpoints=[{"name": "api", "url": "http://localhost/health"}])
    return book


def check(book: Book, name: str, light: str = "green", summary: str = "answers in 3 ms") -> None:
    book.record("check_health", name, f"check {name}", light=light, summary=summary, figures={"latency_ms": 3.0})


def quiet_day(book: Book, run_id: str = RUN, size: int = 100 * MB) -> None:
    book.run = {"run_id": run_id}
    book.guard()
    for name in ("database/app", "endpoint/api", "store"):
        check(book, name)
    book.back_up("app", f"{book.now:%Y%m%dT%H%M%SZ}-00aa", size)
    book.verify("app", f"{book.now - timedelta(seconds=10):%Y%m%dT%H%M%SZ}-00aa", size)
    book.record("purge_rows", "app", "purge tokens by expires_at", table="tokens", stopped_because="done", rows=0)
    book.record(
        "sample_capacity", "site", "sample capacity", light="green", summary="42 figures, none over its limit",
        figures={"disk_pct worker-1:/": 61.0, "memory_pct worker-1": 30.0},
    )  # fmt: skip
    book.record(
        "check_security", "site", "check security", light="green", summary="nothing found", at=book.now.isoformat(),
        counts={"new": 0, "standing": 0, "gone": 0}, new=[], gone=[], unread=[], findings=[],
    )  # fmt: skip
    book.record(
        "review_logs", "/var/log/app", "count the errors", light="green", summary="no errors in 10 lines", kinds=0,
        new=0, top=[], remarks=[], rows=0,
    )  # fmt: skip


def items(report: RunReport, title: str) -> list[tuple[str, str, str]]:
    (section,) = [section for section in report.sections if section.title == title]
    return [(item.label, item.subject, item.says) for item in section.items]


def test_a_quiet_day_is_told_in_a_line_for_each_duty(day: Book) -> None:
    day.now -= timedelta(days=1)
    quiet_day(day, "the day before")
    day.now = OPENING
    quiet_day(day)
    report = day.report()
    assert report.status is Status.GREEN
    assert [(one.title, one.summary, len(one.items)) for one in report.sections] == [
        ("Health", "3 green", 1),
        ("Capacity", "42 figures, none over its limit; disk_pct worker-1:/ 61 %, memory_pct worker-1 30 %", 0),
        ("Security", "nothing found", 0),
        ("Logs", "no errors, in 1 folder", 0),
        ("Expired rows", "no row deleted", 1),
    ]
    assert items(report, "Health") == [("green", "", "database/app 3 ms, endpoint/api 3 ms, store 3 ms")]
    assert report.since is not None and report.since.changes == ()
    assert report.steps == ()
    assert to_markdown(report).count("Nothing changed its light or its size.") == 1


def test_every_sick_target_is_named_with_its_light_and_reason_and_one_never_checked_too(day: Book) -> None:
    day.guard()
    check(day, "database/app", "amber", "3 sessions wait for a lock; a transaction has been open for 2 h")
    check(day, "store", "red", "does not answer: the folder is gone")
    report = day.report()
    assert report.step_remarks[1].hint == "read the log of task store.check_health, try 1, on worker-1"
    assert items(report, "Health") == [
        ("red", "store", "does not answer: the folder is gone"),
        ("amber", "database/app", "3 sessions wait for a lock; a transaction has been open for 2 h"),
        ("unknown", "endpoint/api", "the ledger has no check of it in this run: look at its task"),
    ]


def test_log_messages_are_told_with_count_file_and_sample_and_new_ones_first(day: Book) -> None:
    top: list[dict[str, Any]] = [
        {"message": "payment <n> refused", "count": 7, "new": True, "file": "pay.log", "sample": "payment 17 refused"},
        {"message": "timeout", "count": 1200, "new": False, "file": "app.log", "sample": "timeout"},
    ]
    day.guard()
    day.record(
        "review_logs", "/var/log/app", "count", light="amber", summary="...", rows=1207, kinds=2, new=1, top=top,
        remarks=["old.log isn't text and was left out"],
    )  # fmt: skip
    day.record("review_logs", "/var/log/gone", "count", skip="/var/log/gone is not there")
    report = day.report()
    assert items(report, "Logs") == [
        ("new", "7 x /var/log/app/pay.log", "payment <n> refused"),
        ("skipped", "/var/log/gone", "was skipped: /var/log/gone is not there"),
        ("remark", "/var/log/app", "old.log isn't text and was left out"),
        ("known", "1,200 x /var/log/app/app.log", "timeout"),
    ]
    assert next(one for one in report.sections if one.title == "Logs").items[0].more == "payment 17 refused"


def test_findings_that_came_and_went_with_another_machine_are_told_as_such(day: Book) -> None:
    day.guard()
    finding = {"severity": "high", "what": "any account can change /etc/app.ini", "remedy": "chmod o-w /etc/app.ini"}
    day.record(
        "check_security", "site", "check security", light="red", summary="1 new (1 high)", new=[finding],
        counts={"new": 1}, other_host_before="worker-9",
    )  # fmt: skip
    assert [label for label, *_ in items(day.report(), "Security")] == ["new, high", "remark"]
    assert "the last one was made on worker-9" in items(day.report(), "Security")[1][2]


def test_each_purge_rule_tells_deleted_archived_and_left_rows_of_all_its_tries(day: Book) -> None:
    day.guard()
    logs = "purge audit_logs by created_at"
    left = "the window closed: about 90,000 rows left for the next night"
    day.record("purge_rows", "app", logs, rows=1000, bytes=MB, archived_rows=1000, table="audit_logs", error=OSError(5))
    day.record(
        "purge_rows", "app", logs, act={"try_number": 2}, rows=2000, bytes=MB, archived_rows=2000, table="audit_logs",
        stopped_because=left, left_changed=3, light="amber", summary=f"audit_logs: {left}", hint="lengthen it",
    )  # fmt: skip
    refused = PurgeRefused("no row is deleted: no usable index", hint="CREATE INDEX ...")
    day.record("purge_rows", "app", "purge tokens by expires_at", error=refused)
    report = day.report()
    assert items(report, "Expired rows") == [
        ("failed", "app.tokens", "0 rows deleted; failed: no row is deleted: no usable index"),
        (
            "stopped",
            "app.audit_logs",
            f"3,000 rows deleted; 3,000 archived first (2.0 MB); 3 left because they had changed; {left}",
        ),
    ]
    told = [(remark.what, remark.why) for remark in report.step_remarks if remark.status is Status.AMBER]
    assert told == [("is amber", f"audit_logs: {left}")]


def test_what_changed_since_the_last_run_of_the_same_rhythm_is_told_worst_first(day: Book) -> None:
    day.now -= timedelta(days=1)
    quiet_day(day, "the day before")
    day.now -= timedelta(hours=6)
    day.run = {"run_id": "a weekly run between"}
    day.record("guard_window", "weekly", "open weekly")
    day.now = OPENING
    quiet_day(day, size=130 * MB)
    check(day, "endpoint/api", "red", "answers HTTP 503 instead of 200")
    report = day.report()
    assert report.since is not None
    assert (report.since.run_id, report.since.at) == ("the day before", OPENING - timedelta(days=1))
    assert [change.says for change in report.since.changes] == [
        "endpoint/api is red, was green: answers HTTP 503 instead of 200",
        "backup of app is 30 % larger: 100.0 MB, now 130.0 MB",
    ]
    assert "CHANGED endpoint/api is red, was green" in to_text(report)
    page = to_markdown(report)
    assert page.index("## Needs action") < page.index("## Since the run of 2026-11-20 02:00") < page.index("## Targets")


def test_what_the_last_run_did_and_this_one_did_not_is_news_unless_it_was_not_wanted(day: Book) -> None:
    day.now -= timedelta(days=1)
    quiet_day(day, "the day before")
    day.now, day.run = OPENING, {"run_id": RUN}
    day.guard()
    whole, dry = day.report(), day.report(dry_run=True)
    assert whole.since is not None and dry.since is not None
    assert "purge of app.tokens was green and is missing from this run" in [one.says for one in whole.since.changes]
    assert dry.since.changes == ()


def test_a_run_that_its_guard_refused_is_not_compared_with(day: Book) -> None:
    quiet_day(day, "an earlier run")
    day.run = {"run_id": "refused"}
    day.record("guard_window", "daily", "open daily", error=OSError("closed"))
    day.run = {"run_id": RUN}
    quiet_day(day)
    report = day.report()
    assert report.since is not None and report.since.run_id == "an earlier run"


def test_the_first_run_has_nothing_to_compare_with(day: Book) -> None:
    quiet_day(day)
    assert day.report().since is None


def test_a_small_change_of_size_is_none_and_many_changes_are_counted() -> None:
    sizes = Standing(sizes={"app": 100, "shop": 100, "new": 0})
    grown = Standing(sizes={"app": 120, "shop": 79, "new": 5, "other": 7})
    assert [one.says for one in changes_between(sizes, grown, whole=True)] == [
        "backup of shop is 21 % smaller: 100 B, now 79 B"
    ]
    before = Standing(lights={f"check {number}": Light(Status.GREEN) for number in range(25)})
    after = Standing(lights={f"check {number}": Light(Status.RED, "away") for number in range(25)})
    told = changes_between(before, after, whole=True)
    assert (len(told), told[-1].says) == (MOST, "and 16 more")


def test_what_stands_in_logs_and_findings_is_shown_and_not_obeyed(day: Book) -> None:
    day.guard()
    check(day, "database/app", "red", HOSTILE)
    top = [{"message": HOSTILE, "count": "many", "new": True, "file": HOSTILE, "sample": f"x{HOSTILE}"}, "no mapping"]
    day.record("review_logs", HOSTILE, "count", light="amber", rows=1, kinds="x", new=None, top=top, remarks=[HOSTILE])
    finding = {"severity": HOSTILE, "what": HOSTILE, "remedy": HOSTILE}
    day.record("check_security", "site", "check", summary=HOSTILE, new=[finding], gone=[HOSTILE], counts=HOSTILE)
    day.record("sample_capacity", "site", "sample", light="red", summary=HOSTILE, figures={HOSTILE: 1}, reds="x")
    pages = every_page(day.report())
    for page in pages:
        assert "\x1b" not in page and "\u202e" not in page
        page.encode("utf-8")
    assert "<script>" not in pages[0].replace("\\<script", "") and "<script>" not in pages[1]
    assert "<img" not in pages[1]


# The real duties: what they note is what the sections read.

Nights = Callable[[int], tuple[Job, Callable[[], RunReport]]]


@pytest.fixture
def etc() -> Iterator[Path]:
    """Where every account of the machine can go, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory(prefix="upkeep-report-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.fixture
def night(tmp_path: Path, etc: Path) -> Nights:
    for name in ("store", "logs", "home"):
        (tmp_path / name).mkdir()
    site = plain_site(
        tmp_path,
        name="kindergarten",
        title="幼儿园",
        folders=[{"name": "config", "paths": [str(etc)]}],
        logs=[{"path": str(tmp_path / "logs"), "patterns": ["*.log"]}],
        thresholds={"disk_pct": 1},
    )

    def connect(conn_id: str) -> Endpoint:
        raise AssertionError(conn_id)

    def of(day: int) -> tuple[Job, Callable[[], RunReport]]:
        ledger = Ledger(default_url(tmp_path / "home"), clock=lambda: at)
        at = NOW + timedelta(days=day)
        job = Job(site, Run(f"night-{day}"), ledger, connect, filesystem_from_environment, now=lambda: at)
        guard_window(job, "daily")
        expected = [target.name for target in site.targets]

        def report() -> RunReport:
            return build_run_report(site, job.run.run_id, "daily", ledger, at, expected, {})

        return job, report

    return of


def test_real_logs_findings_and_samples_are_read_right(
    night: Nights, etc: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.CRITICAL)
    machine = Machine(root=tmp_path / "machine", journal="no-such-journal", apt="no-such-apt")
    loose, file = etc / "secret.env", tmp_path / "logs" / "app.log"
    loose.touch()
    loose.chmod(0o666)
    file.write_text("2026-11-20 ERROR payment 17 of 张三 refused\n" * 3, encoding="utf-8")
    job, report = night(0)
    review_logs(job)
    check_security(job, machine=machine)
    sample_capacity(job)
    first = report()
    assert ("known", f"3 x {tmp_path}/logs/app.log") in [one[:2] for one in items(first, "Logs")]
    assert any("secret.env" in says for _, _, says in items(first, "Security"))
    assert any(says.startswith("disk ") and "(limit 1 %)" in says for _, _, says in items(first, "Capacity"))

    loose.chmod(0o600)
    other = etc / "other.env"
    other.touch()
    other.chmod(0o666)
    with file.open("a", encoding="utf-8") as log:
        log.write("2026-11-21 ERROR 数据库 away\n")
    monkeypatch.setattr(security, "ROOM", replace(security.ROOM, findings=300))
    job, report = night(1)
    review_logs(job)
    check_security(job, machine=machine)
    second = report()
    (new,) = [says for label, _, says in items(second, "Security") if label.startswith("new")]
    (gone,) = [says for label, _, says in items(second, "Security") if label == "gone"]
    assert "other.env" in new and "secret.env" in gone
    assert items(second, "Logs")[0][:2] == ("new", f"1 x {tmp_path}/logs/app.log")
    assert second.since is not None
    told = " | ".join(change.says for change in second.since.changes)
    assert "security finding new: " in told and "security finding gone: " in told

    job, report = night(2)
    check_security(job, machine=machine)
    assert [says for label, _, says in items(report(), "Security") if label.startswith("standing")] == [new]
    (record,) = job.ledger.acts("kindergarten", run_id="night-2", duty="check_security")
    assert record.detail["kept_in"] == "store", "too large for the row, and still told"
