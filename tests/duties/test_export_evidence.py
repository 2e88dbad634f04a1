"""The evidence export: what an auditor reads months later, when the backups themselves have long been removed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.faults.scene import Scene, days_later, files_scene, for_command_line
from tests.plain_site import plain_job
from tests.reports.book import Book, a_site
from tests.reports.conftest import book  # noqa: F401
from tests.test_secrets import forms
from upkeep.cli import main
from upkeep.domain.evidence import span_of
from upkeep.duties.export_evidence import export_evidence
from upkeep.errors import EvidenceRefused, ProofFailed, RestoreUnavailable, ToolFailed
from upkeep.ledger import Ledger, default_url, verify

SHANGHAI = ZoneInfo("Asia/Shanghai")
SECRET = "pa ss/w'ört+%"


def at(text: str) -> datetime:
    """In the site's time zone."""
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).astimezone(UTC)


def id_of(moment: datetime, suffix: str = "00aa") -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}-{suffix}"


def export(book: Book, folder: Path, since: str, until: str, **options: Any) -> tuple[dict[str, Any], str]:  # noqa: F811
    """The JSON, and the page's text as a reader sees it, on one line."""
    job = plain_job(book.site, folder, "audit", ledger=book.ledger, now=lambda: book.now)
    export_evidence(job, folder / "e.html", since=since, until=until, **options)
    page = (folder / "e.html").read_text(encoding="utf-8")
    seen = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", seen)).split())
    return json.loads((folder / "e.json").read_text(encoding="utf-8")), text


