"""Whoever watches a long task sees how far it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.faults.scene import files_scene
from upkeep.duties.back_up import back_up
from upkeep.errors import BackupSpooled
from upkeep.stores.local_store import LocalStore


def test_storing_shipping_and_reading_back_say_how_far_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("upkeep.duties.metered.EVERY_S", 0)
    caplog.set_level(logging.INFO)
    scene = files_scene(tmp_path, size=2_000_000)
    with pytest.raises(BackupSpooled):
        back_up(scene.job("night", store=LocalStore(tmp_path / "not mounted")), "app")
    scene.night("night")
    for done in ("stored", "shipped", "read back"):
        assert f"2.0 MB {done} after" in caplog.text
