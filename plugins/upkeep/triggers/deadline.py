"""What happens when a run is still at work after its window closed. Runs in the triggerer."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

log = logging.getLogger(__name__)

NEAR = timedelta(minutes=10)
"""An alert comes as long after its time as Airflow's scheduler and triggerer take."""


async def tell_overrun(site: str, rhythm: str, limit_h: float, context: Any = None) -> None:
    """Say in log and ledger, and to the site's people, that a run is still at work.

    It alerts only: ``dagrun_timeout`` ends the run, ``limit_h`` hours after it began.
    """
    # What Airflow hands over is the run as its REST API shows it: there the id is called dag_run_id.
    dag_run = (context or {}).get("dag_run") or {}
    if dag_run.get("end_date"):
        return  # Airflow forgets the deadline of a run that succeeded, but not of one that failed long before it
    if not dag_run.get("start_date"):
        return  # deadlines count from the queue; this one waits there for another run, which has alerts of its own
    began = datetime.fromisoformat(str(dag_run["start_date"]))
    worked = datetime.now(UTC) - began
    run_id = f"{dag_run.get('dag_id', 'unknown dag')}/{dag_run.get('dag_run_id', 'unknown run')}"
    log.error("the %s run %s of site %s is still at work after %s", rhythm, run_id, site, worked)
    is_last = timedelta(hours=limit_h) - worked < NEAR
    await asyncio.to_thread(_tell, site, rhythm, run_id, worked.total_seconds(), is_last)


def _tell(site: str, rhythm: str, run_id: str, worked_s: float, is_last: bool) -> None:
    from upkeep.duties import overrun
    from upkeep.duties.job import Job, Run
    from upkeep.operators.base import connect, object_storage, open_ledger, site_named

    run = Run(run_id, actor="airflow", trigger="deadline", host="triggerer")
    job = Job(site_named(site), run, open_ledger(), connect, object_storage)
    overrun.tell_overrun(job, rhythm, worked_s, is_last=is_last)
