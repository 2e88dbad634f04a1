"""The operator that forecasts capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.forecast_capacity import forecast_capacity
from upkeep.duties.job import Job
from upkeep.operators.base import UpkeepOperator, is_dry
from upkeep.operators.report_page import PlotsLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportForecastOperator(UpkeepOperator):
    """Say when what was sampled will be full, draw it, and keep the page. Ends well whatever it finds: it advises.

    Its button in the UI opens the page.
    """

    operator_extra_links = (PlotsLink(),)

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return forecast_capacity(job, dry_run=is_dry(context))
