"""Operators that make room: log files and a Docker engine's leftovers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from upkeep.duties.clean_docker import clean_docker
from upkeep.duties.clean_logs import clean_logs
from upkeep.duties.job import Job
from upkeep.operators.base import UpkeepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _CleaningOperator(UpkeepOperator):
    """``window``: what the guard returned. Without one there is no end in time."""

    template_fields = ("window",)

    def __init__(self, *, window: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window
        self._killed = False

    @property
    def closes_at(self) -> datetime | None:
        return datetime.fromisoformat(self.window["closes_at"]) if self.window else None

    def on_kill(self) -> None:
        self._killed = True
        super().on_kill()


class CleanLogsOperator(_CleaningOperator):
    """Compress and remove the log files that the site's rules let go."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        dry_run = bool(context["params"].get("dry_run"))
        return clean_logs(job, closes_at=self.closes_at, dry_run=dry_run, told_to_stop=lambda: self._killed)


class CleanDockerOperator(_CleaningOperator):
    """Remove unused containers, images, build cache and labelled volumes from the site's Docker engine."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        dry_run = bool(context["params"].get("dry_run"))
        return clean_docker(job, closes_at=self.closes_at, dry_run=dry_run, told_to_stop=lambda: self._killed)
