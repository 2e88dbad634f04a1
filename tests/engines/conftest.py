"""Engines are tested against real servers; what they made is restored in scratch, with the manifest's own line."""

from __future__ import annotations

import pytest

from tests.duties.conftest import sites
from tests.engines.restoring import AgeKey, age_key

__all__ = ["sites"]


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> AgeKey:
    return age_key(tmp_path_factory.mktemp("age"))
