"""The operator of the weekly care of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.tend_tables import tend_tables
from upkeep.operators.base import WindowedOperator, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def tables_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database, for ``expand_kwargs``: by default all tables are looked after."""
    return [{"database": database.name} for database in site.databases]


class ApplyTableCareOperator(WindowedOperator):
    """Tend the tables of one database until the window closes; skipped when the form chose other targets."""

    template_fields = ("database", "window")

    def __init__(self, *, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.database)
        return tend_tables(job, self.database, dry_run=bool(context["params"].get("dry_run")), **self.limits)
