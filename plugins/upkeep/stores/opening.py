"""From a site's ``store`` section to a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.errors import StoreError, StoreUnreachable, UpkeepError
from upkeep.site import StoreSettings
from upkeep.stores.base import Store
from upkeep.stores.local_store import LocalStore

FilesystemMaker = Callable[[str, str | None], tuple[Any, str]]
"""From a URL and a connection id to an fsspec filesystem and the path on it: Airflow's ObjectStoragePath in a task,
plain fsspec on the command line."""


def open_store(settings: StoreSettings, connect: Callable[[str], Endpoint], make_filesystem: FilesystemMaker) -> Store:
    """The store behind a URL; nothing is contacted yet. Errors: ``StoreError`` when nothing here can speak to it."""
    parts = urlsplit(settings.url)
    if parts.scheme == "file":
        return LocalStore(Path(parts.path), mount_point=Path(settings.mount_point) if settings.mount_point else None)
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

    hide = connect(settings.conn_id).secrets() if settings.conn_id else ()
    try:
        filesystem, root = make_filesystem(settings.url, settings.conn_id)
    except UpkeepError:
        raise
    except Exception as error:  # each driver has errors of its own; a missing one is an ImportError or a ValueError
        raise StoreError(
            f"the store {settings.url} can't be opened: {type(error).__name__}: {mask(str(error), hide)}",
            hint=f"check the url (it begins {parts.scheme}://) and the options of its connection; the worker needs the "
            "fsspec driver for it (s3fs, gcsfs, adlfs, sshfs ...)",
        ) from None
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
