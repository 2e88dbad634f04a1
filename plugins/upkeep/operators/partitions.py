"""The operator of the weekly care for partitions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.tend_partitions import tend_partitions
from upkeep.operators.base import UpkeepOperator, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def partitions_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database with partition rules, for ``expand_kwargs``; empty where the site has none."""
    return [{"database": database.name} for database in site.databases if database.partitions]


class ApplyPartitionsOperator(UpkeepOperator):
    """Make partitions ahead and take old ones away, by the rules of one database; skipped when the form chose others.

    ``window``: what the guard returned. Without one there is no end in time.
    """

    template_fields = ("database", "window")

    def __init__(self, *, database: str, window: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.window = window

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        skip_unless_chosen(context, self.database)
        return tend_partitions(
            job,
            self.database,
            closes_at=datetime.fromisoformat(self.window["closes_at"]) if self.window else None,
            dry_run=bool(params.get("dry_run")),
        )
