"""Backups in an Alibaba OSS bucket, spoken to in OSS's own dialect (its S3 dialect lacks chunked and path style)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import ObjectHeld, StoreError, StoreUnreachable
from upkeep.stores.base import ObjectWriter, Store, StoredObject, require_folder
from upkeep.stores.oss_client import OssClient, OssOptions
from upkeep.stores.oss_download import download
from upkeep.stores.oss_errors import ABORT, DELETE, LIST, LIST_UPLOADS, WRITE
from upkeep.stores.oss_upload import OssUpload

PAGE = 1000
OWN = ".upkeep/"
"""The store's own folder. What is in it is no backup: never listed."""
PROBE = OWN + "probe"


class OssStore(Store):
    """A prefix of a bucket.

    :param url: ``oss://bucket/prefix``; holds no key.
    :param endpoint: reads the Airflow connection. Called again whenever a temporary token runs out, from any thread.
        Host: the OSS endpoint (``oss-cn-hangzhou.aliyuncs.com``, HTTPS unless it says ``http://``); login and
        password: AccessKey ID and secret; extra: ``region`` (needed), ``security_token`` and ``expires_at`` (STS),
        ``ecs_ram_role`` (keys from the worker's own role), ``cname`` (the host is the bucket's own domain).

    The other parameters are those of ``OssOptions``.
    """

    def __init__(
        self,
        *,
        url: str,
        endpoint: Callable[[], Endpoint],
        part_mb: int = 8,
        threads: int = 3,
        storage_class: str | None = None,
        server_side_encryption: str | None = None,
        retries: int = 7,
        backoff_s: float = 1.0,
        timeout_s: float = 60.0,
    ) -> None:
        self.url = url.rstrip("/")
        self._endpoint = endpoint
        self._options = OssOptions(
            part_mb=part_mb,
            threads=threads,
            storage_class=storage_class or "",
            server_side_encryption=server_side_encryption or "",
            retries=retries,
            backoff_s=backoff_s,
            timeout_s=timeout_s,
        )

    @cached_property
    def _client(self) -> OssClient:
        return self._client_with(self._options)

    def _client_with(self, options: OssOptions) -> OssClient:
        parts = urlsplit(self.url)
        if parts.scheme != "oss" or not parts.netloc or "@" in parts.netloc:
            raise StoreError(
                "the store's url is not of the form oss://bucket/prefix",
                hint="correct it in the site file; keys belong in the store's connection, never in the url",
            )
        root = parts.path.strip("/")
        return OssClient(bucket=parts.netloc, root=root and root + "/", endpoint=self._endpoint, options=options)

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        """See ``Store.writer``. Memory: 32 MiB for objects up to 4 GB, 96 MiB beyond, with the default settings; for
        two objects side by side 48 MiB together, and 96 MiB as long as each has less than 79 GB.

        One case is beyond any client: when the store goes away for good in the very moment in which the object is
        completed, the block fails although the whole object may have appeared.
        """
        with self._client.one_more_upload():
            upload = OssUpload(self._client, key)
            try:
                yield upload
                upload.finish()
            except BaseException as error:
                if left := upload.abandon():
                    error.add_note(left)
                raise

    def read(self, key: str) -> Iterator[bytes]:
        return download(self._client, key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for page in self._pages(require_folder(prefix)):
            for found in page.object_list:
                key = found.key.removeprefix(self._client.root)
                if not key.startswith(OWN) and not key.endswith("/"):  # the console marks empty folders so
                    yield StoredObject(key, found.size, datetime.fromtimestamp(found.last_modified, UTC))

    def delete(self, key: str) -> None:
        self._client.call(DELETE, key, lambda bucket: bucket.delete_object(self._client.root + key))

    def is_public(self, prefix: str) -> bool:
        """Whether a stranger may read what lies below ``prefix``, tried on its first object: that needs no right.

        Errors: ``StoreUnreachable``, and as ``list``.
        """
        first = next(self.list(prefix), None)
        return first is not None and self._client.is_public(self._client.root + first.key)

    def check(self) -> None:
        """Write and remove a tiny object; takes a few seconds at most when the store is away."""
        options = self._options
        quick = self._client_with(
            replace(
                options,
                retries=min(2, options.retries),
                backoff_s=min(0.2, options.backoff_s),
                timeout_s=min(5.0, options.timeout_s),
            )
        )
        name, headers = quick.root + PROBE, options.object_headers()
        # A locked bucket holds the probe of the first check. It refuses to replace only what it let us write.
        with suppress(ObjectHeld):
            quick.call(WRITE, PROBE, lambda bucket: bucket.put_object(name, b"upkeep", headers=headers))
        try:
            quick.call(DELETE, PROBE, lambda bucket: bucket.delete_object(name))
        except StoreUnreachable:
            raise
        except StoreError:
            # Keys that may write but not delete are a sound way to guard backups; this one tiny object stays.
            return

    def sweep(self, prefix: str = "") -> tuple[str, ...]:
        """Abort every unfinished multipart upload below ``prefix``; says which object each was to become, and when."""
        swept = []
        for upload in list(self._uploads(require_folder(prefix))):
            key = upload.key.removeprefix(self._client.root)
            self._abort(key, upload)
            begun = datetime.fromtimestamp(upload.initiation_date, UTC)
            swept.append(f"{key} (upload begun {begun:%Y-%m-%dT%H:%M:%SZ})")
        return tuple(swept)

    def _abort(self, key: str, upload: Any) -> None:
        from oss2.exceptions import NoSuchUpload

        def act(bucket: Any) -> None:
            with suppress(NoSuchUpload):  # it ended while we looked
                bucket.abort_multipart_upload(upload.key, upload.upload_id)

        self._client.call(ABORT, key, act)

    def _pages(self, prefix: str) -> Iterator[Any]:
        page = self._page(prefix, token="")
        yield page
        while page.is_truncated:
            page = self._page(prefix, page.next_continuation_token)
            yield page

    def _page(self, prefix: str, token: str) -> Any:
        name = self._client.root + prefix
        return self._client.call(
            LIST, prefix, lambda bucket: bucket.list_objects_v2(name, continuation_token=token, max_keys=PAGE)
        )

    def _uploads(self, prefix: str) -> Iterator[Any]:
        page = self._upload_page(prefix, "", "")
        yield from page.upload_list
        while page.is_truncated:
            page = self._upload_page(prefix, page.next_key_marker, page.next_upload_id_marker)
            yield from page.upload_list

    def _upload_page(self, prefix: str, after_key: str, after_id: str) -> Any:
        name = self._client.root + prefix
        return self._client.call(
            LIST_UPLOADS,
            prefix,
            lambda bucket: bucket.list_multipart_uploads(name, key_marker=after_key, upload_id_marker=after_id),
        )
