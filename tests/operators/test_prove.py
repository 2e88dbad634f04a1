"""The operator hands over the form, the window and a stop; what is restored is tested with the duty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from airflow.sdk.exceptions import AirflowSkipException

from tests.faults.scene import Scene, files_scene
from upkeep.engines import stopping
from upkeep.errors import Stopped
from upkeep.operators.prove import ProveBackupsOperator


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A site with one backup that was read back and never restored."""
    made = files_scene(tmp_path, size=40_000)
    (tmp_path / "sites").mkdir()
    site = made.site.model_dump(mode="json", exclude_none=True)
    (tmp_path / "sites" / "shop.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path / "sites"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    made.night("night")
    return made


def operator(**settings: Any) -> ProveBackupsOperator:
    return ProveBackupsOperator(task_id="prove", site="shop", target="app", **settings)


def context(**params: Any) -> Any:
    instance = MagicMock(task_id="prove", try_number=1)
    return {"ti": instance, "run_id": "sunday", "dag_run": MagicMock(dag_id="shop_weekly"), "params": params}


def acts(scene: Scene) -> list[str]:
    return [record.started.command for record in scene.job("look").ledger.acts("shop", duty="prove")]


def window(hours: float) -> dict[str, str]:
    return {"closes_at": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}


@pytest.mark.parametrize("form", [{"targets": ["other"]}, {"parts": ["clean_logs"]}], ids=str)
def test_what_the_form_did_not_choose_is_skipped_without_a_trace(scene: Scene, form: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException, match="was not chosen in the form"):
        operator().execute(context(**form))
    assert acts(scene) == []
    assert scene.backups()[0].standing == "structure"


def test_a_dry_run_says_what_it_would_restore_and_proves_nothing(scene: Scene) -> None:
    backup_id = scene.backups()[0].ref.backup_id
    told = operator(window=window(1)).execute(context(targets=["app"], parts=["prove"], dry_run=True))
    assert told["would_restore"] == [backup_id]
    assert acts(scene) == []
    assert scene.backups()[0].standing == "structure"


def test_a_chosen_target_is_restored_within_the_window(scene: Scene) -> None:
    told = operator(window=window(1)).execute(context(targets=["app"]))
    assert list(told["restored"]) == [scene.backups()[0].ref.backup_id]
    assert scene.backups()[0].standing == "restored"


def test_a_closed_window_or_a_kill_leaves_the_backup_for_the_next_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operator(window=window(-1)).execute(context())["restored"] == {}
    monkeypatch.setattr(stopping, "_told", False)
    killed = operator()
    killed.on_kill()
    with pytest.raises(Stopped):
        killed.execute(context())
    assert scene.backups()[0].standing == "structure"
