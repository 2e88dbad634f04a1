"""Calls to one Alibaba OSS bucket: signed with V4, retried, and failing with errors that say what to do."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.errors import ObjectDamaged, StoreError, StoreUnreachable
from upkeep.stores.backoff import Backoff, Tries
from upkeep.stores.oss_credentials import OssCredentials
from upkeep.stores.oss_errors import READ, Step, is_about_keys, is_passing, reason, refusal

T = TypeVar("T")

STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
ENCRYPTIONS = ("AES256", "KMS")
SIDE_BY_SIDE = 8
"""Connections kept open beside those of the parts: each object that is written has calls of its own."""


@dataclass(frozen=True)
class OssOptions:
    """How to talk to OSS.

    :param part_mb: size of the first parts of a large object, in MiB; see ``oss_upload.part_mib``.
    :param threads: parts on their way at once; each, and the one being filled, is held in memory. Objects that are
        written side by side share them, rounded up.
    :param storage_class: one of ``STORAGE_CLASSES``; empty: the bucket's own.
    :param server_side_encryption: ``AES256`` or ``KMS`` (the account's default key); empty: the bucket's own.
    :param retries: tries after the first one, for every single request.
    :param backoff_s: longest wait before the first retry; it doubles up to 30 s.
    :param timeout_s: for connecting, and for any silence while sending or receiving.
    """

    part_mb: int
    threads: int
    storage_class: str
    server_side_encryption: str
    retries: int
    backoff_s: float
    timeout_s: float

    def __post_init__(self) -> None:
        if not 1 <= self.part_mb <= 1024 or not 1 <= self.threads <= 64:
            raise ValueError(f"part_mb {self.part_mb} must be 1 to 1024 and threads {self.threads} 1 to 64")
        if self.storage_class not in ("", *STORAGE_CLASSES):
            raise ValueError(f"storage_class {self.storage_class!r} must be one of {', '.join(STORAGE_CLASSES)}")
        if self.server_side_encryption not in ("", *ENCRYPTIONS):
            raise ValueError(
                f"server_side_encryption {self.server_side_encryption!r} must be one of {', '.join(ENCRYPTIONS)}"
            )

    def object_headers(self) -> dict[str, str]:
        """What a new object is created with; sent once, with the put or with the start of a multipart upload."""
        wanted = {
            "x-oss-storage-class": self.storage_class,
            "x-oss-server-side-encryption": self.server_side_encryption,
        }
        return {name: value for name, value in wanted.items() if value}


class Damaged(Exception):
    """The store holds other bytes than were sent: worth another try."""


class Halted(Exception):
    """The upload this call belongs to has been given up."""


class OssClient:
    """One bucket, reached through one connection. Safe to use from several threads."""

    def __init__(self, *, bucket: str, root: str, endpoint: Callable[[], Endpoint], options: OssOptions) -> None:
        """
        :param root: prefix of every object name: empty, or ends with ``/``.
        """
        self.bucket_name = bucket
        self.root = root
        self.options = options
        self.credentials = OssCredentials(endpoint)
        self.backoff = Backoff(options.retries, options.backoff_s)
        self.uploads = 0
        """Objects being written at this moment; they share threads and memory."""
        self._lock = threading.Lock()

    @contextmanager
    def one_more_upload(self) -> Iterator[None]:
        with self._lock:
            self.uploads += 1
        try:
            yield
        finally:
            with self._lock:
                self.uploads -= 1

    def address(self, key: str) -> str:
        return f"oss://{self.bucket_name}/{self.root}{key}"

    @cached_property
    def bucket(self) -> Any:
        """oss2's ``Bucket``; made on first use, because importing oss2 takes most of a second."""
        import oss2

        return self._bucket(oss2.ProviderAuthV4(self.credentials))

    def is_public(self, name: str) -> bool:
        """Whether a stranger, without any key, is shown the object of that whole name. Errors: ``StoreUnreachable``."""
        import oss2

        try:
            self._bucket(oss2.AnonymousAuth()).head_object(name)
        except oss2.exceptions.OssError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return False
            raise self.unreachable(READ, name.removeprefix(self.root), reason(error), 1) from None
        return True

    def _bucket(self, auth: Any) -> Any:
        import oss2

        # At DEBUG and INFO oss2 logs headers and refused requests whole, and so the security token.
        logging.getLogger("oss2").setLevel(logging.WARNING)
        endpoint = self.credentials.endpoint
        host = _host(endpoint)
        region = str(endpoint.extra.get("region") or "").removeprefix("oss-")  # some consoles show it with the prefix
        if not region:
            found = re.search(r"oss-([a-z]+-[a-z0-9-]+?)(-internal)?\.aliyuncs\.com", host)
            raise StoreError(
                f"connection {endpoint.conn_id!r} names no region, which OSS V4 signatures need",
                hint=f'add "region": "{found[1] if found else "cn-hangzhou"}" to its extra',
            )
        try:
            return oss2.Bucket(
                auth,
                host,
                self.bucket_name,
                is_cname=str(endpoint.extra.get("cname")).lower() in ("true", "1", "yes"),
                session=oss2.Session(pool_size=self.options.threads + SIDE_BY_SIDE),
                connect_timeout=self.options.timeout_s,
                app_name="airflow-upkeep",
                # crcmod without a C compiler is a hundred times slower than the network; see OssUpload for ours.
                enable_crc=False,
                region=region,
            )
        except oss2.exceptions.ClientError as error:
            raise StoreError(
                f"{self.address('')} at {host!r} can't be opened: {error.body}",
                hint=f"check the bucket name in the store's url and the host of connection {endpoint.conn_id!r}",
            ) from None

    def call(
        self,
        step: Step,
        key: str,
        act: Callable[[Any], T],
        *,
        backoff: Backoff | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Run ``act`` on the bucket until it succeeds, is refused, or its retries are used up.

        Errors: ``StoreUnreachable``; ``ObjectDamaged`` when every try arrived damaged; ``ObjectMissing``,
        ``ObjectHeld`` or ``StoreError`` for a refusal; ``Halted`` once ``stop`` is set.
        """
        import requests
        from oss2.exceptions import OssError

        bucket = self.bucket
        tries = Tries(backoff or self.backoff)
        may_renew = True
        while True:
            seen, failure = self.credentials.endpoint, None
            try:
                return act(bucket)
            except (OssError, requests.RequestException, Damaged) as error:
                # Handled below, outside this block: a chained oss2 error would print the refused request whole.
                failure = error
            if may_renew and is_about_keys(failure) and self.credentials.renew(seen):
                may_renew = False
                continue
            damaged = isinstance(failure, Damaged)
            if not damaged and not is_passing(failure):
                raise self._masked(refusal(failure, step, address=self.address(key), conn_id=seen.conn_id))
            if not tries.again(stop):
                raise self._masked(self._given_up(failure, step, key, tries.failed))
            if stop and stop.is_set():
                raise Halted

    def unreachable(self, step: Step, key: str, why: str, tries: int) -> StoreUnreachable:
        endpoint = self.credentials.endpoint
        return StoreUnreachable(
            f"can't {step.verb} {self.address(key)}: {_host(endpoint)} failed {tries} times, last with {why}",
            hint=f"check network, proxy and the host of connection {endpoint.conn_id!r}, then run the task again",
        )

    def _given_up(self, failure: Exception, step: Step, key: str, tries: int) -> StoreError:
        if isinstance(failure, Damaged):
            return ObjectDamaged(
                f"can't {step.verb} {self.address(key)}: it arrived damaged {tries} times, last with {failure}",
                hint="look for a faulty proxy, network card or memory between this worker and OSS",
            )
        return self.unreachable(step, key, reason(failure), tries)

    def _masked(self, error: StoreError) -> StoreError:
        secrets = self.credentials.secrets()
        return type(error)(mask(error.message, secrets), hint=mask(error.hint, secrets))


def _host(endpoint: Endpoint) -> str:
    """The connection's host as a URL. Without a scheme it means HTTPS, where oss2 would take plain HTTP."""
    host = endpoint.host.strip().rstrip("/")
    if not host:
        raise StoreError(
            f"connection {endpoint.conn_id!r} has no host",
            hint="set it to the bucket's OSS endpoint, as in oss-cn-hangzhou.aliyuncs.com",
        )
    if "://" not in host:
        host = f"{'http' if endpoint.schema == 'http' else 'https'}://{host}"
    if endpoint.port and not re.search(r":\d+$", host):
        host = f"{host}:{endpoint.port}"
    return host
