"""The operator of the weekly care of tables."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.tend_tables import tend_tables
from upkeep.operators.base import UpkeepOperator, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def tables_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database, for ``expand_kwargs``: by default all tables are looked after."""
    return [{"database": database.name} for database in site.databases]


class ApplyTableCareOperator(UpkeepOperator):
    """Tend the tables of one database until the window closes; skipped when the form chose other targets.

    ``window``: what the guard returned. Without one there is no end in time.
    """

    template_fields = ("database", "window")

    def __init__(self, *, database: str, window: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.window = window
        self._killed = False

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        skip_unless_chosen(context, self.database)
        return tend_tables(
            job,
            self.database,
            closes_at=datetime.fromisoformat(self.window["closes_at"]) if self.window else None,
            dry_run=bool(params.get("dry_run")),
            told_to_stop=lambda: self._killed,
        )

    def on_kill(self) -> None:
        self._killed = True
        super().on_kill()
