"""Health, read from real servers."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from tests.servers.replicas import MariaDbReplica, PostgresStandby, RedisReplica, within
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.back_up import back_up
from upkeep.duties.check_health import check_health
from upkeep.duties.job import Job
from upkeep.engines import health
from upkeep.errors import StoreUnreachable
from upkeep.stores.local_store import LocalStore


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()
        drop, pause = {"/flood": (b"x" * 65536, 0.0), "/drip": (b"x", 0.05)}.get(self.path, (b"", 0.0))
        with suppress(OSError):  # until nobody listens any more
            while drop:
                self.wfile.write(drop)
                time.sleep(pause)

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


def test_a_session_that_waits_for_a_tables_definition_is_seen(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    database = any_mysql_database
    database.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    sites.database(database, latency_ms=60_000)
    job = sites.job()
    with database.connect() as reader, database.connect() as changer:
        reader.cursor().execute("BEGIN")
        reader.cursor().execute("SELECT * FROM t")
        altering = changer.cursor()
        altering.execute("SET SESSION lock_wait_timeout = 60")
        thread = threading.Thread(target=lambda: altering.execute("ALTER TABLE t ADD COLUMN n INT"), daemon=True)
        thread.start()
        try:
            within(lambda: check_health(job, "database/app")["figures"]["blocked"] == 1, "nobody was seen to wait", 10)
        finally:
            reader.rollback()
            thread.join()
    assert check_health(job, "database/app")["light"] == "green"


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


def test_a_role_that_may_not_see_others_sessions_is_no_green_light(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    database = postgres_database
    role = f"poor_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor-Zq7'")
    try:
        poor = replace(database.endpoint(), user=role, secret="poor-Zq7")
        sites.database(database, endpoint=poor, latency_ms=60_000)
        with database.connect(), database.connect():
            found = check_health(sites.job(), "database/app")
    finally:
        database.execute(f"DROP ROLE {role}")
    assert found["light"] == "amber"
    assert "sessions of others do (grant pg_monitor)" in found["summary"]
    assert found["figures"]["connections"] >= 2, "that they are there, everybody sees"


def test_a_big_key_is_found_in_any_logical_database_and_far_behind_the_first_ones(
    sites: SiteFactory, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SAMPLE_KEYS", 300)
    sites.cache(redis_server)
    sites.settings["caches"][0] |= {"big_key_mb": 1, "latency_ms": 60_000}
    job = sites.job()
    with closing(redis_server.connect("3")) as client:
        client.mset({f"user:{number}": "x" for number in range(3000)})
        client.set("big", b"x" * 3_000_000)
        try:
            within(lambda: "big (database 3)" in check_health(job, "cache/sessions")["summary"], "it was never found")
        finally:
            client.flushdb()


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


def test_a_full_cache_tells_its_memory_and_the_keys_it_threw_out_since_the_last_check(sites: SiteFactory) -> None:
    with RedisServer(maxmemory="6mb", settings={"maxmemory-policy": "allkeys-lru"}) as server:
        sites.cache(server)
        sites.settings["caches"][0] |= {"latency_ms": 60_000}
        job = sites.job()
        before = check_health(job, "cache/sessions")
        with closing(server.connect()) as client:
            client.mset({f"key {number}": b"x" * 20_000 for number in range(100)})
            for number in range(400):
                client.set(f"key {number}", b"x" * 20_000)
        after = check_health(job, "cache/sessions")
    assert (before["light"], after["light"]) == ("green", "amber")
    assert "evicted since the last check" in after["summary"]
    assert "of 6.3 MB memory in use" in after["summary"]


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
    assert "run" in record.detail["hint"], "what to do, not only which log to read"


@pytest.mark.parametrize("kind", ["mysql", "postgres", "redis", "endpoint", "https", "name", "store"])
def test_what_takes_a_connection_and_says_nothing_is_red_in_time(
    sites: SiteFactory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server does that is stopped, swapped out or out of threads: the kernel goes on to take its connections."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        conn_id = sites._connection(Endpoint("", kind=kind, host="127.0.0.1", port=port, user="u", secret="s3cret-Zq7"))
        check = {"redis": "cache/app", "mysql": "database/app", "postgres": "database/app", "store": "store"}.get(
            kind, "endpoint/app"
        )
        if kind == "redis":
            sites.settings["caches"].append({"name": "app", "conn_id": conn_id})
        elif check == "database/app":
            sites.settings["databases"].append({"name": "app", "engine": kind, "conn_id": conn_id, "database": "x"})
        else:
            scheme = "https" if kind == "https" else "http"
            sites.settings["endpoints"] = [{"name": "app", "url": f"{scheme}://127.0.0.1:{port}/", "timeout_s": 60}]
            sites.paths("/etc")
        if kind == "name":  # a resolver that hangs
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20))
        if kind == "store":  # a network disk that hangs
            monkeypatch.setattr(LocalStore, "check", lambda _: time.sleep(20))
        begun = time.monotonic()
        found = check_health(sites.job(), check, limit_s=1)
    assert time.monotonic() - begun < 5
    assert (found["light"], found["summary"]) == ("red", "does not answer: no answer within 1 s")
    assert found["hint"]


def test_an_answer_without_end_is_read_so_far_and_one_in_drips_is_red(sites: SiteFactory) -> None:
    with web() as port:
        sites.settings["endpoints"] = [
            {"name": name, "url": f"http://127.0.0.1:{port}/{name}", "timeout_s": 1, "latency_ms": 60_000}
            for name in ("flood", "drip")
        ]
        sites.paths("/etc")
        job = sites.job()
        assert check_health(job, "endpoint/flood")["light"] == "green"
        begun = time.monotonic()
        assert check_health(job, "endpoint/drip")["summary"] == "no answer within 1 s"
        assert time.monotonic() - begun < 5


def test_an_address_that_leads_nowhere_is_red_and_no_error(sites: SiteFactory) -> None:
    sites.settings["endpoints"] = [{"name": "api", "url": "https://127.0.0.1:99999/health"}]
    sites.paths("/etc")
    assert check_health(sites.job(), "endpoint/api")["light"] == "red"


# Replicas.


def light_once(job: Job, check: str, word: str) -> tuple[str, str]:
    """Light and summary as soon as the summary has this word; at the latest after a minute."""
    found: dict[str, Any] = {}

    def told() -> bool:
        found.update(check_health(job, check))
        return word in found["summary"]

    within(told, f"{check} never told of {word!r}: {found}")
    return found["light"], found["summary"]


def test_a_mariadb_replica_that_is_behind_or_has_stopped_is_red(sites: SiteFactory) -> None:
    with MariaDbServer() as primary, MariaDbReplica(primary) as replica:
        replica.follow()
        database = MySqlDatabase(primary)
        with database.existing():
            database.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
            copy = MySqlDatabase(replica, database.name)
            within(lambda: _holds_table(copy), "the table did not reach the replica")
            sites.database(copy, name="copy", max_lag_s=1, latency_ms=60_000)
            job = sites.job()
            within(lambda: check_health(job, "database/copy")["light"] == "green", "the replica never got well")
            with copy.connect() as blocker:
                blocker.cursor().execute("LOCK TABLES t READ")
                database.execute("INSERT INTO t VALUES (1)")
                assert light_once(job, "database/copy", "behind (limit 1 s)")[0] == "red"
                blocker.cursor().execute("UNLOCK TABLES")
            replica.stop_replay()
            assert light_once(job, "database/copy", "replication has stopped")[0] == "red"
            # Followed under a name of its own, it isn't in what SHOW SLAVE STATUS says.
            replica.do("STOP SLAVE")
            replica.do("RESET SLAVE ALL")
            replica.follow("eu")
            within(lambda: check_health(job, "database/copy")["light"] == "green", "the channel never got well")
            replica.do("STOP SLAVE 'eu' SQL_THREAD")
            assert light_once(job, "database/copy", "replication of channel eu has stopped")[0] == "red"


def test_a_postgres_standby_that_is_behind_is_told_by_itself_and_named_by_its_primary(sites: SiteFactory) -> None:
    with PostgresServer() as primary, PostgresStandby(primary) as standby:
        database = PostgresDatabase(primary)
        with database.existing():
            sites.database(database, name="app", max_lag_s=1, latency_ms=60_000)
            sites.database(PostgresDatabase(standby, database.name), name="copy", max_lag_s=1, latency_ms=60_000)
            job = sites.job()
            within(lambda: check_health(job, "database/copy")["light"] == "green", "the standby never got well")
            within(lambda: len(check_health(job, "database/app")["figures"]["standby_lag_s"]) == 1, "no standby seen")
            standby.pause_replay()
            database.execute("CREATE TABLE t (id int)")
            assert light_once(job, "database/copy", "behind (limit 1 s)")[0] == "red"
            light, summary = light_once(job, "database/app", "behind (limit 1 s)")
            assert light == "amber"
            assert "replica walreceiver@127.0.0.1 is" in summary
            standby.resume_replay()
            standby.stop()
            assert "replication to slot standby has stopped" in light_once(job, "database/app", "stopped")[1]


def test_a_redis_replica_that_is_behind_or_has_stopped_is_red_and_its_primary_names_it(sites: SiteFactory) -> None:
    every_second = {"repl-ping-replica-period": "1"}
    with RedisServer(settings=every_second) as primary, RedisReplica(primary) as replica:
        sites.cache(primary, name="sessions")
        sites.cache(replica, name="copy")
        for section in sites.settings["caches"]:
            section |= {"max_lag_s": 1, "latency_ms": 60_000}
        job = sites.job()
        within(lambda: len(check_health(job, "cache/sessions")["figures"]["standby_lag_s"]) == 1, "no replica seen")
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            light, summary = light_once(job, "cache/sessions", "behind (limit 1 s)")
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        assert light == "amber"
        assert f"replica {replica.host}:{replica.port} is" in summary
        os.kill(primary.pid, signal.SIGSTOP)
        try:
            assert light_once(job, "cache/copy", "behind (limit 1 s)")[0] == "red"
        finally:
            os.kill(primary.pid, signal.SIGCONT)
        primary.kill()
        assert light_once(job, "cache/copy", "replication has stopped")[0] == "red"


def _holds_table(database: MySqlDatabase) -> bool:
    with database.server.connect() as connection, connection.cursor() as cursor:
        return bool(cursor.execute("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (database.name,)))


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
    (sites.folder / "spool").write_text("a file")
    found = check_health(job, "store")
    assert found["light"] == "amber"
    assert f"no backup could wait for it: {sites.folder}/spool can't be made or written" in found["summary"]
    assert "install -d -m 700" in found["summary"]
    with pytest.raises(StoreUnreachable, match="spool can't be made or written"):
        back_up(job, "config", dry_run=True)
    (sites.folder / "store").rmdir()
    assert check_health(job, "store")["light"] == "red"