def by_id(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {backup["backup_id"]: backup for backup in told["backups"]}


@pytest.fixture
def alone(book: Book) -> Book:  # noqa: F811
    """A site whose only target is ``app``, in its third night of June."""
    book.site = a_site(caches=[], folders=[])
    book.now = at("2026-06-03T02:00:00")
    return book


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Three real nights, of which retention keeps two; then the store is gone."""
    made = for_command_line(files_scene(tmp_path, size=40_000), monkeypatch)
    for days in (-3, -2, -1):
        night(made, days_later(days))
    shutil.rmtree(tmp_path / "store")
    return made


def night(scene: Scene, clock: Callable[[], datetime]) -> str:
    return scene.night(f"night {clock()}", now=clock, ledger=Ledger(default_url(scene.folder), clock=clock))


def test_the_page_tells_of_backups_that_the_store_no_longer_has_and_its_hash_is_in_the_ledger(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    page = scene.folder / "证据.html"
    assert main(["evidence", "shop", "--out", str(page)]) == 0
    out = capsys.readouterr().out
    told = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert [backup["standing"] for backup in told["backups"]] == ["structure"] * 3
    assert all("unpacked to the end" in backup["proof"]["compared"] for backup in told["backups"])
    (removed,) = told["removals"]
    assert removed["backup_id"] == told["backups"][0]["backup_id"]
    assert removed["standing"] == "structure" and removed["reasons"][0].startswith("no rule keeps it: ")

    html = page.read_text(encoding="utf-8")
    assert "<h1>商店: " in html and removed["reasons"][0].split(",")[0] in unescape(html)
    for outside in ("<script", "<link", "<img", "<iframe", "http://", "https://", "url(", "@import", "onload"):
        assert outside not in html, "a page to keep asks for nothing and runs nothing"

    own = hashlib.sha256(page.read_bytes()).hexdigest()
    beside = hashlib.sha256(page.with_suffix(".json").read_bytes()).hexdigest()
    assert own in out and beside in out and beside in html
    (act,) = Ledger(default_url(scene.folder)).acts("shop", duty="export_evidence")
    assert act.state == "done" and act.finished and act.finished.checksum == f"sha256:{own}"
    head = told["ledger"]["head"]
    assert head in out and head in html
    assert main(["ledger", "verify", "shop", "--noted", head]) == 0
    assert main(["evidence", "shop", "--out", str(page), "--noted", head]) == 0
    assert head in json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["ledger"]["compared_with"]
    assert main(["evidence", "shop", "--out", str(page), "--noted", f"shop:3:{'0' * 64}"]) == 1
    assert "row 3 isn't the one whose hash was noted" in page.read_text(encoding="utf-8").replace("&#39;", "'")


def test_an_altered_row_breaks_the_chain_on_the_page_and_what_it_claims_is_not_believed(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Ledger(default_url(scene.folder)).database.file
    with sqlite3.connect(str(file)) as connection:
        connection.execute("DROP TRIGGER upkeep_ledger_no_update")
        (seq,) = connection.execute("SELECT max(seq) FROM upkeep_ledger WHERE duty = 'verify'").fetchone()
        changed = connection.execute(
            "UPDATE upkeep_ledger SET detail = replace(detail, '\"structure\"', '\"drilled\"') WHERE seq = ?", [seq]
        )
        assert changed.rowcount == 1
    connection.close()
    page = scene.folder / "e.html"
    assert main(["evidence", "shop", "--out", str(page)]) == 1
    what = f"row {seq} was altered: its contents don't match its hash"
    assert what in capsys.readouterr().out
    html = unescape(page.read_text(encoding="utf-8"))
    assert "Broken." in html and what in html and "upkeep_ledger_no_update is missing" in html
    told = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["ledger"]["whole"] is False and told["ledger"]["altered_rows"] == [seq]
    assert [backup["standing"] for backup in told["backups"]] == ["structure", "structure", "stored"]
    assert "it proves nothing until that is explained" in told["verdict"]


def test_days_are_those_of_the_site_and_both_are_counted_whole(alone: Book, tmp_path: Path) -> None:
    moments = [at("2026-06-30T00:00:00"), at("2026-06-30T23:59:59"), at("2026-07-01T00:00:00")]
    for moment in moments:
        alone.now = moment
        alone.back_up("app", id_of(moment), takes_s=0.1)
    alone.now = at("2026-07-03T12:00:00")
    told, _ = export(alone, tmp_path, "2026-06-30", "2026-06-30")
    assert list(by_id(told)) == [id_of(moment) for moment in moments[:2]], "UTC would have taken the 29th's evening"
    assert told["duties"]["back_up"]["done"] == 2
    told, _ = export(alone, tmp_path, "2026-07-01", "2026-07-02", target="app")
    assert list(by_id(told)) == [id_of(moments[2])]
    days = span_of("2026-03-29", "2026-03-29", ZoneInfo("Europe/Berlin"), alone.now)
    assert days.end - days.start == timedelta(hours=23)


def test_a_night_without_a_backup_is_missing_whether_nobody_tried_or_it_failed(alone: Book, tmp_path: Path) -> None:
    for day in (3, 4):
        alone.now = at(f"2026-06-0{day}T02:00:05")
        alone.back_up("app", id_of(alone.now))
    alone.now = at("2026-06-05T02:00:05")
    alone.back_up("app", id_of(alone.now), error=ToolFailed("access denied for 李园长", hint="fix it", status=2))
    # Nobody works on the 6th; the 7th is made up for by hand after the span's last midnight.
    alone.now = at("2026-06-08T01:00:00")
    alone.back_up("app", id_of(alone.now))
    alone.now = at("2026-06-08T03:00:00")
    told, page = export(alone, tmp_path, "2026-06-01", "2026-06-07")
    assert [(gap["opening"], gap["not_tried"], gap["failed"]) for gap in told["missing"]] == [
        ("2026-06-04T18:00:00+00:00", [], ["app"]), ("2026-06-05T18:00:00+00:00", ["app"], []),
    ]  # fmt: skip
    (target,) = told["targets"]
    assert (target["due"], target["taken"], target["missing"]) == (4, 2, 2), "care began within the 3rd's window"
    (failure,) = told["failures"]
    assert failure["why"].startswith("access denied for 李园长")
    assert failure["settled_at"] == "2026-06-07T17:00:10+00:00", "the next that went well, also after the span"
    assert "The site's ledger begins on 2026-06-03 02:00: nothing is known of the time before." in page


def test_the_highest_rung_counts_and_only_what_is_in_a_backup_speaks_against_it(alone: Book, tmp_path: Path) -> None:
    ids = {}
    for day, name in ((3, "drilled"), (4, "bad"), (5, "restored"), (6, "unlucky")):
        alone.now = at(f"2026-06-0{day}T02:00:00")
        ids[name] = id_of(alone.now)
        alone.night("app", ids[name])
    figures = {"tables": 8, "rows": 46_381, "checksums": 8, "checks": 1}
    alone.now = at("2026-06-10T01:00:00")

    def restore(name: str, duty: str, command: str, **more: Any) -> None:
        detail = {"where": "scratch:3306", "seconds": 3.6, "figures": figures, "summary": "alike", **more}
        alone.record(duty, "app", command.format(ids[name]), backup_id=ids[name], **detail)

    restore("restored", "prove", "restore {} to prove it", level="restored")
    wrong = ProofFailed("the restored copy differs: users has 9 rows, not 10", hint="don't rely on it")
    restore("bad", "prove", "restore {} to prove it", error=wrong, seconds=None)
    away = RestoreUnavailable("infrastructure: the scratch server is down", hint="start it")
    restore("unlucky", "prove", "restore {} to prove it", error=away, seconds=None)
    restore("drilled", "rebuild", "restore {} into scratch:3306")
    row = {"target": "app", "outcome": "rebuilt", "backup_id": ids["drilled"], "total": 42.0, "rpo_s": 7200}
    alone.record(
        "drill", "site", "rebuild the whole site", summary="rebuilt 1 of 1 targets", targets=[row], stood=True,
        partial=False, dry_run=False, rto_s=120.0, rpo_s=7200, goals={"rto_s": 100.0, "rpo_s": 86400.0},
    )  # fmt: skip
    told, page = export(alone, tmp_path, "2026-06-03", "2026-06-10")
    backups = by_id(told)
    assert {name: backups[backup_id]["standing"] for name, backup_id in ids.items()} == {
        "drilled": "drilled", "bad": "bad", "restored": "restored", "unlucky": "structure",
    }  # fmt: skip
    proof = backups[ids["restored"]]["proof"]
    assert (proof["where"], proof["seconds"], proof["at"]) == ("scratch:3306", 3.6, "2026-06-09T17:00:01+00:00")
    assert "46,381 rows" in proof["compared"] and "1 check of the site holds" in proof["compared"]
    after = {failure["kind"]: failure["after"] for failure in told["failures"]}
    assert after["ProofFailed"] == f"the backup counts as bad; the next good one is {ids['restored']}"
    (drill,) = told["drills"]
    assert (drill["rto_s"], drill["goals"]["rto_s"], drill["rpo_s"]) == (120.0, 100.0, 7200)
    assert "(RTO) 2 min 1 min 40 s missed" in page and "(RPO) 2 h 1 d kept" in page


def test_who_changed_what_is_live_who_approved_it_and_which_rules_were_set_aside(alone: Book, tmp_path: Path) -> None:
    alone.guard(overridden=True, override_reason="春节前必须完成备份 <b>", act={"approver": "李园长"})
    alone.record(
        "swap", "app", "exchange app for app_restored", summary="app is 20260602 now", act={"approver": "王主任"},
        waived={"backup": "盘已满"},
    )  # fmt: skip
    alone.record("migrate", "app", "migrate c0ffee", error=ToolFailed("lock timeout", hint="again", status=1))
    alone.kill_during("roll_out", "web", "set image web=shop:2 (was shop:1)", approver="王主任")
    told, page = export(alone, tmp_path, "2026-06-03", "2026-06-04")
    assert [(change["duty"], change["approver"], change["state"]) for change in told["changes"]] == [
        ("swap", "王主任", "done"), ("migrate", "", "failed"), ("roll_out", "王主任", "died"),
    ]  # fmt: skip
    assert [(one["by"], one["reason"]) for one in told["exemptions"]] == [
        ("李园长", "春节前必须完成备份 <b>"), ("王主任", "盘已满"),
    ]  # fmt: skip
    assert "worked outside the daily window 李园长 春节前必须完成备份 <b>" in page, "shown as it is, not obeyed"
    assert told["duties"]["roll_out"]["unfinished"] == 1


def test_no_secret_gets_onto_the_page(alone: Book, tmp_path: Path) -> None:
    act = alone.act("back_up", "app", "back up as nothing")
    with pytest.raises(ToolFailed), alone.ledger.record(act, secrets=[SECRET]) as entry:
        entry.note(reason=f"logged in with {SECRET}")
        raise ToolFailed(f"denied: mysql://upkeep:{SECRET}@db", hint="see", status=1)
    export(alone, tmp_path, "2026-06-03", "2026-06-03")
    for name in ("e.html", "e.json"):
        content = (tmp_path / name).read_bytes()
        assert b"denied" in content
        assert not [form for form in forms(SECRET) if form in content]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "2026-06-30", "--to", "2026-06-01"], "ends before it begins"),
        (["--from", "June"], "--from 'June' is not a date"),
        (["--from", "2999-01-01", "--to", "2999-01-02"], "begins on 2999-01-01"),
        (["--from", "2020-01-01", "--to", "2020-12-31"], "tells nothing of shop from 2020-01-01 to 2020-12-31"),
        (["--target", "nothing"], "has no target 'nothing'"),
        (["--noted", f"kindergarten:3:{'0' * 64}"], "of site 'kindergarten' says nothing of shop"),
        (["--out", "{}/nowhere/e.html"], "nowhere/e.html can't be written: No such file"),
        (["--out", "{}/store.json"], "is not a file name for the page"),
    ],
)
def test_what_can_not_be_told_is_refused_with_a_hint_and_leaves_neither_row_nor_file(
    scene: Scene, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    ledger = Ledger(default_url(scene.folder))
    before, files = ledger.heads(), sorted(scene.folder.iterdir())
    arguments = ["evidence", "shop", "--out", str(scene.folder / "e.html")]
    assert main([*arguments, *(option.format(scene.folder) for option in options)]) == 2
    error = capsys.readouterr().err
    assert said in error and "HINT: " in error
    assert (ledger.heads(), sorted(scene.folder.iterdir())) == (before, files)


def test_an_unknown_site_is_named_with_those_that_are_known(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "shup", "--out", str(scene.folder / "e.html")]) == 2
    assert "known sites: shop" in capsys.readouterr().err


def test_a_page_that_stands_is_replaced_whole_or_stays(alone: Book, tmp_path: Path) -> None:
    alone.night("app", id_of(alone.now))
    _, first = export(alone, tmp_path, "2026-06-03", "2026-06-03")
    alone.now += timedelta(hours=1)
    (tmp_path / "e.json").unlink()
    (tmp_path / "e.json").mkdir()
    with pytest.raises(EvidenceRefused, match=r"e\.json can't be written"):
        export(alone, tmp_path, "2026-06-03", "2026-06-03")
    assert first and "Evidence" in (tmp_path / "e.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".e.*")), "nothing half-written is left"
    assert verify(alone.ledger).clean
