"""Reading the new part of a file: whole lines, any encoding, any size, in constant memory; and knowing a file again."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.log_files import ERRORS, PLENTY, ROOT, lines, numbers, opened, read
from upkeep.engines.log_content import CHUNK, Damaged
from upkeep.engines.log_positions import SUPERSEDED, Position, Positions
from upkeep.engines.log_reader import LONGEST_LINE, Budget

DAY = "2026-11-21"


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "bz2": partial(bz2.compress, compresslevel=1),
    "xz": partial(lzma.compress, preset=0),
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def position_of(path: Path, offset: int) -> Position:
    positions = Positions()
    with opened(path) as content:
        positions.add(content, offset, finished=True, seen=DAY)
    (position,) = positions.kept(DAY, 10)
    return position


def continues_at(path: Path, *past: Position, claim: tuple[Path, ...] = ()) -> int | None:
    """Where a file goes on after such a past; None when it counts as never read."""
    positions = Positions(past)
    for other in (path, *claim):
        with opened(other) as content:
            positions.claim(content)
    with opened(path) as content:
        found = positions.find(content)
    return found.offset if found else None


# --- whole lines


def test_what_was_read_is_not_read_again(log: Path) -> None:
    log.write_text(lines(1, 10))
    first = read(log)
    assert numbers(first.errors) == list(range(1, 11))
    with log.open("a") as file:
        file.write(lines(11, 12, "INFO") + lines(13, 14))
    second = read(log, first.reading.end)
    assert numbers(second.errors) == [13, 14]
    assert (second.reading.lines, second.reading.finished, second.reading.end) == (4, True, log.stat().st_size)


def test_a_line_without_its_end_is_left_for_next_time(log: Path) -> None:
    log.write_text("ERROR one\nERROR tw")
    first = read(log)
    assert first.errors == ["ERROR one"]
    with log.open("a") as file:
        file.write("o\n")
    assert read(log, first.reading.end).errors == ["ERROR two"]


def test_a_line_that_nobody_will_finish_is_taken_and_its_rest_isnt_another_one(log: Path) -> None:
    log.write_text("ERROR one\nERROR tw")
    first = read(log, take_last=True)
    assert first.errors == ["ERROR one", "ERROR tw"]
    assert first.reading.lines == 2
    with log.open("a") as file:
        file.write("o ERROR\nERROR three\n")
    assert read(log, first.reading.end).errors == ["ERROR three"]


def test_an_empty_file_holds_nothing(log: Path) -> None:
    log.touch()
    seen = read(log, take_last=True)
    assert (seen.errors, seen.reading.lines, seen.reading.end, seen.reading.finished) == ([], 0, 0, True)


def test_a_start_in_the_middle_of_a_line_begins_with_the_next(log: Path) -> None:
    log.write_text("ERROR one\nERROR two\n")
    assert read(log, 3).errors == ["ERROR two"]
    assert read(log, 10).errors == ["ERROR two"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=5))
def test_however_a_file_grows_every_line_is_seen_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    log = tmp_path_factory.mktemp("growing") / "app.log"
    whole = "".join(f"ERROR message {number:06d} {'字' * (number % 7)}\n" for number in range(300)).encode()
    found, at, written = [], 0, 0
    for cut in [*cuts, len(whole)]:
        with log.open("ab") as file:
            file.write(whole[written : max(written, cut)])
        written = max(written, min(cut, len(whole)))
        seen = read(log, at)
        found += numbers(seen.errors)
        at = seen.reading.end
    assert found == list(range(300))


def test_lines_across_chunks_are_whole(log: Path) -> None:
    line = "ERROR message {:06d} " + "x" * 1000 + "\n"
    count = 3 * CHUNK // 1000
    log.write_text("".join(line.format(number) for number in range(count)))
    assert numbers(read(log).errors) == list(range(count))


def test_an_endless_line_is_bounded_and_counts_once(log: Path) -> None:
    with log.open("w") as file:
        file.write("ERROR one\nERROR endless ")
        for _ in range(5):
            file.write("ERROR " * (LONGEST_LINE // 6))
        file.write("\nERROR last\n")
    seen = read(log)
    assert [text[:13] for text in seen.errors] == ["ERROR one", "ERROR endless", "ERROR last"]
    assert (seen.reading.long_lines, seen.reading.lines) == (1, 3)


# --- what isn't plain UTF-8


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("message", ["数据库连接失败", "ਕ一ਕ"], ids=["Chinese", "bytes like line ends"])
def test_unicode_with_a_byte_order_mark_is_read(log: Path, encoding: str, message: str) -> None:
    text = f"ERROR {message}\n" * 3
    mark = {"utf-16-be": b"\xfe\xff", "utf-16-le": b"\xff\xfe"}.get(encoding, b"")
    log.write_bytes(mark + text.encode(encoding))
    first = read(log)
    assert [line.strip() for line in first.errors] == [f"ERROR {message}"] * 3
    with log.open("ab") as file:
        file.write(text.encode(encoding.replace("utf-16", "utf-16-le") if encoding == "utf-16" else encoding))
    assert [line.strip() for line in read(log, first.reading.end).errors] == [f"ERROR {message}"] * 3


def test_gbk_is_read(log: Path) -> None:
    log.write_bytes("ERROR 数据库连接失败\n".encode("gbk"))
    assert read(log).errors == ["ERROR 数据库连接失败"]


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(50_000),
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0>\0\x01\0\0\0" * 500,
        b"SQLite format 3\0\x10\0\x01\x01" * 99,
    ],
    ids=["random", "program", "database"],
)
def test_a_binary_file_is_recognised(log: Path, data: bytes) -> None:
    log.write_bytes(data + b"\nERROR\n")
    assert read(log).reading.binary


def test_some_nul_bytes_make_no_binary(log: Path) -> None:
    log.write_bytes(b"ERROR one\0 and a little more about it\n" * 50)
    seen = read(log)
    assert not seen.reading.binary
    assert seen.errors == ["ERROR one and a little more about it"] * 50


def test_the_hole_before_a_line_is_passed_over(log: Path) -> None:
    """A writer that didn't notice that its file was truncated goes on at its old offset."""
    with log.open("wb") as file:
        file.seek(3 * LONGEST_LINE)
        file.write(b"ERROR one\n")
    seen = read(log)
    assert seen.errors == ["ERROR one"]
    assert seen.reading.end == log.stat().st_size


