"""Operators that look into logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.review_logs import LIMIT_BYTES, LIMIT_S, review_logs
from upkeep.operators.base import UpkeepOperator, is_dry

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReviewLogsOperator(UpkeepOperator):
    """Count the error lines that are new in the site's log folders, by kind of message.

    :param limit_s: seconds that all folders together may take; what is left is read the next time.
    :param limit_bytes: how much may be read, unpacked, likewise.
    """

    def __init__(self, *, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit_s = limit_s
        self.limit_bytes = limit_bytes

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return review_logs(
            job,
            dry_run=is_dry(context),
            limit_s=self.limit_s,
            limit_bytes=self.limit_bytes,
        )
