"""The operator that samples capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from upkeep.duties.job import Job
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.operators.base import WindowedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SampleCapacityOperator(WindowedOperator):
    """Sample how full and busy the site's machines, databases, caches and store are, and judge it. Ends well whatever
    it finds: the report tells.

    ``window``: what the guard returned; nothing where it let nobody in.
    """

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        if not self.window:
            raise AirflowSkipException("the window is not open")
        return sample_capacity(job)
