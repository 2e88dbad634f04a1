"""A folder as a store."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.stores.contract import StoreContract
from upkeep.errors import ObjectMissing, StoreDenied, StoreError, StoreUnreachable
from upkeep.stores.local_store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    root = tmp_path / "store"
    root.mkdir()
    return LocalStore(root)


class TestLocalStore(StoreContract):
    """The contract of every store, on a folder."""


def test_objects_are_readable_by_their_owner_only(store: LocalStore) -> None:
    store.put("site/app/file", b"x")
    assert stat.S_IMODE((store.root / "site/app/file").stat().st_mode) == 0o600
    assert stat.S_IMODE((store.root / "site/app").stat().st_mode) == 0o700


def test_a_missing_root_is_an_unreachable_store_and_is_not_made(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "not-mounted")
    with pytest.raises(StoreUnreachable, match="not-mounted"):
        store.put("key", b"x")
    assert not store.root.exists()


def test_a_store_whose_disk_is_not_mounted_is_away_though_its_folder_is_there(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    store = LocalStore(root, mount_point=tmp_path)
    away = f"nothing is mounted on {tmp_path}, where the store"
    acts = (
        partial(store.put, "key", b"x"), partial(store.get, "key"), partial(store.delete, "key"), store.check,
        store.free_bytes, lambda: list(store.list()),
    )  # fmt: skip
    for act in acts:
        with pytest.raises(StoreUnreachable, match=away):
            act()
    assert list(root.iterdir()) == [], "nothing fills the disk below"


def test_a_store_whose_disk_is_mounted_is_there() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = LocalStore(Path(folder), mount_point=Path("/dev/shm"))
        store.put("key", b"x")
        assert store.get("key") == b"x"
        with pytest.raises(ObjectMissing):
            store.get("another")


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_store(store: LocalStore) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every folder")
    store.put("site/app/1/file", b"x")
    (store.root / "site").chmod(0)
    try:
        with pytest.raises(StoreError):
            list(store.list())
    finally:
        (store.root / "site").chmod(0o700)


def test_tasks_that_write_and_delete_at_once_do_not_take_each_other_s_folders_away(store: LocalStore) -> None:
    """Each check makes a folder and removes it, as the first backups of a site do that fail."""

    def check_often(_: int) -> None:
        for _ in range(150):
            store.check()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check_often, range(4)))
    assert list(store.root.iterdir()) == []


def test_a_folder_of_another_account_denies(store: LocalStore) -> None:
    with pytest.raises(StoreDenied, match="refused 'site/app/file'") as raised, store._translated("site/app/file"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert "check owner and mode" in raised.value.hint


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNRESET])
def test_a_network_disk_that_lost_its_server_is_an_unreachable_store(store: LocalStore, number: int) -> None:
    with pytest.raises(StoreUnreachable, match="site/app/file") as raised, store._translated("site/app/file"):
        raise OSError(number, os.strerror(number))
    assert "network mount" in raised.value.hint


def test_a_folder_that_goes_away_while_it_is_written_to_is_an_unreachable_store(store: LocalStore) -> None:
    with pytest.raises(StoreUnreachable, match="lost 'site/app/file' while it was written"):  # noqa: SIM117
        with store.writer("site/app/file") as sink:
            sink.write(b"half")
            store.root.rename(store.root.with_name("unmounted"))
    assert not store.root.exists()


def test_the_names_of_new_folders_are_made_to_last_like_the_file_s(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink())
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    store.put("site/app/1/file", b"x")
    assert {store.root / folder for folder in ("", "site", "site/app", "site/app/1")} <= set(synced)


def test_a_file_system_that_can_not_sync_folders_is_a_store_all_the_same(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse_folders(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(number)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    store.put("site/app/1/file", b"x")
    assert store.get("site/app/1/file") == b"x"


def test_a_key_cannot_leave_the_store(store: LocalStore) -> None:
    for key in ("../outside", "/etc/passwd", "site/../../outside"):
        with pytest.raises(StoreError, match="outside the store"):
            store.put(key, b"x")


def test_a_killed_writer_leaves_nothing_that_is_listed_and_sweep_removes_the_rest(store: LocalStore) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from upkeep.stores.local_store import LocalStore\n"
        "with LocalStore(Path(sys.argv[1])).writer('site/app/1/file') as sink:\n"
        "    sink.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(store.root)], env={**os.environ, "PYTHONPATH": "plugins"}, check=False
    )
    assert ended.returncode == -9
    assert len(list((store.root / "site/app/1").iterdir())) == 1
    assert list(store.list()) == []
    with pytest.raises(ObjectMissing):
        store.get("site/app/1/file")
    assert len(store.sweep("site/app/")) == 1
    assert list((store.root / "site/app/1").iterdir()) == []


def test_deleting_the_last_object_of_a_folder_removes_the_folder_but_never_the_root(store: LocalStore) -> None:
    store.put("site/app/1/file", b"x")
    store.put("site/other/1/file", b"x")
    store.delete("site/app/1/file")
    assert [path.name for path in (store.root / "site").iterdir()] == ["other"]
    store.delete("site/other/1/file")
    assert store.root.is_dir()
