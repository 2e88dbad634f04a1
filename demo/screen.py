"""What the demo says, each line with the seconds since its start. It is never silent for long."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

QUIET_AT_MOST_S = 4.5


class Screen:
    """Prints lines; while nothing else is printed, one every few seconds says what is being waited for."""

    def __init__(self) -> None:
        self._begun = self._said = time.monotonic()
        self._doing = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep_company, name="screen", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._keeper.join()

    def title(self, text: str) -> None:
        self._print(f"\n== {text}")

    def say(self, text: str) -> None:
        self._print(f"{self._elapsed()}  {text}")

    def show(self, text: str) -> None:
        """Somebody else's words, indented."""
        self._print("\n".join(f"          {line}".rstrip() for line in text.splitlines()))

    def doing(self, what: str) -> None:
        """Say what is begun now, and again when it takes long."""
        self._doing = what
        self.say(f"{what} ...")

    def waiting(self, what: str) -> None:
        """Change what the next line of patience says, without a line now."""
        self._doing = what

    def interrupted(self, what: str) -> None:
        """The same at the next opportunity. Prints nothing itself: a signal may have come in the middle of a line."""
        self._doing, self._said = what, 0.0

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:6.1f} s"

    def _print(self, text: str) -> None:
        with self._lock:
            self._said = time.monotonic()
            print(text, flush=True)

    def _keep_company(self) -> None:
        while not self._closed.wait(0.5):
            if self._doing and time.monotonic() - self._said >= QUIET_AT_MOST_S:
                self.say(f"  still {self._doing}")
