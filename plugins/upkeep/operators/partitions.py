"""The operator of the weekly care for partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.tend_partitions import tend_partitions
from upkeep.operators.base import WindowedOperator, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def partitions_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database with partition rules, for ``expand_kwargs``; empty where the site has none."""
    return [{"database": database.name} for database in site.databases if database.partitions]


class ApplyPartitionsOperator(WindowedOperator):
    """Make partitions ahead and take old ones away, by one database's rules; skipped when the form chose others."""

    template_fields = ("database", "window")

    def __init__(self, *, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.database)
        return tend_partitions(job, self.database, dry_run=bool(context["params"].get("dry_run")), **self.limits)
