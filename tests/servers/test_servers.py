"""The servers keep their word: they start, ask for the password, and are gone afterwards, however their parent ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis
from pymysql import OperationalError

from tests.servers.base import AWKWARD, Server, ServerFailed, is_alive
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.fixtures import revived
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.places import Folder, free_port, port_is_free
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]

needs_mysql = pytest.mark.skipif(not os.environ.get(MYSQL_BIN), reason=f"{MYSQL_BIN} isn't set")
each_kind = pytest.mark.parametrize(
    "kind", [MariaDbServer, PostgresServer, RedisServer, pytest.param(MySqlServer, marks=needs_mysql)]
)


def comes_true(question: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(params=["mariadb", "postgres", "redis", "mysql"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def stopped_redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


def test_a_server_answers_to_its_awkward_password(server: Server) -> None:
    assert AWKWARD in server.password
    server.check()


@pytest.mark.parametrize("offered", ["wrong", ""], ids=["a wrong password", "no password"])
def test_a_server_refuses(server: Server, offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "password", offered)
    refusals = (pymysql.OperationalError, psycopg.OperationalError, redis.AuthenticationError)
    with pytest.raises(refusals, match=r"(?i)access denied|authenticat|password"):
        server.check()


def test_a_password_is_on_no_command_line(server: Server) -> None:
    commands = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert server.password.encode() not in commands


def test_a_server_does_not_run_as_root_unless_its_programs_are_closed_to_others(server: Server) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    is_root = "\nUid:\t0\t" in status
    assert is_root == (os.geteuid() == 0 and server.run_account == "root")


@each_kind
def test_stopping_leaves_no_process_and_closing_no_folder(kind: type[Server]) -> None:
    server = kind()
    try:
        pid, folder = server.start().pid, server.folder
        server.stop()
        assert not is_alive(pid)
        assert folder.is_dir()
    finally:
        server.close()
    assert not folder.exists()
    assert not server.running


@each_kind
def test_a_killed_server_comes_back_on_the_same_port_with_the_same_data(kind: type[Server]) -> None:
    with kind() as server:
        port, pid = server.port, server.pid
        server.kill()
        assert not is_alive(pid)
        assert port_is_free(port)
        server.restart()
        assert server.port == port
        server.check()


def test_a_redis_that_is_restarted_keeps_its_keys() -> None:
    with RedisServer() as server:
        server.connect().set("班级", "大一班")
        server.restart()
        assert server.connect().get("班级") == "大一班".encode()


@each_kind
def test_two_of_a_kind_run_side_by_side(kind: type[Server]) -> None:
    with kind() as one, kind() as other:
        assert one.port != other.port
        assert one.folder != other.folder
        one.check()
        other.check()


@each_kind
def test_a_server_dies_with_its_sigkilled_parent_and_not_with_the_thread_that_started_it(kind: type[Server]) -> None:
    code = (
        f"import sys, time, threading; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'plugins')!r}]\n"
        f"from {kind.__module__} import {kind.__name__} as Kind\n"
        "server = Kind()\n"
        "starter = threading.Thread(target=server.start); starter.start(); starter.join(); time.sleep(0.2)\n"
        "server.check()\n"
        "print(server.pid, server.folder, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    folder = None
    try:
        assert parent.stdout is not None
        pid, _, folder = parent.stdout.readline().strip().partition(" ")
        assert pid, "the parent did not get its server up"
        assert is_alive(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert comes_true(lambda: not is_alive(int(pid)))
    finally:
        parent.kill()
        parent.communicate()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_of_a_killed_run_is_swept_and_one_in_use_is_not() -> None:
    mine, abandoned = Folder("redis", RedisServer.account), Folder("redis", RedisServer.account)
    try:
        os.close(abandoned._lock)  # as the kernel does for a process that was killed
        long_ago = time.time() - 3600
        for folder in (mine, abandoned):
            os.utime(folder.path / "owner.lock", (long_ago, long_ago))
        Folder("redis", RedisServer.account).remove()
        assert mine.path.exists()
        assert not abandoned.path.exists()
    finally:
        mine.remove()


def test_a_server_that_loses_its_port_takes_another(
    stopped_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer() as other:
        ports = iter([other.port, free_port()])
        monkeypatch.setattr("tests.servers.base.free_port", lambda: next(ports))
        stopped_redis.start()
        assert stopped_redis.port != other.port
        stopped_redis.check()


def test_a_server_that_cannot_start_says_why_and_keeps_its_log(stopped_redis: RedisServer) -> None:
    stopped_redis.settings["no-such-setting"] = "1"
    with pytest.raises(ServerFailed, match="no-such-setting") as caught:
        stopped_redis.start()
    kept = Path(str(caught.value).rpartition("kept as ")[2])
    assert "no-such-setting" in kept.read_text()
    kept.unlink()


def test_a_server_that_ended_by_itself_is_reported(stopped_redis: RedisServer) -> None:
    stopped_redis.start()
    os.kill(stopped_redis.pid, signal.SIGKILL)
    assert comes_true(lambda: not stopped_redis.running)
    with pytest.raises(ServerFailed, match="ended by itself") as caught:
        stopped_redis.close()
    Path(str(caught.value).rpartition("kept as ")[2]).unlink()


def test_a_forked_child_does_not_close_its_parents_server(redis_server: RedisServer) -> None:
    child = os.fork()
    if child == 0:
        redis_server.close()
        os._exit(0)
    os.waitpid(child, 0)
    redis_server.check()


def test_a_fresh_mysql_database_is_dropped_even_while_in_use(mariadb_server: MariaDbServer) -> None:
    database = MySqlDatabase(mariadb_server)
    with database.existing():
        database.execute("CREATE TABLE t (i int)")
        assert database.execute("INSERT INTO t VALUES (%s), (%s)", 1, 2) == 2
        assert database.query("SELECT i FROM t ORDER BY i") == [(1,), (2,)]
        holder = database.connect()
        holder.begin()
        holder.cursor().execute("SELECT * FROM t")
    assert (database.name,) not in mysql_databases(mariadb_server)


def test_a_fresh_mysql_database_is_dropped_even_while_all_of_its_server_is_locked(
    mariadb_server: MariaDbServer,
) -> None:
    with MySqlDatabase(mariadb_server).existing():
        holder = mariadb_server.connect()
        holder.cursor().execute("FLUSH TABLES WITH READ LOCK")
    with pytest.raises(OperationalError):
        holder.ping(reconnect=False)


def test_a_test_that_kills_the_sessions_server_does_not_fail_the_next() -> None:
    with RedisServer() as server:
        server.kill()
        assert revived(server) is server
        server.check()


def mysql_databases(server: MariaDbServer) -> list[tuple[str, ...]]:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        return list(cursor.fetchall())


def test_a_fresh_postgres_database_is_dropped_even_while_in_use(postgres_server: PostgresServer) -> None:
    database = PostgresDatabase(postgres_server)
    with database.existing():
        database.execute("CREATE TABLE t (i int)")
        assert database.execute("INSERT INTO t VALUES (%s), (%s)", 1, 2) == 2
        assert database.query("SELECT i FROM t ORDER BY i") == [(1,), (2,)]
        holder = database.connect()
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM t")
    with postgres_server.connect() as connection:
        assert (database.name,) not in connection.execute("SELECT datname FROM pg_database").fetchall()


def test_the_database_is_on_the_flavour_it_says(any_mysql_database: MySqlDatabase) -> None:
    [(version,)] = any_mysql_database.query("SELECT version()")
    assert ("MariaDB" in version) == (any_mysql_database.server.name == "mariadb")


def test_airflow_reads_both_forms_of_a_connection(server: Server) -> None:
    from airflow.models.connection import Connection

    database = "3" if server.kind == "redis" else "staff"
    for connection in (Connection.from_json(server.conn_json(database)), Connection(uri=server.conn_uri(database))):
        assert connection.conn_type == server.kind
        assert (connection.host, connection.port) == (server.host, server.port)
        assert (connection.login or "", connection.password) == (server.user, server.password)
        assert connection.schema == database
