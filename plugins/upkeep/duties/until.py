"""How long a duty goes on: until its window closes, or until somebody stops the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upkeep.engines import stopping
from upkeep.errors import Stopped

CLOSED = "the window closed"


@dataclass(frozen=True)
class Until:
    """Asked between two steps. ``closes_at``: None where there is no end in time."""

    closes_at: datetime | None = None
    told_to_stop: Callable[[], bool] = stopping.told_to_stop

    def require_going(self, left: str, *, hint: str = "run the task again; it goes on where it stopped") -> None:
        """Errors: ``Stopped``, with what is ``left`` undone."""
        if self.told_to_stop():
            raise Stopped(f"the task was told to stop: {left}", hint=hint)

    def seconds_left(self, now: datetime) -> float | None:
        return (self.closes_at - now).total_seconds() if self.closes_at else None

    def is_over(self, now: datetime, *, needs_s: float = 0) -> bool:
        """Whether the window has closed, or will before ``needs_s`` have gone by."""
        left = self.seconds_left(now)
        return left is not None and left <= needs_s

    def why_stop(self, now: datetime) -> str:
        """For what is under way and can be broken off: the reason, or empty."""
        if self.told_to_stop():
            return "the task was told to stop"
        return CLOSED if self.is_over(now) else ""


WITHOUT_END = Until()
