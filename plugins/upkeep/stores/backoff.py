"""How often to try again, and how long to wait before."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential, with jitter, up to a ceiling. The default waits 45 to 90 seconds in all before it gives up."""

    retries: int = 7
    first_s: float = 1.0
    ceiling_s: float = 30.0

    def delays(self) -> Iterator[float]:
        """One delay in seconds for each retry: 1, 2, 4 ... 30, each shortened by up to half at random.

        Without the jitter every task that lost the same store would come back in the same instant.
        """
        for turn in range(self.retries):
            longest = min(self.ceiling_s, self.first_s * 2**turn)
            yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


class Tries:
    """The tries of one request, or of one stretch of work that may fail as often as it likes while it gets on."""

    def __init__(self, backoff: Backoff) -> None:
        self._delays = backoff.delays()
        self.failed = 0

    def again(self, stop: threading.Event | None = None) -> bool:
        """Count a failed try; wait, and tell whether there is to be another one. ``stop``: cuts the wait short."""
        self.failed += 1
        delay = next(self._delays, None)
        if delay is None:
            return False
        (stop or threading.Event()).wait(delay)
        return True
