"""Which errors Airflow tries a task again for: all but those that a second try would only meet again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryDecision, RetryRule

from upkeep.errors import (
    BackupShrunk,
    ConnectionUnknown,
    DrillFailed,
    LoginRefused,
    ManifestBroken,
    NotApproved,
    ProofFailed,
    SiteFileError,
    StoreDenied,
    ToolMissing,
    ToolUnfit,
    WindowClosed,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

HOPELESS: tuple[type[BaseException], ...] = (
    BackupShrunk, ConnectionUnknown, DrillFailed, LoginRefused, ManifestBroken, NotApproved, ProofFailed, SiteFileError,
    StoreDenied, ToolMissing, ToolUnfit, WindowClosed,
)  # fmt: skip
"""A second try meets these again; a person has to act first."""

PATIENT: dict[str, Any] = {
    "retries": 5,
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=16),
}
"""For a night's backup: after a first delay of a minute, its last try comes half an hour to three quarters later.
By then a server that restarted or failed over is back, and a rebuild of its tables has mostly ended.
"""


class HopelessAtOnce(ExceptionRetryPolicy):
    """Follows an error to what it was raised from: that a scratch server refuses the login is told as a restore that
    could not take place, which else is worth another try.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        told: BaseException | None = exception
        while told is not None:
            decision = super().evaluate(told, try_number, max_tries, context)
            if decision.action is RetryAction.FAIL:
                return decision
            told = told.__cause__
        return RetryDecision.default()


def retry_policy(decided: Sequence[type[BaseException]] = ()) -> HopelessAtOnce:
    """``decided``: what else is not tried again."""
    return HopelessAtOnce([RetryRule(exception=[*HOPELESS, *decided], action=RetryAction.FAIL)])
