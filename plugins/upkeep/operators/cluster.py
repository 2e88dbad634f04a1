"""The operator that looks at a site's cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from upkeep.duties.check_cluster import check_cluster
from upkeep.duties.job import Job
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CheckClusterOperator(UpkeepOperator):
    """Check the site's namespace in its cluster; red fails this task and nothing else."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        health = check_cluster(job)
        if health["light"] == "red":
            hint = health["hint"] or "fix what the lines above name, then clear this task: it looks again"
            raise AirflowFailException(f"the cluster is red: {health['summary']}\nHINT: {hint}")
        return health
