"""What a cleaning leaves behind: the right files, a record that tells all, and a list of what is gone."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.cleaning import Cleaning
from tests.duties.log_scene import Logs
from tests.engines.log_files import ROOT, age
from upkeep.duties import clean_logs as duty
from upkeep.duties.clean_logs import clean_logs, plan_clean_logs
from upkeep.duties.until import Until
from upkeep.engines import log_cleaning
from upkeep.errors import Busy, Stopped, StoreError, StoreUnreachable
from upkeep.stores.local_store import LocalStore


@pytest.fixture
def cleaning(tmp_path: Path) -> Cleaning:
    return Cleaning(tmp_path)


def test_the_record_tells_what_went_and_why_and_what_stays_and_why(cleaning: Cleaning) -> None:
    cleaning.rule = {"keep_days": 30, "compress_over_mb": 0.1}
    for number in range(5):
        cleaning.old(f"app.log.{number}")
    big = cleaning.old("big.log", days=3)
    cleaning.old("young.log", days=2, content=b"x")
    taken = 6 * big.stat().st_blocks * 512
    result = cleaning.clean()
    assert cleaning.names() == ["big.log.zst", "young.log"]
    record = cleaning.records()[0]
    detail = record.detail
    assert record.finished
    freed = taken - (cleaning.path / "big.log.zst").stat().st_blocks * 512
    assert (record.state, record.finished.rows, record.finished.bytes) == ("done", 6, freed)
    assert record.started.command == f"clean {cleaning.path}: keep 30 d, compress over 0.1 MB after 1 d"
    assert (detail["removed"], detail["compressed"], detail["kept"], detail["light"]) == (5, 1, 1, "green")
    assert detail["summary"].startswith("5 files removed and 1 file compressed, ")
    why = {reason["why"]: (reason["action"], reason["files"], reason["examples"]) for reason in detail["reasons"]}
    action, files, examples = why["last written more than 30 d ago"]
    assert (action, files, len(examples)) == ("remove", 5, 3)
    assert set(examples) < {f"app.log.{number}" for number in range(5)}
    assert why["written within the last 30 d"] == ("keep", 1, ["young.log"])
    assert detail["free_before"] > 0 < detail["free_after"]
    assert (result["removed"], result["compressed"], result["bytes"], result["stopped"]) == (5, 1, freed, "")


def test_everything_that_is_gone_is_listed_in_the_store_and_the_record_vouches_for_the_list(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "LIST_FILES", 3)
    names = {f"a/{number}\n.log" for number in range(4)} | {f"{number}.log" for number in range(4)}
    for name in names:
        cleaning.old(name)
    cleaning.clean()
    assert {f"{line['folder']}{name}" for line in cleaning.lists() for name in line["removed"]} == names
    record = cleaning.records()[0]
    assert len(record.detail["lists"]) == 2
    lists = [gzip.decompress((cleaning.folder / "store" / key).read_bytes()) for key in record.detail["lists"]]
    assert record.finished
    assert record.finished.checksum == hashlib.sha256(b"".join(lists)).hexdigest()


def test_only_folders_with_a_rule_are_cleaned(cleaning: Cleaning) -> None:
    cleaning.rule = {}
    cleaning.old("app.log", days=5000)
    assert cleaning.clean()["folders"] == {}
    assert cleaning.names() == ["app.log"]
    assert cleaning.records() == []


def test_a_dry_run_and_a_plan_say_what_would_be_done_and_leave_no_trace(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    result = cleaning.clean(dry_run=True)
    (folder,) = result["folders"].values()
    assert folder["summary"].startswith("1 file would be removed")
    (plan,) = plan_clean_logs(cleaning.scene.job("plan")).values()
    assert not isinstance(plan, Exception)
    assert [line.split(",")[0] for line in plan.lines()] == ["remove 1 file"]
    assert (cleaning.names(), cleaning.records(), cleaning.lists()) == (["app.log"], [], [])


def test_a_folder_that_isnt_there_is_amber_and_doesnt_stop_the_others(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    missing = {"path": str(cleaning.folder / "missing"), "keep_days": 1}
    scene = cleaning.scene
    scene.target["logs"].insert(0, missing)
    time.sleep(0.03)
    result = clean_logs(scene.job("sunday"))
    assert cleaning.names() == []
    first, second = cleaning.records()
    assert (first.state, first.detail["light"], second.state) == ("skipped", "amber", "done")
    assert "does not exist" in result["folders"][missing["path"]]["skipped"]
    assert first.detail["hint"].startswith("fix it in the site file")


def test_a_folder_that_the_site_lists_by_itself_goes_by_its_own_rule_or_by_none(cleaning: Cleaning) -> None:
    for name, days in (("app.log", 40), ("audit/new.log", 40), ("audit/old.log", 200), ("read/app.log", 200)):
        cleaning.old(name, days=days)
    scene = cleaning.scene
    scene.target["logs"] += [
        {"path": str(cleaning.path / "audit"), "keep_days": 180},
        {"path": str(cleaning.path / "read")},
    ]
    time.sleep(0.03)
    clean_logs(scene.job("sunday"))
    assert cleaning.names() == ["audit/new.log", "read/app.log"]


def test_at_the_end_of_the_window_the_rest_is_left_for_next_time(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_cleaning, "ASK_EVERY", 10)
    for number in range(30):
        cleaning.old(f"{number}.log")
    asked = iter(range(1000))
    opened = datetime.now(UTC)

    def now() -> datetime:
        return opened + timedelta(seconds=next(asked))

    result = cleaning.clean(until=Until(opened + timedelta(seconds=4)), changes={"now": now})
    left = len(cleaning.names())
    assert 0 < left < 30
    assert (result["stopped"], result["removed"]) == ("the window closed", 30 - left)
    detail = cleaning.records()[0].detail
    assert (detail["light"], detail["stopped"]) == ("amber", "the window closed")
    assert len([name for line in cleaning.lists() for name in line["removed"]]) == 30 - left
    assert cleaning.clean("next week")["removed"] == left


def test_told_to_stop_it_stops_and_records_what_it_did(cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_cleaning, "ASK_EVERY", 10)
    for number in range(30):
        cleaning.old(f"{number}.log")
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        cleaning.clean(until=Until(told_to_stop=lambda: next(asked)))
    record = cleaning.records()[0]
    assert record.finished
    assert (record.state, record.finished.rows, len(cleaning.names())) == ("failed", 20, 10)
    assert len([name for line in cleaning.lists() for name in line["removed"]]) == 20


def test_two_runs_never_work_at_once(cleaning: Cleaning) -> None:
    with cleaning.scene.job("other").hold("_state/clean_logs"), pytest.raises(Busy):
        cleaning.clean()


class _Away(LocalStore):
    def put(self, key: str, data: bytes) -> None:
        raise StoreUnreachable(f"{key} can't be put", hint="wait")


def test_while_the_store_is_away_the_list_waits_in_the_spool_and_is_lost_silently_nowhere(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    away = _Away(cleaning.folder / "store")
    cleaning.clean(changes={"store": away})
    assert [line["removed"] for line in cleaning.lists("spool")] == [["app.log"]]
    assert cleaning.records()[0].detail["lists_wait_in"].endswith("/spool")
    cleaning.old("app.log")
    with pytest.raises(StoreError):
        cleaning.clean(changes={"store": away, "spool": away})
    assert [record.state for record in cleaning.records()] == ["done", "failed"]


def test_old_lists_are_removed(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    cleaning.clean()
    (path,) = (cleaning.folder / "store" / "shop" / "_cleaned").iterdir()
    age(path, 401 * 24)
    cleaning.clean("next year")
    assert not path.exists()
    assert cleaning.records()[-1].detail["summary"] == "1 list older than 400 d removed"


def test_a_detail_of_the_worst_names_still_fits_into_the_ledger(cleaning: Cleaning) -> None:
    cleaning.rule = {"keep_days": 30, "compress_over_mb": 0.1}
    for number in range(4):
        worst = '"\\' * 60
        cleaning.old(f"{worst}{number}.log")
        cleaning.old(f"{worst}{number}.gz.log", days=3)
        cleaning.old(f"{worst}young{number}.log", days=1.5, content=b"x")
        (cleaning.path / f"{worst}link{number}.log").symlink_to("nowhere")
    cleaning.clean()
    assert cleaning.records()[0].detail["removed"] == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.duties.cleaning import Cleaning
from upkeep.duties.clean_logs import GoneLists
GoneLists.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Cleaning(Path(sys.argv[1])).clean("killed")
"""


