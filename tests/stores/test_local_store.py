"""A folder as a store."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.contract import StoreContract
from upkeep.errors import ObjectMissing, StoreError, StoreUnreachable
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
