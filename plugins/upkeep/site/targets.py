"""What is backed up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from upkeep.site.cluster import Cluster
from upkeep.site.databases import Database
from upkeep.site.fields import AbsolutePath, ConnId, Name, Strict


class Cache(Strict):
    """A Redis."""

    name: Name
    conn_id: ConnId
    latency_ms: int = Field(200, ge=1, description="logging in and one PING may take this long")
    max_memory_pct: int = Field(80, ge=1, le=100, description="of maxmemory, where one is set")
    max_lag_s: int = Field(60, ge=0, description="how long the link to the master may have been silent")
    big_key_mb: float = Field(50, gt=0, description="a key that takes more memory is named")


class Folder(Strict):
    """Paths kept in one archive. Links are stored, never followed."""

    name: Name
    paths: Annotated[list[AbsolutePath], Field(min_length=1)] = Field(
        description="absolute paths of files or folders, all of which must exist"
    )
    optional_paths: list[AbsolutePath] = Field(default_factory=list, description="kept where they exist")


Section = Database | Cache | Folder | Cluster
"""The part of a site file that describes one target."""


class Target(Strict):
    """One thing that is backed up, whatever section of the file it comes from."""

    name: str
    engine: Literal["mysql", "postgres", "redis", "files", "kubernetes"]
    conn_id: str | None

    @property
    def server(self) -> str:
        """What must not be read by two dumps at once: a connection id, or ``files``."""
        return self.conn_id or "files"
