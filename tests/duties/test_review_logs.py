"""Every line of a log is counted once, whatever happens to its file between and during the reviews."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.log_scene import STATE, Logs, killed
from tests.engines.log_files import age, lines, unprivileged
from upkeep.duties import log_review
from upkeep.duties.log_memory import FolderMemory
from upkeep.duties.log_review import read_folder
from upkeep.duties.review_logs import review_logs
from upkeep.engines.log_reader import Budget
from upkeep.engines.log_search import ErrorSearch
from upkeep.errors import Busy, SiteFileError, StoreError
from upkeep.site import LogFolder
from upkeep.stores.local_store import LocalStore


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    """A folder that was reviewed once, with ten errors in app.log."""
    logs = Logs(tmp_path)
    logs.write(1, 10)
    assert logs.night() == 10
    return logs


# --- what is counted


def test_only_what_is_new_is_counted(logs: Logs) -> None:
    assert logs.night() == 0
    logs.write(11, 13)
    assert logs.night() == 3
    assert logs.night() == 0


def test_the_record_holds_what_a_report_needs(logs: Logs) -> None:
    logs.write(11, 12)
    (logs.path / "web.log").write_text("ERROR password=hunter2 of 用户 7\nall is well\n")
    result = logs.review("tonight")
    record, detail = logs.records()[-1], logs.detail
    assert record.started.target == str(logs.path)
    assert record.finished
    assert (record.finished.result, record.finished.rows) == ("done", 3)
    assert record.finished.bytes == len(lines(11, 12)) + (logs.path / "web.log").stat().st_size
    assert (detail["errors"], detail["lines"], detail["files"], detail["kinds"], detail["new"]) == (3, 4, 2, 2, 1)
    assert detail["error_files"] == {"app.log": 2, "web.log": 1}
    assert detail["top"] == [
        {"message": "ERROR password=*** of 用户 <n>", "count": 1, "new": True, "file": "web.log",
         "sample": "ERROR password=*** of 用户 7"},
        {"message": "ERROR message <n> of this log", "count": 2, "new": False, "file": "app.log",
         "sample": "2026-11-21 02:00:03 ERROR message 000011 of this log"},
    ]  # fmt: skip
    assert (detail["light"], detail["stopped"], detail["unread"], detail["remarks"]) == ("amber", "", 0, [])
    assert detail["summary"] == (
        "3 error lines of 2 kinds (1 new) in 4 lines; first among the new: ERROR password=*** of 用户 <n>"
    )
    assert (result["errors"], result["new"]) == (3, 1)
    assert len(json.dumps(result)) < 4000


def test_a_kind_is_new_once(logs: Logs) -> None:
    logs.write(11, 11)
    assert logs.review("one")["new"] == 0
    with logs.app.open("a") as file:
        file.write("FATAL out of memory\n")
    assert logs.review("two")["new"] == 1
    with logs.app.open("a") as file:
        file.write("FATAL out of memory\n")
    assert logs.review("three")["new"] == 0
    assert logs.detail["light"] == "green"


def test_a_detail_of_the_worst_lines_still_fits_into_the_ledger(logs: Logs) -> None:
    for number in range(30):
        kind = chr(ord("g") + number % 15) * (number + 3)
        quote = '"'
        hostile = logs.path / f"{quote * 100}{number}.log"
        hostile.write_text(f"ERROR {kind} {chr(92) * 50} {quote * 301} {'字' * 500}\n")
        (logs.path / f"{'x' * 200}{number}.log").symlink_to("nothing")
    logs.review("tonight")
    assert len(logs.detail["top"]) == 10
    assert "left_out" not in logs.detail


def test_a_dry_run_counts_and_remembers_nothing(logs: Logs) -> None:
    logs.write(11, 13)
    before, records = logs.state, len(logs.records())
    assert logs.review("dry", dry_run=True)["errors"] == 3
    assert (logs.state, len(logs.records())) == (before, records)
    assert logs.night() == 3


def test_nothing_in_the_logs_is_changed(logs: Logs) -> None:
    logs.write(11, 13)
    before = {path: (path.stat(), path.read_bytes()) for path in logs.path.iterdir()}
    logs.night()
    for path, (state, content) in before.items():
        now = path.stat()
        assert (now.st_mtime_ns, now.st_mode, now.st_ino, path.read_bytes()) == (
            state.st_mtime_ns, state.st_mode, state.st_ino, content,
        )  # fmt: skip


# --- the first review


def test_a_first_review_looks_back_a_day_and_not_at_all_that_there_is(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.write(1, 10)
    logs.write(11, 30, logs.path / "old.log")
    age(logs.path / "old.log", hours=30)
    (logs.path / "app.log.2.gz").write_bytes(gzip.compress(lines(31, 60).encode()))
    assert logs.night() == 10
    assert "a first review" in logs.detail["remarks"][0]
    assert (logs.detail["since"], logs.detail["new"], logs.detail["light"]) == ("", 0, "green")
    logs.write(31, 32, logs.path / "old.log")
    assert logs.night() == 2, "only what was added since"


def test_of_a_large_file_a_first_review_reads_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_review, "FIRST_BYTES", len(lines(1, 10)) + 5)
    logs = Logs(tmp_path)
    logs.write(1, 1000)
    assert logs.night() == 10


# --- rotation


def test_rename(logs: Logs) -> None:
    logs.write(11, 12)
    logs.app.rename(logs.path / "app.log.1")
    logs.write(13, 15)
    assert logs.night() == 5
    assert logs.night() == 0


def test_rename_while_the_program_still_writes_into_the_old_file(logs: Logs) -> None:
    old = logs.app.rename(logs.path / "app.log.1")
    logs.write(11, 11)
    assert logs.night() == 1
    logs.write(12, 13, old)
    assert logs.night() == 2


def test_rename_of_several_generations(logs: Logs) -> None:
    for generation in range(3, 0, -1):
        logs.write(generation, generation, logs.path / f"app.log.{generation}")
    assert logs.night() == 3
    logs.write(11, 12)
    for generation in range(3, 0, -1):
        (logs.path / f"app.log.{generation}").rename(logs.path / f"app.log.{generation + 1}")
    logs.app.rename(logs.path / "app.log.1")
    logs.write(13, 13)
    assert logs.night() == 3
    assert logs.night() == 0


@pytest.mark.parametrize("last", [15, 100], ids=["shorter than before", "outgrown its old length"])
def test_copytruncate(logs: Logs, last: int) -> None:
    logs.write(11, 12)
    shutil.copy2(logs.app, logs.path / "app.log.1")
    os.truncate(logs.app, 0)
    logs.write(13, last)
    assert logs.night() == last - 10
    assert logs.night() == 0


def test_copytruncate_under_a_writer_that_leaves_a_hole(logs: Logs) -> None:
    size = logs.app.stat().st_size
    shutil.copy2(logs.app, logs.path / "app.log.1")
    with logs.app.open("r+b") as file:
        file.truncate(0)
        file.seek(size)
        file.write(lines(11, 13).encode())
    assert logs.night() == 3
    assert logs.night() == 0


def test_truncated_without_a_copy(logs: Logs) -> None:
    os.truncate(logs.app, 0)
    assert logs.night() == 0
    logs.write(11, 12)
    assert logs.night() == 2


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_at_once(logs: Logs, ending: str) -> None:
    logs.write(11, 12)
    compress(logs.app.rename(logs.path / "app.log.1"), ending)
    logs.write(13, 15)
    assert logs.night() == 5
    assert logs.night() == 0


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_a_day_later(logs: Logs, ending: str) -> None:
    logs.write(11, 12)
    old = logs.app.rename(logs.path / "app.log.1")
    logs.write(13, 13)
    assert logs.night() == 3
    compress(old, ending).rename(logs.path / f"app.log.2.{ending}")
    logs.app.rename(logs.path / "app.log.1")
    logs.write(14, 15)
    assert logs.night() == 2
    (logs.path / f"app.log.2.{ending}").rename(logs.path / f"app.log.3.{ending}")
    assert logs.night() == 0


def test_compressed_twice_over_between_two_reviews(logs: Logs) -> None:
    logs.write(11, 12)
    compress(logs.app.rename(logs.path / "app.log.2"), "gz")
    logs.write(13, 15)
    compress(logs.app.rename(logs.path / "app.log.1"), "gz")
    logs.write(16, 16)
    assert logs.night() == 6
    assert logs.night() == 0


def test_compression_under_way(logs: Logs) -> None:
    """gzip has half of it, the original is still there; the next night only the whole .gz is."""
    logs.write(11, 3000)
    old = logs.app.rename(logs.path / "app.log.1")
    whole = gzip.compress(old.read_bytes())
    packed = logs.path / "app.log.1.gz"
    packed.write_bytes(whole[: len(whole) // 2])
    assert logs.night() == 2990
    assert any("app.log.1.gz" in remark for remark in logs.detail["remarks"])
    packed.write_bytes(whole)
    old.unlink()
    assert logs.night() == 0


def test_a_compressed_file_that_nobody_knows_is_read_if_it_is_new_and_only_then(logs: Logs) -> None:
    (logs.path / "new.log.gz").write_bytes(gzip.compress(lines(1, 7).encode()))
    (logs.path / "old.log.gz").write_bytes(gzip.compress(lines(1, 7).encode()))
    age(logs.path / "old.log.gz", hours=30)
    assert logs.night() == 7
    assert logs.night() == 0


def test_a_restored_folder_on_another_disk_is_known_again(logs: Logs) -> None:
    shutil.copytree(logs.path, logs.folder / "copy")
    shutil.rmtree(logs.path)
    (logs.folder / "copy").rename(logs.path)
    logs.write(11, 12)
    assert logs.night() == 2


def compress(path: Path, ending: str) -> Path:
    subprocess.run(
        [{"gz": "gzip", "zst": "zstd"}[ending], "-q", *(["--rm"] if ending == "zst" else []), path], check=True
    )
    return path.with_name(f"{path.name}.{ending}")


# --- trouble


def test_a_missing_folder_is_skipped_by_name_and_stops_no_other(logs: Logs) -> None:
    logs.write(11, 11)
    logs.settings["logs"] = [{"path": "/var/log/no-such-folder"}, {"path": str(logs.path)}]
    result = logs.review("tonight")
    assert result["errors"] == 1
    assert "does not exist" in result["folders"]["/var/log/no-such-folder"]["skipped"]
    states = {record.started.target: record.state for record in logs.records()[-2:]}
    assert states == {"/var/log/no-such-folder": "skipped", str(logs.path): "done"}


def test_a_folder_on_a_disk_that_hangs_is_skipped_in_time_and_stops_no_other(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hanging(folder: LogFolder, *rest: Any) -> Any:
        return read_folder(folder, *rest) if folder.path == str(logs.path) else time.sleep(20)

    monkeypatch.setattr("upkeep.duties.review_logs.read_folder", hanging)
    monkeypatch.setattr("upkeep.duties.review_logs.GRACE_S", 0.2)
    logs.write(11, 11)
    logs.settings["logs"] = [{"path": "/mnt/hangs"}, {"path": str(logs.path)}]
    result = review_logs(logs.scene.job("tonight", now=logs.now), limit_s=2)
    assert result["errors"] == 1
    assert result["folders"]["/mnt/hangs"]["skipped"] == "no answer within 1.2 s"


def test_a_folder_that_is_away_for_a_while_goes_on_where_it_was(logs: Logs) -> None:
    logs.path.rename(logs.folder / "away")
    assert logs.night() == 0
    (logs.folder / "away").rename(logs.path)
    logs.write(11, 12)
    assert logs.night() == 2


def test_an_unreadable_file_is_named_and_counted_once_it_can_be_read() -> None:
    with unprivileged() as folder:
        (folder / "app.log").write_text(lines(1, 3))
        (folder / "app.log").chmod(0)
        (folder / "web.log").write_text(lines(4, 5))
        memory = FolderMemory(datetime.now(UTC) - timedelta(hours=1))
        first = one_review(folder, memory)
        assert first.tally.lines == 2
        assert first.unreadable == first.remarks == ["app.log: Permission denied"]
        (folder / "app.log").chmod(0o644)
        age(folder / "app.log", hours=48)
        assert one_review(folder, first.memory).tally.lines == 3


def test_a_folder_whose_files_cannot_be_read_is_not_green(logs: Logs) -> None:
    whole = gzip.compress(lines(11, 3000).encode())
    (logs.path / "app.log.1.gz").write_bytes(whole[: len(whole) // 2])
    (logs.path / "app.log.2.gz").write_bytes(b"\x1f\x8bnonsense")
    logs.review("tonight")
    assert logs.detail["light"] == "amber"
    assert "; app.log." in logs.detail["summary"] and "can't be unpacked" in logs.detail["summary"]
    assert "this account may read" in logs.detail["hint"]


def test_a_link_is_named_and_does_no_harm(logs: Logs) -> None:
    (logs.path / "link.log").symlink_to(logs.app)
    logs.review("tonight")
    assert logs.detail["light"] == "green"
    assert logs.detail["remarks"] == ["link.log: it is a symbolic link"]


def test_a_folder_that_held_files_and_is_empty_now_is_not_green(logs: Logs) -> None:
    logs.app.unlink()
    logs.days += 1
    logs.review("tonight")
    assert logs.detail["light"] == "amber"
    assert logs.detail["summary"] == "no errors in 0 lines; no file is left of those that the last review read"
    logs.days += 1
    logs.review("tomorrow")
    assert logs.detail["light"] == "green", "it was said; a job that logs once a month is well"


def one_review(folder: Path, memory: FolderMemory) -> log_review.Review:
    settings = LogFolder(path=str(folder))
    return read_folder(settings, memory, ErrorSearch(settings.errors), Budget(1 << 40, 60), datetime.now(UTC))


def test_files_that_vanish_under_the_review_do_no_harm(logs: Logs) -> None:
    for number in range(200):
        logs.write(number, number, logs.path / f"{number}.log")

    def remove() -> None:
        for number in range(200):
            (logs.path / f"{number}.log").unlink()

    gone = threading.Thread(target=remove)
    gone.start()
    result = logs.review("tonight")
    gone.join()
    assert 0 <= result["errors"] <= 200
    assert logs.records()[-1].state == "done"


def test_two_ways_to_read_one_folder_are_kept_apart(logs: Logs) -> None:
    logs.settings["logs"] = [
        {"path": str(logs.path), "patterns": ["app.log*"]},
        {"path": str(logs.path), "patterns": ["access.log*"], "errors": ['" 5\\d\\d ']},
    ]
    (logs.path / "access.log").write_text('10.0.0.7 - - [21/Nov/2026:02:00:03 +0800] "GET /x HTTP/1.1" 502 157 "-"\n')
    result = logs.review("one")
    assert {name.rpartition(" ")[2]: folder["errors"] for name, folder in result["folders"].items()} == {
        "(app.log*)": 10, "(access.log*)": 1,
    }  # fmt: skip
    assert logs.review("two")["errors"] == 0


def test_a_broken_pattern_is_told_before_anything_is_read(logs: Logs) -> None:
    logs.settings["logs"] = [{"path": str(logs.path), "errors": ["(ERROR"]}]
    with pytest.raises(SiteFileError, match=r"\(ERROR"):
        logs.review("tonight")


def test_two_reviews_never_run_side_by_side(logs: Logs) -> None:
    job = logs.scene.job("other")
    with job.hold("_state/review_logs"), pytest.raises(Busy):
        logs.review("tonight")


# --- limits


def test_what_a_limit_leaves_is_read_the_next_nights(logs: Logs) -> None:
    logs.write(11, 40_000)
    for number in range(5):
        logs.write(1, 10, logs.path / f"small{number}.log")
    counts = [logs.night(limit_bytes=600_000)]
    assert logs.detail["stopped"] == "bytes"
    assert "in 1 of 6 files" in logs.detail["remarks"][-1]
    assert logs.detail["unread"] > 0
    assert len(logs.detail["error_files"]) == 6, "the small files came first"
    while counts[-1]:
        counts.append(logs.night(limit_bytes=600_000))
    assert sum(counts) == 39_990 + 50
    assert len(counts) > 3
    assert logs.detail["stopped"] == ""


def test_files_that_a_limit_left_untouched_are_read_later_although_they_are_old_by_then(logs: Logs) -> None:
    logs.write(11, 13)
    for number in range(3):
        logs.write(1, 10, logs.path / f"other{number}.log")
    (logs.path / "packed.log.gz").write_bytes(gzip.compress(lines(1, 7).encode()))
    assert logs.night(limit_bytes=0) == 0
    assert logs.detail["stopped"] == "bytes"
    for path in logs.path.iterdir():
        age(path, hours=100)
    assert logs.night() == 3 + 30 + 7


def test_a_limit_of_time_is_said_too(logs: Logs) -> None:
    logs.write(11, 13)
    result = review_logs(logs.scene.job("tonight", now=logs.now), limit_s=0)
    assert result["stopped"]
    assert logs.detail["stopped"] == "time"
    assert "leave the largest files out of this folder's patterns" in logs.detail["hint"]
    assert logs.night() == 3


def test_one_huge_folder_leaves_the_others_their_share(logs: Logs) -> None:
    other = logs.folder / "other"
    other.mkdir()
    logs.settings["logs"] = [{"path": str(logs.path)}, {"path": str(other)}]
    assert logs.night() == 0
    logs.write(11, 40_000)
    logs.write(1, 5, other / "app.log")
    logs.review("tonight", limit_bytes=1_200_000)
    assert [record.finished.rows for record in logs.records()[-2:] if record.finished][1] == 5


# --- killed, and without a store


@pytest.mark.parametrize("moment", ["while reading", "before its state is kept", "after its state is kept"])
def test_killed_at_any_moment_nothing_is_lost(logs: Logs, moment: str) -> None:
    logs.write(11, 20)
    ended = killed(logs.folder, moment)
    assert ended.returncode == -signal.SIGKILL, ended.stdout
    again = logs.night()
    counted = sum(record.finished.rows or 0 for record in logs.records() if record.finished)
    assert counted >= 20
    if moment == "while reading":
        assert (again, counted, logs.records()[-2].state) == (10, 20, "died")
    elif moment == "before its state is kept":
        assert again == 10, "counted again rather than not at all"
    else:
        assert (again, counted) == (0, 20)
    assert logs.night() == 0


def test_a_retry_of_a_finished_run_counts_nothing_twice(logs: Logs) -> None:
    logs.write(11, 12)
    assert logs.review("tonight")["errors"] == 2
    assert logs.review("tonight")["errors"] == 0


def test_while_the_store_is_away_the_spool_remembers(logs: Logs) -> None:
    logs.write(11, 12)
    (logs.folder / "store").rename(logs.folder / "unmounted")
    assert logs.review("first", store=nowhere(logs))["waits_in"].endswith("/spool")
    assert any("out of date" in remark for remark in logs.detail["remarks"])
    assert logs.detail["light"] == "amber"
    logs.write(13, 13)
    assert logs.review("second", store=nowhere(logs))["errors"] == 1
    (logs.folder / "unmounted").rename(logs.folder / "store")
    logs.write(14, 15)
    result = logs.review("third")
    assert (result["errors"], result["waits_in"]) == (2, "")
    assert not (logs.folder / "spool/shop/_state/review_logs.json").exists()
    assert logs.night() == 0


def nowhere(logs: Logs) -> LocalStore:
    return LocalStore(logs.folder / "nowhere")


def test_without_store_and_spool_it_fails_and_counts_again(logs: Logs) -> None:
    logs.write(11, 12)
    logs.settings["spool"] = str(logs.folder / "file")
    (logs.folder / "file").write_text("in the way")
    with pytest.raises(StoreError, match="spool"):
        logs.review("tonight", store=nowhere(logs))


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"format": 99}', b'{"format": 1, "folders": {"/x": 1}}', b"\xff" * 9]
)
def test_a_damaged_memory_is_told_and_begins_anew(logs: Logs, damage: bytes) -> None:
    content = damage.replace(b"/x", str(logs.path).encode())
    (logs.folder / STATE).write_bytes(content)
    logs.write(11, 12)
    assert logs.night() == 12, "as in a first review"
    assert any("no longer known" in remark for remark in logs.detail["remarks"])
    assert logs.night() == 0


def test_what_is_remembered_stays_small(logs: Logs) -> None:
    for number in range(50):
        logs.write(1, 1, logs.path / f"{number}.log")
    logs.night()
    assert (logs.folder / STATE).stat().st_size < 51 * 250 + 1000
