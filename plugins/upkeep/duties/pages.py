"""Where pages for people go: beside the site's backups, or into the spool while the store is away."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from upkeep.duties.job import Job
from upkeep.errors import StoreError

log = logging.getLogger(__name__)


def keep_pages(job: Job, name: str, pages: Mapping[str, str]) -> str:
    """Write a run's pages, by their kind; returns where the HTML one is, or nothing where neither place takes them. A
    rerun on the same day and run replaces its own pages.

    :param name: what the pages are about, such as ``daily`` or ``capacity``.
    """
    local = job.now().astimezone(ZoneInfo(job.site.timezone))
    safe_run = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in job.run.run_id)
    key = f"{job.site.name}/_reports/{local:%Y-%m-%d}-{name}-{safe_run}"
    for store in (job.store, job.spool):
        try:
            for kind, page in pages.items():
                store.put(f"{key}.{kind}", page.encode())
            return f"{store.url}/{key}.html"
        except StoreError as error:
            log.warning("the page could not be kept in %s: %s", store.url, error.message)
    return ""