def test_a_file_made_long_in_advance_is_read_as_far_as_it_is_written(log: Path) -> None:
    log.write_bytes(b"ERROR one\n" + bytes(2 * LONGEST_LINE))
    first = read(log, take_last=True)
    with log.open("r+b") as file:
        file.seek(10)
        file.write(b"ERROR two\n")
    assert first.reading.end == 10
    assert read(log, first.reading.end).errors == ["ERROR two"]


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_files_are_read_by_what_they_hold_not_by_their_name(log: Path, ending: str) -> None:
    data = lines(1, 30_000).encode()
    log.write_bytes(PACKERS[ending](data))
    assert numbers(read(log, take_last=True).errors) == list(range(1, 30_001))
    half = len(lines(1, 15_000))
    assert numbers(read(log, half, take_last=True).errors) == list(range(15_001, 30_001))


@pytest.mark.parametrize("ending", PACKERS)
def test_a_compressed_file_that_ends_too_early_gives_what_it_has(log: Path, ending: str) -> None:
    noise = "".join(f"ERROR message {number:06d} {os.urandom(40).hex()}\n" for number in range(12_000)).encode()
    packed = PACKERS[ending](noise)
    log.write_bytes(packed[: len(packed) * 3 // 4])
    seen = read(log, take_last=True)
    assert seen.reading.damaged
    assert not seen.reading.finished
    assert numbers(seen.errors) == list(range(len(seen.errors)))
    log.write_bytes(packed)
    rest = read(log, seen.reading.end, take_last=True)
    assert numbers(rest.errors) == list(range(len(seen.errors), 12_000)), "when it is whole it goes on from there"


def test_compressed_rubbish_is_damaged_not_fatal(log: Path) -> None:
    log.write_bytes(b"\x1f\x8b" + b"rubbish" * 100)
    with pytest.raises(Damaged):
        read(log)


# --- bounds


def test_a_budget_of_bytes_ends_the_pass_and_the_next_goes_on(log: Path) -> None:
    log.write_text(lines(1, 50_000))
    found: list[int] = []
    at, passes = 0, 0
    while at < log.stat().st_size:
        seen = read(log, at, limit=600_000)
        assert seen.reading.read <= 600_000 + CHUNK
        found += numbers(seen.errors)
        at, passes = seen.reading.end, passes + 1
    assert found == list(range(1, 50_001))
    assert passes > 2


def test_a_budget_is_shared_in_equal_parts() -> None:
    budget = Budget(900, 90)
    assert (budget.share(3).limit_bytes, round(budget.share(3).limit_s)) == (300, 30)
    budget.read = 900
    assert budget.over == "bytes"
    assert budget.share(1).over == "bytes"
    assert Budget(10, 0).over == "time"


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended_when_it_was_opened(log: Path) -> None:
    log.write_text(lines(1, 10))
    with opened(log) as content:
        with log.open("a") as file:
            file.write(lines(11, 20))
        assert b"".join(content.stream(0)) == lines(1, 10).encode()


def test_memory_stays_small_for_a_large_file_of_errors_without_end(tmp_path: Path) -> None:
    """300 MB: normal lines, a storm of errors with ids of their own, and one line of 100 MB."""
    log = tmp_path / "app.log"
    normal = lines(1, 20_000, "INFO").encode()
    with log.open("wb") as file:
        for number in range(120):
            file.write(normal)
            file.write(
                "".join(f"ERROR {os.urandom(6).hex()} {'消息' * 40} {n}\n" for n in range(number, number + 40)).encode()
            )
        file.write(b"ERROR" * 20_000_000 + b"\n")
    program = f"""
import sys
from upkeep.domain.log_tally import Tally
from upkeep.engines.log_content import content_of
from upkeep.engines.log_folder import LogFiles
from upkeep.engines.log_reader import Budget, read_new
from upkeep.engines.log_search import ErrorSearch
tally = Tally()
with LogFiles({str(tmp_path)!r}) as logs, logs.open("app.log") as file:
    print(read_new(content_of(file), 0, ErrorSearch({ERRORS!r}), lambda line: tally.add(line, "app.log"),
                   Budget({PLENTY}, 600), take_last=True).lines, tally.lines)
print(open("/proc/self/status").read())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
    )  # fmt: skip
    assert done.stdout.startswith(f"{120 * 20_040 + 1} {120 * 40}\n"), "the endless line has no word of its own"
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak
    assert int(peak[1]) < 100_000


# --- knowing a file again


def test_a_file_goes_on_where_it_was_left(log: Path) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, 500)
    assert continues_at(log, past) == 500


def test_a_renamed_file_goes_on_and_its_successor_begins_anew(log: Path) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, 500)
    old = log.rename(log.with_name("app.log.1"))
    log.write_text(lines(101, 300))
    assert continues_at(old, past, claim=(log,)) == 500
    assert continues_at(log, past, claim=(old,)) is None


def test_a_successor_that_is_like_its_renamed_forerunner_begins_anew(log: Path) -> None:
    """Logs without times in them may be alike for thousands of lines."""
    log.write_text("ERROR the same\n" * 1000)
    past = position_of(log, 3000)
    old = log.rename(log.with_name("app.log.1"))
    log.write_text("ERROR the same\n" * 2000)
    assert continues_at(old, past, claim=(log,)) == 3000
    assert continues_at(log, past, claim=(old,)) is None


@pytest.mark.parametrize("last", [102, 900], ids=["shorter than before", "outgrown its old length"])
def test_after_copytruncate_the_copy_goes_on_and_the_file_begins_anew(log: Path, last: int) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, 500)
    copy = log.with_name("app.log.1")
    copy.write_bytes(log.read_bytes())
    os.truncate(log, 0)
    with log.open("a") as file:
        file.write(lines(101, last))
    assert continues_at(log, past, claim=(copy,)) is None
    assert continues_at(copy, past, claim=(log,)) == 500


def test_another_file_in_a_reused_inode_begins_anew(log: Path) -> None:
    log.write_text(lines(101, 300))
    past = position_of(log, 500)
    log.write_text(lines(301, 500))
    assert continues_at(log, past) is None


@pytest.mark.parametrize("ending", PACKERS)
def test_a_compressed_copy_goes_on_where_the_plain_file_was_left(log: Path, ending: str) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, 3000)
    packed = log.with_name(f"app.log.2.{ending}")
    packed.write_bytes(PACKERS[ending](log.read_bytes()))
    log.unlink()
    assert continues_at(packed, past) == 3000


def test_a_compressed_copy_beside_its_original_is_known_too(log: Path) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, log.stat().st_size)
    packed = log.with_name("app.log.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert continues_at(packed, past, claim=(log,)) == log.stat().st_size


def test_a_moved_or_copied_folder_is_known_by_its_files_contents(log: Path) -> None:
    log.write_text(lines(1, 100))
    past = position_of(log, 3000)
    elsewhere = log.with_name("elsewhere.log")
    elsewhere.write_bytes(log.read_bytes())
    log.unlink()
    assert continues_at(elsewhere, past) == 3000


def test_a_short_file_is_not_taken_for_a_copy(log: Path) -> None:
    log.write_text("server started\n")
    past = position_of(log, 15)
    log.rename(log.with_name("gone"))
    other = log.with_name("other.log")
    other.write_text("server started\nERROR\n")
    assert continues_at(other, past) is None


def test_a_position_whose_file_was_truncated_still_serves_its_copy(log: Path) -> None:
    log.write_text(lines(1, 100))
    positions = Positions([position_of(log, 3000)])
    whole = log.read_bytes()
    os.truncate(log, 0)
    with opened(log) as content:
        assert positions.find(content) is None
        positions.add(content, 0, finished=True, seen=DAY)
    kept = positions.kept(DAY, 10)
    assert sorted(position.inode == SUPERSEDED for position in kept) == [False, True]
    copy = log.with_name("app.log.1")
    copy.write_bytes(whole)
    assert continues_at(copy, *kept) == 3000


def test_a_compressed_file_that_was_read_is_not_unpacked_again(log: Path) -> None:
    log.write_bytes(gzip.compress(lines(1, 100).encode()))
    positions = Positions()
    with opened(log) as content:
        assert not positions.is_done(content)
        positions.add(content, len(lines(1, 100)), finished=True, seen=DAY)
        assert positions.is_done(content)
    os.utime(log, (0, 0))
    with opened(log) as content:
        assert not positions.is_done(content)
        assert positions.find(content)


def test_positions_of_files_long_gone_are_forgotten() -> None:
    positions = Positions([Position(number, 5, seen=f"2026-11-{number:02d}") for number in range(1, 21)])
    positions.touch(3, seen="2026-11-21")
    assert [p.inode for p in positions.kept("2026-11-15", 4)] == [3, 20, 19, 18]
