"""A site file: one system under care, in one YAML file, checked strictly.

Unknown keys are errors, and every problem is reported at once with its path in the file: an operator who fixes one
problem at a time at 2 a.m. gives up.
"""

from __future__ import annotations

from upkeep.site.cleaning import Docker, LogFolder
from upkeep.site.cluster import Cluster, Deployment, LookedAt
from upkeep.site.databases import Check, Database, ScaleToZero
from upkeep.site.fields import NAME
from upkeep.site.health import HttpEndpoint
from upkeep.site.loading import load_files, load_site, load_sites, site_from
from upkeep.site.rhythms import Rhythm
from upkeep.site.security import Scan
from upkeep.site.site import Site
from upkeep.site.store import Compression, Encryption, StoreSettings
from upkeep.site.targets import Cache, Folder, Section

__all__ = [
    "NAME",
    "Cache",
    "Check",
    "Cluster",
    "Compression",
    "Database",
    "Deployment",
    "Docker",
    "Encryption",
    "Folder",
    "HttpEndpoint",
    "LogFolder",
    "LookedAt",
    "Rhythm",
    "ScaleToZero",
    "Scan",
    "Section",
    "Site",
    "StoreSettings",
    "load_files",
    "load_site",
    "load_sites",
    "site_from",
]
