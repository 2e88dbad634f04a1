"""Reads from each kind of system what tells its health. Each reading is bounded in time and changes nothing."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from upkeep.domain.masking import mask
from upkeep.engines.degrading import degrading
from upkeep.errors import SourceError
from upkeep.resources import sql
from upkeep.site import HttpEndpoint

if TYPE_CHECKING:
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine
    from upkeep.engines.redis_engine import RedisEngine

STATEMENT_LIMIT_S = 10
_REPLICA = re.compile(r"slave\d+")
"""Redis' own name for each replica in what it tells of itself."""
SAMPLE_KEYS = 2000
SAMPLE_S = 2.0
"""Big keys are looked for in a sample: at most so many keys and so many seconds. KEYS would stop the server."""


def mysql_figures(engine: MySqlEngine) -> dict[str, Any]:
    """Connections, lock waits, oldest transaction, replication. Errors: ``SourceError`` when it doesn't answer."""
    import pymysql

    begun = time.monotonic()
    with closing(engine.connect()) as connection, connection.cursor() as cursor:

        def rows(name: str) -> list[dict[str, Any]]:
            cursor.execute(sql("mysql", name))
            return list(cursor.fetchall())

        try:
            cursor.execute(f"SET SESSION max_statement_time = {STATEMENT_LIMIT_S}")
        except pymysql.MySQLError:  # MySQL's own name for it, in milliseconds
            cursor.execute(f"SET SESSION max_execution_time = {STATEMENT_LIMIT_S * 1000}")
        limits = rows("list_limits")[0]
        figures: dict[str, Any] = {"latency_ms": _ms_since(begun), "max_connections": int(limits["max_connections"])}
        status = {row["Variable_name"]: int(row["Value"]) for row in rows("measure_sessions")}
        figures |= {"connections": status.get("Threads_connected"), "running": status.get("Threads_running")}
        unread: list[str] = []
        for figure, name in (("oldest_transaction_s", "measure_oldest_transaction"), ("blocked", "measure_blocked")):
            with degrading(unread, figure, pymysql.MySQLError, engine.secrets):
                figures[figure] = int(next(iter(rows(name)[0].values())))
        with degrading(unread, "replication", pymysql.MySQLError, engine.secrets):
            old_words = "mariadb" in str(limits["version"]).lower()
            found = rows("list_slave_status" if old_words else "list_replica_status")
            if found:
                figures["replica"] = _mysql_replica(found[0])
        return {**figures, "unread": unread} if unread else figures


def postgres_figures(engine: PostgresEngine) -> dict[str, Any]:
    """Connections, lock waits, oldest transaction, replication. Errors: ``SourceError`` when it doesn't answer."""
    import psycopg

    begun = time.monotonic()
    with closing(engine.connect()) as connection:
        connection.autocommit = True

        def rows(name: str) -> list[dict[str, Any]]:
            with connection.cursor() as cursor:
                return list(cursor.execute(sql("postgres", name).encode()).fetchall())

        connection.execute(f"SET statement_timeout = '{STATEMENT_LIMIT_S}s'".encode())
        figures: dict[str, Any] = {"latency_ms": _ms_since(begun)}
        unread: list[str] = []
        with degrading(unread, "sessions", psycopg.Error, engine.secrets):
            figures |= rows("measure_sessions")[0]
        with degrading(unread, "replication", psycopg.Error, engine.secrets):
            state = rows("measure_replication")[0]
            if state["is_standby"]:
                figures["replica"] = {"running": state["streaming"], "lag_s": state["lag_s"]}
            standbys = rows("list_standbys")
            figures["standby_lag_s"] = {row["standby"]: row["lag_s"] for row in standbys if not row["stopped"]}
            figures["standbys_stopped"] = [row["standby"] for row in standbys if row["stopped"]]
        return {**figures, "unread": unread} if unread else figures


