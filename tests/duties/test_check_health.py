"""Health, read from real servers."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.check_health import check_health


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def web(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_a_healthy_mysql_is_green_with_its_figures(sites: SiteFactory, any_mysql_database: MySqlDatabase) -> None:
    sites.database(any_mysql_database, latency_ms=60_000)
    found = check_health(sites.job(), "database/app")
    assert found["light"] == "green", found
    assert found["figures"]["connections"] >= 1
    assert found["figures"]["max_connections"] > 1
    assert found["figures"]["blocked"] == 0


def test_a_session_that_waits_for_a_lock_is_seen(sites: SiteFactory, any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    database.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    database.execute("INSERT INTO t VALUES (1)")
    sites.database(database, latency_ms=60_000)
    with database.connect() as holder, database.connect() as waiter:
        held = holder.cursor()
        held.execute("BEGIN")
        held.execute("SELECT * FROM t WHERE id = 1 FOR UPDATE")
        waiting = waiter.cursor()
        waiting.execute("SET SESSION innodb_lock_wait_timeout = 20")
        thread = threading.Thread(target=lambda: waiting.execute("DELETE FROM t WHERE id = 1"), daemon=True)
        thread.start()
        summary = ""
        for _ in range(100):
            summary = check_health(sites.job(), "database/app")["summary"]
            if "wait for a lock" in summary:
                break
            time.sleep(0.15)  # InnoDB's list of transactions is made anew only when nobody read it for 0.1 s
        holder.rollback()
        thread.join()
    assert "1 sessions wait for a lock" in summary


def test_an_account_without_process_still_gets_what_it_may_read(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    database = any_mysql_database
    user = f"poor_{database.name}"[:30]
    database.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'poor-Zq7!'")
    database.execute(f"GRANT SELECT ON `{database.name}`.* TO '{user}'@'%'")
    try:
        where = database.endpoint()
        poor = Endpoint("", kind="mysql", host=where.host, port=where.port, user=user, secret="poor-Zq7!")
        sites.database(database, endpoint=poor, latency_ms=60_000)
        found = check_health(sites.job(), "database/app")
    finally:
        database.execute(f"DROP USER '{user}'@'%'")
    assert found["light"] == "amber"
    assert "not checked" in found["summary"]
    assert found["figures"]["connections"] >= 1


def test_a_healthy_postgres_is_green_with_its_figures(sites: SiteFactory, postgres_database: PostgresDatabase) -> None:
    sites.database(postgres_database, latency_ms=60_000)
    found = check_health(sites.job(), "database/app")
    assert found["light"] == "green", found
    assert found["figures"]["max_connections"] >= 1
    assert found["figures"]["standby_lag_s"] == {}


def test_a_long_transaction_is_seen(sites: SiteFactory, postgres_database: PostgresDatabase) -> None:
    sites.database(postgres_database, latency_ms=60_000, long_transaction_s=1)
    with postgres_database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
        time.sleep(1.2)
        found = check_health(sites.job(), "database/app")
        connection.execute("ROLLBACK")
    assert "has been open for" in found["summary"]


def test_a_cache_tells_memory_and_big_keys(sites: SiteFactory, redis_server: RedisServer) -> None:
    client = redis_server.connect()
    client.set("大键", b"x" * 3_000_000)
    sites.cache(redis_server)
    sites.settings["caches"][0] |= {"big_key_mb": 1, "latency_ms": 60_000}
    found = check_health(sites.job(), "cache/sessions")
    client.delete("大键")
    assert found["light"] == "amber"
    assert "大键" in found["summary"]
    assert found["figures"]["used_bytes"] > 0


@pytest.mark.parametrize("kind", ["mysql", "postgres", "redis"])
def test_a_server_that_is_away_is_red_and_no_error(sites: SiteFactory, kind: str) -> None:
    nowhere = Endpoint("", kind=kind, host="127.0.0.1", port=1, user="u", secret="s3cret-Zq7")
    conn_id = sites._connection(nowhere)
    if kind == "redis":
        sites.settings["caches"].append({"name": "app", "conn_id": conn_id})
    else:
        sites.settings["databases"].append({"name": "app", "engine": kind, "conn_id": conn_id, "database": "x"})
    job = sites.job()
    found = check_health(job, "cache/app" if kind == "redis" else "database/app")
    assert found["light"] == "red"
    assert "s3cret-Zq7" not in str(found)
    (record,) = job.ledger.acts("kindergarten", duty="check_health")
    assert record.state == "done"
    assert record.detail["light"] == "red"


def test_endpoints_are_judged_by_status(sites: SiteFactory) -> None:
    with web() as port:
        sites.settings["endpoints"] = [
            {"name": "well", "url": f"http://127.0.0.1:{port}/health"},
            {"name": "sick", "url": f"http://127.0.0.1:{port}/sick"},
        ]
        sites.paths("/etc")
        job = sites.job()
        assert check_health(job, "endpoint/well")["light"] == "green"
        assert "HTTP 503" in check_health(job, "endpoint/sick")["summary"]
    assert check_health(job, "endpoint/well")["light"] == "red"


def test_a_certificate_that_ends_soon_is_seen_even_if_nobody_trusts_it(sites: SiteFactory, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "5", "-subj", "/CN=127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with web(context) as port:
        sites.settings["endpoints"] = [{"name": "api", "url": f"https://127.0.0.1:{port}/"}]
        sites.paths("/etc")
        found = check_health(sites.job(), "endpoint/api")
    assert "its certificate ends in" in found["summary"]
    assert "no answer" in found["summary"], "a certificate that nobody trusts is no healthy endpoint"


def test_everything_of_a_site_is_checked(sites: SiteFactory, redis_server: RedisServer) -> None:
    sites.cache(redis_server)
    sites.settings["endpoints"] = [{"name": "api", "url": "http://127.0.0.1:1/"}]
    assert sites.job().site.checks == ("cache/sessions", "endpoint/api", "store")


def test_a_store_that_is_away_is_red(sites: SiteFactory) -> None:
    sites.paths("/etc")
    job = sites.job()
    assert check_health(job, "store")["light"] == "green"
    (sites.folder / "store").rmdir()
    assert check_health(job, "store")["light"] == "red"
