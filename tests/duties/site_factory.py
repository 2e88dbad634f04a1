"""Makes a Job for a site with the targets a test asks for: throwaway servers, store and ledger in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.plain_site import plain_job, plain_site
from tests.servers.base import Server
from tests.servers.databases import Database, MySqlDatabase
from tests.servers.redis_server import RedisServer
from upkeep.domain.backup import BackupRef
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_manifest
from upkeep.duties.job import Job
from upkeep.errors import ConnectionUnknown


class SiteFactory:
    """One site, one store, one ledger; each target is added with a method, then ``job`` is asked for.

    sites.database(database)
    manifest = sites.back_up("app")
    sites.fetch(manifest, tmp_path / "restore")
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoints: dict[str, Endpoint] = {}
        self.settings: dict[str, Any] = {"databases": [], "caches": [], "folders": []}
        (folder / "store").mkdir(parents=True, exist_ok=True)

    def database(
        self, database: Database, name: str = "app", *, endpoint: Endpoint | None = None, **settings: Any
    ) -> None:
        """``endpoint``: how to log in, where it isn't as the server's own account; ``settings``: as in a site file."""
        engine = "mysql" if isinstance(database, MySqlDatabase) else "postgres"
        conn_id = self._connection(endpoint or database.endpoint())
        settings = {"name": name, "engine": engine, "conn_id": conn_id, "database": database.name, **settings}
        self.settings["databases"].append(settings)

    def cache(self, server: RedisServer, name: str = "sessions", *, endpoint: Endpoint | None = None) -> None:
        self.settings["caches"].append({"name": name, "conn_id": self._connection(endpoint or server.endpoint())})

    def paths(self, *paths: Path | str, name: str = "config", **settings: Any) -> None:
        self.settings["folders"].append({"name": name, "paths": [str(path) for path in paths], **settings})

    def cluster(self, namespace: str, endpoint: Endpoint, **settings: Any) -> None:
        """The site's cluster, whose manifests are the target ``manifests``."""
        self.settings["cluster"] = {"conn_id": self._connection(endpoint), "namespace": namespace, **settings}

    def encrypted(self, recipient: str, *, identity: str = "") -> None:
        """``identity``: the private key, where the site may look into its own backups."""
        self.settings["encryption"] = {"recipients": [recipient]}
        if identity:
            conn_id = self._connection(Endpoint("", kind="generic", secret=identity))
            self.settings["encryption"]["identity_conn_id"] = conn_id
        else:
            self.settings["retention"] = {"daily": 3, "counts_from": "checksum"}

    def scratch(self, server: Server, **changes: Any) -> str:
        """A connection to a server where backups may be restored; ``changes``: another host name, another port."""
        return self._connection(Endpoint(**{**vars(server.endpoint()), **changes}))

    def job(self, run_id: str = "night-1", **changes: Any) -> Job:
        own = {"name": "kindergarten", "title": "幼儿园", "retention": {"daily": 3}}
        site = plain_site(self.folder, **{**own, **self.settings})
        return plain_job(site, self.folder, run_id, **{"connect": self._endpoint, **changes})

    def back_up(self, target: str = "app", run_id: str = "night-1") -> Manifest:
        job = self.job(run_id)
        backup_id = str(back_up(job, target)["backup_id"])
        return read_manifest(job.store, BackupRef(job.site.name, target, backup_id))[0]

    def fetch(self, manifest: Manifest, folder: Path) -> Path:
        """Copy a backup's files to ``folder``, as an operator would before restoring it."""
        source = self.folder / "store" / manifest.backup.prefix
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return folder

    def _connection(self, endpoint: Endpoint) -> str:
        conn_id = f"connection_{len(self.endpoints)}"
        self.endpoints[conn_id] = Endpoint(**{**vars(endpoint), "conn_id": conn_id})
        return conn_id

    def _endpoint(self, conn_id: str) -> Endpoint:
        if conn_id not in self.endpoints:
            raise ConnectionUnknown(f"there is no connection {conn_id}", hint="add it to the test")
        return self.endpoints[conn_id]
