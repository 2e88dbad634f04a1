"""The operator that samples capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SampleCapacityOperator(UpkeepOperator):
    """Sample how full and busy the site's machines, databases, caches and store are, and judge it. Ends well whatever
    it finds: the report tells."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return sample_capacity(job)
