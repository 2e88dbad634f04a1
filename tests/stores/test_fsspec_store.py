"""Stores behind fsspec: real ones where a machine has them, one that commits like S3, and ones that break."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from tests.stores.contract import Interrupted, StoreContract, abandoned
from upkeep.errors import ObjectDamaged, ObjectMissing, StoreDenied, StoreError, StoreFull, StoreUnreachable
from upkeep.stores.backoff import Backoff
from upkeep.stores.base import Store
from upkeep.stores.fsspec_store import FsspecStore

QUICK = Backoff(retries=3, first_s=0.001)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """fsspec keeps one memory for the whole process: empty before and after."""
    filesystem = MemoryFileSystem(skip_instance_cache=True)
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def over(filesystem: Any, root: str = "/backup/prod", **options: Any) -> FsspecStore:
    return FsspecStore(filesystem, root, url="memory://backup/prod", backoff=QUICK, **options)


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self, memory: MemoryFileSystem) -> FsspecStore:
        return over(memory)


class TestFolderThroughFsspec(StoreContract):
    """A filesystem with real folders and a real rename, as SFTP, SMB and HDFS have."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FsspecStore:
        filesystem, root = fsspec.url_to_fs(f"file://{tmp_path}/prod")
        return FsspecStore(filesystem, root, url=f"file://{tmp_path}/prod", backoff=QUICK)


class CommittingFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec ships no types
    """Follows s3fs.S3File: parts go out while writing, and become an object with ``commit``."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []
        self.fs.unfinished.append(self)

    def _upload_chunk(self, final: bool = False) -> bool:
        self.fs.spend("write")
        self.parts.append(self.buffer.getvalue())
        if self.autocommit and final:
            self.commit()
        return True

    def commit(self) -> None:
        self.fs.spend("commit")
        self.fs.unfinished.remove(self)
        self.fs.pipe_file(self.path, b"".join(self.parts))

    def discard(self) -> None:
        self.fs.unfinished.remove(self)


class CommittingFilesystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    protocol = ("s3", "s3a")
    cachable = False
    store: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.store, self.pseudo_dirs = {}, [""]
        self.unfinished: list[CommittingFile] = []
        self.failures: dict[str, list[Exception]] = {}
        self.made: list[str] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("s3://").strip("/")

    def spend(self, what: str) -> None:
        """Fail as ordered."""
        if self.failures.get(what):
            raise self.failures[what].pop(0)

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        self.spend("open")
        if mode == "wb" and "data" not in options:
            return CommittingFile(self, path, mode, block_size=2**20, autocommit=autocommit)
        return super()._open(path, mode, **options)

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        self.made.append(path)


class TestCommitting(StoreContract):
    """A filesystem that hides what is written until it is committed, as s3fs and gcsfs do."""

    @pytest.fixture
    def store(self) -> FsspecStore:
        return over(CommittingFilesystem(), "backup/prod")

    def test_a_sweep_removes_what_a_killed_writer_left(self, store: Store, content: bytes) -> None:
        """It can't: fsspec has no way to list unfinished uploads, and the class says that a lifecycle rule must."""
        with abandoned(store, "app/1/half", content):
            assert list(store.list()) == []
            assert store.sweep("app/") == ()

    def test_writes_under_the_final_name_and_moves_nothing(self, store: FsspecStore, content: bytes) -> None:
        with abandoned(store, "a/b", content):
            (file,) = store._fs.unfinished
            assert file.path == "/backup/prod/a/b"

    def test_discards_the_upload_when_the_block_fails(self, store: FsspecStore, content: bytes) -> None:
        with pytest.raises(Interrupted), store.writer("a/b") as sink:
            sink.write(content)
            raise Interrupted
        assert store._fs.unfinished == []

    def test_never_creates_a_bucket(self, store: FsspecStore) -> None:
        store.put("a/b", b"1")
        assert store._fs.made == []

    def test_leaves_no_file_to_a_later_transaction(self, store: FsspecStore) -> None:
        store.put("a/b", b"1")
        assert not store._fs.transaction.files

    @pytest.mark.parametrize("what", ["write", "commit"])
    def test_a_connection_lost_while_writing_leaves_nothing(
        self, store: FsspecStore, content: bytes, what: str
    ) -> None:
        store._fs.failures[what] = [ConnectionResetError(errno.ECONNRESET, "connection reset by peer")]
        with pytest.raises(StoreUnreachable, match="a/b"):
            store.put("a/b", content)
        assert store._fs.unfinished == []
        assert list(store.list()) == []


