"""Operators of the duties that go on, database by database, until the window closes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.purge_rows import purge_rows
from upkeep.duties.tend_partitions import tend_partitions
from upkeep.duties.tend_tables import tend_tables
from upkeep.operators.base import WindowedOperator, is_dry, skip_unless_chosen
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


class DatabaseOperator(WindowedOperator):
    """A duty for one database; skipped when the form chose other targets."""

    template_fields: Sequence[str] = ("database", "window")

    def __init__(self, *, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.database)
        return self.tend(job, dry_run=is_dry(context), until=self.until)

    def tend(self, job: Job, **how: Any) -> dict[str, Any]:
        """Call the duty. ``how``: ``dry_run`` and ``until``."""
        raise NotImplementedError


def purges_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each purge rule, for ``expand_kwargs``; empty where the site has none."""
    return [
        {"database": database.name, "table": rule.table, "column": rule.column}
        for database in site.databases
        for rule in database.purge
    ]


class ApplyPurgeOperator(DatabaseOperator):
    """Carry out one purge rule."""

    template_fields = (*DatabaseOperator.template_fields, "table", "column")

    def __init__(self, *, table: str, column: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.column = column

    def tend(self, job: Job, **how: Any) -> dict[str, Any]:
        return purge_rows(job, self.database, (self.table, self.column), **how)


def partitions_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database with partition rules; empty where the site has none."""
    return [{"database": database.name} for database in site.databases if database.partitions]


class ApplyPartitionsOperator(DatabaseOperator):
    """Make partitions ahead and take old ones away, by one database's rules."""

    def tend(self, job: Job, **how: Any) -> dict[str, Any]:
        return tend_partitions(job, self.database, **how)


def tables_of(site: Site) -> list[dict[str, str]]:
    """One small dict for each database: by default all tables are looked after."""
    return [{"database": database.name} for database in site.databases]


class ApplyTableCareOperator(DatabaseOperator):
    """Tend the tables of one database."""

    def tend(self, job: Job, **how: Any) -> dict[str, Any]:
        return tend_tables(job, self.database, **how)
