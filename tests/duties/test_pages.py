"""Where a run's pages go when the store is away, and how they get there in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scene import Scene, files_scene
from upkeep.duties.pages import keep_pages
from upkeep.duties.report import report_run
from upkeep.stores.local_store import LocalStore


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return files_scene(tmp_path, size=4_000)


def pages(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (folder / "shop" / "_reports").glob("*")}


def test_a_page_that_had_to_wait_in_the_spool_is_brought_over_by_the_next_run(scene: Scene, tmp_path: Path) -> None:
    away = LocalStore(tmp_path / "not mounted")
    url = keep_pages(scene.job("last night", store=away), "daily", {"html": "of last night"})
    assert url.startswith(f"file://{tmp_path}/spool/shop/_reports/")
    assert keep_pages(scene.job("tonight"), "daily", {"html": "of tonight"}).startswith(f"file://{tmp_path}/store/")
    assert sorted(pages(tmp_path / "store").values()) == ["of last night", "of tonight"]
    assert pages(tmp_path / "spool") == {}


def test_a_rerun_s_page_is_not_replaced_by_the_older_one_that_waited(scene: Scene, tmp_path: Path) -> None:
    keep_pages(scene.job("tonight", store=LocalStore(tmp_path / "not mounted")), "daily", {"html": "red"})
    keep_pages(scene.job("tonight"), "daily", {"html": "green"})
    assert list(pages(tmp_path / "store").values()) == ["green"]
    assert pages(tmp_path / "spool") == {}


@pytest.mark.parametrize(
    "store",
    [{"url": "oss://bucket/prod", "conn_id": "not_there"}, {"url": "nowhere://bucket/prod"}],
    ids=["its connection is gone", "nothing here can speak to it"],
)
def test_a_store_that_can_not_even_be_opened_is_reported_all_the_same(
    scene: Scene, tmp_path: Path, store: dict[str, str]
) -> None:
    scene.settings = {"store": store}
    found = report_run(scene.job("tonight"), "daily")
    assert found["page"].startswith(f"file://{tmp_path}/spool/")
    assert not found["ok"]