def redis_figures(engine: RedisEngine) -> dict[str, Any]:
    """Memory, evictions, replication, big keys of a sample. Errors: ``SourceError`` when it doesn't answer."""
    import redis

    begun = time.monotonic()
    with closing(engine.connect()) as client:
        try:
            client.ping()
            figures: dict[str, Any] = {"latency_ms": _ms_since(begun)}
            info: Mapping[str, Any] = client.info()
        except redis.RedisError as error:
            raise SourceError(
                f"Redis {engine.endpoint.host} ({engine.endpoint.conn_id}): {mask(str(error), engine.secrets)}",
                hint="check that it runs, and the connection's password",
            ) from error
        figures |= {
            "used_bytes": info.get("used_memory"),
            "max_bytes": info.get("maxmemory"),
            "evicted": info.get("evicted_keys"),
            "clients": info.get("connected_clients"),
        }
        if info.get("role") == "slave":
            figures["replica"] = {
                "running": info.get("master_link_status") == "up",
                "lag_s": info.get("master_last_io_seconds_ago"),
            }
        figures["standby_lag_s"] = {
            f"{replica['ip']}:{replica['port']}": replica.get("lag")
            for name, replica in info.items()
            if _REPLICA.fullmatch(str(name)) and isinstance(replica, dict)
        }
        unread: list[str] = []
        with degrading(unread, "big keys", redis.RedisError, engine.secrets):
            figures["big_keys"] = _big_keys(client)
        return {**figures, "unread": unread} if unread else figures


def endpoint_figures(endpoint: HttpEndpoint) -> dict[str, Any]:
    """Status and latency of one GET, and the days left of a certificate, whether or not it is trusted."""
    import httpx

    figures: dict[str, Any] = {}
    begun = time.monotonic()
    try:
        answer = httpx.get(endpoint.url, timeout=endpoint.timeout_s, follow_redirects=False, trust_env=False)
        figures |= {"status": answer.status_code, "latency_ms": _ms_since(begun)}
    except httpx.TimeoutException:
        figures["error"] = f"no answer within {endpoint.timeout_s:g} s"
    except httpx.HTTPError as error:
        figures["error"] = f"no answer: {error}"
    if endpoint.url.startswith("https:") and (days := _certificate_days(endpoint)) is not None:
        figures["certificate_days"] = days
    return figures


def _mysql_replica(row: Mapping[str, Any]) -> dict[str, Any]:
    def first(*names: str) -> Any:
        return next((row[name] for name in names if name in row), None)

    running = [first("Replica_IO_Running", "Slave_IO_Running"), first("Replica_SQL_Running", "Slave_SQL_Running")]
    lag = first("Seconds_Behind_Source", "Seconds_Behind_Master")
    return {
        "running": running == ["Yes", "Yes"],
        "lag_s": None if lag is None else int(lag),
        "error": str(first("Last_SQL_Error") or first("Last_IO_Error") or "")[:200],
    }


def _big_keys(client: Any) -> dict[str, int]:
    """The five biggest keys of a sample, in bytes of memory."""
    until, cursor = time.monotonic() + SAMPLE_S, 0
    sizes: dict[str, int] = {}
    while len(sizes) < SAMPLE_KEYS and time.monotonic() < until:
        cursor, keys = client.scan(cursor=cursor, count=200)
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.memory_usage(key, samples=5)
        for key, size in zip(keys, pipe.execute(), strict=True):
            sizes[key.decode("utf-8", "backslashreplace")] = int(size or 0)
        if not cursor:
            break
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:5])


def _certificate_days(endpoint: HttpEndpoint) -> float | None:
    from cryptography import x509

    parts = urlsplit(endpoint.url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only its dates are read here; the request above did verify it
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=endpoint.timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname) as wrapped,
        ):
            der = wrapped.getpeercert(binary_form=True)
    except OSError:
        return None  # the request has already said that it does not answer
    if der is None:
        return None
    left = x509.load_der_x509_certificate(der).not_valid_after_utc - datetime.now(UTC)
    return round(left.total_seconds() / 86_400, 1)


def _ms_since(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)
