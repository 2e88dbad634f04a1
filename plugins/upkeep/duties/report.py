"""Report on one run: from the ledger, not from Airflow's own history, which is purged. Only which of its tasks failed
is asked of Airflow, just then: one may have failed before it could write a row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from upkeep.duties.job import Job
from upkeep.duties.pages import keep_pages
from upkeep.duties.status import standing, tallies
from upkeep.duties.telling import tell
from upkeep.duties.waiting import waiting
from upkeep.errors import StoreError
from upkeep.reports import build_run_report, to_html, to_markdown, to_text
from upkeep.reports.month import MONTH, tell_month
from upkeep.reports.section import Section

log = logging.getLogger(__name__)


def report_run(
    job: Job,
    rhythm: str,
    *,
    chosen: Sequence[str] = (),
    left_out: Sequence[str] = (),
    dry_run: bool = False,
    failed: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the run's page, keep it in the store as Markdown and HTML, and log the short text.

    A store that is away doesn't stop the report: it goes to the spool, and says so.

    :param chosen: the targets to work on; all of them, which is what the form names by itself, are no choice.
    :param left_out: parts of the rhythm that the form took out.
    :param failed: the run's tasks that failed.
    """
    chosen = () if {target.name for target in job.site.targets} <= set(chosen) else chosen
    with job.ledger.record(job.act("report", rhythm, command=f"report {rhythm}")) as entry:
        found = _report(job, rhythm, chosen, left_out, dry_run, failed)
        entry.note(
            ok=found["ok"], headline=found["headline"], page=found["page"], dry_run=dry_run,
            partial=bool(chosen or left_out),
        )  # fmt: skip
    return found


def _report(
    job: Job, rhythm: str, chosen: Sequence[str], left_out: Sequence[str], dry_run: bool, failed: Sequence[str]
) -> dict[str, Any]:
    targets = [target.name for target in job.site.targets]
    own = "" if chosen or left_out or dry_run else rhythm  # such a run answers no opening
    report = build_run_report(
        site=job.site,
        run_id=job.run.run_id,
        rhythm=rhythm,
        ledger=job.ledger,
        now=job.now(),
        # The week makes no backups: a target without one in its run isn't missing anything.
        expected_targets=targets if rhythm == "daily" else (),
        waiting={target: _waiting(job, target) for target in targets},
        chosen=chosen,
        left_out=left_out,
        dry_run=dry_run,
        also=_month(job, own) if rhythm == "monthly" else (),
        # What is only started by hand can't be missed.
        missed=standing(job.site, rhythm, job.ledger, job.now(), own=own).missed if _is_scheduled(job, rhythm) else (),
    )
    report = report.with_failed(failed)
    text = to_text(report)
    pages = {"md": to_markdown(report), "html": to_html(report)}
    page = keep_pages(job, rhythm, pages)
    for line in (*text.splitlines(), f"the page: {page or 'neither the store nor the spool takes it'}"):
        log.info("%s", line)
    subject = f"[{report.site}] {report.headline}"
    unsent = tell(job, report.status, subject, f"{text}\n{page}", pages["html"])
    return {"ok": report.ok, "headline": report.headline, "text": text, "page": page, "unsent": unsent}


def _waiting(job: Job, target: str) -> list[str]:
    try:
        return [ref.backup_id for ref in waiting(job, target)]
    except StoreError as error:  # shipping met the same, and its row in the ledger tells of it
        log.warning("the spool can't be looked through: %s", error.message)
        return []


def _month(job: Job, own: str) -> tuple[Section, ...]:
    now = job.now()
    since = now - MONTH
    return (tell_month(job.site, job.ledger, since, now, tallies(job.site, job.ledger, since, now, own=own)),)


def _is_scheduled(job: Job, rhythm: str) -> bool:
    return getattr(job.site.rhythms, rhythm, None) is not None
