"""Reads from each kind of system what tells its health. Each reading is bounded in time and changes nothing."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from upkeep.domain.units import counted
from upkeep.engines.degrading import degrading
from upkeep.resources import sql
from upkeep.site import HttpEndpoint

if TYPE_CHECKING:
    from upkeep.engines.mysql_engine import MySqlEngine
    from upkeep.engines.postgres_engine import PostgresEngine
    from upkeep.engines.redis_engine import RedisEngine

STATEMENT_LIMIT_S = 10
_REPLICA = re.compile(r"slave\d+")
"""Redis' own name for each replica in what it tells of itself."""
_DATABASE = re.compile(r"db\d+")
_NO_STATS = "grant pg_monitor"
SAMPLE_KEYS = 20_000
SAMPLE_S = 2.0
"""Big keys are looked for in a sample: at most so many keys of each logical database, and so many seconds in all. KEYS
would stop the server."""
LARGEST_BODY = 1 << 20
"""Of what an endpoint answers so many bytes are read: a stream without end is an answer too."""


def mysql_figures(engine: MySqlEngine) -> dict[str, Any]:
    """Connections, lock waits, oldest transaction, replication. Errors: ``SourceError`` when it doesn't answer."""
    import pymysql

    from upkeep.engines.mysql_engine import server_release
    from upkeep.engines.mysql_replicas import status_statement
    from upkeep.engines.mysql_statements import limit_statements

    begun = time.monotonic()
    with closing(engine.connect()) as connection, connection.cursor() as cursor, engine.told("look into"):

        def rows(name: str) -> list[dict[str, Any]]:
            cursor.execute(sql("mysql", name))
            return list(cursor.fetchall())

        limit_statements(connection, STATEMENT_LIMIT_S)
        limits = rows("list_limits")[0]
        figures: dict[str, Any] = {"latency_ms": _ms_since(begun), "max_connections": int(limits["max_connections"])}
        status = {row["Variable_name"]: int(row["Value"]) for row in rows("measure_sessions")}
        figures |= {"connections": status.get("Threads_connected"), "running": status.get("Threads_running")}
        unread: list[str] = []
        for figure, name in (("oldest_transaction_s", "measure_oldest_transaction"), ("blocked", "measure_blocked")):
            with degrading(unread, figure, pymysql.MySQLError, engine.secrets):
                figures[figure] = int(next(iter(rows(name)[0].values())))
        with degrading(unread, "replication", pymysql.MySQLError, engine.secrets):
            channels = [_mysql_replica(row) for row in rows(status_statement(*server_release(str(limits["version"]))))]
            if channels:
                figures["replica"] = max(channels, key=lambda one: (not one["running"], one["lag_s"] or 0))
        return {**figures, "unread": unread} if unread else figures


def postgres_figures(engine: PostgresEngine) -> dict[str, Any]:
    """Connections, lock waits, oldest transaction, replication. Errors: ``SourceError`` when it doesn't answer."""
    import psycopg

    begun = time.monotonic()
    with closing(engine.connect()) as connection, engine.told("look into"):
        connection.autocommit = True

        def rows(name: str) -> list[dict[str, Any]]:
            with connection.cursor() as cursor:
                return list(cursor.execute(sql("postgres", name).encode()).fetchall())

        connection.execute(f"SET statement_timeout = '{STATEMENT_LIMIT_S}s'".encode())
        figures: dict[str, Any] = {"latency_ms": _ms_since(begun)}
        unread: list[str] = []
        with degrading(unread, "sessions", psycopg.Error, engine.secrets):
            figures |= rows("measure_sessions")[0]
            if hidden := figures.pop("hidden"):
                unread.append(f"what {counted(hidden, 'session')} of others do ({_NO_STATS})")
        with degrading(unread, "replication", psycopg.Error, engine.secrets):
            state = rows("measure_replication")[0]
            standbys = rows("list_standbys")
            if state["streaming"] is None or any(row["hidden"] for row in standbys):
                unread.append(f"replication ({_NO_STATS})")
            elif state["is_standby"]:
                figures["replica"] = {"running": state["streaming"], "lag_s": state["lag_s"]}
            streaming = [row for row in standbys if not row["stopped"] and not row["hidden"]]
            figures["standby_lag_s"] = {row["standby"]: row["lag_s"] for row in streaming}
            figures["standbys_stopped"] = [row["standby"] for row in standbys if row["stopped"]]
        return {**figures, "unread": unread} if unread else figures


