"""One object on its way to OSS: a stream cut into parts that travel side by side, proven by CRC64 on arrival."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from fastcrc import crc64

from upkeep.domain.units import human_bytes
from upkeep.errors import ObjectDamaged, ObjectMissing, StoreError
from upkeep.stores.backoff import Backoff
from upkeep.stores.oss_client import Damaged, Halted, OssClient
from upkeep.stores.oss_errors import ABORT, DELETE, READ, WRITE

MIB = 2**20

MAX_PARTS = 10_000
"""OSS's own limit for one object."""

BUFFER_MIB = 96
"""What the parts of all objects in memory may take together, in MiB. As parts grow, fewer of them travel at once.

Two parts of each object is the least (one travels while one fills), so a ``part_mb`` above 48 takes more than this, and
so do more than three large objects at once.
"""


def part_mib(number: int, first_mib: int, uploads: int = 1) -> int:
    """Size in MiB of part ``number`` (from 1) where ``uploads`` objects are on their way at once.

    Small objects get small parts, which keep all threads busy; large ones get larger parts, so that 10,000 of them
    hold enough: 500 of 8, 500 of 16, then 9000 of 32 are 293 GiB (315 GB). Beside another object the largest ones wait
    for the second half: 500 of 8, 4500 of 16, 5000 of 32 are 230 GiB. A larger ``first_mib`` is the size of all.
    """
    if number <= MAX_PARTS // 20:
        return first_mib
    return max(first_mib, 16 if number <= MAX_PARTS // (10 if uploads == 1 else 2) else 32)


def parts_at_once(size_mib: int, threads: int, uploads: int = 1) -> int:
    """How many parts of this size may travel while another one fills: this object's share of the threads and of
    ``BUFFER_MIB`` where ``uploads`` objects are on their way."""
    return max(1, min(-(-threads // uploads), BUFFER_MIB // uploads // size_mib - 1))


class OssUpload:
    """Takes the bytes of one object in order, then ``finish`` or ``abandon`` it.

    The CRC64 of the whole is computed here from what the caller handed in, before any copying or cutting, and compared
    with what OSS says it holds. oss2's own check is switched off: without a C compiler it is slower than the network,
    and what it compares is computed from the parts after they were cut, not from what was written.
    """

    def __init__(self, client: OssClient, key: str) -> None:
        self._client = client
        self._key = key
        self._name = client.root + key
        self._crc = 0
        self._size = 0
        self._buffer = bytearray(part_mib(1, client.options.part_mb) * MIB)
        self._filled = 0
        self._spare: list[bytearray] = []
        self._upload_id = ""
        self._sent = 0
        self._etags: dict[int, str] = {}
        self._travelling: set[Future[tuple[int, str]]] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Blocks while enough parts are on their way. Errors: those of ``OssClient.call``."""
        self._crc = crc64.xz(chunk, self._crc)
        rest = memoryview(chunk)
        self._size += len(rest)
        while rest:
            # A full buffer is sent only when more follows: what fits into one part needs no multipart upload.
            if self._filled == len(self._buffer):
                self._send()
            taken = min(len(rest), len(self._buffer) - self._filled)
            memoryview(self._buffer)[self._filled : self._filled + taken] = rest[:taken]
            self._filled += taken
            rest = rest[taken:]

    def finish(self) -> None:
        """Make the object appear, and prove that the store holds what was written.

        Errors: ``ObjectDamaged``, after the damaged object has been removed; those of ``OssClient.call``.
        """
        if not self._upload_id:
            self._put()
            return
        if self._filled:
            self._send()
        self._collect(until_below=1)
        self._close_pool()
        self._complete()

    def abandon(self) -> str:
        """Remove what has been sent. Never raises: the error that led here is the one to report.

        Parts that wait for their next try or are being sent stop at once; one that waits for the store's answer is
        waited for, ``timeout_s`` at most.

        :return: what could not be removed, for a note on that error; empty when nothing is left.
        """
        self._stop.set()
        self._close_pool()
        if not self._upload_id:
            return ""
        try:
            self._client.call(ABORT, self._key, self._abort, backoff=Backoff(1, self._client.options.backoff_s))
        except Exception as error:  # the connection may be unreadable too
            return f"the unfinished upload stays until the next sweep: {error}"
        return ""

    def _put(self) -> None:
        whole = memoryview(self._buffer)[: self._filled]

        def act(bucket: Any) -> None:
            body = _Body(whole, self._stop) if whole else b""  # requests sends an empty reader in chunks; OSS refuses
            answer = bucket.put_object(self._name, body, headers=self._client.options.object_headers())
            held = answer.crc if answer.crc is not None else bucket.head_object(self._name).server_crc
            if held != self._crc:
                raise Damaged(_difference(held, self._crc))

        try:
            self._client.call(WRITE, self._key, act)
        except ObjectDamaged as error:
            raise self._removed(error) from None

    def _send(self) -> None:
        """Hand the full buffer to a thread and begin a new one."""
        number, first_mib = self._sent + 1, self._client.options.part_mb
        if number > MAX_PARTS:
            raise StoreError(
                f"can't write {self._client.address(self._key)}: it has more than {human_bytes(self._size)}, "
                f"and {MAX_PARTS} parts are the most that OSS takes for one object",
                hint=f"set part_mb of this store to {max(64, 2 * first_mib)}; every part in memory will be as large",
            )
        pool = self._pool or self._begin()
        size_mib, threads, uploads = len(self._buffer) // MIB, self._client.options.threads, self._client.uploads
        at_once = parts_at_once(size_mib, threads, uploads)
        self._collect(until_below=at_once)
        del self._spare[at_once:]  # another object has begun meanwhile: this one's share has become smaller
        self._travelling.add(pool.submit(self._upload_part, number, self._buffer, self._filled))
        self._sent = number
        self._buffer = self._empty(part_mib(number + 1, first_mib, uploads) * MIB)
        self._filled = 0

    def _empty(self, size: int) -> bytearray:
        """A buffer to fill: one whose part has arrived. A new one for every part would leave holes in the heap."""
        while self._spare:
            if len(buffer := self._spare.pop()) == size:
                return buffer
        return bytearray(size)

    def _begin(self) -> ThreadPoolExecutor:
        headers = self._client.options.object_headers()
        answer = self._client.call(
            WRITE, self._key, lambda bucket: bucket.init_multipart_upload(self._name, headers=headers)
        )
        self._upload_id = answer.upload_id
        self._pool = ThreadPoolExecutor(self._client.options.threads, thread_name_prefix="upkeep-oss")
        return self._pool

    def _collect(self, *, until_below: int) -> None:
        """Wait until fewer parts travel than that; raises the error of any part that was lost for good."""
        while True:
            enough = len(self._travelling) < until_below
            done, self._travelling = wait(self._travelling, 0 if enough else None, return_when=FIRST_COMPLETED)
            self._etags.update(future.result() for future in done)
            if enough or not self._travelling:
                return

    def _upload_part(self, number: int, buffer: bytearray, filled: int) -> tuple[int, str]:
        part = memoryview(buffer)[:filled]
        crc = crc64.xz(part)

        def act(bucket: Any) -> str:
            answer = bucket.upload_part(self._name, self._upload_id, number, _Body(part, self._stop))
            if answer.crc is not None and answer.crc != crc:
                raise Damaged(f"part {number}: {_difference(answer.crc, crc)}")
            return str(answer.etag)

        etag = self._client.call(WRITE, self._key, act, stop=self._stop)
        self._spare.append(buffer)
        return number, etag

    def _complete(self) -> None:
        from oss2.exceptions import NoSuchUpload
        from oss2.models import PartInfo

        parts = [PartInfo(number, etag) for number, etag in sorted(self._etags.items())]

        def act(bucket: Any) -> tuple[bool, int | None]:
            try:
                return True, bucket.complete_multipart_upload(self._name, self._upload_id, parts).crc
            except NoSuchUpload:  # it may be complete already: the answer to an earlier try was lost
                return False, None

        answered, held = self._client.call(WRITE, self._key, act)
        if held is None:
            held = self._held_crc(certain=answered)
        self._upload_id = ""
        if held != self._crc:
            raise self._removed(
                ObjectDamaged(
                    f"{self._client.address(self._key)} is damaged in the store: {_difference(held, self._crc)}",
                    hint="run the backup again; if it happens again, report it to Alibaba Cloud support",
                )
            )

    def _held_crc(self, *, certain: bool) -> int | None:
        """The CRC64 of what now stands under the key.

        :param certain: that it is ours. If not, what stands there may be the older object that ours was to replace:
            then anything but ours means that the upload is lost, and nothing may be removed.
        """
        lost = StoreError(
            f"can't write {self._client.address(self._key)}: its upload has vanished from the store",
            hint="it was aborted by another run's sweep, or by a lifecycle rule that removes unfinished uploads "
            "sooner than this one takes; check both, then run the backup again",
        )
        try:
            found = self._client.call(READ, self._key, lambda bucket: bucket.head_object(self._name))
        except ObjectMissing:
            raise lost from None
        if not certain and (found.server_crc, found.content_length) != (self._crc, self._size):
            raise lost
        return None if found.server_crc is None else int(found.server_crc)

    def _removed(self, damage: ObjectDamaged) -> ObjectDamaged:
        """Remove the damaged object: nothing that is known to be wrong may stand under a final key."""
        try:
            self._client.call(DELETE, self._key, lambda bucket: bucket.delete_object(self._name))
        except StoreError as error:
            return ObjectDamaged(f"{damage.message}; it still stands there: {error.message}", hint=damage.hint)
        return damage

    def _abort(self, bucket: Any) -> None:
        from oss2.exceptions import NoSuchUpload

        try:
            bucket.abort_multipart_upload(self._name, self._upload_id)
        except NoSuchUpload:
            return

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class _Body:
    """A part, in the small blocks in which http.client asks for it.

    Handed over whole, it would have to be sent within one time limit, however slow the line; and the parts still
    travelling could not be stopped when the upload is given up.
    """

    def __init__(self, part: memoryview, stop: threading.Event) -> None:
        self.len = len(part)  # where requests looks for the Content-Length
        self._rest = part
        self._stop = stop

    def read(self, size: int) -> memoryview:
        if self._stop.is_set():
            raise Halted
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


def _difference(held: int | None, wanted: int) -> str:
    return f"the store's CRC64 is {held}, of what was written {wanted}"
