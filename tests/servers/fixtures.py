"""pytest fixtures: one server of each kind for a session (with pytest-xdist: for a worker), a database for a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.servers.base import Server
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.kubernetes_cluster import KUBECONFIG, Namespace, new_namespace
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    with MariaDbServer() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySqlServer]:
    if not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set: it names a folder with Oracle MySQL's mysqld and client programs")
    with MySqlServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_scratch() -> Iterator[MariaDbServer]:
    """A server of its own, where a backup of ``mariadb_server`` may be restored."""
    with MariaDbServer(server_id=7) as server:
        yield server


@pytest.fixture(scope="module")
def mysql_scratch(mysql_server: MySqlServer) -> Iterator[MySqlServer]:
    with MySqlServer(server_id=7) as server:
        yield server


@pytest.fixture(scope="module")
def postgres_scratch() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def revived(server: AnyServer) -> AnyServer:
    """A test may stop or kill the session's server; the next one finds it up again."""
    if not server.running:
        server.restart()
    return server


@pytest.fixture
def mariadb_database(mariadb_server: MariaDbServer) -> Iterator[MySqlDatabase]:
    database = MySqlDatabase(revived(mariadb_server))
    with database.existing():
        yield database


@pytest.fixture
def mysql_database(mysql_server: MySqlServer) -> Iterator[MySqlDatabase]:
    database = MySqlDatabase(revived(mysql_server))
    with database.existing():
        yield database


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(revived(postgres_server))
    with database.existing():
        yield database


@pytest.fixture(params=["mariadb", "mysql"])
def any_mysql_database(request: pytest.FixtureRequest) -> MySqlDatabase:
    """A database on MariaDB, then one on MySQL."""
    database: MySqlDatabase = request.getfixturevalue(f"{request.param}_database")
    return database


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if not os.environ.get(KUBECONFIG):
        pytest.skip(f"{KUBECONFIG} isn't set: it names the kubeconfig of a test cluster; each test makes a namespace")
    with new_namespace() as fresh:
        yield fresh
