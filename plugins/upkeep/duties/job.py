"""What a duty works with: one site, its store, the ledger, and who asked for the work."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import Busy, SiteFileError
from upkeep.ledger import Act, Hold, Ledger, Record
from upkeep.site import Cache, Cluster, Database, Folder, Site
from upkeep.stores.base import Store
from upkeep.stores.local_store import LocalStore
from upkeep.stores.opening import FilesystemMaker, open_spool, open_store

if TYPE_CHECKING:
    from upkeep.engines.base import Engine
    from upkeep.engines.pod import Pod

_OF_OTHERS = {"mysql": ("postgres", "postgresql", "redis"), "postgres": ("mysql", "redis")}
"""Connection types that lead to another kind of server; ``generic`` and an empty one may lead to any."""

Connect = Callable[[str], Endpoint]
"""From an Airflow connection id to where it leads. Raises ``ConnectionUnknown``."""


@dataclass(frozen=True)
class Run:
    """Who does this, and on whose word."""

    run_id: str
    task_id: str = ""
    try_number: int = 1
    actor: str = ""
    trigger: str = ""
    host: str = field(default_factory=socket.gethostname)

    def as_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "try": self.try_number,
            "actor": self.actor,
            "trigger": self.trigger,
            "host": self.host,
        }


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Job:
    """One site at work. Every duty takes one; operators and the command line each know how to make one."""

    site: Site
    run: Run
    ledger: Ledger
    connect: Connect
    make_filesystem: FilesystemMaker
    now: Callable[[], datetime] = _utc_now
    held: Mapping[str, Hold] = field(default_factory=dict)
    """Targets whose hold whoever made this job has."""

    @cached_property
    def store(self) -> Store:
        return open_store(self.site.store, self.connect, self.make_filesystem)

    @cached_property
    def spool(self) -> LocalStore:
        return open_spool(self.site.spool)

    def act(self, duty: str, target: str, *, command: str = "", approver: str = "") -> Act:
        return Act(
            site=self.site.name,
            duty=duty,
            target=target,
            run_id=self.run.run_id,
            task_id=self.run.task_id,
            try_number=self.run.try_number,
            actor=self.run.actor,
            trigger=self.run.trigger,
            host=self.run.host,
            command=command,
            config_hash=self.site.fingerprint,
            approver=approver,
        )

    def last_act(
        self,
        duty: str,
        target: str | None = None,
        fits: Callable[[Record], bool] = lambda record: True,
        *,
        among: int = 50,
    ) -> Record | None:
        """The newest act of the site by ``duty`` that ``fits``, looked for among the newest ``among``; None: none does.

        :param target: of this one only; None: of all.
        """
        records = self.ledger.acts(self.site.name, duty=duty, target=target, limit=among, newest_first=True)
        return next((record for record in records if fits(record)), None)

    def database(self, name: str) -> Database:
        """What the site file says of one database. Errors: ``SiteFileError`` when ``name`` is no database."""
        section = self.site.section(name)
        if not isinstance(section, Database):
            raise SiteFileError(f"{name!r} of site {self.site.name!r} is not a database", hint="name one that is")
        return section

    def engine(self, target: str) -> Engine:
        """The engine of one target, logged in to nothing yet."""
        section = self.site.section(target)
        if isinstance(section, Database):
            endpoint = self.connect(section.conn_id)
            if endpoint.kind in _OF_OTHERS[section.engine]:
                raise SiteFileError(
                    f"{target!r} of site {self.site.name!r} is {section.engine}, and its connection "
                    f"{section.conn_id!r} is of type {endpoint.kind}",
                    hint="name the connection of that server in conn_id, or fix engine",
                )
            name = _fit_for_lines(section.database or endpoint.schema or section.name, target)
            if section.engine == "mysql":
                from upkeep.engines.mysql_engine import MySqlEngine

                return MySqlEngine(
                    endpoint,
                    name,
                    lock_timeout_s=section.lock_timeout_s,
                    dump_streams=section.dump_streams,
                    checksum_under_mb=section.checksum_under_mb,
                    with_passwords=bool(self.site.encryption),
                    pod=self._pod(section),
                )
            from upkeep.engines.postgres_engine import PostgresEngine

            return PostgresEngine(
                endpoint,
                name,
                lock_timeout_s=section.lock_timeout_s,
                with_passwords=bool(self.site.encryption),
                checksum_under_mb=section.checksum_under_mb,
                pod=self._pod(section),
            )
        if isinstance(section, Cache):
            from upkeep.engines.redis_engine import RedisEngine

            return RedisEngine(self.connect(section.conn_id))
        if isinstance(section, Cluster):
            from upkeep.engines.manifests_engine import ManifestsEngine

            return ManifestsEngine(self.connect(section.conn_id), section.namespace, with_secrets=section.secrets)
        return self._files_engine(section)

    def _pod(self, section: Database) -> Pod | None:
        cluster, via = self.site.cluster, section.via
        if cluster is None or via is None:
            return None
        from upkeep.engines.pod import Pod

        return Pod(self.connect(cluster.conn_id), cluster.namespace, via.pod_selector, via.container)

    def _files_engine(self, section: Folder) -> Engine:
        from upkeep.engines.files_engine import FilesEngine

        stores = [self.site.spool]
        if isinstance(self.store, LocalStore):
            stores.append(str(self.store.root))
        return FilesEngine(section.paths, section.optional_paths, never=stores)

    def hold(self, target: str) -> AbstractContextManager[Hold]:
        """Keep every other run away from one target's backups; vanishes with this process. Errors: ``Busy``."""
        if target in self.held:
            return nullcontext(self.held[target])
        return self.ledger.hold(f"{self.site.name}/{target}")


def within(job: Job, target: str, hold: Hold) -> Job:
    """The same job, for duties that are part of what ``hold`` on the target is for."""
    return replace(job, held={**job.held, target: hold})


def require_hold(job: Job, target: str, hold: Hold) -> None:
    """Ask before every step that another run must not see half-done. Errors: ``Busy`` when the lock was lost: the
    ledger's database restarted, or the network to it was cut, and another run may hold the target by now.
    """
    if not hold.still_held():
        raise Busy(
            f"the hold on {job.site.name}/{target} was lost while it was worked on: nothing more is changed",
            hint="look after the ledger's database and the network to it, then run the task again",
        )


def _fit_for_lines(database: str, target: str) -> str:
    """Stock dumps begin with a comment that has the database's name as it is: what follows a line break in it would be
    run by whoever restores them. Errors: ``SiteFileError``.
    """
    if any(character in database for character in "\n\r"):
        raise SiteFileError(
            f"the name {database!r} of database {target} has a line break, which no dump can hold safely",
            hint="rename the database",
        )
    return database
