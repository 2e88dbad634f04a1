"""The OSS store against a server that checks signatures and breaks on order."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.servers.oss_faults import ALWAYS
from tests.servers.oss_server import OssServer
from tests.stores.contract import Interrupted, StoreContract, abandoned
from upkeep.domain.endpoint import Endpoint
from upkeep.errors import (
    ObjectDamaged,
    ObjectHeld,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from upkeep.stores import oss_credentials, oss_upload
from upkeep.stores.backoff import Backoff
from upkeep.stores.oss_store import OssStore

MIB = 2**20
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
KEY = "kindergarten/app/20261121T020003Z-ab12/app.sql.zst"

Connect = Callable[[], Endpoint]


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss") as server:
        yield server


def open_store(oss: OssServer, endpoint: Connect | None = None, **options: Any) -> OssStore:
    """Small parts and short waits; otherwise as in production."""
    wanted = {"part_mb": 1, "retries": 3, "backoff_s": 0.01, "timeout_s": 5.0, **options}
    return OssStore(url=f"oss://{oss.bucket}/prod", endpoint=endpoint or oss.endpoint, **wanted)


@pytest.fixture
def store(oss: OssServer) -> OssStore:
    return open_store(oss)


@pytest.fixture
def large() -> bytes:
    """Five parts and a bit."""
    return os.urandom(5 * MIB + 12_345)


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, oss: OssServer) -> OssStore:
        return open_store(oss)


class TestWithoutPrefix(StoreContract):
    @pytest.fixture
    def store(self, oss: OssServer) -> OssStore:
        return OssStore(url=f"oss://{oss.bucket}", endpoint=oss.endpoint, part_mb=1, backoff_s=0.01)


class TestWriting:
    def test_sends_a_small_object_with_one_put(self, oss: OssServer, store: OssStore) -> None:
        store.put("a/manifest.json", b"{}")
        assert oss.operations() == ["PutObject"]
        assert oss.keys == ["prod/a/manifest.json"]

    def test_sends_exactly_one_part_with_one_put(self, oss: OssServer, store: OssStore) -> None:
        store.put("a/one", bytes(MIB))
        assert oss.operations() == ["PutObject"]

    def test_sends_a_large_object_in_parts_side_by_side_but_never_more_than_asked(
        self, oss: OssServer, large: bytes
    ) -> None:
        oss.faults.slow_s = 0.03
        open_store(oss, threads=2).put(KEY, large)
        assert oss.operations().count("UploadPart") == 6
        assert oss.most_at_once == 2

    def test_asks_for_storage_class_and_encryption(self, oss: OssServer, large: bytes) -> None:
        store = open_store(oss, storage_class="IA", server_side_encryption="AES256")
        for key, content in (("small", b"1"), ("large", large)):
            store.put(key, content)
            assert oss.store.get(f"prod/{key}").headers == {
                "x-oss-storage-class": "IA",
                "x-oss-server-side-encryption": "AES256",
            }

    @pytest.mark.parametrize("options", [{"storage_class": "Cold"}, {"server_side_encryption": "DES"}, {"part_mb": 0}])
    def test_refuses_options_that_oss_does_not_know(self, oss: OssServer, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            open_store(oss, **options)

    def test_parts_grow_so_that_ten_thousand_hold_300_gigabytes(self) -> None:
        for first in (1, 8, 32):
            assert sum(oss_upload.part_mib(number, first) for number in range(1, 10_001)) * MIB > 300e9
        assert oss_upload.part_mib(500, 8) == 8

    @pytest.mark.parametrize("uploads", [1, 2, 3])
    @pytest.mark.parametrize("number", [1, 501, 1001, 5000])
    def test_parts_in_memory_stay_within_96_mebibytes_whether_of_one_object_or_of_several(
        self, number: int, uploads: int
    ) -> None:
        size_mib = oss_upload.part_mib(number, 8, uploads)
        travelling = oss_upload.parts_at_once(size_mib, threads=16, uploads=uploads)
        assert uploads * (travelling + 1) * size_mib <= 96
        assert travelling >= 1

    def test_objects_side_by_side_share_the_threads(self, oss: OssServer, large: bytes) -> None:
        oss.faults.slow_s = 0.03
        store = open_store(oss, threads=4)
        with store.writer("a") as one, store.writer("b") as other:
            for start in range(0, len(large), MIB):
                one.write(large[start : start + MIB])
                other.write(large[start : start + MIB])
        assert oss.most_at_once <= 4
        assert (store.get("a"), store.get("b")) == (large, large)

    def test_says_which_setting_to_raise_when_an_object_needs_too_many_parts(
        self, oss: OssServer, store: OssStore, large: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oss_upload, "MAX_PARTS", 3)
        monkeypatch.setattr(oss_upload, "part_mib", lambda _, first_mib, uploads=1: first_mib)
        with pytest.raises(StoreError, match=r"HINT: set part_mb of this store to 64"):
            store.put(KEY, large)
        assert (oss.keys, oss.uploads) == ([], [])

    def test_gives_up_at_once_when_the_block_fails_while_parts_wait_for_their_next_try(self, oss: OssServer) -> None:
        oss.faults.answer("UploadPart", 503, "ServiceUnavailable", times=ALWAYS)
        store = open_store(oss, backoff_s=30.0)
        begun = time.monotonic()
        with pytest.raises(Interrupted), store.writer(KEY) as sink:
            sink.write(bytes(3 * MIB + 1))
            raise Interrupted
        assert time.monotonic() - begun < 5
        assert (oss.keys, oss.uploads) == ([], [])


class TestBrokenConnections:
    def test_a_part_cut_in_the_middle_is_sent_again(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        oss.faults.cut_upload("UploadPart", part=3, after_bytes=300_000, times=2)
        store.put(KEY, large)
        assert oss.operations().count("UploadPart") == 6 + 2
        assert store.get(KEY) == large

    def test_a_part_cut_for_good_leaves_neither_object_nor_upload(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        oss.faults.cut_upload("UploadPart", part=3, after_bytes=300_000, times=ALWAYS)
        with pytest.raises(StoreUnreachable, match=r"failed 4 times, last with \w+: ") as caught:
            store.put(KEY, large)
        assert KEY in str(caught.value)
        assert "HINT: check network" in str(caught.value)
        assert (oss.keys, oss.uploads) == ([], [])

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize(
        "operation", ["PutObject", "InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
    )
    def test_a_busy_store_is_asked_again(
        self, oss: OssServer, store: OssStore, large: bytes, operation: str, status: int
    ) -> None:
        oss.faults.answer(operation, status, "ServiceUnavailable", times=2)
        content = b"small" if operation == "PutObject" else large
        store.put(KEY, content)
        assert store.get(KEY) == content

    @pytest.mark.parametrize(
        "operation", ["PutObject", "InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
    )
    def test_a_store_that_stays_busy_is_unreachable_and_keeps_nothing(
        self, oss: OssServer, store: OssStore, large: bytes, operation: str
    ) -> None:
        oss.faults.answer(operation, 503, "ServiceUnavailable", times=ALWAYS)
        with pytest.raises(StoreUnreachable, match="503 ServiceUnavailable"):
            store.put(KEY, b"small" if operation == "PutObject" else large)
        assert (oss.keys, oss.uploads) == ([], [])

    def test_a_store_that_comes_back_in_time_is_not_noticed(self, oss: OssServer, large: bytes) -> None:
        store = open_store(oss, retries=8, backoff_s=0.05)
        with store.writer(KEY) as sink:
            sink.write(large[: 2 * MIB])
            oss.stop()
            threading.Timer(0.3, oss.start).start()
            sink.write(large[2 * MIB :])
        assert store.get(KEY) == large

    def test_a_store_that_goes_away_for_good_leaves_an_upload_that_a_sweep_removes(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        with pytest.raises(StoreUnreachable) as caught, store.writer(KEY) as sink:
            sink.write(large[: 2 * MIB])
            oss.stop()
            sink.write(large[2 * MIB :])
        assert "ConnectionRefusedError" in str(caught.value)
        assert "stays until the next sweep" in caught.value.__notes__[0]
        oss.start()
        assert list(store.list()) == []
        (swept,) = store.sweep("kindergarten/app/")
        assert swept.startswith(f"{KEY} (upload begun {datetime.now(UTC):%Y-}")
        assert oss.uploads == []

    def test_an_abort_that_cannot_reach_the_store_does_not_hide_the_error(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        with pytest.raises(Interrupted), store.writer(KEY) as sink:
            sink.write(large)
            oss.stop()
            raise Interrupted

    def test_a_silent_store_is_given_up_after_the_time_limit(self, oss: OssServer) -> None:
        store = open_store(oss, timeout_s=0.1, retries=1)
        oss.faults.slow_s = 1.0
        begun = time.monotonic()
        with pytest.raises(StoreUnreachable, match="timed out"):
            store.put(KEY, b"1")
        assert time.monotonic() - begun < 0.9

    def test_a_lost_answer_to_complete_is_settled_by_the_checksum(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        oss.faults.lose_answer("CompleteMultipartUpload")
        store.put(KEY, large)
        assert oss.operations()[-3:] == ["CompleteMultipartUpload", "CompleteMultipartUpload", "HeadObject"]
        assert store.get(KEY) == large

    def test_lost_answers_to_put_part_and_start_do_no_harm(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        for operation in ("PutObject", "UploadPart", "InitiateMultipartUpload"):
            oss.faults.lose_answer(operation)
        store.put("small", b"1")
        store.put("large", large)
        assert store.get("small") == b"1"
        assert store.get("large") == large

    @pytest.mark.parametrize("old", [b"older object", None])
    def test_an_upload_that_vanished_is_an_error_and_the_older_object_stays(
        self, oss: OssServer, store: OssStore, large: bytes, old: bytes | None
    ) -> None:
        if old:
            store.put(KEY, old)
        oss.faults.answer("CompleteMultipartUpload", 404, "NoSuchUpload")
        with pytest.raises(StoreError, match="its upload has vanished") as caught:
            store.put(KEY, large)
        assert "HINT: it was aborted by another run's sweep" in str(caught.value)
        assert [store.get(found.key) for found in store.list()] == ([old] if old else [])


class TestDamage:
    def test_a_part_that_arrived_damaged_is_sent_again(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        oss.faults.corrupt("UploadPart", part=2)
        store.put(KEY, large)
        assert store.get(KEY) == large

    def test_a_small_object_that_arrived_damaged_is_sent_again(self, oss: OssServer, store: OssStore) -> None:
        oss.faults.corrupt("PutObject")
        store.put(KEY, b"123")
        assert store.get(KEY) == b"123"

    @pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
    def test_what_arrives_damaged_every_time_is_given_up_and_removed(
        self, oss: OssServer, store: OssStore, large: bytes, operation: str
    ) -> None:
        oss.faults.corrupt(operation, times=ALWAYS)
        with pytest.raises(ObjectDamaged, match="it arrived damaged 4 times"):
            store.put(KEY, b"123" if operation == "PutObject" else large)
        assert (oss.keys, oss.uploads) == ([], [])

    def test_a_whole_object_that_differs_is_removed(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        oss.faults.corrupt("CompleteMultipartUpload")
        with pytest.raises(ObjectDamaged, match="damaged in the store: the store's CRC64 is") as caught:
            store.put(KEY, large)
        assert KEY in str(caught.value)
        assert (oss.keys, oss.uploads) == ([], [])

    def test_a_damaged_object_under_a_lock_is_named_as_still_there(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        oss.hold("prod/")
        oss.faults.corrupt("CompleteMultipartUpload")
        with pytest.raises(ObjectDamaged, match=r"it still stands there: .*FileImmutable"):
            store.put(KEY, large)

    @pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
    def test_an_answer_without_checksum_is_made_up_for_by_asking(
        self, oss: OssServer, store: OssStore, large: bytes, operation: str
    ) -> None:
        oss.faults.hide_crc(operation)
        store.put(KEY, b"123" if operation == "PutObject" else large)
        assert oss.operations()[-1] == "HeadObject"

    def test_a_store_that_never_tells_the_checksum_is_not_believed(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        oss.faults.hide_crc("CompleteMultipartUpload")
        oss.faults.hide_crc("HeadObject")
        with pytest.raises(ObjectDamaged, match="the store's CRC64 is None"):
            store.put(KEY, large)
        assert oss.keys == []

    def test_bytes_that_rotted_in_the_store_are_found_when_read(self, oss: OssServer, store: OssStore) -> None:
        store.put(KEY, b"123")
        oss.faults.rot()
        with pytest.raises(ObjectDamaged, match="the store recorded"):
            store.get(KEY)


class TestReading:
    def test_goes_on_where_the_connection_broke(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        store.put(KEY, large)
        oss.faults.cut_download(after_bytes=1_500_000, times=3)
        assert store.get(KEY) == large
        assert oss.operations().count("GetObject") == 4

    def test_counts_its_retries_anew_while_it_gets_on(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        store.put(KEY, large)
        oss.faults.cut_download(after_bytes=MIB + 1, times=5)
        assert store.get(KEY) == large

    def test_ends_when_it_no_longer_gets_on(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        store.put(KEY, large)
        oss.faults.cut_download(after_bytes=1000, times=ALWAYS)
        with pytest.raises(StoreUnreachable, match=rf"can't read oss://{oss.bucket}/prod/{KEY}"):
            store.get(KEY)

    def test_never_joins_the_halves_of_two_objects(self, oss: OssServer, store: OssStore, large: bytes) -> None:
        store.put(KEY, large)
        oss.faults.cut_download(after_bytes=2 * MIB)
        chunks = store.read(KEY)
        next(chunks)
        store.put(KEY, large[::-1])
        with pytest.raises(StoreError, match=r"PreconditionFailed.*\nHINT: it was replaced while it was being read"):
            list(chunks)

    def test_asks_nothing_before_the_first_chunk_is_wanted(self, oss: OssServer, store: OssStore) -> None:
        store.read(KEY)
        assert oss.log == []


class TestListing:
    def test_follows_every_page(self, oss: OssServer, store: OssStore) -> None:
        oss.page_limit = 2
        keys = {f"kindergarten/{target}/{number}/x" for target in ("app", "config", "sessions") for number in range(3)}
        for key in keys:
            store.put(key, b"1")
        assert {found.key for found in store.list()} == keys
        assert {found.key for found in store.list("kindergarten/config/")} == {
            f"kindergarten/config/{number}/x" for number in range(3)
        }

    def test_leaves_out_the_marks_of_empty_folders(self, oss: OssServer, store: OssStore) -> None:
        store.put("kindergarten/", b"")
        assert list(store.list()) == []

    def test_does_not_see_beyond_its_prefix(self, oss: OssServer, store: OssStore) -> None:
        OssStore(url=f"oss://{oss.bucket}/production", endpoint=oss.endpoint).put("a/b", b"1")
        assert list(store.list()) == []

    def test_a_sweep_follows_every_page_and_stays_below_its_prefix(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        oss.page_limit = 2
        uploads = [f"{target}/{number}" for target in ("app", "app-test") for number in range(5)]
        for key in uploads:
            store._client.bucket.init_multipart_upload(f"prod/{key}")
        assert [line.partition(" ")[0] for line in store.sweep("app/")] == uploads[:5]
        assert oss.uploads == [f"prod/{key}" for key in uploads[5:]]


class TestLocks:
    def test_a_locked_object_is_held_and_not_deleted(self, oss: OssServer, store: OssStore) -> None:
        store.put(KEY, b"1")
        oss.hold("prod/kindergarten/")
        with pytest.raises(ObjectHeld, match=r"409 FileImmutable.*\nHINT: a retention lock") as caught:
            store.delete(KEY)
        assert KEY in str(caught.value)
        assert store.get(KEY) == b"1"
        assert oss.operations().count("DeleteObject") == 1

    @pytest.mark.parametrize("size", [1, 2 * MIB])
    def test_a_locked_object_is_not_replaced(self, oss: OssServer, store: OssStore, size: int) -> None:
        store.put(KEY, b"1")
        oss.hold("prod/kindergarten/")
        with pytest.raises(ObjectHeld):
            store.put(KEY, bytes(size))
        assert store.get(KEY) == b"1"
        assert oss.uploads == []


class TestTemporaryKeys:
    @pytest.fixture
    def connection(self, oss: OssServer) -> list[Endpoint]:
        """What the Airflow connection holds; whoever renews it replaces the only item."""
        return [lent(oss, lasts_s=3600)]

    def test_sign_every_request(self, oss: OssServer, connection: list[Endpoint], large: bytes) -> None:
        store = open_store(oss, lambda: connection[0])
        store.put(KEY, large)
        assert store.get(KEY) == large
        assert oss.refusals == []

    def test_that_expire_mid_upload_are_read_again_from_the_connection_once(
        self, oss: OssServer, connection: list[Endpoint], large: bytes
    ) -> None:
        reads: list[Endpoint] = []

        def connect() -> Endpoint:
            reads.append(connection[0])
            return connection[0]

        store = open_store(oss, connect)
        with store.writer(KEY) as sink:
            sink.write(large[: 2 * MIB])
            oss.signatures.keys[connection[0].user].expires_at = time.time() - 1
            connection[0] = lent(oss, lasts_s=3600)
            sink.write(large[2 * MIB :])
        assert store.get(KEY) == large
        assert set(oss.refusals) == {"SecurityTokenExpired"}
        assert len(reads) == 2, "the parts that were refused side by side share one reading"

    def test_that_are_about_to_expire_are_replaced_before_the_store_refuses_them(
        self, oss: OssServer, connection: list[Endpoint], large: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oss_credentials, "RECHECK_S", 0.0)
        connection[0] = lent(oss, lasts_s=60, dated=True)
        store = open_store(oss, lambda: connection[0])
        with store.writer(KEY) as sink:
            sink.write(large[: 2 * MIB])
            del oss.signatures.keys[connection[0].user]
            connection[0] = lent(oss, lasts_s=3600, dated=True)
            sink.write(large[2 * MIB :])
        assert oss.refusals.count("InvalidAccessKeyId") <= 2  # parts that were signed before
        assert store.get(KEY) == large

    def test_outlast_a_moment_in_which_the_connection_cannot_be_read(
        self, oss: OssServer, large: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oss_credentials, "RECHECK_S", 0.0)
        answers = [lent(oss, lasts_s=60, dated=True)]

        def connect() -> Endpoint:
            if not answers:
                raise LookupError("the API server is restarting")
            return answers.pop()

        store = open_store(oss, connect)
        store.put(KEY, large)
        assert store.get(KEY) == large

    def test_that_nobody_renewed_are_named_with_their_connection(
        self, oss: OssServer, connection: list[Endpoint]
    ) -> None:
        oss.signatures.keys[connection[0].user].expires_at = time.time() - 1
        with pytest.raises(StoreError, match="SecurityTokenExpired") as caught:
            open_store(oss, lambda: connection[0]).put(KEY, b"1")
        assert "into connection 'kindergarten_oss'" in str(caught.value)
        assert oss.refusals == ["SecurityTokenExpired"]

    def test_are_not_read_again_while_they_last(self, oss: OssServer, connection: list[Endpoint], large: bytes) -> None:
        reads: list[Endpoint] = []

        def connect() -> Endpoint:
            reads.append(connection[0])
            return connection[0]

        open_store(oss, connect).put(KEY, large)
        assert len(reads) == 1

    @pytest.mark.parametrize("expires_at", ["tomorrow", "2026-11-21 03:00:00"])
    def test_with_an_unclear_expiry_are_refused(self, oss: OssServer, expires_at: str) -> None:
        endpoint = oss.endpoint(security_token="x", expires_at=expires_at)
        with pytest.raises(StoreError, match='HINT: write it with its time zone, as in "2026-11-21T03:00:00Z"'):
            open_store(oss, lambda: endpoint).put(KEY, b"1")

    def test_come_from_the_workers_own_role_when_the_connection_says_so(self, oss: OssServer, large: bytes) -> None:
        endpoint = replace(oss.endpoint(ecs_ram_role=oss.role_url), user="", secret="")
        open_store(oss, lambda: endpoint).put(KEY, large)
        assert oss.keys == [f"prod/{KEY}"]

    def test_of_a_role_that_is_not_there_are_an_error(self, oss: OssServer) -> None:
        endpoint = oss.endpoint(ecs_ram_role=oss.endpoint_url + "/nothing-here")
        with pytest.raises(StoreError, match=r"keys of RAM role .* can't be fetched"):
            open_store(oss, lambda: endpoint).put(KEY, b"1")


def lent(oss: OssServer, *, lasts_s: float, dated: bool = False) -> Endpoint:
    """A connection with a temporary key."""
    key = oss.signatures.issue(lasts_s=lasts_s)
    extra = {"region": oss.region, "security_token": key.token}
    if dated:
        extra["expires_at"] = (datetime.now(UTC) + timedelta(seconds=lasts_s)).isoformat()
    return Endpoint("kindergarten_oss", host=oss.endpoint_url, user=key.key_id, secret=key.secret, extra=extra)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "code", "hint", "kind"),
        [
            (
                {"secret": "wrong"},
                "SignatureDoesNotMatch",
                "the password of connection 'kindergarten_oss' is not",
                StoreDenied,
            ),
            ({"user": "LTAIunknown"}, "InvalidAccessKeyId", "the AccessKey ID in the login of connection", StoreDenied),
            ({"extra": {"region": "cn-beijing"}}, "Invalid signing region", "set the extra region of", StoreError),
            (
                {"extra": {"region": "cn-hangzhou", "security_token": "x"}},
                "InvalidSecurityToken",
                "must come from the same STS answer",
                StoreError,  # whatever renews it may only be late
            ),
        ],
        ids=["wrong-secret", "unknown-key", "wrong-region", "wrong-token"],
    )
    def test_of_the_keys_name_the_connection_and_what_to_change(
        self, oss: OssServer, change: dict[str, Any], code: str, hint: str, kind: type[StoreError]
    ) -> None:
        endpoint = replace(oss.endpoint(), **change)
        with pytest.raises(StoreError, match=code) as caught:
            open_store(oss, lambda: endpoint).put(KEY, b"1")
        assert caught.type is kind
        assert f"HINT: {hint}" in str(caught.value) or hint in str(caught.value).partition("HINT: ")[2]
        assert len(oss.refusals) == 1, "it must not be tried again"

    def test_of_an_unknown_bucket(self, oss: OssServer) -> None:
        store = OssStore(url="oss://no-such-bucket/prod", endpoint=oss.endpoint)
        with pytest.raises(StoreError, match=r"NoSuchBucket.*\nHINT: create the bucket"):
            list(store.list())

    @pytest.mark.parametrize(
        ("operation", "action", "act"),
        [
            ("PutObject", "oss:PutObject", lambda store: store.put(KEY, b"1")),
            ("InitiateMultipartUpload", "oss:PutObject", lambda store: store.put(KEY, bytes(2 * MIB))),
            ("GetObject", "oss:GetObject", lambda store: store.get(KEY)),
            ("DeleteObject", "oss:DeleteObject", lambda store: store.delete(KEY)),
            ("ListObjects", "oss:ListObjects", lambda store: list(store.list())),
            ("ListMultipartUploads", "oss:ListMultipartUploads", lambda store: store.sweep()),
        ],
    )
    def test_of_access_name_the_missing_permission_and_are_not_repeated(
        self, oss: OssServer, store: OssStore, operation: str, action: str, act: Callable[[OssStore], object]
    ) -> None:
        oss.faults.answer(operation, 403, "AccessDenied", times=ALWAYS)
        with pytest.raises(StoreDenied, match=f"403 AccessDenied.*\nHINT: grant {action} on this bucket"):
            act(store)
        assert len(oss.refusals) == 1

    @pytest.mark.parametrize(
        ("status", "code", "message", "hint"),
        [
            (403, "RequestTimeTooSkewed", "", "set this machine's clock"),
            (403, "UserDisable", "", "the Alibaba Cloud account is overdue"),
            (
                403,
                "InvalidObjectState",
                "",
                "it lies in an archive storage class; restore it first: ossutil restore oss://",
            ),
            (
                403,
                "AccessDenied",
                "The bucket you are attempting to access must be addressed using the specified endpoint.",
                "set the host of connection 'kindergarten_oss' to the endpoint of the bucket's region",
            ),
            (400, "SomethingNew", "", "look the answer up at https://api.aliyun.com/troubleshoot"),
        ],
    )
    def test_of_any_other_kind_say_what_to_do(
        self, oss: OssServer, store: OssStore, status: int, code: str, message: str, hint: str
    ) -> None:
        oss.faults.answer("GetObject", status, code, message, times=ALWAYS)
        with pytest.raises(StoreError, match=f"can't read .*{KEY}: {status} {code}") as caught:
            store.get(KEY)
        assert f"HINT: {hint}" in str(caught.value)
        assert len(oss.refusals) == 1

    def test_of_a_connection_without_region_say_which_one_to_enter(self) -> None:
        endpoint = Endpoint("kindergarten_oss", host="oss-cn-shanghai-internal.aliyuncs.com", user="LTAI", secret="s")
        with pytest.raises(StoreError, match="names no region") as caught:
            OssStore(url="oss://kindergarten-backup", endpoint=lambda: endpoint).check()
        assert 'HINT: add "region": "cn-shanghai" to its extra' in str(caught.value)

    def test_of_a_connection_without_keys(self, oss: OssServer) -> None:
        endpoint = replace(oss.endpoint(), user="", secret="")
        with pytest.raises(StoreError, match=r"holds no AccessKey.*\nHINT: set its login"):
            open_store(oss, lambda: endpoint).check()

    def test_of_a_connection_without_host(self, oss: OssServer) -> None:
        endpoint = replace(oss.endpoint(), host="")
        with pytest.raises(StoreError, match=r"has no host.*\nHINT: set it to the bucket's OSS endpoint"):
            open_store(oss, lambda: endpoint).check()

    @pytest.mark.parametrize("url", ["s3://bucket/prod", "oss:///prod", "oss://LTAI:secret@bucket/prod"])
    def test_of_a_url_that_is_none(self, oss: OssServer, url: str) -> None:
        with pytest.raises(StoreError, match="not of the form oss://bucket/prefix") as caught:
            OssStore(url=url, endpoint=oss.endpoint).check()
        assert "secret" not in str(caught.value)

    def test_errors_of_the_connection_itself_pass_through(self, oss: OssServer) -> None:
        def connect() -> Endpoint:
            raise LookupError("no such connection")

        with pytest.raises(LookupError):
            open_store(oss, connect).put(KEY, b"1")


class TestSecrets:
    def test_never_reach_errors_tracebacks_or_logs(self, oss: OssServer, caplog: pytest.LogCaptureFixture) -> None:
        """OSS quotes the request it refuses, security token and all, and oss2 prints and logs what OSS quotes."""
        caplog.set_level(logging.DEBUG)
        key = oss.signatures.issue(lasts_s=3600)
        extra = {"region": oss.region, "security_token": key.token}
        endpoint = Endpoint(
            "kindergarten_oss", host=oss.endpoint_url, user=key.key_id, secret="not-the-secret", extra=extra
        )
        store = open_store(oss, lambda: endpoint)
        for act in (lambda: store.put(KEY, b"1"), lambda: store.put(KEY, bytes(2 * MIB)), lambda: store.get(KEY)):
            with pytest.raises(StoreError) as caught:
                act()
            shown = "".join(traceback.format_exception(caught.value)) + caplog.text
            assert "SignatureDoesNotMatch" in shown
            for secret in (key.token, "not-the-secret", key.secret):
                assert secret not in shown

    def test_are_masked_in_what_the_store_says(self, oss: OssServer, store: OssStore) -> None:
        oss.faults.answer("PutObject", 403, "AccessDenied", f"no right for {oss.access_key_secret}")
        with pytest.raises(StoreError, match=r"AccessDenied: no right for \*\*\* "):
            store.put(KEY, b"1")


class TestCheck:
    def test_passes_on_a_healthy_store(self, oss: OssServer, store: OssStore) -> None:
        store.check()
        assert oss.operations() == ["PutObject", "DeleteObject"]
        assert oss.keys == []

    def test_fails_fast_when_the_store_is_away(self, oss: OssServer) -> None:
        store = open_store(oss, retries=7, backoff_s=1.0, timeout_s=60)
        oss.stop()
        begun = time.monotonic()
        with pytest.raises(StoreUnreachable):
            store.check()
        assert time.monotonic() - begun < 2

    def test_raises_what_a_write_would(self, oss: OssServer, store: OssStore) -> None:
        oss.faults.answer("PutObject", 403, "AccessDenied")
        with pytest.raises(StoreError, match="AccessDenied"):
            store.check()

    def test_passes_with_keys_that_may_write_but_not_delete(self, oss: OssServer, store: OssStore) -> None:
        oss.faults.answer("DeleteObject", 403, "AccessDenied", times=ALWAYS)
        store.check()
        assert list(store.list()) == []

    def test_passes_again_and_again_on_a_locked_bucket(self, oss: OssServer, store: OssStore) -> None:
        oss.hold("prod/")
        store.check()
        store.check()
        assert oss.keys == ["prod/.upkeep/probe"]


class TestAddresses:
    @pytest.fixture(autouse=True)
    def names(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Every name leads to this machine."""
        asked: list[str] = []
        resolve = socket.getaddrinfo

        def local(host: Any, *args: Any, **options: Any) -> Any:
            asked.append(host)
            return resolve("127.0.0.1", *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", local)
        return asked

    @pytest.mark.parametrize(
        ("host", "cname", "asked"),
        [
            ("oss-cn-hangzhou.test", False, "kindergarten-backup.oss-cn-hangzhou.test"),
            ("backup.kindergarten.test", True, "backup.kindergarten.test"),
            ("backup.kindergarten.test", "true", "backup.kindergarten.test"),
        ],
        ids=["bucket-in-the-name", "own-domain", "own-domain-from-a-uri"],
    )
    def test_work(
        self, oss: OssServer, names: list[str], large: bytes, host: str, cname: bool | str, asked: str
    ) -> None:
        endpoint = replace(oss.endpoint(cname=cname, region="oss-cn-hangzhou"), host=host, port=oss.port, schema="http")
        store = open_store(oss, lambda: endpoint)
        store.put("幼儿园/a b", large)
        assert store.get("幼儿园/a b") == large
        assert [found.key for found in store.list()] == ["幼儿园/a b"]
        assert set(names) == {asked}

    @pytest.mark.parametrize(
        ("host", "port", "schema", "url"),
        [
            ("oss-cn-hangzhou.aliyuncs.com", None, "", "https://oss-cn-hangzhou.aliyuncs.com"),
            ("http://oss-cn-hangzhou-internal.aliyuncs.com", None, "", "http://oss-cn-hangzhou-internal.aliyuncs.com"),
            ("oss.test/", 8443, "https", "https://oss.test:8443"),
            ("https://oss.test:8443", 8443, "", "https://oss.test:8443"),
        ],
    )
    def test_are_https_unless_they_say_otherwise(
        self, oss: OssServer, host: str, port: int | None, schema: str, url: str
    ) -> None:
        endpoint = replace(oss.endpoint(), host=host, port=port, schema=schema)
        assert open_store(oss, lambda: endpoint)._client.bucket.endpoint == url


class TestProcesses:
    def test_a_killed_writer_leaves_only_an_upload_that_a_sweep_removes(
        self, oss: OssServer, store: OssStore, large: bytes
    ) -> None:
        writer = start_writer(oss, "sink.write(bytes(3 * 2**20)); print('half', flush=True); time.sleep(60)")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert list(store.list()) == []
        assert oss.uploads == [f"prod/{KEY}"]
        assert len(store.sweep("kindergarten/app/")) == 1
        assert (oss.keys, oss.uploads) == ([], [])
        store.put(KEY, large)
        assert store.get(KEY) == large

    def test_a_terminated_writer_removes_its_upload(self, oss: OssServer) -> None:
        """Airflow turns SIGTERM into an exception in the main thread."""
        writer = start_writer(
            oss,
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))",
            # Many short sleeps: Python doesn't notice a signal that comes just before a long one begins.
            "sink.write(bytes(3 * 2**20)); print('half', flush=True); [time.sleep(0.05) for _ in range(1200)]",
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.terminate()
        writer.communicate(timeout=20)
        assert writer.returncode == 3
        assert (oss.keys, oss.uploads) == ([], [])

    def test_memory_stays_below_200_megabytes_however_large_the_object(self, oss: OssServer) -> None:
        writer = start_writer(
            oss,
            "chunk = os.urandom(2**20)",
            "for _ in range(300): sink.write(chunk)",
            part_mb=8,
        )
        out, _ = writer.communicate(timeout=120)
        peak_mb = json.loads(out)["peak_kb"] / 1024
        assert oss.store.get(f"prod/{KEY}").size == 300 * MIB
        assert peak_mb < 200, f"peak {peak_mb:.0f} MB"

    def test_importing_the_store_does_not_import_oss2(self) -> None:
        """Every task parses its DAG file anew; oss2 costs most of a second."""
        code = "import sys, upkeep.stores.oss_store; sys.exit('oss2' in sys.modules or 'requests' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PLUGINS)}).returncode == 0


