"""The operator that has a site scanned for vulnerabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from upkeep.duties.job import Job
from upkeep.duties.scan_vulnerabilities import scan_vulnerabilities
from upkeep.operators.base import WindowedOperator, is_dry

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScanVulnerabilitiesOperator(WindowedOperator):
    """Run the scans that the site names, and compare what they find with the last time. Ends well whatever it finds and
    whichever program is missing: the report tells.

    ``window``: what the task returned that found the window open; nothing where it found it closed.
    """

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        if not self.window:
            raise AirflowSkipException("the window is not open")
        return scan_vulnerabilities(job, dry_run=is_dry(context))
