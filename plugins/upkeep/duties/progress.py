"""How far something long is, said now and then."""

from __future__ import annotations

import logging
import time

from upkeep.domain.units import human_bytes, human_seconds

log = logging.getLogger(__name__)

EVERY_S = 10


class Progress:
    """Counts bytes. ``what`` names the object, ``done`` what has become of its bytes: stored, read back, shipped."""

    def __init__(self, what: str, done: str) -> None:
        self._what, self._done = what, done
        self.size = 0
        self._begun = self._said = time.monotonic()

    def add(self, size: int) -> None:
        self.size += size
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            took = human_seconds(now - self._begun)
            log.info("%s: %s %s after %s", self._what, human_bytes(self.size), self._done, took)
