"""Only what a rule lets go is touched, whatever else happens in the folder; and a compressed log is the same log."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engines.log_files import NOBODY, ROOT, age, unprivileged
from tests.servers.small_disk import small_disk
from upkeep.domain.clean_logs import Cleaned, CleaningRule
from upkeep.engines import log_cleaning, log_compression, open_files
from upkeep.engines.log_cleaning import Gone, clean_folder
from upkeep.engines.open_files import OpenFiles
from upkeep.errors import SourceError

AS_ROOT = os.geteuid() == 0
DAY_H = 24
TEXT = b"2026-10-10 02:00:03 INFO all is well\n" * 4000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    return path


def old(path: Path, days: float = 40, content: bytes = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path, days * DAY_H)
    return path


def clean(folder: Path, *, dry_run: bool = False, **rule: Any) -> Cleaned:
    time.sleep(0.03)  # what came within the last tick of the kernel's clock counts as new
    settings = {"patterns": ("*.log", "*.log.*"), **(rule or {"keep_days": 30})}
    return clean_folder(str(folder), CleaningRule(**settings), now=datetime.now(UTC), dry_run=dry_run)


def packed(folder: Path, **more: Any) -> Cleaned:
    return clean(folder, compress_over_mb=0.1, **more)


def reasons(cleaned: Cleaned, action: str = "keep") -> dict[str, list[str]]:
    return {verdict.reason: tally.examples for verdict, tally in cleaned.tallies.items() if verdict.action == action}


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def packed_bytes(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-cq"], input=content, check=True, capture_output=True).stdout


def unpacked(path: Path) -> bytes:
    return subprocess.run(["zstd", "-dcq", str(path)], check=True, capture_output=True).stdout


HELD = """
import sys, time
f = open(sys.argv[1])
print(flush=True)
time.sleep(60)
"""
MAPPED = """
import mmap, sys, time
with open(sys.argv[1]) as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print(flush=True)
time.sleep(60)
"""


PATH_ONLY = """
import os, sys, time
f = os.open(sys.argv[1], os.O_PATH)
print(flush=True)
time.sleep(60)
"""
MNT_DETACH = 2


@contextmanager
def dead_mount(folder: Path) -> Iterator[None]:
    """A filesystem whose server never answers, as that of a network folder that is gone."""
    libc, server = ctypes.CDLL(None), os.open("/dev/fuse", os.O_RDWR)
    how = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"gone", os.fsencode(folder), b"fuse", 0, how):
        os.close(server)
        pytest.skip("this machine doesn't let us mount")
    try:
        yield
    finally:
        os.close(server)  # whoever still waits is told that it is over
        libc.umount2(os.fsencode(folder), MNT_DETACH)


@contextmanager
def held_open(path: Path, how: str = HELD) -> Iterator[None]:
    """A real process that has the file open."""
    process = subprocess.Popen([sys.executable, "-c", how, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


# --- what is removed


def test_old_files_go_at_any_depth_and_what_they_took_up_is_counted(folder: Path) -> None:
    for name in ("app.log", "app.log.1", "a/b/c.log", "old.log.zst"):
        old(folder / name)
    old(folder / "young.log", days=29)
    old(folder / "notes.txt")
    taken = sum((folder / name).stat().st_blocks * 512 for name in ("app.log", "app.log.1", "a/b/c.log", "old.log.zst"))
    cleaned = clean(folder)
    assert names(folder) == ["notes.txt", "young.log"]
    assert (cleaned.count("remove"), cleaned.bytes("remove"), cleaned.count("keep")) == (4, taken, 1)
    assert (folder / "a/b").is_dir(), "folders stay: a program may be about to write there"


def test_a_dry_run_plans_the_same_and_changes_nothing(folder: Path) -> None:
    old(folder / "app.log")
    old(folder / "big.log", days=3)
    before = {name: (folder / name).stat().st_ctime_ns for name in names(folder)}
    planned = packed(folder, keep_days=30, dry_run=True)
    assert {name: (folder / name).stat().st_ctime_ns for name in names(folder)} == before
    assert (folder / "big.log").read_bytes() == TEXT
    done = packed(folder, keep_days=30)
    assert [(v, t.count) for v, t in planned.tallies.items()] == [(v, t.count) for v, t in done.tallies.items()]
    assert names(folder) == ["big.log.zst"]


@pytest.mark.parametrize(
    "name",
    ["new\nline.log", os.fsdecode(b"\xff\xfe.log"), "-rf.log", " .log", "系统.log", "x" * 251 + ".log", '"\\.log'],
    ids=["newline", "not UTF-8", "leading dash", "space", "Chinese", "255 bytes", "quote"],
)
def test_hostile_names_are_names_like_any_other(folder: Path, name: str) -> None:
    old(folder / name)
    assert clean(folder).count("remove") == 1
    assert names(folder) == []
    old(folder / name, days=3)
    cleaned = packed(folder)
    if len(os.fsencode(name)) == 255:
        assert list(reasons(cleaned)) == ["its name is too long for another .zst"]
        assert names(folder) == [name]
    else:
        assert names(folder) == [f"{name}.zst"]
        assert unpacked(folder / f"{name}.zst") == TEXT


def test_links_second_names_and_special_files_stay(folder: Path, tmp_path: Path) -> None:
    secret = old(tmp_path / "secret.log")
    (folder / "link.log").symlink_to(secret)
    os.utime(folder / "link.log", (0, 0), follow_symlinks=False)
    (folder / "below").symlink_to(tmp_path)
    os.link(secret, folder / "hard.log")
    os.mkfifo(folder / "pipe.log")
    assert set(reasons(clean(folder))) == {
        "it is a symbolic link", "it isn't a regular file",
        "it has several hard links, and may be any file of this machine",
    }  # fmt: skip
    assert names(folder) == ["below", "hard.log", "link.log", "pipe.log"]
    assert secret.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root mounts")
@pytest.mark.parametrize("kind", ["another filesystem", "a bind mount of the same"])
def test_what_is_mounted_below_the_folder_stays(folder: Path, tmp_path: Path, kind: str) -> None:
    inner = folder / "inner"
    inner.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    what = ["-t", "tmpfs", "tmpfs"] if kind == "another filesystem" else ["--bind", str(elsewhere)]
    if subprocess.run(["mount", *what, str(inner)], capture_output=True, check=False).returncode:
        pytest.skip("this machine doesn't let us mount")
    try:
        old(inner / "app.log")
        old(folder / "own.log")
        cleaned = clean(folder)
        assert names(folder) == ["inner/app.log"]
        assert any("mounted there" in reason for reason in reasons(cleaned))
    finally:
        subprocess.run(["umount", str(inner)], check=True)


def test_a_hundred_levels_are_worked_through_with_few_descriptors_left_open(folder: Path) -> None:
    deepest = folder
    for _ in range(100):
        deepest = deepest / "d"
        old(deepest / "app.log", content=b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert clean(folder).count("remove") == 100
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("root", ["missing", "a link"])
def test_a_root_that_is_missing_or_a_link_is_refused(folder: Path, tmp_path: Path, root: str) -> None:
    old(folder / "app.log")
    place = tmp_path / "root"
    if root == "a link":
        place.symlink_to(folder)
    with pytest.raises(SourceError, match="does not exist" if root == "missing" else "is a symbolic link"):
        clean(place)
    assert names(folder) == ["app.log"]
    unasked = clean_folder(str(folder / "."), CleaningRule(("*.txt",), 1), now=datetime.now(UTC))
    assert (unasked.tallies, unasked.troubles) == ({}, {})


# --- open files


@pytest.mark.parametrize("how", ["a descriptor", "a memory map"])
@pytest.mark.parametrize("seen", ["all of /proc", "part of it"])
def test_a_file_that_a_process_has_open_is_neither_removed_nor_compressed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, seen: str
) -> None:
    if seen == "part of it":  # as in a container, whose neighbours write to the same volume: the kernel still knows
        monkeypatch.setattr(open_files, "_sees_all_processes", lambda: False)
        monkeypatch.setattr(OpenFiles, "_look_into", lambda *_: None)
    old(folder / "closed.log")
    for name, days in (("old.log", 40), ("big.log", 3)):
        path = old(folder / name, days=days)
        with held_open(path, MAPPED if how == "a memory map" else HELD):
            cleaned = packed(folder, keep_days=30)
            assert path.read_bytes() == TEXT
            assert reasons(cleaned)["a process has it open"] == [name]
        path.unlink()
    assert "closed.log" not in names(folder)


@pytest.mark.skipif(not AS_ROOT, reason="takes another account's processes")
def test_without_root_ones_own_files_go_and_those_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with unprivileged() as folder:
        old(folder / "own.log")
        held = old(folder / "held.log")
        old(folder / "foreign.log")
        os.seteuid(0)
        os.chown(folder / "foreign.log", 0, 0)
        with held_open(held):
            os.seteuid(NOBODY)
            found = reasons(clean(folder))
        assert found["a process has it open"] == ["held.log"]
        assert found["another account's process may have it open, which only root can see"] == ["foreign.log"]
        assert names(folder) == ["foreign.log", "held.log"]


@pytest.mark.skipif(not (AS_ROOT and Path("/dev/fuse").exists()), reason="only root mounts")
def test_a_process_with_a_file_on_a_network_folder_that_is_gone_keeps_nobody_waiting(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "LOOK_LIMIT_S", 0.5)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    old(folder / "a" / "app.log")
    held = old(folder / "held.log")
    begun = time.monotonic()
    with dead_mount(mounted), held_open(mounted, PATH_ONLY), held_open(held):
        cleaned = clean(folder)
    assert time.monotonic() - begun < 10
    assert names(folder) == ["held.log"], "what /proc can't say the kernel says"
    assert list(reasons(cleaned)) == ["a process has it open"]


def test_a_file_that_is_opened_while_another_is_compressed_is_not_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "_sees_all_processes", lambda: True)
    monkeypatch.setattr(log_cleaning, "LOOK_EVERY_S", 0.0)
    first, second = sorted((old(folder / "a.log"), old(folder / "b.log")), key=lambda path: path.stat().st_ino)
    age(first, -37 * DAY_H)  # to be compressed, and its turn comes first
    real = log_compression.compress
    with ExitStack() as meanwhile:

        def compress(*args: Any, **named: Any) -> int:
            meanwhile.enter_context(held_open(second))
            return real(*args, **named)

        monkeypatch.setattr(log_cleaning, "compress", compress)
        cleaned = packed(folder, keep_days=30)
    assert cleaned.count("compress") == 1
    assert reasons(cleaned)["a process has it open"] == [second.name]


# --- races


def by_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "secret.log")


def by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside.log").write_bytes(b"precious")


def by_another_old_file(path: Path) -> None:
    other = old(path.with_name("other"), content=b"precious")
    other.rename(path)


def by_growing(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"precious")


@pytest.mark.parametrize("change", [by_a_link, by_a_folder, by_another_old_file, by_growing])
@pytest.mark.parametrize("days", [40, 3], ids=["to be removed", "to be compressed"])
def test_a_file_that_is_replaced_or_grows_after_it_was_listed_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], days: int
) -> None:
    secret = old(folder.parent / "secret.log", content=b"precious")
    path = old(folder / "app.log", days=days)

    class LateLook(OpenFiles):
        def __init__(self) -> None:
            time.sleep(0.03)
            change(path)
            super().__init__()

    monkeypatch.setattr(log_cleaning, "OpenFiles", LateLook)
    cleaned = packed(folder, keep_days=30)
    assert secret.read_bytes() == b"precious"
    assert (cleaned.count("remove"), cleaned.count("compress"), cleaned.count("keep")) == (0, 0, 1)
    content = path / "inside.log" if path.is_dir() else path
    assert content.read_bytes().endswith(b"precious")


@pytest.mark.parametrize("change", [by_a_link, by_a_folder, by_another_old_file, by_growing])
def test_a_file_that_changes_while_it_is_compressed_keeps_its_name_and_has_no_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    old(folder.parent / "secret.log", content=b"precious")
    path, real = old(folder / "app.log", days=3), log_compression._unpacked

    def late(copy: int) -> bytes:
        change(path)
        return real(copy)

    monkeypatch.setattr(log_compression, "_unpacked", late)
    cleaned = packed(folder)
    assert list(reasons(cleaned)) == ["it changed meanwhile"]
    content = path / "inside.log" if path.is_dir() else path
    assert content.read_bytes().endswith(b"precious")
    assert not list(folder.glob("*.zst")) and not list(folder.glob(".upkeep-*"))


def test_a_folder_replaced_by_a_link_after_it_was_listed_leads_nowhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = old(tmp_path / "outside" / "app.log")
    (folder / "inner").mkdir()
    old(folder / "first.log")

    class LateLook(OpenFiles):
        def __init__(self) -> None:
            (folder / "inner").rmdir()
            (folder / "inner").symlink_to(outside.parent)
            super().__init__()

    monkeypatch.setattr(log_cleaning, "OpenFiles", LateLook)
    cleaned = clean(folder)
    assert outside.exists()
    assert [tally.examples for tally in cleaned.troubles.values()] == [["inner"]]


def test_a_file_that_came_after_the_scan_began_stays_however_old_it_says_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(folder / "app.log")
    (folder / "later").mkdir()

    def told(gone: Gone) -> None:
        time.sleep(0.03)
        old(folder / "later" / "restored.log")

    time.sleep(0.03)
    clean_folder(str(folder), CleaningRule(("*.log",), 30), now=datetime.now(UTC), on_gone=told)
    assert names(folder) == ["later/restored.log"]


# --- compression


def test_a_compressed_log_keeps_content_times_owner_and_rights(folder: Path) -> None:
    path = old(folder / "app.log.1", days=3)
    path.chmod(0o640)
    if AS_ROOT:
        os.chown(path, NOBODY, 12)
    before = path.stat()
    cleaned = packed(folder)
    copy = folder / "app.log.1.zst"
    after = copy.stat()
    assert names(folder) == ["app.log.1.zst"]
    assert unpacked(copy) == TEXT
    assert [after.st_mtime_ns, after.st_mode, after.st_uid, after.st_gid] == [
        before.st_mtime_ns, before.st_mode, before.st_uid, before.st_gid,
    ]  # fmt: skip
    assert cleaned.bytes("compress") == (before.st_blocks - after.st_blocks) * 512 > 0
    assert packed(folder).count("compress") == 0, "and it isn't compressed again"


def test_nothing_that_stands_under_the_copys_name_is_replaced(folder: Path) -> None:
    path = old(folder / "app.log", days=3)
    (folder / "app.log.zst").write_bytes(b"somebody's")
    assert "a file of its name with .zst is there already" in reasons(packed(folder))
    os.utime(folder / "app.log.zst", ns=(0, path.stat().st_mtime_ns))
    assert "a file of its name with .zst is there already, and holds something else" in reasons(packed(folder))
    assert (path.read_bytes(), (folder / "app.log.zst").read_bytes()) == (TEXT, b"somebody's")
    (folder / "app.log.zst").write_bytes(packed_bytes(b"of the same second"))
    os.utime(folder / "app.log.zst", ns=(0, path.stat().st_mtime_ns))
    assert "a file of its name with .zst is there already, and holds something else" in reasons(packed(folder))
    assert (path.read_bytes(), unpacked(folder / "app.log.zst")) == (TEXT, b"of the same second")


def test_a_copy_that_doesnt_unpack_to_the_same_never_replaces_the_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old(folder / "app.log", days=3)
    real = log_compression._write

    def flip(descriptor: int, chunk: bytes) -> None:
        real(descriptor, chunk[:20] + bytes([chunk[20] ^ 1]) + chunk[21:])

    monkeypatch.setattr(log_compression, "_write", flip)
    assert [tally.examples for tally in packed(folder).troubles.values()] == [["app.log"]], "zstd's own checksum"

    def swap(descriptor: int, chunk: bytes) -> None:
        real(descriptor, packed_bytes(b"whole, but another"))

    monkeypatch.setattr(log_compression, "_write", swap)
    assert "did not unpack to what had been read" in next(iter(reasons(packed(folder))))
    assert (names(folder), path.read_bytes()) == (["app.log"], TEXT)


def test_what_is_compressed_under_another_name_stays_as_it_is(folder: Path) -> None:
    old(folder / "app.log.1", days=3, content=b"\x1f\x8b" + os.urandom(200_000))
    assert list(reasons(packed(folder))) == ["it is compressed already, whatever its name says"]


def test_without_room_for_a_copy_nothing_is_begun_and_a_disk_that_fills_up_meanwhile_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(folder, 4):
        content = os.urandom(2_200_000)
        path = old(folder / "app.log", days=3, content=content)
        assert list(reasons(packed(folder))) == ["the disk has no room for a copy as large as itself"]
        monkeypatch.setattr(log_compression, "_require_room", lambda *_: None)
        cleaned = packed(folder)
        assert list(cleaned.troubles) == ["No space left on device"]
        assert names(folder) == ["app.log"]
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()


@pytest.mark.skipif(not AS_ROOT, reason="takes another account")
def test_a_folder_that_cant_be_written_to_is_said_and_left() -> None:
    with unprivileged() as folder:
        old(folder / "app.log")
        old(folder / "big.log", days=3)
        folder.chmod(0o555)
        cleaned = packed(folder, keep_days=30)
        assert {why: tally.count for why, tally in cleaned.troubles.items()} == {"Permission denied": 2}
        assert names(folder) == ["app.log", "big.log"]


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from upkeep.domain.clean_logs import CleaningRule
from upkeep.engines import log_compression
from upkeep.engines.log_cleaning import clean_folder
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
owner, name = {"writing": (log_compression, "_write"), "checking": (log_compression, "_unpacked"),
               "linked": (os, "link"), "named": (log_compression, "_require_untouched"),
               "about to remove": (log_compression, "_remove_original")}[sys.argv[2]]
real = getattr(owner, name)
def linked(*args, **named):
    real(*args, **named)
    die()
setattr(owner, name, linked if sys.argv[2] in ("linked", "writing") else die)
clean_folder(sys.argv[1], CleaningRule(("*.log",), None, 0.1), now=datetime.now(UTC))
"""


@pytest.mark.parametrize("moment", ["writing", "checking", "linked", "named", "about to remove"])
def test_killed_at_any_moment_the_log_is_whole_and_the_next_run_tidies_up(folder: Path, moment: str) -> None:
    path = old(folder / "app.log", days=3)
    time.sleep(0.03)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), moment], env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        check=False, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.read_bytes() == TEXT
    left = list(folder.glob(".upkeep-*.part"))
    assert bool(left) == (moment in ("writing", "checking", "linked"))
    cleaned = packed(folder)
    assert names(folder) == ["app.log.zst"]
    assert unpacked(folder / "app.log.zst") == TEXT
    assert cleaned.count("sweep") == len(left)
