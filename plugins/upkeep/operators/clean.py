"""Operators that make room: log files and a Docker engine's leftovers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.clean_docker import clean_docker
from upkeep.duties.clean_logs import clean_logs
from upkeep.duties.job import Job
from upkeep.operators.base import WindowedOperator, is_dry

if TYPE_CHECKING:
    from airflow.sdk import Context


class CleanLogsOperator(WindowedOperator):
    """Compress and remove the log files that the site's rules let go."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return clean_logs(job, dry_run=is_dry(context), until=self.until)


class CleanDockerOperator(WindowedOperator):
    """Remove unused containers, images, build cache and labelled volumes from the site's Docker engine."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return clean_docker(job, dry_run=is_dry(context), until=self.until)
