"""Backups in anything fsspec can reach: S3, Google Cloud Storage, Azure, SFTP, HDFS, memory ..."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

from upkeep.domain.masking import mask
from upkeep.errors import ObjectDamaged, ObjectMissing
from upkeep.stores.backoff import Backoff, Tries
from upkeep.stores.base import ObjectWriter, Store, StoredObject, require_folder
from upkeep.stores.fsspec_errors import is_a_bug, is_passing, refusal

T = TypeVar("T")

PARTIAL = ".partial-"
"""Names that begin so are half-written: never listed, removed by ``sweep``."""
OWN = ".upkeep/"
"""The store's own folder. What is in it is no backup: never listed."""
CHUNK = 2**20
BLOCK = 16 * 2**20
"""Size of the parts a filesystem uploads: S3's 10,000 of them hold 156 GiB, and a few of them fit into memory."""

COMMITTING = frozenset({"s3", "s3a", "gs", "gcs"})
"""Where a file opened with ``autocommit=False`` appears with ``commit()`` and not before.

Read in s3fs and gcsfs. It can't be asked for: fsspec accepts the option everywhere, and where it is not carried out
(memory, Azure) the half-written file shows under its final name; LocalFileSystem writes it to ``/tmp`` first.
"""


class FsspecStore(Store):
    """Objects as files below ``root`` of a filesystem that is already logged in.

    What a killed writer leaves on S3 and GCS is an unfinished upload that fsspec has no way to list: give the bucket a
    lifecycle rule that removes those after some days. Elsewhere it is a file that ``sweep`` removes.

    :param filesystem: an ``fsspec.AbstractFileSystem``.
    :param root: the path on it below which everything lies.
    :param url: for people; must hold no secret.
    :param hide: values to mask in errors, such as the keys the filesystem logged in with.
    """

    def __init__(
        self, filesystem: Any, root: str, *, url: str, hide: Iterable[str] = (), backoff: Backoff | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._fs = filesystem
        self._root = root.rstrip("/") + "/"
        self._hide = tuple(hide)
        self._backoff = backoff or Backoff()

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        """See ``Store.writer``. Errors: ``ObjectDamaged`` when the size stored is not the size written.

        A write that fails is not tried again here: only the filesystem knows how much of it went out, and s3fs and
        gcsfs try each part again themselves.
        """
        file = _Writing(self, key)
        try:
            yield file
            file.finish()
        except BaseException:
            file.abandon()
            raise

    def read(self, key: str) -> Iterator[bytes]:
        """See ``Store.read``. After a lost connection the file is opened again and read on from where it broke."""
        offset = 0
        tries = Tries(self._backoff)
        while True:
            file = self.call("read", key, lambda: self._fs.open(self.path(key), "rb"))
            try:
                with file:
                    file.seek(offset)
                    while chunk := file.read(CHUNK):
                        offset += len(chunk)
                        yield chunk
                        tries = Tries(self._backoff)
                return
            except Exception as error:
                if not is_passing(error) or not tries.again():
                    self._refuse(error, "read", key, tries)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for key, info in self._files(require_folder(prefix)):
            if not is_partial(key):
                yield StoredObject(key, int(info["size"]), self._modified(key, info))

    def delete(self, key: str) -> None:
        self.remove(key)

    def check(self) -> None:
        probe = FsspecStore(
            self._fs,
            self._root,
            url=self.url,
            hide=self._hide,
            backoff=Backoff(2, min(0.2, self._backoff.first_s)),
        )
        key = f"{OWN}check-{secrets.token_hex(4)}"
        probe.put(key, b"upkeep")
        probe.delete(key)

    def sweep(self, prefix: str = "") -> tuple[str, ...]:
        found = [key for key, _ in self._files(require_folder(prefix)) if is_partial(key)]
        for key in found:
            self.delete(key)
        return tuple(found)

    def path(self, key: str) -> str:
        return self._root + key

    @property
    def commits(self) -> bool:
        """Whether this filesystem keeps a file hidden under its final name until it is committed."""
        names = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        return bool(names & COMMITTING)

    def open_for_writing(self, key: str) -> Any:
        path = self.path(key)

        def act() -> Any:
            return self._fs.open(path, "wb", block_size=BLOCK, autocommit=not self.commits)

        def make_folder_and_act() -> Any:
            try:
                return act()
            except FileNotFoundError:
                # Only now, and never beforehand: on object stores this would create a missing bucket.
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                return act()

        file = self.call("write", key, make_folder_and_act)
        if self.commits:
            with suppress(AttributeError, ValueError):
                # fsspec keeps every such file for a transaction that nobody ends: a leak, and a second commit.
                self._fs.transaction.files.remove(file)
        return file

    def move(self, source: str, target: str) -> None:
        tries = 0

        def act() -> None:
            nonlocal tries
            tries += 1
            try:
                self._move(self.path(source), self.path(target))
            except FileNotFoundError:
                if tries == 1:
                    raise
                # Nobody else knows the source's name: the try whose answer was lost has moved it.

        self.call("write", target, act)

    def _move(self, source: str, target: str) -> None:
        from fsspec import AbstractFileSystem

        if type(self._fs).mv is AbstractFileSystem.mv:
            # The same two calls, but the general mv takes ? and * in a name for patterns.
            self._fs.cp_file(source, target)
            self._fs.rm_file(source)
        else:
            self._fs.mv(source, target)

    def remove(self, key: str, *, again: bool = True) -> None:
        with suppress(ObjectMissing):
            self.call("delete", key, lambda: self._fs.rm_file(self.path(key)), again=again)

    def size(self, key: str) -> int:
        def act() -> int:
            self._fs.invalidate_cache()
            return int(self._fs.info(self.path(key))["size"])

        return self.call("read", key, act)

    def call(self, verb: str, key: str, act: Callable[[], T], *, again: bool = True) -> T:
        """Run ``act``, again after each lost connection, until it succeeds or its retries are used up."""
        tries = Tries(self._backoff if again else Backoff(0))
        while True:
            try:
                return act()
            except Exception as error:  # each filesystem has errors of its own; a person needs one that says what to do
                if not is_passing(error) or not tries.again():
                    self._refuse(error, verb, key, tries)

    def _refuse(self, error: Exception, verb: str, key: str, tries: Tries) -> NoReturn:
        ours = refusal(error, f"can't {verb} {self.url}/{key}", tries.failed)
        # A bug can only be found by where it was raised; what a library says may quote what it logged in with.
        shown = is_a_bug(error) and mask(told := "".join(traceback.format_exception(error)), self._hide) == told
        raise type(ours)(mask(ours.message, self._hide), hint=ours.hint) from (error if shown else None)

    def _files(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        def act() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()  # s3fs remembers listings and would not see what others wrote
            try:
                found: dict[str, dict[str, Any]] = self._fs.find(self.path(prefix), detail=True)
            except FileNotFoundError:  # nothing has been written yet
                return {}
            return found

        root = self._fs._strip_protocol(self._root).rstrip("/") + "/"
        for path, info in self.call("list", prefix, act).items():
            key = str(path).removeprefix(root)
            if key.startswith(prefix) and not key.startswith(OWN) and not key.endswith("/"):
                yield key, info

    def _modified(self, key: str, info: dict[str, Any]) -> datetime:
        """When the object was last written; every filesystem has a field of its own for it."""
        for name in ("LastModified", "last_modified", "updated", "mtime", "modified", "created"):
            value = info.get(name)
            if isinstance(value, int | float):
                return datetime.fromtimestamp(value, UTC)
            if isinstance(value, str):
                with suppress(ValueError):
                    value = datetime.fromisoformat(value)
            if isinstance(value, datetime):
                return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        asked: datetime = self.call("list", key, lambda: self._fs.modified(self.path(key)))
        return asked.astimezone(UTC) if asked.tzinfo else asked.replace(tzinfo=UTC)


class _Writing:
    """One object on its way: hidden until ``finish`` has committed it, or moved it from a temporary name."""

    def __init__(self, store: FsspecStore, key: str) -> None:
        self._store = store
        self._key = key
        self._at = key
        if not store.commits:
            final = PurePosixPath(key)
            self._at = str(final.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{final.name}"))
        self._written = 0
        self._file = store.open_for_writing(self._at)

    def write(self, chunk: bytes) -> None:
        self._store.call("write", self._key, lambda: self._file.write(chunk), again=False)
        self._written += len(chunk)

    def finish(self) -> None:
        self._store.call("write", self._key, self._file.close, again=False)
        if self._at == self._key:
            self._store.call("write", self._key, self._file.commit, again=False)
        else:
            self._require_size(self._at)
            self._store.move(self._at, self._key)
        self._require_size(self._key)

    def abandon(self) -> None:
        """Remove what has been sent. Never raises: the error that led here is the one to report."""
        with suppress(Exception):
            self._file.close()  # sends what is buffered, but only a commit makes it appear
        with suppress(Exception):
            if self._at == self._key:
                self._file.discard()
            else:
                self._store.remove(self._at, again=False)

    def _require_size(self, key: str) -> None:
        size = self._store.size(key)
        if size != self._written:
            self._store.delete(key)
            raise ObjectDamaged(
                f"{self._store.url}/{self._key} is damaged: {self._written} bytes were written, the store holds {size}",
                hint="it was removed; run the backup again, and check what lies between this worker and the store",
            )


def is_partial(key: str) -> bool:
    return key.rpartition("/")[2].startswith(PARTIAL)
