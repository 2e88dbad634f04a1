"""The operator of the weekly restore proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.job import Job
from upkeep.duties.prove import prove
from upkeep.operators.base import WindowedOperator, is_dry, skip_unless_chosen

if TYPE_CHECKING:
    from airflow.sdk import Context


class ProveBackupsOperator(WindowedOperator):
    """Restore the week's backups of one target and compare them, until the window closes; skipped when the form chose
    other targets.
    """

    template_fields = ("target", "window")

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.target)
        return prove(job, self.target, dry_run=is_dry(context), until=self.until)