def redis_figures(engine: RedisEngine) -> dict[str, Any]:
    """Memory, evictions, replication, big keys of a sample. Errors: ``SourceError`` when it doesn't answer."""
    begun = time.monotonic()
    with closing(engine.connect()) as client:
        with engine.told("look into"):
            client.ping()
            figures: dict[str, Any] = {"latency_ms": _ms_since(begun)}
            info: Mapping[str, Any] = client.info()
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
        figures["big_keys"] = _big_keys(engine, info, unread)
        return {**figures, "unread": unread} if unread else figures


def endpoint_figures(endpoint: HttpEndpoint) -> dict[str, Any]:
    """Status and latency of one GET, and the days left of a certificate, whether or not it is trusted."""
    import httpx

    figures: dict[str, Any] = {}
    begun = time.monotonic()
    try:
        with httpx.stream("GET", endpoint.url, timeout=endpoint.timeout_s, trust_env=False) as answer:
            read = 0
            for chunk in answer.iter_raw():
                read += len(chunk)
                if read > LARGEST_BODY:
                    break
                if time.monotonic() - begun > endpoint.timeout_s:  # the library's limit is for each silence in it
                    raise httpx.ReadTimeout("its answer has no end")
            figures |= {"status": answer.status_code, "latency_ms": _ms_since(begun)}
    except httpx.TimeoutException:
        figures["error"] = f"no answer within {endpoint.timeout_s:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
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
        "channel": str(first("Connection_name", "Channel_Name") or ""),
        "running": running == ["Yes", "Yes"],
        "lag_s": None if lag is None else int(lag),
        "error": str(first("Last_SQL_Error") or first("Last_IO_Error") or "")[:200],
    }


def _big_keys(engine: RedisEngine, info: Mapping[str, Any], unread: list[str]) -> dict[str, int]:
    """The five biggest keys of a sample of each logical database, in bytes of memory."""
    import redis

    spaces = {int(name[2:]): int(space["keys"]) for name, space in info.items() if _DATABASE.fullmatch(str(name))}
    sizes: dict[str, int] = {}
    for database, keys in sorted(spaces.items()):
        what = f"big keys of database {database}"
        with degrading(unread, what, redis.RedisError, engine.secrets), closing(engine.connect(database)) as client:
            for key, size in _sampled(client, keys, time.monotonic() + SAMPLE_S / len(spaces)):
                name = key.decode("utf-8", "backslashreplace")
                sizes[f"{name} (database {database})" if database else name] = size
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:5])


def _sampled(client: Any, keys: int, until: float) -> Iterator[tuple[bytes, int]]:
    """Where there are more keys than a sample holds, each look takes another stretch: SCAN may begin anywhere."""
    start = cursor = secrets.randbits(32) if keys > SAMPLE_KEYS else 0
    seen = 0
    while seen < SAMPLE_KEYS and time.monotonic() < until:
        cursor, found = client.scan(cursor=cursor, count=200)
        pipe = client.pipeline(transaction=False)
        for key in found:
            pipe.memory_usage(key, samples=5)
        yield from ((key, int(size or 0)) for key, size in zip(found, pipe.execute(), strict=True))
        seen += len(found)
        if not cursor and not start:
            break


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
        end = x509.load_der_x509_certificate(der).not_valid_after_utc if der else None
    except (OSError, ValueError):
        return None  # the request has already said that it does not answer
    return round((end - datetime.now(UTC)).total_seconds() / 86_400, 1) if end else None


def _ms_since(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)
