"""What happens when a run is still at work after its window closed. Runs in the triggerer."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

log = logging.getLogger(__name__)


async def tell_overrun(site: str, rhythm: str, limit_h: float | None = None, context: Any = None) -> None:
    """Say in log and ledger, and to the site's people, that a run is still at work.

    It alerts only: ``dagrun_timeout`` ends the run. ``limit_h``: how many hours after it began; only the last alert
    says so.
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
    ends_at = None if limit_h is None else began + timedelta(hours=limit_h)
    await asyncio.to_thread(_tell, site, rhythm, run_id, worked.total_seconds(), ends_at)


def _tell(site: str, rhythm: str, run_id: str, worked_s: float, ends_at: datetime | None) -> None:
    from upkeep.duties import overrun
    from upkeep.duties.job import Job, Run
    from upkeep.operators.base import connect, object_storage, open_ledger, site_named

    run = Run(run_id, actor="airflow", trigger="deadline", host="triggerer")
    job = Job(site_named(site), run, open_ledger(), connect, object_storage)
    overrun.tell_overrun(job, rhythm, worked_s, ends_at)
