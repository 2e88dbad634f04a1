"""The operator that reviews security."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.check_security import check_security
from upkeep.duties.job import Job
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CheckSecurityOperator(UpkeepOperator):
    """Review certificates, files, logins, accounts and updates. Ends well whatever it finds: the report tells."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return check_security(job)
