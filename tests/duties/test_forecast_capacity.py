"""The month's forecast is made of what was sampled, kept as a page beside the backups, and told in the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from upkeep.cli import main
from upkeep.domain.capacity import Reading
from upkeep.duties.forecast_capacity import forecast_capacity, plan_forecast
from upkeep.duties.job import Job, Run
from upkeep.duties.report import report_run
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.ledger import verify
from upkeep.ledger.entry import DETAIL_CHARS
from upkeep.ledger.samples import Samples

NOW = datetime(2026, 11, 1, 17, 0, tzinfo=UTC)


def sampled(
    job: Job, metric: str, target: str, value: Callable[[int], float], *, days: int = 120, now: datetime = NOW
) -> None:
    """One sample a day up to now; ``value`` takes the days since the first."""
    samples = Samples(job.ledger.database)
    for day in range(days):
        at = now - timedelta(days=days - 1 - day)
        samples.append(job.site.name, at, [Reading(metric, target, value(day), "")])


def month(sites: SiteFactory, run_id: str = "month-1") -> Job:
    return sites.job(run_id, now=lambda: NOW, run=Run(run_id=run_id, host="worker-1", actor="tester", trigger="test"))


@pytest.fixture
def job(sites: SiteFactory, tmp_path: Path) -> Job:
    sites.paths(tmp_path)
    return month(sites)


def page_of(job: Job, found: dict[str, Any]) -> str:
    return job.store.get(found["page"].removeprefix(f"{job.store.url}/")).decode()


def test_a_disk_that_fills_is_amber_with_what_would_change_it(job: Job) -> None:
    sampled(job, "disk_pct", "worker-1:/", lambda day: 50 + 0.2 * day)
    found = forecast_capacity(job)
    assert (found["light"], found["figures"]) == ("amber", 1)
    assert found["summary"] == "disk_pct worker-1:/ in 56 days (56 to 56) at 85 %"
    (soon,) = found["soon"]
    assert soon["changes"][0].startswith("a disk 1.7 times as large: stays below 85 %")
    assert soon["changes"][1].startswith("backups lie on it: a shorter retention (now 3 daily)")


def test_the_page_holds_its_plots_and_asks_nothing_of_the_network(job: Job) -> None:
    sampled(job, "disk_pct", "worker-1:/数据<b>", lambda day: 50 + 0.2 * day)
    page = page_of(job, forecast_capacity(job))
    assert "disk_pct worker-1:/数据&lt;b&gt;" in page and "<b>数据" not in page
    assert page.count('src="data:image/png;base64,iVBOR') == 1
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w+", page) == []
    assert re.search(r'alt="disk_pct worker-1:/数据&lt;b&gt;: 73.8 % now', page)


def test_the_levers_are_those_of_the_site(job: Job, sites: SiteFactory) -> None:
    sites.settings["databases"] = [
        {
            "name": "app",
            "engine": "postgres",
            "conn_id": "c",
            "purge": [{"table": "logs", "column": "at", "keep_days": 9}],
        }
    ]
    sampled(job, "disk_pct", "worker-1:/data", lambda day: 50 + 0.2 * day)
    sampled(job, "table_bytes", "app/public.logs", lambda day: 1e9 + 1e6 * day)
    (disk,) = (line for line in plan_forecast(month(sites)).lines if line.metric == "disk_pct")
    assert "grows: table app/public.logs +30.0 MB a month (rows go 9 days after at)" in disk.changes


def test_without_samples_there_is_nothing_to_say(job: Job) -> None:
    found = forecast_capacity(job)
    assert (found["light"], found["summary"]) == ("green", "nothing has been sampled yet")
    assert "nothing has been sampled yet" in page_of(job, found)


def test_what_the_nightly_duty_samples_is_what_is_forecast(job: Job) -> None:
    sample_capacity(job)
    lines = {line.metric: line.forecast for line in plan_forecast(job).lines}
    assert {"cpu_pct", "disk_pct", "memory_pct", "store_bytes"} <= lines.keys()
    assert (lines["disk_pct"].limit, lines["disk_pct"].words) == (85, "too few samples")


def test_hundreds_of_figures_that_run_out_fit_the_ledger(job: Job) -> None:
    samples = Samples(job.ledger.database)
    for day in range(20):
        readings = [Reading("disk_pct", f"worker-1:/mnt/{'x' * 60}{disk}", 70 + 0.3 * day, "%") for disk in range(60)]
        samples.append(job.site.name, NOW - timedelta(days=19 - day), readings)
    found = forecast_capacity(job)
    (record,) = job.ledger.acts("kindergarten", duty="forecast_capacity", limit=1, newest_first=True)
    assert "left_out" not in record.detail and record.detail["soon"]
    assert len(json.dumps(record.detail, ensure_ascii=False)) < DETAIL_CHARS
    assert len(page_of(job, found)) < 1_000_000
    assert verify(job.ledger).clean


def test_the_report_of_the_run_tells_it_and_where_the_plots_are(job: Job) -> None:
    sampled(job, "disk_pct", "worker-1:/", lambda day: 50 + 0.2 * day)
    found = forecast_capacity(job)
    report = report_run(job, "monthly")
    page = job.store.get(report["page"].removeprefix(f"{job.store.url}/")).decode()
    assert "<h2>Forecast</h2>" in page
    assert "reaches 85 % in 56 days" in page and found["page"] in page


def test_the_command_line_prints_the_same(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled(job, "disk_pct", "worker-1:/", lambda day: 50 + 0.2 * day, now=datetime.now(UTC))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "site.yaml").write_text(job.site.model_dump_json(), encoding="utf-8")
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path / "files"))
    place = job.ledger.place.removeprefix("sqlite:///")
    monkeypatch.setenv("AIRFLOW_CONN_UPKEEP_LEDGER", json.dumps({"conn_type": "sqlite", "host": place}))
    assert main(["plan", "capacity", "kindergarten"]) == 1, "something runs out soon"
    said = capsys.readouterr().out
    assert "amber: disk_pct worker-1:/ in 56 days" in said
    assert "a disk 1.7 times as large: stays below 85 % for a year" in said
