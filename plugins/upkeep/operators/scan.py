"""The operator that has a site scanned for vulnerabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.scan_vulnerabilities import scan_vulnerabilities
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScanVulnerabilitiesOperator(UpkeepOperator):
    """Run the scans that the site names, and compare what they find with the last time. Ends well whatever it finds and
    whichever program is missing: the report tells."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return scan_vulnerabilities(job, dry_run=bool(context["params"].get("dry_run")))
