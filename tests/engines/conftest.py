"""Engines are tested against real servers; what they made is restored on a second one, with the manifest's own line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.duties.conftest import sites
from tests.engines.restoring import AgeKey, age_key
from tests.servers.databases import MySqlDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer

__all__ = ["sites"]


@pytest.fixture(scope="session")
def mariadb_elsewhere() -> Iterator[MariaDbServer]:
    with MariaDbServer(server_id=2) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_elsewhere(mysql_server: MySqlServer) -> Iterator[MySqlServer]:
    with MySqlServer(server_id=2) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_elsewhere() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, any_mysql_database: MySqlDatabase) -> MySqlFamilyServer:
    """Another server of the flavour of ``any_mysql_database``."""
    server: MySqlFamilyServer = request.getfixturevalue(f"{any_mysql_database.server.name}_elsewhere")
    return server


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> AgeKey:
    return age_key(tmp_path_factory.mktemp("age"))
