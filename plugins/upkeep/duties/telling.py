"""Tells the people whom the site file names."""

from __future__ import annotations

import logging
from functools import partial

from upkeep.duties.job import Job
from upkeep.duties.sources import answer_within
from upkeep.engines.sending import send
from upkeep.errors import UpkeepError
from upkeep.reports import Status

log = logging.getLogger(__name__)

TELL_WITHIN_S = 60.0
"""For each message: whoever tells goes on only when all are told, or can't be."""
_FROM = {"red": Status.RED, "amber": Status.AMBER, "always": Status.SKIPPED}


def tell(job: Job, light: Status, subject: str, text: str, html: str) -> list[str]:
    """Tell those who want to know of this light; returns why some of them weren't told. The rest still are."""
    unsent = []
    for person in job.site.notify:
        if light > _FROM[person.when]:
            continue
        try:
            with job.ledger.record(job.act("notify", person.conn_id, command=f"send to {person.conn_id}")):
                message = partial(send, job.connect(person.conn_id), subject, text, html)
                answer_within(TELL_WITHIN_S, person.conn_id, message)
        except UpkeepError as error:
            log.error("%s", error)
            unsent.append(f"{person.conn_id}: {error.message}")
    return unsent
