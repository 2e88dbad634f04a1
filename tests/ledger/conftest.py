"""Every test of the ledger runs on a real SQLite file and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.ledger.setting import Setting
from tests.servers.databases import PostgresDatabase
from upkeep.ledger import default_url, url_of


@pytest.fixture(params=["sqlite", "postgres"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setting]:
    if request.param == "sqlite":
        made = _on_sqlite(tmp_path)
    else:
        made = _on_postgres(request.getfixturevalue("postgres_database"))
    yield made
    made.close()


@pytest.fixture
def postgres(postgres_database: PostgresDatabase) -> Iterator[Setting]:
    made = _on_postgres(postgres_database)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Setting]:
    made = _on_sqlite(tmp_path)
    yield made
    made.close()


def _on_sqlite(folder: Path) -> Setting:
    home, away = folder / "home", folder / "away"
    home.mkdir()
    return Setting(
        default_url(home),
        take_away=lambda: _ignore(home.rename(away)),
        bring_back=lambda: _ignore(away.rename(home)),
    )


def _on_postgres(database: PostgresDatabase) -> Setting:
    url: URL = url_of(database.endpoint())

    def allow(yes: bool) -> None:
        with database.server.connect() as connection:
            connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {yes}'.encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )

    return Setting(url, take_away=lambda: allow(False), bring_back=lambda: allow(True))


def _ignore(_: object) -> None:
    """Make a call that returns something one that returns nothing."""