def start_writer(oss: OssServer, *lines: str, part_mb: int = 1) -> subprocess.Popen[str]:
    """A process that runs the lines inside a writer's block, then prints its peak memory.

    VmHWM, not ``ru_maxrss``: the latter begins with the size of the process that forked it.
    """
    body = textwrap.indent("\n".join(lines), " " * 4)
    code = (
        "import json, os, re, signal, sys, time\n"
        "from pathlib import Path\n"
        "from upkeep.domain.endpoint import Endpoint\n"
        "from upkeep.stores.oss_store import OssStore\n"
        "given = json.load(sys.stdin)\n"
        "endpoint = Endpoint(**given['endpoint'])\n"
        "store = OssStore(url=given['url'], endpoint=lambda: endpoint, part_mb=given['part_mb'])\n"
        f"with store.writer({KEY!r}) as sink:\n{body}\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "print(json.dumps({'peak_kb': int(peak[1])}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
    )
    assert process.stdin is not None
    endpoint = oss.endpoint()
    fields = {name: getattr(endpoint, name) for name in ("conn_id", "host", "user", "secret", "extra")}
    json.dump({"endpoint": fields, "url": f"oss://{oss.bucket}/prod", "part_mb": part_mb}, process.stdin)
    process.stdin.close()
    process.stdin = None
    return process


class TestBackoff:
    def test_doubles_up_to_the_ceiling_and_spreads_by_up_to_half(self) -> None:
        delays = list(Backoff(retries=7, first_s=1.0, ceiling_s=30.0).delays())
        assert len(delays) == 7
        for delay, longest in zip(delays, (1, 2, 4, 8, 16, 30, 30), strict=True):
            assert longest / 2 <= delay <= longest

    def test_differs_from_one_writer_to_the_next(self) -> None:
        assert list(Backoff().delays()) != list(Backoff().delays())


def test_an_abandoned_writer_is_what_the_contract_says(oss: OssServer, store: OssStore, large: bytes) -> None:
    with abandoned(store, KEY, large):
        assert oss.uploads == [f"prod/{KEY}"]
    with pytest.raises(ObjectMissing):
        store.get(KEY)
