"""The store is cut, away, or full; so is the spool."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import Scene, days_later, files_scene
from tests.servers.oss_faults import ALWAYS
from tests.servers.oss_server import OssServer
from upkeep.domain.proof import ProofLevel
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.forget import forget
from upkeep.duties.job import Job
from upkeep.duties.verify import verify
from upkeep.errors import BackupSpooled, StoreError, StoreFull
from upkeep.stores.oss_store import OssStore

PART = 1_000_000


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "bucket") as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return files_scene(tmp_path)


def job_on(scene: Scene, oss: OssServer, run_id: str = "night") -> Job:
    store = OssStore(
        url=f"oss://{oss.bucket}/prod", endpoint=oss.endpoint, part_mb=1, retries=3, backoff_s=0.01, timeout_s=5
    )
    return scene.job(run_id, store=store)


def good(job: Job) -> list[str]:
    backups = read_catalogue(job.store, "shop", "app").backups
    return [backup.ref.backup_id for backup in backups if not backup.failure and backup.level >= ProofLevel.STRUCTURE]


def night(job: Job) -> str:
    backup_id = str(back_up(job, "app")["backup_id"])
    verify(job, "app", backup_id)
    forget(job, "app", backup_id)
    return backup_id


def test_a_connection_cut_in_the_middle_of_a_part_is_survived(scene: Scene, oss: OssServer) -> None:
    oss.faults.cut_upload("UploadPart", part=2, after_bytes=PART // 2, times=2)
    job = job_on(scene, oss)
    assert good(job) == [] != [night(job)] == good(job)
    assert oss.uploads == []


def cut_for_good(oss: OssServer) -> None:
    oss.faults.cut_upload("UploadPart", part=3, after_bytes=1000, times=ALWAYS)


def go_away(oss: OssServer) -> None:
    oss.stop()


@pytest.mark.parametrize("trouble", [cut_for_good, go_away], ids=["cut mid-part", "away"])
def test_a_store_lost_for_good_makes_the_backup_wait_and_the_next_run_ships_it(
    scene: Scene, oss: OssServer, trouble: Callable[[OssServer], None]
) -> None:
    scene.settings = {"retention": {"daily": 2, "min_age_days": 1}}
    before = night(job_on(scene, oss, "last night"))
    trouble(oss)
    with pytest.raises(BackupSpooled, match="waits in the spool") as raised:
        back_up(job_on(scene, oss, "tonight"), "app")
    assert "HINT:" in str(raised.value)
    waits = read_catalogue(scene.job("look").spool, "shop", "app").backups
    assert len(waits) == 1

    with pytest.raises(BackupSpooled):
        back_up(job_on(scene, oss, "tonight"), "app")
    assert len(read_catalogue(scene.job("look").spool, "shop", "app").backups) == 1, "a retry makes no second dump"

    oss.faults.clear()
    if trouble is go_away:
        oss.start()
    assert good(job_on(scene, oss, "look")) == [before]
    tomorrow = night(job_on(scene, oss, "tomorrow"))
    assert set(good(job_on(scene, oss, "look"))) == {before, waits[0].ref.backup_id, tomorrow}
    assert read_catalogue(scene.job("look").spool, "shop", "app").backups == ()
    assert [path for path in (scene.folder / "spool").rglob("*") if path.is_file()] == []
    assert oss.uploads == []
    scene.require_clean_ledger()


def test_a_retry_after_the_store_came_back_ships_instead_of_dumping_again(scene: Scene, oss: OssServer) -> None:
    oss.stop()
    with pytest.raises(BackupSpooled):
        back_up(job_on(scene, oss), "app")
    (waiting,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    oss.start()
    assert night(job_on(scene, oss)) == waiting.ref.backup_id


def test_a_backup_damaged_in_the_spool_is_not_shipped_and_stays_for_a_look(scene: Scene, oss: OssServer) -> None:
    oss.stop()
    with pytest.raises(BackupSpooled):
        back_up(job_on(scene, oss), "app")
    (file,) = (scene.folder / "spool").rglob("files.tar.zst")
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    oss.start()
    tomorrow = night(job_on(scene, oss, "tomorrow"))
    assert good(job_on(scene, oss)) == [tomorrow], "the damaged one is no reason to go without a new one"
    assert file.exists()
    (ship,) = job_on(scene, oss).ledger.acts(site="shop", duty="ship")
    assert ship.state == "failed"
    assert ship.finished is not None
    assert "not what was written there" in str(ship.finished.error)


def test_a_spool_that_cannot_be_used_is_no_reason_to_go_without_a_backup(scene: Scene) -> None:
    (scene.folder / "in the way").write_text("a file")
    scene.settings = {"spool": f"{scene.folder}/in the way/spool"}
    assert scene.night("night") in scene.good()


def test_leftovers_that_the_store_holds_back_do_not_stop_the_next_backup(scene: Scene, oss: OssServer) -> None:
    left = "shop/app/20261101T000000Z-abcd/files.tar.zst"
    job = job_on(scene, oss)
    job.store.put(left, b"half a backup")
    oss.hold(f"prod/{left}")
    assert good(job) == []
    assert night(job) in good(job)
    assert left in {stored.key for stored in job.store.list()}
    (sweep,) = job.ledger.acts(site="shop", duty="sweep")
    assert sweep.state == "failed"


def test_an_unreachable_store_says_nothing_about_a_backup(scene: Scene, oss: OssServer) -> None:
    job = job_on(scene, oss)
    backup_id = str(back_up(job, "app")["backup_id"])
    oss.stop()
    with pytest.raises(StoreError):
        verify(job, "app", backup_id)
    oss.start()
    (backup,) = read_catalogue(job.store, "shop", "app").backups
    assert backup.failure is None
    verify(job, "app", backup_id)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own that is really full after so many megabytes."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine doesn't let us mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_store_keeps_the_backup_in_the_spool(scene: Scene) -> None:
    with small_disk(scene.folder / "store", 5):
        with pytest.raises(BackupSpooled, match="no room in the store") as raised:
            back_up(scene.job("night"), "app")
        assert "free space there" in raised.value.hint
        assert scene.leftovers() == [], "the full disk is not left filled with half a backup"
    assert len(read_catalogue(scene.job("look").spool, "shop", "app").backups) == 1
    assert scene.night("night") in scene.good()


def test_store_and_spool_both_full_is_one_error_that_names_both(scene: Scene) -> None:
    before = scene.night("last night", now=days_later(-1))
    with small_disk(scene.folder / "spool", 5):
        (scene.folder / "store").rename(scene.folder / "kept")
        with small_disk(scene.folder / "store", 5):
            with pytest.raises(StoreFull, match="neither the store nor the spool") as raised:
                back_up(scene.job("night"), "app")
            assert "HINT:" in str(raised.value)
            assert scene.leftovers() == []
        (scene.folder / "store").rmdir()
        (scene.folder / "kept").rename(scene.folder / "store")
        assert scene.good() == [before]
    assert scene.night("night") in scene.good()
