"""What every store can do. A store is flat: keys with slashes, whole objects, no append and no rename."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """One object as the store lists it: size in bytes, time of the last write in UTC."""

    key: str
    size: int
    modified: datetime


class ObjectWriter(Protocol):
    """Takes bytes in order. Memory use is bounded, however much is written."""

    def write(self, chunk: bytes) -> None: ...


class Store(ABC):
    """Where backups live.

    Keys are relative to the store's own root, use ``/`` and never begin with it. Every method may raise
    ``StoreUnreachable`` once its own retries are used up, and ``StoreError`` for anything the store refuses.
    """

    url: str
    """The store's address for people and manifests; holds no secret."""

    @abstractmethod
    def writer(self, key: str) -> AbstractContextManager[ObjectWriter]:
        """Write one object as a stream.

        The object appears under ``key``, whole, when the block ends normally; when it ends by an exception nothing
        appears and whatever was half written is removed. An existing object is replaced in one step.
        Errors: ``StoreFull``, ``ObjectDamaged`` when the store reports another checksum than what was written.
        """

    @abstractmethod
    def read(self, key: str) -> Iterator[bytes]:
        """The object's bytes in order, in chunks of at most 1 MiB. Errors: ``ObjectMissing``."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key begins with ``prefix``, in no promised order. Half-written objects are not listed.

        ``prefix`` is empty or ends with ``/``: a folder, so that ``app`` can't take ``app-test`` along.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove one object; removing what isn't there is not an error. Errors: ``ObjectHeld``."""

    @abstractmethod
    def check(self) -> None:
        """Prove, quickly, that the store can be reached and written to; raises the error that a write would meet."""

    def sweep(self, prefix: str = "") -> tuple[str, ...]:
        """Remove what killed writers left below ``prefix``, part files or orphan multiparts; returns what it removed.

        Only call it while holding the target: a writer that is still at work would lose its parts.
        """
        return ()

    def put(self, key: str, data: bytes) -> None:
        with self.writer(key) as sink:
            sink.write(data)

    def get(self, key: str) -> bytes:
        """A small object whole (manifests, proofs): use ``read`` for anything that may be large."""
        return b"".join(self.read(key))


def require_folder(prefix: str) -> str:
    """Refuse a prefix that isn't a folder; see ``Store.list``."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r} must be empty or end with '/'")
    return prefix