class Flaky(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Passes everything on to another filesystem, but the named calls fail first."""

    protocol = "flaky"
    cachable = False

    def __init__(self, inner: Any, **failures: list[Exception]) -> None:
        super().__init__()
        self.inner, self.failures = inner, failures

    def __getattribute__(self, name: str) -> Any:
        if name in ("inner", "failures", "protocol") or name.startswith("__"):
            return object.__getattribute__(self, name)
        failures = object.__getattribute__(self, "__dict__").get("failures", {})
        if failures.get(name):
            return _Failing(failures[name])
        inner = object.__getattribute__(self, "__dict__").get("inner")
        return getattr(inner, name) if inner is not None else object.__getattribute__(self, name)


class _Failing:
    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._failures.pop(0)


def lost() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "connection reset by peer")


class FakeClientConnectionError(Exception):
    """Stands for aiohttp's, which is recognised by name."""


FakeClientConnectionError.__name__ = "ClientConnectionError"


class TestBrokenConnections:
    @pytest.mark.parametrize("what", ["open", "cp_file", "info", "find", "rm_file"])
    def test_are_tried_again(self, memory: MemoryFileSystem, what: str) -> None:
        failures: dict[str, list[Exception]] = {what: [lost(), TimeoutError("timed out")]}
        store = over(Flaky(memory, **failures))
        store.put("a/b", b"12")
        assert store.get("a/b") == b"12"
        assert [found.key for found in store.list()] == ["a/b"]
        store.delete("a/b")
        assert list(store.list()) == []

    @pytest.mark.parametrize(
        "error", [lost(), TimeoutError(), OSError(errno.EHOSTUNREACH, "x"), FakeClientConnectionError()]
    )
    def test_that_last_are_reported_as_unreachable(self, memory: MemoryFileSystem, error: Exception) -> None:
        store = over(Flaky(memory, find=[error] * 10))
        with pytest.raises(StoreUnreachable, match=r"after 4 tries") as caught:
            list(store.list())
        assert "HINT: check network" in str(caught.value)

    def test_a_move_whose_answer_was_lost_counts_as_done(self, memory: MemoryFileSystem) -> None:
        class LosesTheAnswer(Flaky):
            def __getattribute__(self, name: str) -> Any:
                if name != "rm_file" or not self.failures["answers"]:
                    return super().__getattribute__(name)

                def rm_file(path: str) -> None:
                    self.inner.rm_file(path)
                    raise self.failures["answers"].pop(0)

                return rm_file

        store = over(LosesTheAnswer(memory, answers=[lost()]))
        store.put("a/b", b"12")
        assert store.get("a/b") == b"12"

    def test_reading_goes_on_where_it_broke(self, memory: MemoryFileSystem) -> None:
        content = secrets.token_bytes(3 * 2**20 + 7)

        class BreaksOnce(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
            broken = 0

            def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
                file = super()._open(path, mode, **options)
                if mode != "rb":
                    return file
                return _BreaksAfter(file, self, 2 * 2**20)

        filesystem = BreaksOnce(skip_instance_cache=True)
        store = over(filesystem)
        store.put("a/b", content)
        assert store.get("a/b") == content
        assert filesystem.broken == 1


class _BreaksAfter:
    def __init__(self, file: Any, filesystem: Any, after: int) -> None:
        self._file, self._filesystem, self._after = file, filesystem, after

    def __enter__(self) -> _BreaksAfter:
        return self

    def __exit__(self, *_: Any) -> None:
        return

    def seek(self, offset: int) -> None:
        self._file.seek(offset)

    def read(self, size: int) -> Any:
        if self._file.tell() >= self._after and not self._filesystem.broken:
            self._filesystem.broken += 1
            raise lost()
        return self._file.read(size)


class TestRefusals:
    def test_no_room_is_named(self, memory: MemoryFileSystem) -> None:
        store = over(Flaky(memory, open=[OSError(errno.ENOSPC, "no space left on device")]))
        with pytest.raises(StoreFull, match="memory://backup/prod/"):
            store.put("a/b", b"1")

    def test_a_forbidden_write_is_not_tried_again(self, memory: MemoryFileSystem) -> None:
        failures: list[Exception] = [PermissionError(errno.EACCES, "Access Denied"), lost()]
        with pytest.raises(StoreDenied, match="Access Denied"):
            over(Flaky(memory, open=failures)).put("a/b", b"1")
        assert len(failures) == 1

    def test_keys_never_show(self, memory: MemoryFileSystem) -> None:
        store = over(Flaky(memory, open=[ValueError("bad key AKIA/secret+1")]), hide=["AKIA/secret+1"])
        with pytest.raises(StoreError) as caught:
            store.put("a/b", b"1")
        assert "***" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_a_bug_shows_where_it_was_raised_as_long_as_it_quotes_no_key(self, memory: MemoryFileSystem) -> None:
        with pytest.raises(StoreError, match="TypeError") as caught:
            over(memory, hide=["AKIA/secret+1"]).put("a/b", "text")  # type: ignore[arg-type]  # that is the bug
        assert isinstance(caught.value.__cause__, TypeError)

    def test_a_store_that_lost_bytes_is_found_out(self, memory: MemoryFileSystem) -> None:
        class Forgets(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
            def cp_file(self, path1: str, path2: str, **options: Any) -> None:
                self.pipe_file(path2, self.cat_file(path1)[:-1])

        store = over(Forgets(skip_instance_cache=True))
        with pytest.raises(ObjectDamaged, match="3 bytes were written, the store holds 2"):
            store.put("a/b", b"123")
        with pytest.raises(ObjectMissing):
            store.get("a/b")
