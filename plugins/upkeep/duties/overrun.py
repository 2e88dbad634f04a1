"""A run that outlived its window: it stands in the ledger, and people are told while it is still at work."""

from __future__ import annotations

import html

from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.duties.telling import tell
from upkeep.reports import Status


def tell_overrun(job: Job, rhythm: str, worked_s: float, *, is_last: bool) -> list[str]:
    """Record and tell it; returns why some weren't told. Errors: those of the ledger.

    Amber: it works on into the day. Red when Airflow is about to end it, for then nothing else tells of it.
    """
    words = f"still at work after {human_seconds(worked_s)}"
    with job.ledger.record(job.act("miss_deadline", rhythm, command=words)):
        pass
    light = Status.RED if is_last else Status.AMBER
    comes = (
        "Airflow is about to end it: what it is at stays unfinished, and this run makes no report"
        if is_last
        else "its window is over, and it works on"
    )
    text = (
        f"{light.name}: {job.site.name} {rhythm}: the run is {words}; {comes}\n"
        "HINT: the log of the task that is at work says what it waits for, in Airflow under this run:\n"
        f"{job.run.run_id}"
    )
    subject = f"[{job.site.name}] {light.name}: the {rhythm} run is {words}"
    return tell(job, light, subject, text, f"<pre>{html.escape(text)}</pre>")
