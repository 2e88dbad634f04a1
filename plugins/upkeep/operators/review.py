"""The operator of the weekly review of databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.review_databases import review_databases
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportReviewOperator(UpkeepOperator):
    """Review indexes, statements, locks, settings and waiting packages. Ends well whatever it finds: it advises."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return review_databases(job)
