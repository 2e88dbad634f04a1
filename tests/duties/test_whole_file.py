"""Files that get their name when they are whole."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from upkeep.duties.whole_file import appear, hidden_file, remove_left, writing
from upkeep.errors import EvidenceRefused


def test_a_file_appears_whole_in_the_place_of_another_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "e.html"
    path.write_bytes(b"before")
    with hidden_file(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
        appear(file, path)
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_too_large_is_told_with_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    path, was = tmp_path / "e.html", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, was[1]))
    try:
        with (
            pytest.raises(EvidenceRefused, match=r"e\.html can't be written: File too large") as caught,
            writing(path, EvidenceRefused),
            hidden_file(path) as file,
        ):
            file.write(b"x" * 5000)
            appear(file, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
    assert "make room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "hint"),
    [("nowhere/e.html", "make its folder"), ("file/e.html", "a file stands where a folder is needed")],
)
def test_the_hint_fits_what_the_system_says(tmp_path: Path, place: str, hint: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EvidenceRefused) as caught,
        writing(tmp_path / place, EvidenceRefused),
        hidden_file(tmp_path / place),
    ):
        pass
    assert hint in caught.value.hint


def test_an_error_of_the_block_is_not_hidden_by_what_cleaning_up_meets(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ValueError, match="of the block"), hidden_file(folder / "e.html"):
        folder.rename(tmp_path / "elsewhere")
        folder.touch()
        raise ValueError("of the block")


def test_a_long_name_leaves_room_for_the_hidden_one(tmp_path: Path) -> None:
    path = tmp_path / ("内" * 85)  # 255 bytes
    with hidden_file(path) as file:
        file.write(b"whole")
        appear(file, path)
    assert path.read_bytes() == b"whole"


def test_what_killed_runs_left_goes_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "e.html"
    kept = [".e.html.swp", ".e.html.0123456789abcdeX", ".exhtml.0123456789abcdef"]
    for name in (".e.html.0123456789abcdef", *kept):
        (tmp_path / name).touch()
    remove_left(path)
    assert sorted(left.name for left in tmp_path.iterdir()) == sorted(kept)
