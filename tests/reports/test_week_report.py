"""The week on the report: which backups came back alike, what was done to which table and why, what was cleaned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.reports.book import MB, OPENING, Book, backup_id, every_page
from upkeep.errors import NoFreshBackup, ProofFailed, RestoreUnavailable, SourceError, TableCareFailed
from upkeep.reports import RunReport, Status, to_markdown, to_text

TABLES = "tend the tables of app"
OPTIMIZE = "OPTIMIZE TABLE `users`"


@pytest.fixture
def week(book: Book) -> Book:
    book.run = {"run_id": "this week"}
    guard(book)
    return book


def guard(book: Book) -> None:
    book.record("guard_window", "weekly", "open weekly", reason="the window is open", overridden=False)


def report(book: Book) -> RunReport:
    return book.report(rhythm="weekly", expected_targets=())


def prove(book: Book, target: str, name: str, **changes: Any) -> None:
    detail: dict[str, Any] = {
        "bytes": 40 * MB, "level": "restored", "seconds": 12.5, "light": "green", "summary": "restored and alike",
        "phases": {"load: schema": 0.4, "load": 11.0, "compare": 1.2, "total": 12.5}, "notes": [],
        "figures": {"tables": 8, "rows": 46_381, "checksums": 7, "objects": 39, "checks": 1},
    }  # fmt: skip
    if "error" in changes:
        detail = {}
    book.record("prove", target, f"restore {name} to prove it", backup_id=name, **{**detail, **changes})


def tend(book: Book, **changes: Any) -> None:
    detail: dict[str, Any] = {
        "light": "green", "summary": "1 tended, 12 in order; 80.0 MB freed", "tended": ["optimize users"],
        "refused": [], "postponed": [], "skipped": [], "notes": [],
    }  # fmt: skip
    book.record("tend_tables", "app", TABLES, **{**detail, **changes})


def optimize(book: Book, target: str = "app/users", **changes: Any) -> None:
    detail: dict[str, Any] = {
        "kind": "optimize", "why": "66.7 % of it (80.0 MB) is waste", "before": 120 * MB, "promised": 80 * MB,
        "after": 40 * MB, "seconds": 3.1, "bytes": 80 * MB, "light": "green", "summary": "...",
    }  # fmt: skip
    book.record("tend_table", target, OPTIMIZE, **{**detail, **changes})


def items(report: RunReport, title: str) -> list[tuple[str, str, str, str]]:
    (section,) = [section for section in report.sections if section.title == title]
    return [(item.label, item.subject, item.says, item.more) for item in section.items]


def test_a_good_week_says_what_was_restored_tended_and_cleaned_and_why(week: Book) -> None:
    newest, older = backup_id(0), backup_id(1)
    week.record("require_backup", "app", "look", backup_id=newest, light="green", summary="it is proven and fresh")
    prove(week, "app", newest)
    prove(week, "app", older, notes=["the contents of audit_logs are not compared: larger than checksum_under_mb"])
    optimize(week)
    tend(week)
    week.record(
        "alter_partitions", "app", "ALTER TABLE ...", table="attendance_records", step="add p202703",
        why="3 whole months ahead are wanted", summary="...",
    )  # fmt: skip
    week.record(
        "tend_partitions", "app", "tend the partitions of attendance_records", light="green", steps=1,
        summary="attendance_records: add p202703; partitions reach to 2027-04-01", hint="",
    )  # fmt: skip
    kept = {"action": "keep", "why": "it is open", "files": 1, "bytes": 10, "examples": ["app.log"]}
    gone = {"action": "remove", "why": "last written more than 30 d ago", "files": 2, "bytes": 9, "examples": ["a.7"]}
    week.record(
        "clean_logs", "/var/log/app", "clean /var/log/app: keep 30 d", bytes=5 * MB, rows=2, light="green",
        summary="2 files removed, 5.0 MB given back; 1 file stays", reasons=[gone, kept], troubles=[],
    )  # fmt: skip
    week.record(
        "clean_docker", "unix:///var/run/docker.sock", "clean images", bytes=2 * MB, light="green",
        summary="1 removed, 2.0 MB given back; 1 stay", gone=["remove image api:1.7, 2.0 MB: unused for 75 d"],
        stays=["keep image api:1.8, 2.0 MB: container api uses it", *(f"keep image old:{n}" for n in range(12))],
        troubles=[],
    )  # fmt: skip
    found = report(week)
    assert found.status is Status.GREEN
    assert found.headline == (
        "2 backups restored and alike, 1 table tended (80.0 MB freed), 1 partition change, "
        "5.0 MB of logs given back, 2.0 MB of Docker given back"
    )
    assert [section.title for section in found.sections] == [
        "Restored backups", "Backups it stands behind", "Tables", "Partitions", "Log files", "Docker",
    ]  # fmt: skip
    assert items(found, "Restored backups") == [
        (
            "restored",
            "app",
            (
                f"{newest} of 40.0 MB in 12.5 s (load 11 s, compare 1.2 s), the newest of 2; alike: 8 tables, 46,381 "
                "rows, the content of 7 tables, 39 objects, 1 check of the site holds"
            ),
            "the contents of audit_logs are not compared: larger than checksum_under_mb",
        )
    ]
    assert items(found, "Tables") == [
        ("optimize", "app/users", "120.0 MB -> 40.0 MB, 3.1 s", "66.7 % of it (80.0 MB) is waste")
    ]
    assert items(found, "Partitions") == [
        (
            "done",
            "app.attendance_records",
            "add p202703; partitions reach to 2027-04-01",
            "add p202703: 3 whole months ahead are wanted",
        )
    ]
    (folder,) = items(found, "Log files")
    assert folder[3] == "remove 2 files: last written more than 30 d ago (a.7); keep 1 file: it is open"
    assert [item[:3] for item in items(found, "Docker")] == [
        ("removed", "", "image api:1.7, 2.0 MB: unused for 75 d"),
        ("kept", "", "image api:1.8, 2.0 MB: container api uses it"),
        *[("kept", "", f"image old:{number}") for number in range(9)],
        ("kept", "", "and 3 more: see the task's log"),
    ]
    assert found.steps == ()
    for page in every_page(found):
        assert newest in page or page == to_text(found)


def test_a_bad_backup_comes_first_and_one_that_could_not_be_restored_is_told_apart(week: Book) -> None:
    sample = {"db0": {"sampled": 900, "types": {"string": 600, "hash": 300}, "ttl_pct": 20}}
    prove(week, "sessions", backup_id(0), figures={"keys": 5000, "expired": 3, "sample": sample})
    unable = RestoreUnavailable("infrastructure: the scratch is full", hint="free space; says nothing about the backup")
    prove(week, "config", backup_id(0), error=unable)
    bad = ProofFailed(f"the restored copy of {backup_id(2)} differs: 2 rows of users", hint="back up again")
    prove(week, "app", backup_id(2), error=bad)
    found = report(week)
    assert [(item[0], item[1]) for item in items(found, "Restored backups")] == [
        ("not restored", f"config {backup_id(0)}"),
        ("bad", f"app {backup_id(2)}"),
        ("restored", "sessions"),
    ]
    assert items(found, "Restored backups")[2][2].endswith(
        "alike: 5,000 keys, 3 expired meanwhile, of 900 looked at 600 string, 300 hash; 20 % expire"
    )
    (section,) = found.sections
    assert section.summary == (
        "1 backup restored in 12.5 s and alike; 1 backup bad; "
        "1 restore did not take place, which says nothing about the backups"
    )
    assert f"restore proof of app {backup_id(2)} failed" in [remark.title for remark in found.remarks_of(Status.RED)]
    markdown = to_markdown(found)
    assert markdown.index("## Needs action") < markdown.index("## Restored backups")


def test_a_copy_whose_rows_were_not_compared_is_amber_and_claims_none(week: Book) -> None:
    figures = {"tables": 8, "rows": 46_381, "objects": 39, "rows_are": "estimates: no RELOAD"}
    prove(week, "app", backup_id(0), light="amber", summary="restored, but not compared", figures=figures)
    found = report(week)
    (restored,) = items(found, "Restored backups")
    assert restored[2].endswith("alike: 8 tables, 39 objects")
    (section,) = found.sections
    assert section.summary == "1 backup restored in 12.5 s and alike, of 1 the rows not compared"
    assert [remark.title for remark in found.remarks_of(Status.AMBER)] == [
        f"restore proof of app {backup_id(0)} is amber"
    ]


def test_what_kept_the_first_try_from_restoring_is_forgotten_once_a_later_one_did(week: Book) -> None:
    away = RestoreUnavailable("infrastructure: the scratch is away", hint="start it")
    week.record("prove", "app", "look for the scratch server", error=away)
    assert report(week).status is Status.RED
    week.run = {**week.run, "try_number": 2}
    prove(week, "app", backup_id(0))
    assert report(week).status is Status.GREEN


def test_a_missing_backup_names_its_target_and_what_to_do(week: Book) -> None:
    none = NoFreshBackup("nothing is done to shop/app: it has no backup", hint="back it up")
    week.record("require_backup", "app", "look for a fresh backup", error=none)
    found = report(week)
    assert items(found, "Backups it stands behind")[0][:2] == ("missing", "app")
    assert found.remarks_of(Status.RED)[0].title == "fresh backup of app failed"


def test_tables_that_were_left_are_told_with_their_reasons_and_a_failure_once(week: Book) -> None:
    optimize(week, error=SourceError("the server has gone away", hint="look at its log"))
    optimize(week, "app/classes", skip="others hold it")
    tend(
        week, error=TableCareFailed("optimize of users failed: the server has gone away", hint="look at its log"),
        refused=["students: no optimize: it needs 4 GB of free disk, there is 1 GB"],
        postponed=[["optimize", "tokens"], ["analyze", "tenants"]],
    )  # fmt: skip
    found = report(week)
    assert items(found, "Tables") == [
        ("optimize failed", "app/users", "failed: the server has gone away", "66.7 % of it (80.0 MB) is waste"),
        ("optimize skipped", "app/classes", "others hold it", "66.7 % of it (80.0 MB) is waste"),
        ("refused", "app", "students: no optimize: it needs 4 GB of free disk, there is 1 GB", ""),
        ("no time left", "app", "optimize tokens, analyze tenants: first in the next window", ""),
    ]
    assert [remark.title for remark in found.remarks] == ["care of the tables of app failed"]


def test_the_review_tells_the_statements_that_cost_most(week: Book) -> None:
    week.record(
        "review_databases", "site", "review databases", light="green", summary="nothing found", new=[], gone=[],
        unread=[], at=OPENING.isoformat(), counts={"new": 0, "standing": 0, "gone": 0},
        statements=[
            {"database": "app", "text": "SELECT * FROM `students` WHERE `name` LIKE ?", "calls": 1234,
             "total_s": 612.5, "mean_s": 0.496, "worst_s": 8.2},
        ],
    )  # fmt: skip
    assert items(report(week), "Databases") == [
        (
            "statement",
            "app",
            "10 min 12 s in 1,234 calls, 496 ms each, 8.2 s at worst",
            "SELECT * FROM `students` WHERE `name` LIKE ?",
        )
    ]


def test_against_last_week_only_what_a_person_should_know_is_news(book: Book) -> None:
    for days_ago, run_id in ((7, "last week"), (0, "this week")):
        book.now, book.run = OPENING - timedelta(days=days_ago), {"run_id": run_id}
        guard(book)
        prove(book, "app", backup_id(days_ago))
        if days_ago:
            optimize(book)
        tend(book)
    prove(book, "app", backup_id(1), error=ProofFailed("it differs", hint="back up again"))
    since = report(book).since
    assert since is not None
    assert [change.says for change in since.changes] == ["restore proof of app is red, was green: failed: it differs"]


@pytest.mark.parametrize("junk", [None, 7, "x", [], [7], {}, {"a": 7}], ids=str)
def test_a_detail_that_somebody_forged_breaks_no_page(week: Book, junk: Any) -> None:
    names = (
        "level", "seconds", "phases", "figures", "notes", "reasons", "gone", "troubles", "stays", "refused",
        "postponed", "why", "before", "after", "kind", "step", "table", "summary", "statements", "new", "counts",
    )  # fmt: skip
    figures = {"sample": {"db0": {"sampled": 5, "types": junk, "ttl_pct": junk}}, "checksums": junk}
    for duty in (
        "prove", "require_backup", "tend_tables", "tend_table", "tend_partitions", "alter_partitions", "clean_logs",
        "clean_docker", "review_databases",
    ):  # fmt: skip
        week.record(duty, "app", "a command", **dict.fromkeys(names, junk))
    week.record("prove", "other", f"restore {backup_id(0)}", level="restored", figures=figures)
    week.record("clean_logs", "/var/log", "clean", reasons=[{"examples": junk, "files": junk, "action": junk}])
    found = report(week)
    assert found.head
    for page in every_page(found):
        assert found.head.hash[:16] in page, "it stands at the end"
