"""Whether the task was told to stop. A process does one task's work, so one answer holds for all of it."""

from __future__ import annotations

_told = False


def tell_to_stop() -> None:
    """Only says so, for it is called from within a signal: whatever takes long asks, and ends in good order."""
    global _told
    _told = True


def told_to_stop() -> bool:
    return _told
