"""Where pages for people go: beside the site's backups, or into the spool until the store is back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from zoneinfo import ZoneInfo

from upkeep.duties.job import Job
from upkeep.duties.waiting import has_spool
from upkeep.errors import UpkeepError
from upkeep.stores.base import Store

log = logging.getLogger(__name__)


def keep_pages(job: Job, name: str, pages: Mapping[str, str]) -> str:
    """Write a run's pages, by their kind; returns where the HTML one is, or nothing where neither place takes them. A
    rerun on the same day and run replaces its own pages.

    :param name: what the pages are about, such as ``daily`` or ``capacity``.
    """
    local = job.now().astimezone(ZoneInfo(job.site.timezone))
    safe_run = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in job.run.run_id)
    key = f"{_folder(job)}{local:%Y-%m-%d}-{name}-{safe_run}"
    objects = {f"{key}.{kind}": page.encode() for kind, page in pages.items()}
    if url := _put(lambda: job.store, objects):
        _bring_over(job, objects)
    else:
        url = _put(lambda: job.spool, objects)
    return f"{url}/{key}.html" if url else ""


def _put(place: Callable[[], Store], objects: Mapping[str, bytes]) -> str:
    """The place's address, or nothing where it doesn't take them.

    That its connection is gone is no error here either: whoever has to fix it reads of it on this very page.
    """
    try:
        store = place()
        for key, data in objects.items():
            store.put(key, data)
    except UpkeepError as error:
        log.warning("the page could not be kept: %s", error.message)
        return ""
    return store.url


def _bring_over(job: Job, newer: Collection[str]) -> None:
    """Move to the store what earlier runs had to leave in this worker's spool, but for what is there by now."""
    if not has_spool(job):
        return
    try:
        for waits in list(job.spool.list(_folder(job))):
            if waits.key not in newer:
                job.store.put(waits.key, job.spool.get(waits.key))
            job.spool.delete(waits.key)
    except UpkeepError as error:
        log.warning("pages of earlier runs stay in the spool: %s", error.message)


def _folder(job: Job) -> str:
    return f"{job.site.name}/_reports/"
