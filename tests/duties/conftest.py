"""Duties are tested against real servers, through a Job made by ``sites``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.mysql import MYSQL_BIN


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteFactory:
    if programs := os.environ.get(MYSQL_BIN):
        monkeypatch.setenv("UPKEEP_PATH", programs)  # so that the engine finds Oracle MySQL's own mysqldump
    return SiteFactory(tmp_path / "site")
