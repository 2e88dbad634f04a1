"""Review what makes a site easy to get into, and tell what is new since the last review."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from upkeep.domain.findings import SEVERITIES, Comparison, Finding, Looked, compare
from upkeep.duties.job import Job
from upkeep.duties.sources import LIMIT_S, read_sources
from upkeep.errors import StoreError
from upkeep.ledger import Record
from upkeep.site import Cache, Database
from upkeep.stores.local_store import LocalStore

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_LOOK_BACK = timedelta(days=1)
FINDINGS_CHARS, NEW_CHARS, GONE_CHARS, UNREAD_CHARS = 2400, 2400, 1000, 1200
"""What a ledger row has room for. Larger findings are kept beside the backups; of the others the first are told."""
LONGEST_TEXT = 300
LAST_RECORDS = 20


@dataclass(frozen=True)
class Machine:
    """Where the worker's own logs are, and the programs that know more."""

    root: Path = Path("/")
    journal: str = "journalctl"
    apt: str = "apt-get"


def check_security(job: Job, *, machine: Machine = Machine(), limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Look at everything, compare with the last review that was finished, keep what is open for the next one.

    What can't be looked at is told and keeps its findings of last time; it fails nothing.

    :param limit_s: for each source, in seconds.
    :raises StoreError: there are too many findings for the ledger, and neither the store nor the spool takes them.
    """
    at = job.now()
    with job.ledger.record(job.act("check_security", "site", command="check security")) as entry:
        last = _last_review(job)
        problems: list[str] = []
        previous = _previous(job, last, problems)
        since = datetime.fromisoformat(last.detail["at"]) if last else at - FIRST_LOOK_BACK
        given, failed = read_sources(dict(_sources(job, machine, at, since)), limit_s=limit_s)
        current = [replace(one, source=name) for name, looked in given.items() for one in looked.findings]
        partly = [name for name, looked in given.items() if looked.unread]
        compared = compare(previous, current, at=at, unread={*failed, *partly})
        problems += [f"{name}: {why}" for name, why in failed.items()]
        problems += [why for looked in given.values() for why in looked.unread]
        found = _told(compared, problems, first=last is None)
        entry.note(
            at=at.isoformat(),
            **found,
            figures={name: value for looked in given.values() for name, value in looked.figures.items()},
            **_moved(job, last),
            **_kept(job, compared.open),
        )
    log.info("security is %s: %s", found["light"], found["summary"])
    for finding in compared.new:
        log.warning("new, %s: %s. %s", finding.severity, finding.what, finding.remedy)
    return found


def _sources(job: Job, machine: Machine, at: datetime, since: datetime) -> Iterator[tuple[str, Callable[[], Looked]]]:
    site = job.site
    yield "certificates", partial(_certificates, job, at)
    yield "tls", partial(_tls, job, at)
    yield "files", partial(_files, job)
    yield "backups", partial(_backups, job)
    yield "logins", partial(_logins, job, machine, at, since)
    yield "updates", partial(_updates, machine, at)
    seen = set()
    for database in site.databases:
        if database.conn_id not in seen:  # accounts belong to the server, whatever databases it has
            seen.add(database.conn_id)
            yield f"database/{database.name}", partial(_accounts, job, database)
    for cache in site.caches:
        yield f"cache/{cache.name}", partial(_access, job, cache)


def _certificates(job: Job, at: datetime) -> Looked:
    from upkeep.engines.security_certificates import certificates_in

    settings = job.site.security
    return certificates_in(settings.certificates, now=at, days=settings.certificate_days)


def _tls(job: Job, at: datetime) -> Looked:
    from upkeep.engines.security_certificates import certificates_of

    settings = job.site.security
    places = [urlsplit(f"//{address}") for address in settings.tls_endpoints]
    places += [parts for one in job.site.endpoints if (parts := urlsplit(one.url)).scheme == "https"]
    servers = sorted({(place.hostname or "", place.port or 443) for place in places})
    return certificates_of(servers, now=at, days=settings.certificate_days)


def _files(job: Job) -> Looked:
    from upkeep.engines.security_files import loose_files

    return loose_files(sorted({*job.site.security.paths, *(path for one in job.site.folders for path in one.paths)}))


def _backups(job: Job) -> Looked:
    from upkeep.engines.security_files import exposed_backups

    # A spool is made when something first waits in it.
    places = {"spool": job.spool.root} if job.spool.root.exists() else {}
    if isinstance(job.store, LocalStore):
        places["store"] = job.store.root
    looked = Looked()
    for what, root in places.items():
        one = exposed_backups(root, what)
        looked.findings += one.findings
        looked.unread += one.unread
    return looked


def _logins(job: Job, machine: Machine, at: datetime, since: datetime) -> Looked:
    from upkeep.engines.security_logins import failed_logins

    limit = job.site.security.failed_logins
    return failed_logins(since, now=at, limit=limit, root=machine.root, journal=(machine.journal,))


def _updates(machine: Machine, at: datetime) -> Looked:
    from upkeep.engines.security_updates import waiting_updates

    return waiting_updates(now=at, program=machine.apt, lists=machine.root / "var/lib/apt/lists")


def _accounts(job: Job, section: Database) -> Looked:
    from upkeep.engines.security_mysql import mysql_accounts
    from upkeep.engines.security_postgres import postgres_roles

    engine: Any = job.engine(section.name)
    return mysql_accounts(engine) if section.engine == "mysql" else postgres_roles(engine)


def _access(job: Job, section: Cache) -> Looked:
    from upkeep.engines.security_redis import redis_access

    engine: Any = job.engine(section.name)
    return redis_access(engine)


def _last_review(job: Job) -> Record | None:
    records = job.ledger.acts(job.site.name, duty="check_security", limit=LAST_RECORDS, newest_first=True)
    return next((record for record in records if record.state == "done" and "at" in record.detail), None)


def _previous(job: Job, last: Record | None, problems: list[str]) -> list[Finding]:
    """What was open at the end of the last review; nothing, and a problem, where that can't be read any more."""
    if last is None:
        return []
    try:
        kept = last.detail.get("findings")
        if kept is None:
            store = job.spool if last.detail["kept_in"] == "spool" else job.store
            kept = json.loads(store.get(_key(job)))
        findings = [Finding.from_dict(one) for one in kept]
    except (StoreError, ValueError, LookupError, TypeError) as error:
        said = error.message if isinstance(error, StoreError) else type(error).__name__
        problems.append(f"the findings of the last review ({said}): all of today's count as new")
        return []
    # A review that was killed after it had kept its findings was never told: what was new in it still is.
    return [one for one in findings if one.first_seen <= last.detail["at"]]


def _kept(job: Job, findings: Sequence[Finding]) -> dict[str, Any]:
    """What to note so that the next review finds these: the findings themselves, or where they are."""
    content = [one.as_dict() for one in findings]
    text = json.dumps(content, ensure_ascii=False)
    if len(text) <= FINDINGS_CHARS:
        return {"findings": content}
    try:
        job.store.put(_key(job), text.encode("utf-8", "backslashreplace"))
    except StoreError as error:
        log.warning("the findings could not be kept in %s: %s", job.store.url, error.message)
        job.spool.put(_key(job), text.encode("utf-8", "backslashreplace"))
        return {"kept_in": "spool"}
    return {"kept_in": "store"}


def _key(job: Job) -> str:
    return f"{job.site.name}/_state/security.json"


def _moved(job: Job, last: Record | None) -> dict[str, Any]:
    """Files, logins and updates are those of the worker: another one may differ for no other reason."""
    return {"other_host_before": last.started.host} if last and last.started.host != job.run.host else {}


def _told(compared: Comparison, problems: Sequence[str], *, first: bool) -> dict[str, Any]:
    """Red, which fails the run, is only what is grave and new since the last review: a finding that stands would
    otherwise make every night red, and hide the night in which a backup fails.
    """
    grave_and_new = not first and any(finding.severity == "high" for finding in compared.new)
    light = "red" if grave_and_new else "amber" if compared.light != "green" or problems else "green"
    counts = {name: len(findings) for name, findings in compared._asdict().items()}
    by_severity = {one: sum(finding.severity == one for finding in compared.open) for one in SEVERITIES}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing found"
    if any(by_severity.values()):
        summary += f" ({', '.join(f'{count} {severity}' for severity, count in by_severity.items() if count)})"
    if problems:
        summary += f"; {len(problems)} not looked at"
    return {
        "name": "security",
        "kind": "security",
        "light": light,
        "summary": summary,
        "counts": {**counts, **by_severity},
        "new": _first(NEW_CHARS, [_short(finding) for finding in compared.new]),
        "gone": _first(GONE_CHARS, [finding.what[:LONGEST_TEXT] for finding in compared.gone]),
        "unread": _first(UNREAD_CHARS, [problem[:LONGEST_TEXT] for problem in problems]),
    }


def _short(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity,
        "what": finding.what[:LONGEST_TEXT],
        "remedy": finding.remedy[:LONGEST_TEXT],
    }


def _first(chars: int, items: Sequence[T]) -> list[T]:
    """As many as fit into so many characters of JSON; ``counts`` says how many there are."""
    sizes = accumulate(len(json.dumps(item, ensure_ascii=False)) + 1 for item in items)
    return [item for item, size in zip(items, sizes, strict=True) if size <= chars]
