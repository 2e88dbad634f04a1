"""Duties are tested against real servers, through a Job made by ``sites``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import AnyDatabase
from tests.servers.mysql import MYSQL_BIN


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteFactory:
    if programs := os.environ.get(MYSQL_BIN):
        monkeypatch.setenv("UPKEEP_PATH", programs)  # so that the engine finds Oracle MySQL's own mysqldump
    return SiteFactory(tmp_path / "site")


@pytest.fixture(params=["mariadb", "mysql", "postgres"])
def database(request: pytest.FixtureRequest) -> AnyDatabase:
    found: AnyDatabase = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture(params=["mariadb", "postgres"])
def one_of_each(request: pytest.FixtureRequest) -> AnyDatabase:
    """For what doesn't depend on the flavour."""
    found: AnyDatabase = request.getfixturevalue(f"{request.param}_database")
    return found
