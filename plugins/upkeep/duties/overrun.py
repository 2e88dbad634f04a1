"""A run that outlived its window: it stands in the ledger, and people are told while it is still at work."""

from __future__ import annotations

import html
from datetime import datetime
from zoneinfo import ZoneInfo

from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.duties.telling import tell
from upkeep.reports import Status


def tell_overrun(job: Job, rhythm: str, worked_s: float, ends_at: datetime | None = None) -> list[str]:
    """Record and tell it; returns why some weren't told. Errors: those of the ledger.

    Amber: it works on into the day. Red in the last alert, for nothing else tells that Airflow ends it: ``ends_at``
    is when, which is hours away for a run that had waited in the queue.
    """
    words = f"still at work after {human_seconds(worked_s)}"
    with job.ledger.record(job.act("miss_deadline", rhythm, command=words)):
        pass
    light = Status.RED if ends_at else Status.AMBER
    comes = (
        f"Airflow ends it at {ends_at.astimezone(ZoneInfo(job.site.timezone)):%H:%M %Z}: what it is at then stays "
        "unfinished, and this run makes no report"
        if ends_at
        else "its window is over, and it works on"
    )
    text = (
        f"{light.name}: {job.site.name} {rhythm}: the run is {words}; {comes}\n"
        "HINT: the log of the task that is at work says what it waits for, in Airflow under this run:\n"
        f"{job.run.run_id}"
    )
    subject = f"[{job.site.name}] {light.name}: the {rhythm} run is {words}"
    return tell(job, light, subject, text, f"<pre>{html.escape(text)}</pre>")
