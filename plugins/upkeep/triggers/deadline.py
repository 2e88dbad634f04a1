"""What happens when a run is still at work after its window closed. Runs in the triggerer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


async def record_overrun(site: str, rhythm: str, length_h: float, context: Any = None) -> None:
    """Say in log and ledger that a run outlived its window. It alerts only: ``dagrun_timeout`` ends the run."""
    # What Airflow hands over is the run as its REST API shows it: there the id is called dag_run_id.
    dag_run = (context or {}).get("dag_run") or {}
    if dag_run.get("end_date"):
        return  # Airflow forgets the deadline of a run that succeeded, but not of one that failed long before it
    run_id = f"{dag_run.get('dag_id', 'unknown dag')}/{dag_run.get('dag_run_id', 'unknown run')}"
    log.error("the %s run %s of site %s is still at work after its window of %g h", rhythm, run_id, site, length_h)
    await asyncio.to_thread(_record, site, rhythm, length_h, run_id)


def _record(site: str, rhythm: str, length_h: float, run_id: str) -> None:
    from upkeep.ledger import Act
    from upkeep.operators.base import open_ledger, site_named

    act = Act(
        site=site,
        duty="miss_deadline",
        target=rhythm,
        run_id=run_id,
        task_id="",
        try_number=1,
        actor="airflow",
        trigger="deadline",
        host="triggerer",
        command=f"still at work after {length_h:g} h",
        config_hash=site_named(site).fingerprint,
    )
    with open_ledger().record(act):
        pass
