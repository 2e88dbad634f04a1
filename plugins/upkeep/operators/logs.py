"""Operators that look into logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.review_logs import review_logs
from upkeep.operators.base import UpkeepOperator, is_dry

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReviewLogsOperator(UpkeepOperator):
    """Count the error lines that are new in the site's log folders, by kind of message."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return review_logs(job, dry_run=is_dry(context))
