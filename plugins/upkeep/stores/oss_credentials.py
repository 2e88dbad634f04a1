"""Keys for Alibaba OSS from an Airflow connection, renewed while an upload runs."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from upkeep.domain.endpoint import Endpoint
from upkeep.errors import StoreError

EARLY_S = 300.0
"""A temporary token is replaced this long before it expires: no single request may outlive it."""

RECHECK_S = 10.0
"""While a token is about to expire, the connection is asked for a newer one at most this often."""

UNDATED_S = 60.0
"""A token without ``expires_at`` is read again this often."""

ROLE_URL = "http://100.100.100.200/latest/meta-data/ram/security-credentials/"
"""Where an ECS instance finds the keys of its RAM role; the address is the same in every region."""


class OssCredentials:
    """What oss2 asks for keys before it signs a request; the shape of its ``CredentialsProvider``.

    The connection is read once for a plain AccessKey. A temporary (STS) key is read again when it is about to expire,
    or when the store says that it has, so that whatever renews the connection also renews a running upload. With
    ``ecs_ram_role`` in the connection's extra, the instance's own role is used and the connection holds no key at all.
    """

    def __init__(self, endpoint: Callable[[], Endpoint]) -> None:
        self._read_endpoint = endpoint
        self._lock = threading.Lock()
        self._endpoint: Endpoint | None = None
        self._expires_at: float | None = None
        self._read_at = 0.0
        self._role: Any = None

    @property
    def endpoint(self) -> Endpoint:
        """The connection as last read."""
        with self._lock:
            return self._current()

    def get_credentials(self) -> Any:
        """The keys to sign the next request with. Errors: ``StoreError`` when the connection holds none."""
        with self._lock:
            endpoint = self._current()
            if role := str(endpoint.extra.get("ecs_ram_role") or ""):
                return self._role_keys(role, endpoint)
        key_id, secret, token = _keys(endpoint)
        if not (key_id and secret):
            raise StoreError(
                f"connection {endpoint.conn_id!r} holds no AccessKey for OSS",
                hint="set its login to the AccessKey ID and its password to the AccessKey secret, "
                'or its extra to {"ecs_ram_role": "<role>"}',
            )
        from oss2.credentials import Credentials

        return Credentials(key_id, secret, token)

    def renew(self, refused: Endpoint) -> bool:
        """Read the connection again after the store refused ``refused``; True if it now holds other keys."""
        with self._lock:
            if self._endpoint is not refused:  # another thread has read it meanwhile
                return True
            return _keys(self._read()) != _keys(refused)

    def secrets(self) -> tuple[str, ...]:
        """Every value that must not appear in an error."""
        with self._lock:
            hidden = self._endpoint.secrets() if self._endpoint else ()
            lent = getattr(self._role, "credentials", None)
        if lent:
            hidden = (*hidden, lent.get_access_key_secret(), lent.get_security_token())
        return hidden

    def _current(self) -> Endpoint:
        if self._endpoint is None:
            return self._read()
        if self._due(self._endpoint):
            self._read_at = time.monotonic()
            with suppress(Exception):
                # The old key still works, or else the store refuses it and ``renew`` raises what went wrong here.
                return self._read()
        return self._endpoint

    def _read(self) -> Endpoint:
        endpoint = self._read_endpoint()
        self._expires_at = _expiry(endpoint)
        self._endpoint = endpoint
        self._read_at = time.monotonic()
        return endpoint

    def _due(self, endpoint: Endpoint) -> bool:
        if not endpoint.extra.get("security_token"):
            return False
        age_s = time.monotonic() - self._read_at
        if self._expires_at is None:
            return age_s > UNDATED_S
        return age_s > RECHECK_S and time.time() > self._expires_at - EARLY_S

    def _role_keys(self, role: str, endpoint: Endpoint) -> Any:
        from oss2.credentials import EcsRamRoleCredentialsProvider
        from oss2.exceptions import ClientError

        if self._role is None:
            self._role = EcsRamRoleCredentialsProvider(role if "://" in role else ROLE_URL + role)
        try:
            return self._role.get_credentials()
        except ClientError as error:
            raise StoreError(
                f"connection {endpoint.conn_id!r}: the keys of RAM role {role!r} can't be fetched: {error.body}",
                hint="check that this worker runs on an ECS instance which has that role attached",
            ) from None


def _keys(endpoint: Endpoint) -> tuple[str, str, str]:
    """AccessKey ID, its secret and the security token, without the blanks that pasting brings along."""
    return endpoint.user.strip(), endpoint.secret.strip(), str(endpoint.extra.get("security_token") or "").strip()


def _expiry(endpoint: Endpoint) -> float | None:
    """``expires_at`` as seconds since 1970: a number, or ISO 8601 as STS returns it (2026-11-21T03:00:00Z)."""
    value = endpoint.extra.get("expires_at")
    if not value:
        return None
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text := str(value)):
            return float(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StoreError(
            f"connection {endpoint.conn_id!r}: expires_at {value!r} is not a point in time",
            hint='write it with its time zone, as in "2026-11-21T03:00:00Z"',
        )
    return moment.timestamp()