def test_a_killed_run_shows_as_died_and_the_next_one_goes_on(cleaning: Cleaning) -> None:
    cleaning.old("a.log")
    cleaning.old("b/b.log")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(cleaning.folder)], cwd=ROOT, check=False, capture_output=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert cleaning.clean("again")["removed"] == 1
    assert [record.state for record in cleaning.records()] == ["died", "done"]
    cleaning.scene.require_clean_ledger()


# --- together with review_logs


def compress_all(logs: Logs, **rule: Any) -> dict[str, Any]:
    target = {**logs.scene.target, "logs": [{"path": str(logs.path), "compress_over_mb": 0, **rule}]}
    time.sleep(0.03)
    return clean_logs(type(logs.scene)(logs.folder, target).job("sunday", now=logs.now))


@pytest.mark.parametrize("read", ["read to its end", "read in part", "never read"])
def test_a_review_counts_every_line_of_a_compressed_log_once(tmp_path: Path, read: str) -> None:
    logs = Logs(tmp_path)
    logs.write(1, 10)
    assert logs.night() == 10
    rotated = logs.path / "app.log.1"
    if read == "never read":
        logs.write(11, 30, rotated)
    else:
        logs.app.rename(rotated)
        if read == "read in part":
            logs.write(11, 30, rotated)
    assert compress_all(logs, compress_after_days=0)["compressed"] >= 1
    assert not rotated.exists()
    assert (logs.path / "app.log.1.zst").exists()
    assert logs.night() == (0 if read == "read to its end" else 20)
    assert logs.night() == 0


def test_the_list_of_a_run_is_small_json(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    assert len(json.dumps(cleaning.clean())) < 2000
