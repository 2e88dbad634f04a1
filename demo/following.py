"""Following runs until they end, one line for each task that ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from demo.airflow_home import AirflowHome
from demo.rest import END_STATES, TaskState, patiently
from demo.screen import Screen

ENDED_WITHIN_S = 400
LOG_LINES = 15
AT_WORK = ("running", "queued", "up_for_retry")
AIRFLOWS_OWN = ("::", "DAG bundles loaded", "Filling up the DagBag", "Worker startup parse", "Pushing xcom", "/")
"""How log lines begin that stand in every task's log and tell nothing about it."""


@dataclass(frozen=True)
class Ended:
    """One run after its end. ``state`` is ``running`` when the time was over before."""

    dag_id: str
    run_id: str
    state: str
    tasks: tuple[TaskState, ...]

    @property
    def failed_tasks(self) -> list[TaskState]:
        """Those that failed themselves. The watcher, which comes last, only repeats what the others have said."""
        failed = [task for task in self.tasks if task.state in ("failed", "up_for_retry", "running")]
        return [task for task in failed if task.task_id != "watch"] or failed


def follow(airflow: AirflowHome, screen: Screen, runs: Mapping[str, str]) -> list[Ended]:
    """Wait for the runs, ``dag id -> run id``, and say how each task ends."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    last: dict[tuple[str, str, int], str] = {}
    ended: dict[str, Ended] = {}
    while len(ended) < len(runs):
        airflow.check()
        busy: list[TaskState] = []
        for dag_id, run_id in runs.items():
            if dag_id in ended:
                continue
            state, tasks = patiently(airflow.rest, dag_id, run_id)
            _tell(screen, dag_id, tasks, last)
            busy += [task for task in tasks if task.state in AT_WORK]
            if state in ("success", "failed") or time.monotonic() > deadline:
                ended[dag_id] = Ended(dag_id, run_id, state, tuple(tasks))
                screen.say(f"{dag_id}: {state}")
        screen.waiting(_waiting_for(busy))
        time.sleep(0.3)
    return [ended[dag_id] for dag_id in runs]


def _waiting_for(busy: list[TaskState]) -> str:
    """The tasks at work, or else those that are nearest to it; too many names would tell nobody anything."""
    for state in AT_WORK:
        names = [task.name for task in busy if task.state == state]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"waiting for {', '.join(names[:3])}{more} ({state.replace('_', ' ')})"
    return "waiting for the scheduler to start the next task"


def show_failures(airflow: AirflowHome, screen: Screen, run: Ended) -> None:
    """The end of the log of each task that failed."""
    for task in run.failed_tasks:
        screen.title(f"{run.dag_id} {task.name}: {task.state}, the end of its log")
        lines = airflow.rest.log(run.dag_id, run.run_id, task)
        screen.show("\n".join([line for line in lines if not line.startswith(AIRFLOWS_OWN)][-LOG_LINES:]))


def _tell(screen: Screen, dag_id: str, tasks: list[TaskState], last: dict[tuple[str, str, int], str]) -> None:
    for task in tasks:
        key = (dag_id, *task.key)
        if last.get(key) == task.state:
            continue
        last[key] = task.state
        if task.state in END_STATES or task.state == "up_for_retry":
            screen.say(f"{dag_id:<20}  {task.name:<47}  {task.state:<15} {task.seconds:5.1f} s")
