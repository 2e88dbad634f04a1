"""Review how a site's databases are built and set, and tell what is new since the last review. Nothing is changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from upkeep.domain.findings import Inspection
from upkeep.domain.review_statements import Reviewed, top
from upkeep.duties.check_security import Machine
from upkeep.duties.comparing import Review, Room, first
from upkeep.duties.job import Job
from upkeep.errors import UpkeepError
from upkeep.site import Database

log = logging.getLogger(__name__)

ROOM = Room(findings=1700, new=1700, gone=500, unread=900)
STATEMENTS_CHARS = 1900
"""What is left of a ledger row for the statements that cost most."""
STATEMENTS = 5
"""By total and by worst time, of each database."""


def review_databases(job: Job, *, machine: Machine | None = None) -> dict[str, Any]:
    """Indexes, statements, lock waits and settings of each database, and the packages that wait to be updated.

    Advice only, so nothing in it is red. What can't be read is told and keeps its findings of last time.

    :raises StoreError: there are too many findings for the ledger, and neither the store nor the spool takes them.
    """
    at = job.now()
    with job.ledger.record(job.act("review_databases", "site", command="review databases")) as entry:
        review = Review(job, "review_databases", "review", ROOM, alarming=False)
        compared, found = review.carry_out(
            entry, dict(_sources(job, machine or Machine())), at=at,
            besides=lambda given: {"statements": first(STATEMENTS_CHARS, list(_statements(given)))},
        )  # fmt: skip
    log.info("the review is %s: %s", found["light"], found["summary"])
    for finding in compared.open:
        log.info("%s: %s. %s", finding.severity, finding.what, finding.remedy)
    for statement in found["statements"]:
        log.info("%s", statement)
    return found


def _statements(given: Mapping[str, Inspection]) -> Iterator[dict[str, object]]:
    for name, inspection in given.items():
        if isinstance(inspection, Reviewed):
            for statement in top(inspection.statements, STATEMENTS):
                yield {"database": name.partition("/")[2], **statement.as_dict()}


def _sources(job: Job, machine: Machine) -> Iterator[tuple[str, Callable[[], Inspection]]]:
    yield "updates", partial(_updates, machine)
    yield "kernel", partial(_kernel, job, machine)
    servers = set()
    for database in job.site.databases:
        yield f"indexes/{database.name}", partial(_review, job, database, "index")
        yield f"statements/{database.name}", partial(_review, job, database, "statement")
        yield f"locks/{database.name}", partial(_review, job, database, "lock")
        if database.conn_id not in servers:  # settings belong to the server, whatever databases it has
            servers.add(database.conn_id)
            yield f"settings/{database.name}", partial(_review, job, database, "settings")


def _review(job: Job, section: Database, what: str) -> Inspection:
    from upkeep.engines import mysql_review, postgres_review

    engine: Any = job.engine(section.name)
    readers: dict[str, Callable[[Any], Inspection]]
    if section.engine == "mysql":
        readers = {
            "index": mysql_review.mysql_index_review,
            "statement": mysql_review.mysql_statement_review,
            "lock": mysql_review.mysql_lock_review,
            "settings": mysql_review.mysql_settings_review,
        }
    else:
        readers = {
            "index": postgres_review.postgres_index_review,
            "statement": postgres_review.postgres_statement_review,
            "lock": postgres_review.postgres_lock_review,
            "settings": postgres_review.postgres_settings_review,
        }
    return readers[what](engine)


def _updates(machine: Machine) -> Inspection:
    from upkeep.engines.security_updates import pending_updates

    return pending_updates(program=machine.apt)


def _kernel(job: Job, machine: Machine) -> Inspection:
    """This machine's, where one of the databases runs on it."""
    from upkeep.engines.postgres_review import postgres_backend
    from upkeep.engines.review_host import is_local, kernel_settings

    local = [one for one in job.site.databases if not one.via and is_local(job.connect(one.conn_id))]
    if not local:
        return Inspection()
    proc = machine.root / "proc"
    section = next((one for one in local if one.engine == "postgres"), None)
    if section is None:  # MySQL tells no process of its own
        return kernel_settings(job.run.host, proc=proc)
    engine: Any = job.engine(section.name)
    try:
        with postgres_backend(engine) as pid:
            return kernel_settings(job.run.host, pid=pid, proc=proc)
    except UpkeepError as error:
        inspection = kernel_settings(job.run.host, proc=proc)
        inspection.unread.append(f"limits of {section.name}'s server ({error.message})")
        return inspection
