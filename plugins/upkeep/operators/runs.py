"""Operators that frame a run: the window before it, the report and the verdict after it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from upkeep.duties.guard import guard_window
from upkeep.duties.job import Job
from upkeep.duties.report import report_run
from upkeep.operators.base import UpkeepOperator, WindowedOperator, is_dry
from upkeep.operators.report_page import ReportLink, address_of
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class CheckWindowOperator(UpkeepOperator):
    """Let the run go on only inside its window, or on the word of the person who triggered it."""

    def __init__(self, *, rhythm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rhythm = rhythm

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        overridden = params.get("override_window") and job.run.trigger == "manual"
        verdict = guard_window(job, self.rhythm, str(params.get("override_reason") or "") if overridden else None)
        log.info("%s", verdict.reason)
        return {"closes_at": verdict.closes_at.isoformat(), "reason": verdict.reason, "overridden": verdict.overridden}


class CheckStillOpenOperator(WindowedOperator):
    """Whatever the long task before it came to: what follows is begun while the window is open, and skipped after it.

    ``window``: what the guard returned; nothing where it let nobody in. ``parts``: the tasks that follow; what is
    skipped of them stands in the ledger.
    """

    def __init__(self, *, parts: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        if not self.window:
            raise AirflowSkipException("the window is not open")
        closes_at = datetime.fromisoformat(self.window["closes_at"])
        if job.now() >= closes_at:
            closed = f"the window closed at {closes_at:%H:%M %Z}"
            chosen = context["params"].get("parts") or self.parts
            if left := ", ".join(part for part in self.parts if part in chosen):
                with job.ledger.record(job.act("leave_parts", "site", command=f"leave {left}")) as entry:
                    entry.note(
                        light="amber",
                        summary=f"{closed}: {left} left for the next one",
                        hint="start this DAG by hand with these parts, outside the window; or lengthen the window",
                    )
            raise AirflowSkipException(closed)
        return dict(self.window)


class ReportRunOperator(UpkeepOperator):
    """Write the page about this run, whatever happened before, and say in a few lines what is in it.

    Its button in the UI opens the page. The task must be called ``report``: by that name the view finds the page.
    """

    operator_extra_links = (ReportLink(),)

    def __init__(self, *, rhythm: str, parts: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rhythm, self.parts = rhythm, parts

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        chosen = tuple(context["params"].get("targets") or ())
        wanted = context["params"].get("parts") or self.parts
        left_out = [part for part in self.parts if part not in wanted]
        # An earlier verdict on this run isn't part of it, and a person's no is no task's fault.
        failed = [task for task in failed_tasks(context) if not task.startswith(("report", "watch", "approve"))]
        told = report_run(job, self.rhythm, chosen=chosen, left_out=left_out, dry_run=is_dry(context), failed=failed)
        log.info("opens at %s", address_of(str(context["dag"].dag_id), str(context["run_id"])))
        return told


class CheckRunOperator(UpkeepOperator):
    """The watcher: the last task runs whatever happened, so without this one a failed run would end as a success."""

    template_fields = ("report",)

    def __init__(self, *, report: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.report = report

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        read_on = f"HINT: {address_of(str(context['dag'].dag_id), str(context['run_id']))} says what to do"
        if failed := failed_tasks(context):
            raise AirflowFailException(
                f"this run failed: {', '.join(failed)}. {(self.report or {}).get('headline', '')}\n{read_on}"
            )
        if not self.report or not self.report.get("ok"):
            raise AirflowFailException(f"{(self.report or {}).get('headline') or 'this run has no report'}\n{read_on}")
        if unsent := self.report.get("unsent"):
            raise AirflowFailException(
                f"the report is kept, but not everybody was told: {'; '.join(unsent)}\n"
                "HINT: fix the connection, then clear the task report: it tells all of them again"
            )
        return {"ok": True}


def failed_tasks(context: Context) -> list[str]:
    """Of this run, as Airflow has it. What only waited for one that failed would hide that in a long list."""
    runs = context["ti"].get_task_states(dag_id=context["dag"].dag_id, run_ids=[context["run_id"]])
    states = [task for tasks in runs.values() for task in tasks.items()]
    by_state = {
        wanted: sorted(name for name, state in states if str(state) == wanted)
        for wanted in ("failed", "upstream_failed")
    }
    return by_state["failed"] or by_state["upstream_failed"]


def report_and_watch(
    site: Site, rhythm: str, *, parts: Sequence[str] = ()
) -> tuple[ReportRunOperator, CheckRunOperator]:
    """The last two tasks of every DAG: both run whatever happened before them. ``parts``: without one of them it is no
    whole run of its rhythm.
    """
    report = ReportRunOperator(task_id="report", site=site.name, rhythm=rhythm, parts=parts, trigger_rule="all_done")
    watch = CheckRunOperator(task_id="watch", site=site.name, report=report.output, trigger_rule="all_done", retries=0)
    return report, watch
