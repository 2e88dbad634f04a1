"""Who is told of a run, and what comes of those who can't be."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.mailbox import mail_server, web_hook
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.guard import guard_window
from upkeep.duties.report import report_run
from upkeep.duties.status import standing
from upkeep.ledger import Ledger, default_url


def test_one_who_can_not_be_told_is_named_and_the_others_are_told(
    sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upkeep.duties.telling.TELL_WITHIN_S", 2)
    sites.paths("/etc/hostname")
    silent = socket.create_server(("127.0.0.1", 0))
    with web_hook() as (port, posts), mail_server() as (mail_port, mails), silent:
        hangs = sites._connection(Endpoint("", kind="http", secret=f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        gone = sites._connection(Endpoint("", kind="http", secret=f"http://127.0.0.1:{port}/broken"))
        chat = sites._connection(Endpoint("", kind="http", secret=f"http://127.0.0.1:{port}/chat"))
        mail = sites._connection(
            Endpoint(
                "", kind="smtp", host="127.0.0.1", port=mail_port, extra={"to": "a@example.com", "disable_ssl": True}
            )
        )
        sites.settings["notify"] = [{"conn_id": one, "when": "always"} for one in ("unknown", gone, hangs, chat, mail)]
        job = sites.job()
        guard_window(job, "daily", override_reason="a test")
        found = report_run(job, "daily")
    assert found["unsent"] == [
        "unknown: there is no connection unknown",
        f"{gone}: the webhook behind connection {gone} answered HTTP 500",
        f"{hangs}: no answer within 2 s",
    ]
    ((_, told),) = [post for post in posts if post[0] == "/chat"]
    assert told["text"].splitlines()[0].startswith("RED: kindergarten daily")
    assert told["text"].endswith(found["page"])
    assert [mail["To"] for mail in mails] == ["a@example.com"]
    acts = job.ledger.acts("kindergarten", duty="notify")
    assert [(act.started.target, act.state) for act in acts] == [
        ("unknown", "failed"), (gone, "failed"), (hangs, "failed"), (chat, "done"), (mail, "done"),
    ]  # fmt: skip
    (report,) = job.ledger.acts("kindergarten", duty="report")
    assert report.state == "done", "a chat that is away is no missing report"


@pytest.mark.parametrize(("dry_run", "told"), [(True, ["/always"]), (False, ["/red", "/amber", "/always"])])
def test_who_is_told_depends_on_the_light(sites: SiteFactory, dry_run: bool, told: list[str]) -> None:
    """Nothing was backed up: that is red, unless nothing was to be."""
    sites.paths("/etc/hostname")
    with web_hook() as (port, posts):
        for when in ("red", "amber", "always"):
            conn_id = sites._connection(Endpoint("", kind="http", secret=f"http://127.0.0.1:{port}/{when}"))
            sites.settings.setdefault("notify", []).append({"conn_id": conn_id, "when": when})
        assert report_run(sites.job(), "daily", dry_run=dry_run)["ok"] is dry_run
    assert [path for path, _ in posts] == told


def test_the_next_run_says_which_nights_had_none(sites: SiteFactory) -> None:
    sites.paths("/etc/hostname")
    first = datetime(2026, 11, 17, 18, 5, tzinfo=UTC)  # 02:05 of the 18th in Shanghai

    def night(at: datetime) -> str:
        ledger = Ledger(default_url(sites.folder), clock=lambda: at)
        job = sites.job(f"night of {at}", now=lambda: at, ledger=ledger)
        guard_window(job, "daily")
        return str(report_run(job, "daily")["text"])

    night(first)
    text = night(first + timedelta(days=3))
    assert "AMBER 2 daily runs before this one did not end well: " in text
    assert "2026-11-19 02:00: no run, 2026-11-20 02:00: no run" in text


def test_a_run_that_reports_after_its_window_does_not_call_itself_missed(sites: SiteFactory) -> None:
    """Whether it worked until the window closed, or its report was cleared later: it answers that opening."""
    sites.paths("/etc/hostname")
    hours = {"daily": {"at": "0 2 * * *", "length_h": 3}, "monthly": {"at": "0 1 18 * *", "length_h": 3}}
    sites.settings["rhythms"] = hours
    opening = datetime(2026, 11, 17, 18, 0, tzinfo=UTC)  # 02:00 of the 18th in Shanghai, an hour after the month's

    def report(rhythm: str, at: datetime, **wanted: Any) -> str:
        ledger = Ledger(default_url(sites.folder), clock=lambda: at)
        return str(report_run(sites.job(rhythm, now=lambda: at, ledger=ledger), rhythm, **wanted)["text"])

    before = opening - timedelta(hours=2)
    for rhythm in ("daily", "monthly"):
        ledger = Ledger(default_url(sites.folder), clock=lambda: before)
        guard_window(sites.job(rhythm, now=lambda: before, ledger=ledger), rhythm, override_reason="a test")
    assert "RED" in report("daily", opening + timedelta(hours=1)), "nothing was backed up"
    after = opening + timedelta(hours=4)
    assert "before this one" not in report("daily", after)
    assert "before this one" not in report("monthly", after)
    (page,) = (sites.folder / "store").rglob("*monthly*.md")
    assert "- **runs** daily: 1 due, 0 well, 1 failed\n- **proofs**" in page.read_text("utf-8"), "nor is it counted"
    assert "1 daily run before this one" in report("daily", after, dry_run=True), "which answers no opening"
    assert "1 daily run before this one" in report("daily", after + timedelta(days=1))


def test_a_rhythm_that_came_later_is_missed_from_then_on(sites: SiteFactory) -> None:
    sites.paths("/etc/hostname")
    begun = datetime(2026, 10, 1, 18, 5, tzinfo=UTC)

    def missed_weeks(days: int) -> int:
        at = begun + timedelta(days=days)
        ledger = Ledger(default_url(sites.folder), clock=lambda: at)
        job = sites.job(f"night {days}", now=lambda: at, ledger=ledger)
        guard_window(job, "daily")
        return len(standing(job.site, "weekly", ledger, at).missed) if job.site.rhythms.weekly else 0

    assert missed_weeks(0) == 0
    sites.settings["rhythms"] = {
        "daily": {"at": "0 2 * * *", "length_h": 3}, "weekly": {"at": "0 1 * * 0", "length_h": 6},
    }  # fmt: skip
    assert missed_weeks(28) == 0, "it was never due"
    assert missed_weeks(35) == 1, "its scheduler never ran"
    at = begun + timedelta(days=36)
    ledger = Ledger(default_url(sites.folder), clock=lambda: at)
    guard_window(sites.job("week", now=lambda: at, ledger=ledger), "weekly", override_reason="a test")
    sites.settings["title"] = "another file"
    assert missed_weeks(50) == 2, "once it has run, no edit of the file starts it anew"
