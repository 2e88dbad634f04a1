"""Sample how full and how busy everything is; tell what is over its limit, with the trend of the last week."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from upkeep.domain.backup import is_backup_id
from upkeep.domain.capacity import TREND_SPAN, Key, Measured, first_lines, judge_capacity
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.duties.catalogue import PIN
from upkeep.duties.job import Job
from upkeep.duties.sources import LIMIT_S, read_sources
from upkeep.ledger.samples import Samples
from upkeep.site import Cache, Cluster, Database, Site
from upkeep.stores.base import StoredObject
from upkeep.stores.local_store import LocalStore

log = logging.getLogger(__name__)

TOLD = 20
"""What is over its limit, what couldn't be read, and the fullest shares: so many of each fit into a ledger row."""


def sample_capacity(job: Job, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Read every source, keep the samples, judge them. What can't be read is amber, not an error.

    :param limit_s: for each source, in seconds.
    :raises LedgerError: the samples can't be kept.
    """
    at = job.now()
    samples = Samples(job.ledger.database)
    with job.ledger.record(job.act("sample_capacity", "site", command="sample capacity")) as entry:
        given, failed = read_sources(dict(_sources(job)), limit_s=limit_s)
        readings = [reading for measured in given.values() for reading in measured.readings]
        unread = [f"{name}: {why}" for name, why in failed.items()]
        unread += [why for measured in given.values() for why in measured.unread]
        week = samples.series(job.site.name, since=at - TREND_SPAN)
        health = judge_capacity(readings, week, limits_of(job.site), now=at, unread=unread)
        kept = samples.append(job.site.name, at, readings)
        old = samples.thin_out(job.site.name, before=at - timedelta(days=job.site.keep_samples_days))
        fullest = sorted(health.figures.items(), key=lambda share: -share[1])[:TOLD]
        found: dict[str, Any] = {
            "name": health.name,
            "kind": health.kind,
            "light": health.light,
            "summary": "; ".join(first_lines(health.symptoms, TOLD)) or f"{kept} figures, none over its limit",
            "reds": sum(symptom.light == "red" for symptom in health.symptoms[:TOLD]),
            "figures": dict(fullest),
            "samples": kept,
            "thinned_out": old,
            "unread": unread[:TOLD],
        }
        entry.note(rows=kept, at=at.isoformat(), **found)
    log.info("capacity is %s: %s", health.light, found["summary"])
    return found


def _sources(job: Job) -> Iterator[tuple[str, Callable[[], Measured]]]:
    """The machine comes first: its processors aren't to be measured while we work for the others."""
    site, host = job.site, job.run.host
    if site.host.prometheus_url:
        yield "prometheus", partial(_from_prometheus, job)
    else:
        yield "host", partial(_from_host, host)
        yield "disks", partial(_from_disks, job)
    for database in site.databases:
        yield f"database/{database.name}", partial(_from_database, job, database)
    for cache in site.caches:
        yield f"cache/{cache.name}", partial(_from_cache, job, cache)
    if site.cluster:
        yield "cluster", partial(_from_cluster, job, site.cluster)
    yield "store", partial(_from_store, job)


def limits_of(site: Site) -> dict[Key, float]:
    """What each share must stay below, in percent, as ``judge_capacity`` takes it."""
    everywhere = site.thresholds.model_dump()
    caches = {("cache_memory_pct", cache.name): float(cache.max_memory_pct) for cache in site.caches}
    pods = {(f"pod_{kind}", ""): float(everywhere[kind]) for kind in ("cpu_pct", "memory_pct")}
    return {**{(metric, ""): float(limit) for metric, limit in everywhere.items()}, **caches, **pods}


def _from_prometheus(job: Job) -> Measured:
    from upkeep.engines.prometheus import prometheus_figures

    host = job.site.host
    account = job.connect(host.conn_id) if host.conn_id else None
    return prometheus_figures(host.prometheus_url or "", instance=host.instance, account=account)


def _from_host(host: str) -> Measured:
    from upkeep.engines.host_figures import host_figures

    return host_figures(host)


def _from_disks(job: Job) -> Measured:
    from upkeep.engines.host_figures import disk_figures

    site = job.site
    paths = ["/", site.spool, *(log.path for log in site.logs)]
    paths += [path for folder in site.folders for path in folder.paths]
    if isinstance(job.store, LocalStore):
        paths.append(str(job.store.root))
    return disk_figures(job.run.host, paths)


def _from_database(job: Job, section: Database) -> Measured:
    from upkeep.engines.sizes import mysql_sizes, postgres_sizes

    engine: Any = job.engine(section.name)
    return (mysql_sizes if section.engine == "mysql" else postgres_sizes)(engine, section.name)


def _from_cache(job: Job, section: Cache) -> Measured:
    from upkeep.engines.sizes import redis_sizes

    engine: Any = job.engine(section.name)
    return redis_sizes(engine, section.name)


def _from_cluster(job: Job, section: Cluster) -> Measured:
    from upkeep.engines.cluster_metrics import cluster_figures

    return cluster_figures(job.connect(section.conn_id), section.namespace, section.leave_out)


@dataclass
class _Usage:
    bytes: int = 0
    objects: int = 0
    backups: dict[str, int] = field(default_factory=dict)
    """Bytes of each backup without its manifest and proofs, by id."""
    whole: set[str] = field(default_factory=set)
    """The ids of those that have a manifest."""

    def take(self, stored: StoredObject, name: str) -> None:
        self.bytes += stored.size
        self.objects += 1
        backup_id, _, file = name.partition("/")
        if file == MANIFEST:
            self.whole.add(backup_id)
        elif is_backup_id(backup_id) and "/" not in file and file != PIN:
            self.backups[backup_id] = self.backups.get(backup_id, 0) + stored.size


def _from_store(job: Job) -> Measured:
    """Bytes and objects of the site and of each target, and the size of each target's last backup, in one listing."""
    prefix = f"{job.site.name}/"
    usage: defaultdict[str, _Usage] = defaultdict(_Usage)
    whole = _Usage()
    for stored in job.store.list(prefix):
        target, _, name = stored.key.removeprefix(prefix).partition("/")
        usage[target].take(stored, name)
        whole.take(stored, "")
    found = Measured()
    found.add("store_bytes", job.site.name, whole.bytes, "bytes")
    found.add("store_objects", job.site.name, whole.objects, "objects")
    for target in (target.name for target in job.site.targets):
        found.add("store_bytes", f"{job.site.name}/{target}", usage[target].bytes, "bytes")
        found.add("store_objects", f"{job.site.name}/{target}", usage[target].objects, "objects")
        last = max(usage[target].whole, default="")  # an id begins with the moment the backup was begun
        found.add("backup_bytes", f"{job.site.name}/{target}", usage[target].backups.get(last), "bytes")
    return found
