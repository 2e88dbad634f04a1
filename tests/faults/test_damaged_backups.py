"""What is stored is flipped, cut or forged; verification says so, and nothing good is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.scene import Scene, days_later, files_scene
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.forget import forget
from upkeep.duties.verify import verify
from upkeep.errors import BackupError, BackupShrunk, ManifestBroken, ProofFailed, ToolFailed


def flip_a_bit(folder: Path) -> None:
    file = folder / "files.tar.zst"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(folder: Path) -> None:
    file = folder / "files.tar.zst"
    file.write_bytes(file.read_bytes()[:-1000])


def empty(folder: Path) -> None:
    (folder / "files.tar.zst").write_bytes(b"")


def remove_the_file(folder: Path) -> None:
    (folder / "files.tar.zst").unlink()


def edit_the_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"exact"', '"guessed"'))


def forge_the_manifest(folder: Path) -> None:
    """As somebody would who knows how the seal is made."""
    file = folder / "manifest.json"
    manifest = Manifest.from_bytes(file.read_bytes(), "here")
    object.__setattr__(manifest, "rows_are", "guessed")
    file.write_bytes(manifest.to_bytes())


def cut_the_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_bytes(file.read_bytes()[:100])


def forget_a_field(folder: Path) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    del content["files"]
    file.write_text(json.dumps(content))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return files_scene(tmp_path, size=400_000)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (flip_a_bit, ProofFailed, "another SHA-256"),
        (truncate, ProofFailed, "its manifest says"),
        (empty, ProofFailed, "has 0 bytes"),
        (remove_the_file, ProofFailed, "is missing from the store"),
        (edit_the_manifest, ManifestBroken, "doesn't match its seal"),
        (forge_the_manifest, ManifestBroken, "not the one that the ledger saw"),
        (cut_the_manifest, ManifestBroken, "not JSON"),
        (forget_a_field, ManifestBroken, "doesn't match its seal"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_damage_is_found_named_and_never_listed_as_good(
    scene: Scene, damage: Callable[[Path], None], error: type[BackupError], words: str
) -> None:
    before = scene.night("last night", now=days_later(-1))
    job = scene.job("tonight")
    backup_id = back_up(job, "app")["backup_id"]
    damage(scene.folder / "store" / "shop" / "app" / backup_id)
    with pytest.raises(error, match=words) as raised:
        verify(job, "app", backup_id)
    assert "HINT:" in str(raised.value)
    assert scene.good() == [before]
    result = forget(job, "app", backup_id)
    assert result["removed"] == {}, "nothing goes while tonight's backup is bad"
    again = scene.night("tonight")
    assert again != backup_id, "a rerun makes a new backup instead of the damaged one"
    assert scene.good() == [before, again]
    scene.require_clean_ledger()


def test_damage_that_comes_later_is_found_by_verifying_again(scene: Scene) -> None:
    backup_id = scene.night("tonight")
    flip_a_bit(scene.folder / "store" / "shop" / "app" / backup_id)
    with pytest.raises(ProofFailed):
        verify(scene.job("again"), "app", backup_id)
    assert scene.good() == []


def test_a_backup_that_nobody_verified_is_verified_the_next_night(scene: Scene) -> None:
    unproven = back_up(scene.job("last night", now=days_later(-1)), "app")["backup_id"]
    assert scene.good() == []
    tonight = scene.night("tonight")
    assert scene.good() == [unproven, tonight]


def test_a_program_killed_while_verifying_says_nothing_about_the_backup(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.job("tonight")
    backup_id = back_up(job, "app")["backup_id"]
    tools = scene.folder / "bin"
    tools.mkdir()
    (tools / "zstd").write_text("#!/bin/sh\nkill -9 $$\n")
    (tools / "zstd").chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("UPKEEP_PATH", str(tools))
        with pytest.raises(ToolFailed, match="signal SIGKILL"):
            verify(job, "app", backup_id)
    (backup,) = scene.backups()
    assert backup.failure is None, "an out-of-memory kill must not brand a good backup"
    verify(job, "app", backup_id)
    assert scene.good() == [backup_id]


def test_a_sudden_shrink_fails_once_and_removes_nothing(scene: Scene) -> None:
    nights = [scene.night(f"night {-days}", now=days_later(-days)) for days in (4, 3)]
    for file in sorted((scene.folder / "data").iterdir())[:3]:
        file.unlink()
    with pytest.raises(BackupShrunk, match="smaller than the last proven") as raised:
        scene.night("after the loss", now=days_later(-2))
    assert "HINT:" in str(raised.value)
    assert set(nights) <= set(scene.good())
    scene.night("the next night")
