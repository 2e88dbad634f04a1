"""The operators hand over the form, the window and a stop; what is done is tested with the duties."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from tests.duties.cleaning import Cleaning
from upkeep.engines import stopping
from upkeep.errors import Stopped
from upkeep.operators.clean import CleanDockerOperator, CleanLogsOperator


@pytest.fixture
def cleaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cleaning:
    made = Cleaning(tmp_path)
    made.more = {"docker": {"url": f"unix://{tmp_path}/none.sock", "images_h": 24}}
    (tmp_path / "sites").mkdir()
    site = made.scene.site.model_dump(mode="json")
    (tmp_path / "sites" / "shop.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path / "sites"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return made


def context(**params: Any) -> Any:
    instance = MagicMock(task_id="clean_logs", try_number=1)
    return {"ti": instance, "run_id": "sunday", "dag_run": MagicMock(dag_id="shop_weekly"), "params": params}


def window(hours: float) -> dict[str, str]:
    return {"closes_at": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}


def test_logs_are_cleaned_within_the_window_and_not_in_a_dry_run(cleaning: Cleaning) -> None:
    cleaning.old("app.log")
    time.sleep(0.03)
    rehearsed = CleanLogsOperator(task_id="a", site="shop", window=window(1)).execute(context(dry_run=True))
    late = CleanLogsOperator(task_id="b", site="shop", window=window(-1)).execute(context())
    assert (rehearsed["dry_run"], late["stopped"], cleaning.names()) == (True, "the window closed", ["app.log"])
    assert CleanLogsOperator(task_id="c", site="shop").execute(context())["removed"] == 1
    assert cleaning.names() == []


def test_a_killed_task_stops(cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_told", False)
    cleaning.old("app.log")
    operator = CleanLogsOperator(task_id="a", site="shop")
    operator.on_kill()
    with pytest.raises(Stopped):
        operator.execute(context())
    assert cleaning.names() == ["app.log"]


def test_a_docker_engine_that_isnt_there_fails_no_task(cleaning: Cleaning) -> None:
    result = CleanDockerOperator(task_id="a", site="shop", window=window(1)).execute(context())
    assert "no Docker engine answers" in result["skipped"]
