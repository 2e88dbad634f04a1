"""Where the backups of a target are restored to prove them, by the kind of target."""

from __future__ import annotations

from upkeep.duties.job import Job
from upkeep.duties.scratch import Scratch
from upkeep.duties.scratch_cache import CacheScratch
from upkeep.duties.scratch_database import DatabaseScratch
from upkeep.duties.scratch_folder import FolderScratch
from upkeep.site import Cache, Cluster, Database


def scratch_of(job: Job, target: str) -> Scratch:
    """Errors: ``NoScratch``, ``ConnectionUnknown``."""
    section = job.site.section(target)
    if isinstance(section, Database):
        return DatabaseScratch(job, target, section)
    if isinstance(section, Cache):
        return CacheScratch(job, target)
    if isinstance(section, Cluster):
        from upkeep.duties.scratch_cluster import ClusterScratch

        return ClusterScratch(job, target, section)
    return FolderScratch(job, target)
