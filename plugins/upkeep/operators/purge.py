"""The operator of the nightly purge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.purge_rows import purge_rows
from upkeep.operators.base import WindowedOperator, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def purges_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each purge rule, for ``expand_kwargs``; empty where the site has none."""
    return [
        {"database": database.name, "table": rule.table, "column": rule.column}
        for database in site.databases
        for rule in database.purge
    ]


class ApplyPurgeOperator(WindowedOperator):
    """Carry out one purge rule until the window closes; skipped when the form chose other targets."""

    template_fields = ("database", "table", "column", "window")

    def __init__(self, *, database: str, table: str, column: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.table = table
        self.column = column

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.database)
        return purge_rows(
            job,
            self.database,
            (self.table, self.column),
            dry_run=bool(context["params"].get("dry_run")),
            **self.limits,
        )
