"""What every store promises. A store's test class inherits these tests and supplies a ``store`` fixture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from upkeep.errors import ObjectMissing
from upkeep.stores.base import Store

MIB = 2**20


class Interrupted(Exception):
    """Whatever ends a backup in the middle."""


class StoreContract:
    """Override ``large`` where a store cuts what it sends: the content must be larger than one cut."""

    large = 2 * MIB + 12_345

    @pytest.fixture
    def content(self) -> bytes:
        return os.urandom(self.large)

    def test_returns_the_bytes_that_were_written(self, store: Store, content: bytes) -> None:
        with store.writer("kindergarten/app/1/app.sql.zst") as sink:
            for start in range(0, len(content), 100_000):
                sink.write(content[start : start + 100_000])
        assert store.get("kindergarten/app/1/app.sql.zst") == content

    def test_takes_an_object_in_one_write(self, store: Store, content: bytes) -> None:
        store.put("a/whole", content)
        assert store.get("a/whole") == content

    def test_reads_in_chunks_of_at_most_one_mebibyte(self, store: Store, content: bytes) -> None:
        store.put("a/whole", content)
        sizes = [len(chunk) for chunk in store.read("a/whole")]
        assert sum(sizes) == len(content)
        assert 0 < max(sizes) <= MIB

    @pytest.mark.parametrize("chunks", [[], [b""]], ids=["nothing-written", "empty-write"])
    def test_keeps_an_empty_object(self, store: Store, chunks: list[bytes]) -> None:
        with store.writer("a/empty") as sink:
            for chunk in chunks:
                sink.write(chunk)
        assert store.get("a/empty") == b""
        assert [(found.key, found.size) for found in store.list()] == [("a/empty", 0)]

    @pytest.mark.parametrize("written", [0, 10, "large"])
    def test_shows_nothing_when_the_block_ends_by_an_exception(
        self, store: Store, content: bytes, written: int | str
    ) -> None:
        amount = len(content) if written == "large" else int(written)
        with pytest.raises(Interrupted), store.writer("a/half") as sink:
            sink.write(content[:amount])
            raise Interrupted
        assert list(store.list()) == []
        with pytest.raises(ObjectMissing):
            store.get("a/half")

    def test_shows_nothing_while_it_is_being_written(self, store: Store, content: bytes) -> None:
        with store.writer("a/b") as sink:
            sink.write(content)
            assert list(store.list()) == []
        assert [found.key for found in store.list()] == ["a/b"]

    def test_replaces_an_object_in_one_step(self, store: Store, content: bytes) -> None:
        store.put("a/manifest.json", b"old")
        with store.writer("a/manifest.json") as sink:
            sink.write(content)
            assert store.get("a/manifest.json") == b"old"
        assert store.get("a/manifest.json") == content

    def test_keeps_the_old_object_when_replacing_it_fails(self, store: Store, content: bytes) -> None:
        store.put("a/manifest.json", b"old")
        with pytest.raises(Interrupted), store.writer("a/manifest.json") as sink:
            sink.write(content)
            raise Interrupted
        assert store.get("a/manifest.json") == b"old"
        assert [found.key for found in store.list()] == ["a/manifest.json"]

    def test_passes_on_the_exception_of_the_block_unchanged(self, store: Store) -> None:
        error = Interrupted("the dump was killed")
        with pytest.raises(Interrupted) as caught, store.writer("a/b"):
            raise error
        assert caught.value is error

    def test_lists_a_folder_and_not_those_whose_names_begin_alike(self, store: Store) -> None:
        for key in ("kindergarten/app/1/x", "kindergarten/app/2/x", "kindergarten/app-test/1/x", "kindergarten/ap/x"):
            store.put(key, b"1")
        assert sorted(found.key for found in store.list("kindergarten/app/")) == [
            "kindergarten/app/1/x",
            "kindergarten/app/2/x",
        ]
        assert len(list(store.list())) == 4

    def test_refuses_a_prefix_that_is_not_a_folder(self, store: Store) -> None:
        with pytest.raises(ValueError, match="must be empty or end with '/'"):
            list(store.list("kindergarten/app"))

    def test_lists_size_and_time_of_writing(self, store: Store) -> None:
        store.put("a/b", b"12345")
        (found,) = store.list()
        assert found.size == 5
        assert found.modified.utcoffset() == timedelta(0)
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)

    def test_lists_nothing_below_a_folder_that_does_not_exist(self, store: Store) -> None:
        assert list(store.list("nowhere/")) == []

    def test_deletes_one_object_and_no_other(self, store: Store) -> None:
        for key in ("a/x", "a/xy", "a/x.sha256"):
            store.put(key, b"1")
        store.delete("a/x")
        assert sorted(found.key for found in store.list()) == ["a/x.sha256", "a/xy"]

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        store.delete("a/never-was")
        store.put("a/x", b"1")
        store.delete("a/x")
        store.delete("a/x")

    @pytest.mark.parametrize("key", ["幼儿园/备份/应用 数据.sql", "a/b c+d&e=f%20g#h?i", "é/ñ's.tar.zst"])
    def test_keeps_any_name(self, store: Store, key: str) -> None:
        store.put(key, b"1")
        folder, _, _ = key.partition("/")
        assert store.get(key) == b"1"
        assert [found.key for found in store.list(folder + "/")] == [key]
        store.delete(key)
        assert list(store.list()) == []

    def test_reading_what_is_not_there_says_so(self, store: Store) -> None:
        store.put("a/x", b"1")
        with pytest.raises(ObjectMissing, match="a/missing") as caught:
            store.get("a/missing")
        assert "HINT: " in str(caught.value)

    def test_two_objects_can_be_written_side_by_side(self, store: Store, content: bytes) -> None:
        with store.writer("a/one") as one, store.writer("a/two") as two:
            for start in range(0, len(content), 500_000):
                one.write(content[start : start + 500_000])
                two.write(content[start : start + 500_000][::-1])
        assert store.get("a/one") == content
        assert len(store.get("a/two")) == len(content)

    def test_a_check_passes_and_leaves_nothing_behind(self, store: Store) -> None:
        store.check()
        assert list(store.list()) == []

    def test_a_sweep_leaves_whole_objects_alone(self, store: Store) -> None:
        store.put("a/x", b"1")
        assert store.sweep() == ()
        assert store.sweep("a/") == ()
        assert store.get("a/x") == b"1"

    def test_a_sweep_removes_what_a_killed_writer_left(self, store: Store, content: bytes) -> None:
        store.put("app-test/1/whole", b"1")
        with abandoned(store, "app/1/half", content):
            assert [found.key for found in store.list()] == ["app-test/1/whole"]
            assert store.sweep("app-test/") == ()
            assert len(store.sweep("app/")) == 1
            assert store.sweep("app/") == ()

    def test_has_an_address_without_a_trailing_slash(self, store: Store) -> None:
        assert "://" in store.url
        assert not store.url.endswith("/")


@contextmanager
def abandoned(store: Store, key: str, content: bytes) -> Iterator[None]:
    """While the block runs, a writer has written and never comes to its end, as one whose process was killed."""
    writer = store.writer(key)
    writer.__enter__().write(content)
    yield
    with suppress(Exception):  # what its orphaned end meets is of no interest
        writer.__exit__(Interrupted, Interrupted(), None)
