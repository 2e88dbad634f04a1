"""One system under care: the sections together, and what must hold between them."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from upkeep.errors import SiteFileError
from upkeep.site.cleaning import Docker, LogFolder
from upkeep.site.cluster import Cluster
from upkeep.site.databases import Database, ScaleToZero
from upkeep.site.drill import Drill, Goals
from upkeep.site.fields import AbsolutePath, Name, Strict
from upkeep.site.health import Host, HttpEndpoint, Thresholds
from upkeep.site.people import Approval, Notify
from upkeep.site.rhythms import Rhythms
from upkeep.site.security import Scan, Security
from upkeep.site.store import Compression, Encryption, Retention, StoreSettings
from upkeep.site.targets import Cache, Folder, Section, Target


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is not an IANA time zone such as Asia/Shanghai") from error
    return zone


def _lies_in(path: str, folder: str) -> bool:
    return f"{os.path.normpath(path)}/".startswith(f"{os.path.normpath(folder).rstrip('/')}/")


class Site(Strict):
    """One system under care."""

    name: Name
    title: str = Field(description="as people call it, in reports")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(description="IANA name, such as Asia/Shanghai")
    rhythms: Rhythms
    store: StoreSettings
    spool: AbsolutePath = Field(
        "/var/spool/upkeep", description="folder on the worker where a finished backup waits while the store is away"
    )
    compression: Compression = Compression()
    encryption: Encryption | None = Field(None, description="default: backups are not encrypted")
    retention: Retention
    prove: Annotated[str, Field(pattern=r"^(all|newest|1/[1-9]\d{0,2})$")] = Field(
        "all", description="which of the week's backups are restored: all, each target's newest, or one in n"
    )
    max_shrink_pct: int = Field(50, ge=1, le=99, description="a backup smaller than the last proven one by more fails")
    databases: list[Database] = Field(default_factory=list, description="MySQL, MariaDB, PostgreSQL")
    caches: list[Cache] = Field(default_factory=list, description="Redis")
    folders: list[Folder] = Field(default_factory=list, description="configuration and other files")
    logs: list[LogFolder] = Field(default_factory=list, description="searched for errors each night, cleaned each week")
    endpoints: list[HttpEndpoint] = Field(default_factory=list, description="URLs that must answer")
    thresholds: Thresholds = Thresholds()
    keep_samples_days: int = Field(730, ge=31, description="capacity samples older than this go")
    notify: list[Notify] = Field(default_factory=list, description="who is told of runs; empty: nobody")
    host: Host = Host()
    goals: Goals | None = Field(None, description="what a drill is judged by; without them it only measures")
    drill: Drill = Drill()
    docker: Docker | None = None
    cluster: Cluster | None = None
    security: Security = Security()
    approval: Approval = Approval()
    scans: list[Scan] = Field(default_factory=list, description="each month's look for vulnerabilities")

    @model_validator(mode="after")
    def _names_fit(self) -> Site:
        names = [target.name for target in self.targets]
        if not names:
            raise ValueError("no target: list at least one of databases, caches, folders")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                "target names must differ across databases, caches, folders and the cluster: "
                f"{', '.join(twice)} is listed twice"
            )
        scans = [scan.name for scan in self.scans]
        if twice := sorted({name for name in scans if scans.count(name) > 1}):
            raise ValueError(f"scan names must differ: {', '.join(twice)} is listed twice")
        if strange := sorted(set(self.drill.order) - set(names)):
            raise ValueError(f"drill.order names no targets of this site: {', '.join(strange)}")
        return self

    @model_validator(mode="after")
    def _has_the_sections_that_others_need(self) -> Site:
        scaled = [d.name for d in self.databases if isinstance(d.stop_writes, ScaleToZero)]
        if self.cluster is None and scaled:
            raise ValueError(f"stop_writes.scale_to_zero needs the cluster section: {', '.join(scaled)}")
        if self.cluster is None and (inside := [d.name for d in self.databases if d.via]):
            raise ValueError(f"databases in pods need the cluster section: {', '.join(inside)}")
        if self.cluster and self.cluster.secrets and not self.encryption:
            raise ValueError("cluster.secrets keeps passwords in base64, which anybody reads: set encryption as well")
        if self.encryption and not self.encryption.identity_conn_id and self.retention.counts_from != "checksum":
            raise ValueError(
                f"retention.counts_from is {self.retention.counts_from}, but without encryption.identity_conn_id an "
                "encrypted backup never gets past checksum, so nothing would ever be removed: name the connection that "
                "holds the private key, or set retention.counts_from: checksum"
            )
        return self

    @model_validator(mode="after")
    def _keeps_backups_apart(self) -> Site:
        folder = self.store.url.removeprefix("file://")
        if folder != self.store.url and _lies_in(self.spool, folder):
            raise ValueError(
                f"the spool {self.spool} lies in the store {folder}: what can't go into the store has to wait "
                "elsewhere; name another folder, on a disk of its own"
            )
        for kept in (self.spool, folder):
            if wide := [log.path for log in self.logs if log.is_cleaned and _lies_in(kept, log.path)]:
                raise ValueError(f"the backups in {kept} lie below {wide[0]}, a log folder that files are removed from")
        return self

    @property
    def targets(self) -> tuple[Target, ...]:
        return (
            *(Target(name=d.name, engine=d.engine, conn_id=d.conn_id) for d in self.databases),
            *(Target(name=c.name, engine="redis", conn_id=c.conn_id) for c in self.caches),
            *(Target(name=f.name, engine="files", conn_id=None) for f in self.folders),
            *(Target(name=c.name, engine="kubernetes", conn_id=c.conn_id) for c in [self.cluster] if c),
        )

    def target(self, name: str) -> Target:
        for target in self.targets:
            if target.name == name:
                return target
        raise SiteFileError(
            f"site {self.name!r} has no target {name!r}",
            hint=f"its targets are: {', '.join(target.name for target in self.targets)}",
        )

    @property
    def drill_order(self) -> tuple[str, ...]:
        """The targets in the order in which a drill rebuilds them. A cluster's manifests only where ``drill.order``
        names them: they are tried with the server's dry run, which rebuilds nothing.
        """
        others = (target.name for target in self.targets if target.engine != "kubernetes")
        return tuple(dict.fromkeys([*self.drill.order, *others]))

    def servers(self) -> dict[str, tuple[str, ...]]:
        """Target names by server, in file order: dumps of one server never run side by side."""
        groups: dict[str, list[str]] = {}
        for target in self.targets:
            groups.setdefault(target.server, []).append(target.name)
        return {server: tuple(names) for server, names in groups.items()}

    @property
    def checks(self) -> tuple[str, ...]:
        """What the daily health check looks at, each a task of its own."""
        return (
            *(f"database/{database.name}" for database in self.databases),
            *(f"cache/{cache.name}" for cache in self.caches),
            *(f"endpoint/{endpoint.name}" for endpoint in self.endpoints),
            "store",
        )

    def section(self, target: str) -> Section:
        """The part of the file that describes ``target``."""
        self.target(target)
        sections: list[Section] = [*self.databases, *self.caches, *self.folders]
        if self.cluster:
            sections.append(self.cluster)
        return next(section for section in sections if section.name == target)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the settings in force, for the ledger: which configuration did this run follow?"""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
