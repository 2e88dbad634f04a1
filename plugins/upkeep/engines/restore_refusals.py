"""Whose fault a failed load is: the server's and this worker's, or the backup's."""

from __future__ import annotations

from upkeep.engines.pipeline import hint_for
from upkeep.errors import ProofFailed, RestoreUnavailable, ToolError, ToolFailed, UpkeepError


def unavailable(message: str, *, hint: str = "") -> RestoreUnavailable:
    return RestoreUnavailable(message, hint=hint or hint_for(message, 1))


def refused(message: str) -> ProofFailed:
    return ProofFailed(
        message,
        hint="don't rely on this backup: what is in it can't be loaded; take another one, or back up again and prove "
        "that one",
    )


def tool_unusable(error: ToolError) -> UpkeepError:
    """A client program that is missing, unfit, or was killed from outside."""
    if isinstance(error, ToolFailed) and not error.was_killed:
        return error
    return RestoreUnavailable(error.message, hint=error.hint)
