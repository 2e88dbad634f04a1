"""Bytes on their way between a store and whoever has the other end: counted and hashed, and told of now and then."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator

from upkeep.domain.manifest import StoredFile
from upkeep.domain.units import human_bytes, human_seconds

log = logging.getLogger(__name__)

EVERY_S = 10


class Metered:
    """One object's bytes. ``what`` names it, ``done`` what has become of its bytes: stored, read back, shipped."""

    def __init__(self, what: str, done: str) -> None:
        self._what, self._done = what, done
        self._sha256 = hashlib.sha256()
        self.size = 0
        self._begun = self._said = time.monotonic()

    def over(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            self._sha256.update(chunk)
            self.size += len(chunk)
            self._tell()
            yield chunk

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def matches(self, file: StoredFile) -> bool:
        return (self.size, self.sha256) == (file.size, file.sha256)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            took = human_seconds(now - self._begun)
            log.info("%s: %s %s after %s", self._what, human_bytes(self.size), self._done, took)
