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
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer

AnyServer = TypeVar("AnyServer", bound=Server)
ScratchServer = TypeVar("ScratchServer", bound=MySqlFamilyServer | PostgresServer)


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


@pytest.fixture(scope="session")
def mariadb_scratch_server() -> Iterator[MariaDbServer]:
    with MariaDbServer(server_id=7) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_scratch_server(mysql_server: MySqlServer) -> Iterator[MySqlServer]:
    with MySqlServer(server_id=7) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_scratch_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def revived(server: AnyServer) -> AnyServer:
    """A test may stop or kill the session's server; the next one finds it up again."""
    if not server.running:
        server.restart()
    return server


def emptied(server: ScratchServer) -> ScratchServer:
    """A server where backups of another may be restored: each test finds it up, and without an earlier one's copies."""
    revived(server)
    for name in server.databases():
        kind = PostgresDatabase if isinstance(server, PostgresServer) else MySqlDatabase
        kind(server, name).drop()  # type: ignore[arg-type]
    return server


@pytest.fixture
def mariadb_scratch(mariadb_scratch_server: MariaDbServer) -> MariaDbServer:
    return emptied(mariadb_scratch_server)


@pytest.fixture
def mysql_scratch(mysql_scratch_server: MySqlServer) -> MySqlServer:
    return emptied(mysql_scratch_server)


@pytest.fixture
def postgres_scratch(postgres_scratch_server: PostgresServer) -> PostgresServer:
    return emptied(postgres_scratch_server)


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
def scratch_server(request: pytest.FixtureRequest, any_mysql_database: MySqlDatabase) -> MySqlFamilyServer:
    """The scratch server of the flavour of ``any_mysql_database``."""
    server: MySqlFamilyServer = request.getfixturevalue(f"{any_mysql_database.server.name}_scratch")
    return server


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if not os.environ.get(KUBECONFIG):
        pytest.skip(f"{KUBECONFIG} isn't set: it names the kubeconfig of a test cluster; each test makes a namespace")
    with new_namespace() as fresh:
        yield fresh
