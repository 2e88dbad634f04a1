"""Review what makes a site easy to get into, and tell what is new since the last review."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upkeep.domain.findings import Inspection
from upkeep.duties.comparing import Review, Room
from upkeep.duties.job import Job
from upkeep.site import Cache, Database
from upkeep.stores.local_store import LocalStore
from upkeep.stores.oss_store import OssStore

log = logging.getLogger(__name__)

FIRST_LOOK_BACK = timedelta(days=1)
ROOM = Room(findings=2400, new=2400, gone=1000, unread=1200)


@dataclass(frozen=True)
class Machine:
    """Where the worker's own logs and the kernel's tables are, and the programs that know more."""

    root: Path = Path("/")
    journal: str = "journalctl"
    apt: str = "apt-get"


def check_security(job: Job, *, machine: Machine = Machine()) -> dict[str, Any]:
    """Look at everything, compare with the last review that was finished, keep what is open for the next one.

    What can't be looked at is told and keeps its findings of last time; it fails nothing.

    :raises StoreError: there are too many findings for the ledger, and neither the store nor the spool takes them.
    """
    at = job.now()
    with job.ledger.record(job.act("check_security", "site", command="check security")) as entry:
        review = Review(job, "check_security", "security", ROOM)
        last = review.last
        since = datetime.fromisoformat(last.detail["at"]) if last else at - FIRST_LOOK_BACK
        compared, found = review.carry_out(entry, dict(_sources(job, machine, at, since)), at=at)
    log.info("security is %s: %s", found["light"], found["summary"])
    for finding in compared.new:
        log.warning("new, %s: %s. %s", finding.severity, finding.what, finding.remedy)
    return found


def _sources(
    job: Job, machine: Machine, at: datetime, since: datetime
) -> Iterator[tuple[str, Callable[[], Inspection]]]:
    site = job.site
    yield "certificates", partial(_certificates, job, at)
    yield "tls", partial(_tls, job, at)
    yield "files", partial(_files, job)
    yield "backups", partial(_backups, job)
    yield "logins", partial(_logins, job, machine, at, since)
    yield "updates", partial(_updates, machine, at)
    yield "ports", partial(_ports, job, machine)
    seen = set()
    for database in site.databases:
        if database.conn_id not in seen:  # accounts belong to the server, whatever databases it has
            seen.add(database.conn_id)
            yield f"database/{database.name}", partial(_accounts, job, database)
    for cache in site.caches:
        yield f"cache/{cache.name}", partial(_access, job, cache)


def _certificates(job: Job, at: datetime) -> Inspection:
    from upkeep.engines.security_certificates import certificates_in

    settings = job.site.security
    return certificates_in(settings.certificates, now=at, days=settings.certificate_days)


def _tls(job: Job, at: datetime) -> Inspection:
    from upkeep.engines.security_certificates import certificates_of

    settings = job.site.security
    places = [urlsplit(f"//{address}") for address in settings.tls_endpoints]
    places += [parts for one in job.site.endpoints if (parts := urlsplit(one.url)).scheme == "https"]
    servers = sorted({(place.hostname or "", place.port or 443) for place in places})
    return certificates_of(servers, now=at, days=settings.certificate_days)


def _files(job: Job) -> Inspection:
    from upkeep.engines.security_files import loose_files

    return loose_files(sorted({*job.site.security.paths, *(path for one in job.site.folders for path in one.paths)}))


def _backups(job: Job) -> Inspection:
    from upkeep.engines.security_files import exposed_backups

    # A spool is made when something first waits in it.
    places = {"spool": job.spool.root} if job.spool.root.exists() else {}
    if isinstance(job.store, LocalStore):
        places["store"] = job.store.root
    inspection = Inspection()
    for what, root in places.items():
        one = exposed_backups(root, what)
        inspection.findings += one.findings
        inspection.unread += one.unread
    if isinstance(job.store, OssStore) and job.store.is_public(f"{job.site.name}/"):
        inspection.add(
            "readable-backups",
            job.store.url,
            "low" if job.site.encryption else "high",
            f"whoever knows its address can read the backups in {job.store.url}, without any key",
            f"ossutil set-acl oss://{urlsplit(job.store.url).netloc} private -b; its access log says who has read them",
        )
    return inspection


def _logins(job: Job, machine: Machine, at: datetime, since: datetime) -> Inspection:
    from upkeep.engines.security_logins import failed_logins

    limit = job.site.security.failed_logins
    return failed_logins(since, now=at, limit=limit, root=machine.root, journal=(machine.journal,))


def _updates(machine: Machine, at: datetime) -> Inspection:
    from upkeep.engines.security_updates import waiting_updates

    return waiting_updates(now=at, program=machine.apt, lists=machine.root / "var/lib/apt/lists")


def _ports(job: Job, machine: Machine) -> Inspection:
    from upkeep.engines.security_ports import open_ports

    return open_ports(job.site.security.ports, proc=machine.root / "proc")


def _accounts(job: Job, section: Database) -> Inspection:
    from upkeep.engines.security_mysql import mysql_accounts
    from upkeep.engines.security_postgres import postgres_roles

    engine: Any = job.engine(section.name)
    return mysql_accounts(engine) if section.engine == "mysql" else postgres_roles(engine)


def _access(job: Job, section: Cache) -> Inspection:
    from upkeep.engines.security_redis import redis_access

    engine: Any = job.engine(section.name)
    return redis_access(engine)
