"""The report's section on a cluster."""

from __future__ import annotations

from tests.reports.book import HOSTILE, Book, every_page
from upkeep.reports.section import Section


def section(book: Book) -> Section:
    (found,) = [section for section in book.report().sections if section.title == "Cluster"]
    return found


def test_what_is_wrong_is_told_worst_first_with_its_remedy_and_its_last_lines(book: Book) -> None:
    book.guard()
    crash = {
        "light": "red", "subject": "pod web-1", "says": "CrashLoopBackOff: exit code 1, 9 restarts in all",
        "hint": "kubectl logs -p web-1 -c web", "log": ["reading /etc/web", "no such file"],
    }  # fmt: skip
    short = {"light": "amber", "subject": "deployment web", "says": "1 of 2 replicas are available", "hint": ""}
    book.record(
        "check_cluster", "cluster/shop", "check cluster/shop", light="red", summary="pod web-1: ...", reds=1, ambers=3,
        findings=[short, crash], unread=["nodes (forbidden)"], figures={"pods": 1, "services": 4},
    )  # fmt: skip
    found = section(book)
    assert found.summary == "1 red, 3 amber, 1 kind not looked at; 1 pod, 4 services"
    assert [(item.label, item.subject, item.says, item.more) for item in found.items] == [
        (
            "red", "pod web-1", "CrashLoopBackOff: exit code 1, 9 restarts in all",
            "kubectl logs -p web-1 -c web; its last lines: reading /etc/web | no such file",
        ),
        ("amber", "deployment web", "1 of 2 replicas are available", ""),
        ("more", "", "and 2 more: see the task's log", ""),
        ("not looked at", "", "nodes (forbidden)", ""),
    ]  # fmt: skip


def test_a_cluster_that_is_well_takes_one_line_and_one_that_is_away_says_why(book: Book) -> None:
    book.guard()
    book.record("check_cluster", "cluster/shop", "check", light="green", summary="well: 3 pods", findings=[], unread=[])
    assert (section(book).summary, section(book).items) == ("well: 3 pods", ())
    book.record("check_cluster", "cluster/shop", "check", light="red", summary="does not answer: refused", reds=1)
    (item,) = section(book).items
    assert (item.label, item.subject, item.says) == ("red", "cluster/shop", "does not answer: refused")
    book.kill_during("check_cluster", "cluster/shop", "check")
    assert section(book).items[0].says.startswith("was killed on")


def test_what_pods_say_of_themselves_is_shown_and_not_obeyed(book: Book) -> None:
    book.guard()
    finding = {"light": HOSTILE, "subject": HOSTILE, "says": HOSTILE, "hint": HOSTILE, "log": [HOSTILE, 7]}
    book.record(
        "check_cluster", "cluster/shop", "check", light="red", summary=HOSTILE, findings=[finding, "x"],
        unread=[HOSTILE], reds="x", ambers=None, figures={"pods": HOSTILE},
    )  # fmt: skip
    pages = every_page(book.report())
    for page in pages:
        assert "\x1b" not in page and "\u202e" not in page
        page.encode("utf-8")
    assert "<img" not in pages[1] and "<script>" not in pages[1]
