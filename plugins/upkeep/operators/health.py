"""Operators of the daily round: health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from upkeep.duties.check_health import check_health
from upkeep.duties.job import Job
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CheckHealthOperator(UpkeepOperator):
    """Check one database, cache, endpoint or the store; red fails this task and nothing else."""

    template_fields = ("check",)

    def __init__(self, *, check: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        health = check_health(job, self.check)
        if health["light"] == "red":
            hint = health["hint"] or "fix what it names, then clear this task: it looks again"
            raise AirflowFailException(f"{self.check} is red: {health['summary']}\nHINT: {hint}")
        return health
