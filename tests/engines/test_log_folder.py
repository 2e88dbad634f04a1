"""Only plain files below the folder are found and opened, whatever somebody puts there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.engines.log_files import listed, names, unprivileged
from upkeep.engines import log_folder
from upkeep.engines.log_folder import LeftOut, LogFiles
from upkeep.errors import SourceError

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    (tmp_path / "secret.log").write_text("ERROR the crown jewels\n")
    return path


def test_files_are_found_by_their_own_names_at_any_depth(folder: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log.2.gz", "deep/er/nginx.log", "app.txt", "log", ".hidden.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert names(folder) == [".hidden.log", "app.log", "app.log.1", "app.log.2.gz", "deep/er/nginx.log"]
    assert names(folder, "app.txt") == ["app.txt"]


def test_a_symbolic_link_to_a_file_is_left_out_and_named(folder: Path) -> None:
    (folder / "link.log").symlink_to("../secret.log")
    found, remarks = listed(folder)
    assert found == []
    assert remarks == ["link.log: it is a symbolic link"]


def test_a_symbolic_link_to_a_folder_is_not_entered(folder: Path) -> None:
    (folder / "sub").symlink_to("..")
    assert names(folder) == []


def test_a_hard_link_may_be_any_file_and_is_left_out(folder: Path) -> None:
    os.link(folder.parent / "secret.log", folder / "hard.log")
    _, remarks = listed(folder)
    assert remarks == ["hard.log: it has 2 hard links, and may be any file of this machine"]


def test_neither_listing_nor_opening_waits_for_a_fifo(folder: Path) -> None:
    os.mkfifo(folder / "pipe.log")
    begun = time.monotonic()
    found, remarks = listed(folder)
    with (
        LogFiles(str(folder)) as logs,
        pytest.raises(PermissionError, match="isn't a regular file"),
        logs.open("pipe.log"),
    ):
        pass
    assert time.monotonic() - begun < 1
    assert (found, remarks) == ([], ["pipe.log: it isn't a regular file"])


@pytest.mark.skipif(not AS_ROOT, reason="only root may make devices")
def test_a_device_is_left_out(folder: Path) -> None:
    try:
        os.mknod(folder / "zero.log", 0o20644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may not make devices")
    assert listed(folder)[1] == ["zero.log: it isn't a regular file"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_became_a_link_between_the_look_and_the_open_is_not_followed(folder: Path, what: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "secret.log").write_text("harmless\n")
    with LogFiles(str(folder)) as logs:
        assert [found.name for found in logs.list(["*.log"], LeftOut())] == ["sub/secret.log"]
        (folder / "sub" / "secret.log").unlink()
        if what == "file":
            (folder / "sub" / "secret.log").symlink_to("../../secret.log")
        else:
            (folder / "sub").rmdir()
            (folder / "sub").symlink_to("..")
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"), logs.open("sub/secret.log"):
            pass


@pytest.mark.parametrize("name", ["../secret.log", "sub/../../secret.log", "/etc/passwd", ""])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with LogFiles(str(folder)) as logs, pytest.raises(PermissionError), logs.open(name):
        pass


def test_another_filesystem_below_the_folder_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc stands in for a mount: the folder is / and only what is directly in it and in /proc is looked at."""
    monkeypatch.setattr(log_folder, "MAX_DEPTH", 1)
    left_out = LeftOut()
    with LogFiles("/") as logs:
        found = logs.list(["version", "meminfo"], left_out)
    assert not [file for file in found if file.name.startswith("proc/")]
    assert any("it is on another filesystem" in remark for remark in left_out.remarks())


def test_hostile_names_are_found_and_shown_harmlessly(folder: Path) -> None:
    hostile = [
        b"new\nline.log",
        b"\xff\xfe.log",
        b"\x1b[2J.log",
        "中文 名.log".encode(),
        b"-rf.log",
        b"a" * 251 + b".log",
    ]
    for name in hostile:
        with open(os.fsencode(folder) + b"/" + name, "wb") as new:  # noqa: PTH123 - a name that isn't UTF-8
            new.write(b"ERROR\n")
    found, _ = listed(folder)
    assert {os.fsencode(file.name) for file in found} == set(hostile)
    with LogFiles(str(folder)) as logs:
        for file in found:
            with logs.open(file.name) as opened:
                assert opened.size == 6
            assert log_folder.shown(file.name).isprintable()
            assert len(log_folder.shown(file.name)) <= 120


def test_of_too_many_files_those_written_last_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_folder, "MAX_FILES", 3)
    for number in range(6):
        (folder / f"{number}.log").touch()
        os.utime(folder / f"{number}.log", (0, 1_000_000 + number))
    found, remarks = listed(folder)
    assert [file.name for file in found] == ["5.log", "4.log", "3.log"]
    assert remarks == ["2.log: there are more than 3 files, and this isn't one of those written last"]


def test_many_reasons_of_one_kind_make_one_short_remark(folder: Path) -> None:
    for number in range(50):
        (folder / f"{number}.log").symlink_to("x")
    (remark,) = listed(folder)[1]
    assert remark.endswith("and 47 more: it is a symbolic link")


def test_what_may_not_be_read_is_named() -> None:
    with unprivileged() as folder:
        (folder / "closed").mkdir(mode=0)
        (folder / "closed.log").touch(mode=0)
        found, remarks = listed(folder)
        assert remarks == ["closed: Permission denied"]
        assert [file.name for file in found] == ["closed.log"]
        with LogFiles(str(folder)) as logs, pytest.raises(PermissionError), logs.open("closed.log"):
            pass


def test_a_missing_folder_is_an_error_with_the_next_action(folder: Path) -> None:
    with (
        pytest.raises(SourceError, match=r"does not exist on .*\nHINT: fix it in the site file"),
        LogFiles(f"{folder}/no"),
    ):
        pass


def test_a_folder_that_is_a_link_is_refused_with_the_real_path(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with (
        pytest.raises(SourceError, match=f"name the real path in the site file: {folder}"),
        LogFiles(f"{folder.parent}/link"),
    ):
        pass
