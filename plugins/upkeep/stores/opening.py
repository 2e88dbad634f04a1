"""From a site's ``store`` section to a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import StoreUnreachable
from upkeep.site import StoreSettings
from upkeep.stores.base import Store
from upkeep.stores.local_store import LocalStore

FilesystemMaker = Callable[[str, str | None], tuple[Any, str]]
"""From a URL and a connection id to an fsspec filesystem and the path on it: Airflow's ObjectStoragePath in a task,
plain fsspec on the command line."""


def open_store(settings: StoreSettings, connect: Callable[[str], Endpoint], make_filesystem: FilesystemMaker) -> Store:
    """The store behind a URL; nothing is contacted yet."""
    parts = urlsplit(settings.url)
    if parts.scheme == "file":
        return LocalStore(Path(parts.path))
    if parts.scheme == "oss":
        from upkeep.stores.oss_store import OssStore

        conn_id = settings.conn_id or ""
        return OssStore(
            url=settings.url,
            endpoint=lambda: connect(conn_id),
            part_mb=settings.part_mb,
            threads=settings.threads,
            storage_class=settings.storage_class,
            server_side_encryption=settings.server_side_encryption,
        )
    from upkeep.stores.fsspec_store import FsspecStore

    filesystem, root = make_filesystem(settings.url, settings.conn_id)
    hide = connect(settings.conn_id).secrets() if settings.conn_id else ()
    return FsspecStore(filesystem, root, url=settings.url, hide=hide)


def open_spool(folder: str) -> LocalStore:
    """The folder where finished backups wait on this worker. It is made by the first backup that has to wait."""
    return _Spool(Path(folder))


class _Spool(LocalStore):
    def _require_root(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnreachable(
                f"the spool folder {self.root} can't be made: {error.strerror}",
                hint=f"install -d -m 700 -o <the worker's user> {self.root}, or set spool in the site file",
            ) from error
