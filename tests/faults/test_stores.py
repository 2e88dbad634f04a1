"""The store is cut, away, or full; so is the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Moment, Scene, days_later, files_scene
from tests.servers.oss_faults import ALWAYS
from tests.servers.oss_server import OssServer
from tests.servers.small_disk import small_disk
from upkeep.domain.proof import ProofLevel
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.forget import forget
from upkeep.duties.job import Job
from upkeep.duties.report import report_run
from upkeep.duties.verify import verify
from upkeep.errors import BackupSpooled, StoreError, StoreFull
from upkeep.stores.local_store import LocalStore
from upkeep.stores.oss_store import OssStore

PART = 1_000_000


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "bucket") as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return files_scene(tmp_path)


def job_on(scene: Scene, oss: OssServer, run_id: str = "night", **changes: Any) -> Job:
    store = OssStore(
        url=f"oss://{oss.bucket}/prod", endpoint=oss.endpoint, part_mb=1, retries=3, backoff_s=0.01, timeout_s=5
    )
    return scene.job(run_id, store=store, **changes)


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


def test_keys_that_the_store_no_longer_takes_make_the_backup_wait(scene: Scene, oss: OssServer) -> None:
    old_keys = replace(oss.endpoint(), secret="last year's")
    store = OssStore(url=f"oss://{oss.bucket}/prod", endpoint=lambda: old_keys, retries=0)
    with pytest.raises(BackupSpooled, match="SignatureDoesNotMatch") as raised:
        back_up(scene.job("tonight", store=store), "app")
    assert f"the password of connection '{old_keys.conn_id}' is not the secret" in raised.value.hint
    (waits,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    assert night(job_on(scene, oss, "tonight")) == waits.ref.backup_id


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "SecurityTokenExpired"),
        (403, "InvalidSecurityToken"),
        (403, "RequestTimeTooSkewed"),
        (404, "NoSuchBucket"),
        (409, "SomethingNew"),
    ],
)
@pytest.mark.parametrize("operation", ["", "UploadPart"], ids=["from the start", "among the parts"])
def test_whatever_the_store_itself_refuses_makes_the_backup_wait(
    scene: Scene, oss: OssServer, status: int, code: str, operation: str
) -> None:
    oss.faults.answer(operation, status, code, times=ALWAYS)
    with pytest.raises(BackupSpooled, match=code):
        back_up(job_on(scene, oss), "app")
    oss.faults.clear()
    (waits,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    assert night(job_on(scene, oss)) == waits.ref.backup_id
    assert oss.uploads == []


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


def test_a_backup_that_can_not_be_read_in_the_spool_does_not_keep_the_next_one_from_the_store(scene: Scene) -> None:
    waits = spool_one(scene)
    (scene.folder / "spool" / "shop" / "app" / waits / "files.tar.zst").unlink()
    tonight = scene.night("tonight")
    assert scene.good() == [tonight]
    (ship,) = scene.job("look").ledger.acts(site="shop", duty="ship")
    assert ship.state == "failed"
    assert f"{waits}/files.tar.zst in the spool" in str(ship.finished and ship.finished.error)


def test_a_spool_that_can_not_be_looked_through_is_told_and_stops_no_backup(scene: Scene) -> None:
    (scene.folder / "spool" / "shop").mkdir(parents=True)
    (scene.folder / "spool" / "shop" / "app").write_text("in the way")
    assert scene.night("tonight") in scene.good()
    found = report_run(scene.job("tonight"), "daily")
    assert found["ok"]
    assert "AMBER app could not ship what may wait in the spool: failed: " in found["text"]


def test_a_spool_that_is_the_store_under_another_name_removes_nothing(scene: Scene) -> None:
    nights = [scene.night("last night", now=days_later(-1))]
    (scene.folder / "link").symlink_to(scene.folder / "store")
    scene.settings = {"spool": f"{scene.folder}/link"}
    nights.append(scene.night("tonight"))
    assert scene.good() == nights
    assert scene.job("look").ledger.acts(site="shop", duty="ship") == []


def test_a_folder_that_vanishes_while_it_is_written_to_makes_the_backup_wait(scene: Scene) -> None:
    store, elsewhere = scene.folder / "store", scene.folder / "unmounted"

    def unmount() -> None:
        store.rename(elsewhere)

    job = scene.when(Moment("writing", "files.tar", 1_000_000), unmount)
    with pytest.raises(BackupSpooled, match="while it was written"):
        back_up(job, "app")
    elsewhere.rename(store)
    (waits,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    assert scene.night("night") == waits.ref.backup_id
    assert scene.leftovers() == []


@pytest.mark.parametrize(
    "moment",
    [Moment("writing", "files.tar", 4_000_000), Moment("wrote", "files.tar"), Moment("wrote", "manifest.json")],
    ids=lambda moment: f"{moment.operation}-{moment.match}",
)
def test_a_run_killed_while_it_ships_loses_nothing_and_its_rerun_ships_once(scene: Scene, moment: Moment) -> None:
    waits = spool_one(scene)
    scene.killed_at(moment, "tonight")
    assert scene.good() == []
    tonight = scene.night("tonight")
    assert scene.good() == [waits, tonight]
    assert scene.leftovers() == []
    assert [path for path in (scene.folder / "spool").rglob("*") if path.is_file()] == []
    scene.require_clean_ledger()


def spool_one(scene: Scene) -> str:
    """Last night's backup, for which the store was away."""
    away = LocalStore(scene.folder / "not mounted")
    with pytest.raises(BackupSpooled):
        back_up(scene.job("last night", store=away, now=days_later(-1)), "app")
    (waits,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    return waits.ref.backup_id


def test_a_backup_waits_while_the_store_s_disk_is_not_mounted(scene: Scene) -> None:
    """The folder it is mounted on is there all the same, and has room."""
    scene.settings = {"store": {"url": f"file://{scene.folder}/store", "mount_point": str(scene.folder)}}
    with pytest.raises(BackupSpooled, match="nothing is mounted on"):
        back_up(scene.job("not mounted", now=days_later(-1)), "app")
    assert list((scene.folder / "store").iterdir()) == []
    (waits,) = read_catalogue(scene.job("look").spool, "shop", "app").backups
    scene.settings = {}
    tonight = scene.night("mounted")
    assert scene.good() == [waits.ref.backup_id, tonight]


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
    assert sweep.state == "skipped"


def test_a_lock_that_outlasts_the_backup_on_its_proof_does_not_call_the_backup_held(
    scene: Scene, oss: OssServer
) -> None:
    """The week's proof is younger than the manifest, and each object is locked from the day it was written."""
    scene.settings = {"retention": {"daily": 1, "keep_at_least": 1, "min_age_days": 0}}
    old = night(job_on(scene, oss, "last week", now=days_later(-9)))
    proof = next(stored.key for stored in job_on(scene, oss).store.list() if f"{old}/proofs/" in stored.key)
    oss.hold(f"prod/{proof}")
    job = job_on(scene, oss, "tonight")
    backup_id = str(back_up(job, "app")["backup_id"])
    verify(job, "app", backup_id)
    found = forget(job, "app", backup_id)
    assert (list(found["removed"]), found["held"]) == ([old], {})
    assert [stored.key for stored in job.store.list() if old in stored.key] == [proof]
    assert night(job_on(scene, oss, "tomorrow", now=days_later(1))) in good(job)
    (sweep,) = job.ledger.acts(site="shop", duty="sweep")
    assert sweep.state == "skipped"
    assert "FileImmutable" in sweep.detail["reason"]


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
