"""The operator by which the month starts a rolling update, where somebody asked for new images in its form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from upkeep.operators.base import is_dry, job_of
from upkeep.operators.rollout import IMAGE

if TYPE_CHECKING:
    from airflow.sdk import Context


class StartRollingUpdateOperator(TriggerDagRunOperator):
    """Start ``<site>_rolling_update`` with the form's images and don't wait: it asks for its own approval and has a
    report of its own. Skipped where the form gives no image, which is always so for a scheduled month;
    fails where it gives one and the window has closed.

    ``window``: what the task before it says of the window; nothing where it has closed.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "window")

    def __init__(self, *, site: str, window: Any = None, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=f"{site}_rolling_update", **kwargs)
        self.site = site
        self.window = window

    def execute(self, context: Context) -> None:
        params = context["params"]
        images = {name: value for name, value in params.items() if name.startswith(IMAGE) and value}
        chosen = params.get("parts")
        if chosen and str(self.task_id) not in chosen:
            raise AirflowSkipException(f"{self.task_id} was not chosen in the form")
        if not images:
            raise AirflowSkipException("the form gives no image")
        asked = ", ".join(f"{name.removeprefix(IMAGE)}: {value}" for name, value in sorted(images.items()))
        if not self.window:
            # Not skipped: somebody asked for it by name, and waits for it.
            raise AirflowFailException(
                f"the window has closed: no update to {asked} is started\nHINT: start {self.trigger_dag_id} by hand"
            )
        if context["ti"].get_dag(self.trigger_dag_id).is_paused:
            # It would wait in the queue until somebody unpauses it, on whatever day that is.
            raise AirflowFailException(
                f"the DAG {self.trigger_dag_id} is paused: no update is started\nHINT: unpause it, then clear this task"
            )
        job = job_of(self.site, context)
        with job.ledger.record(job.act("start_update", self.trigger_dag_id, command=f"start it for {asked}")) as entry:
            entry.note(light="green", summary=f"asked for {asked}; its own report says what came of it")
        self.conf = {**images, "strategy": params.get("strategy", "all"), "dry_run": is_dry(context)}
        self.note = f"started by {job.run.run_id}, which {job.run.actor} started"
        super().execute(context)
