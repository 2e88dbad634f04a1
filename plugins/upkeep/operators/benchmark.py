"""The operator of the monthly benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.measure_benchmark import measure_benchmark
from upkeep.operators.base import UpkeepOperator, is_dry, skip_unless_chosen

if TYPE_CHECKING:
    from airflow.sdk import Context


class SampleBenchmarkOperator(UpkeepOperator):
    """Time one database's fixed queries and compare with last month's; skipped when the form chose other targets."""

    template_fields = ("database",)

    def __init__(self, *, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.database)
        found = measure_benchmark(job, self.database, dry_run=is_dry(context))
        return {name: value for name, value in found.items() if name != "queries"}
