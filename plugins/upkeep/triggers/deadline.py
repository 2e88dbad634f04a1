"""What happens when a run is still at work after its window closed. Runs in the triggerer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


async def tell_overrun(site: str, rhythm: str, hours: float, is_last: bool, context: Any = None) -> None:
    """Say in log and ledger, and to the site's people, that a run is still at work after so many hours.

    It alerts only: ``dagrun_timeout`` ends the run.

    :param is_last: that the run is about to be ended.
    """
    # What Airflow hands over is the run as its REST API shows it: there the id is called dag_run_id.
    dag_run = (context or {}).get("dag_run") or {}
    if dag_run.get("end_date"):
        return  # Airflow forgets the deadline of a run that succeeded, but not of one that failed long before it
    run_id = f"{dag_run.get('dag_id', 'unknown dag')}/{dag_run.get('dag_run_id', 'unknown run')}"
    log.error("the %s run %s of site %s is still at work after %g h", rhythm, run_id, site, hours)
    await asyncio.to_thread(_tell, site, rhythm, hours, is_last, run_id)


def _tell(site: str, rhythm: str, hours: float, is_last: bool, run_id: str) -> None:
    from upkeep.duties import overrun
    from upkeep.duties.job import Job, Run
    from upkeep.operators.base import connect, object_storage, open_ledger, site_named

    run = Run(run_id, actor="airflow", trigger="deadline", host="triggerer")
    job = Job(site_named(site), run, open_ledger(), connect, object_storage)
    overrun.tell_overrun(job, rhythm, hours, is_last=is_last)
