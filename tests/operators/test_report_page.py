"""The way from a run in Airflow's UI to its page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.operators.conftest import DAGS

Sites = Callable[..., None]
RunDag = Callable[..., Any]


@pytest.fixture
def web(airflow_database: None) -> Iterator[Any]:
    """Airflow's API server as it starts, with the plugin that it finds by itself; nobody is logged in."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    with TestClient(create_app(apps="core")) as client:
        yield client


def as_viewer() -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="zhang.san", role="viewer"))
    return {"Authorization": f"Bearer {token}"}


def test_the_button_of_the_report_task_opens_the_page_for_those_who_may_see_the_run(
    sites: Sites, run_dag: RunDag, web: Any, tmp_path: Path
) -> None:
    sites("shop")
    run = run_dag("shop_daily")
    login = as_viewer()
    links = f"/api/v2/dags/shop_daily/dagRuns/{run.run_id.replace('+', '%2B')}/taskInstances/report/links"
    button = web.get(links, headers=login).json()["extra_links"]["Report"]
    path = urlsplit(button).path

    page = web.get(path, headers=login)
    (kept,) = (tmp_path / "store" / "shop" / "_reports").glob("*.html")
    assert (page.status_code, page.text) == (200, kept.read_text(encoding="utf-8"))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")

    assert web.get(path).status_code == 401, "a page of names and errors isn't for everybody"
    kept.unlink()
    gone = web.get(path, headers=login)
    assert (gone.status_code, str(kept) in gone.text) == (404, True)
    assert web.get("/upkeep/reports/shop_daily/no-such-run", headers=login).status_code == 404


def test_the_button_of_the_forecast_opens_its_plots(sites: Sites, run_dag: RunDag, web: Any, tmp_path: Path) -> None:
    monthly = {"daily": {"at": "0 2 * * *", "length_h": 3}, "monthly": {"at": "0 1 1 * *", "length_h": 8}}
    sites("shop", rhythms=monthly)
    run = run_dag("shop_monthly", parts=["forecast_capacity"])
    links = f"/api/v2/dags/shop_monthly/dagRuns/{run.run_id.replace('+', '%2B')}/taskInstances/forecast_capacity/links"
    button = urlsplit(web.get(links, headers=as_viewer()).json()["extra_links"]["Plots"])

    page = web.get(f"{button.path}?{button.query}", headers=as_viewer())
    (kept,) = (tmp_path / "store" / "shop" / "_reports").glob("*-capacity-*.html")
    assert (page.status_code, page.text) == (200, kept.read_text(encoding="utf-8"))
    assert page.headers["content-security-policy"].endswith("img-src data:"), "or the browser would not show a plot"


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_each_runbook_that_a_dag_s_documentation_leads_to_opens_for_whoever_is_logged_in(web: Any, path: Path) -> None:
    for link in re.findall(r"\]\(upkeep/([^)]*)\)", path.read_text(encoding="utf-8")):
        page = web.get(f"/upkeep/{link}", headers=as_viewer())
        assert page.status_code == 200, link
        assert "<table>" in page.text and "](" not in page.text, "rendered"
        for other in re.findall(r'href="([^"]*)"', page.text):
            assert web.get(f"/upkeep/runbooks/{other}", headers=as_viewer()).status_code == 200, other
        assert web.get(f"/upkeep/{link}").status_code == 401
    gone = web.get("/upkeep/runbooks/nightly.md", headers=as_viewer())
    assert (gone.status_code, "docs/runbooks" in gone.text) == (404, True)


@pytest.mark.parametrize("page", ["file:///etc/passwd", "{store}/../secret.html", "{store}/shop/_reports/../x.html"])
def test_nothing_but_reports_of_the_site_s_own_store_is_read(sites: Sites, tmp_path: Path, page: str) -> None:
    from upkeep.errors import ObjectMissing
    from upkeep.operators.report_page import _read

    sites("shop")
    (tmp_path / "secret.html").write_text("secret")
    with pytest.raises(ObjectMissing, match="is not a report of site shop"):
        _read("shop_daily", page.format(store=f"file://{tmp_path}/store"))


def test_a_page_that_waited_in_the_spool_is_found_in_the_store_once_it_was_brought_there(
    sites: Sites, tmp_path: Path
) -> None:
    from upkeep.operators.report_page import _read

    sites("shop")
    waits = tmp_path / "spool" / "shop" / "_reports" / "2026-11-22-daily-x.html"
    waits.parent.mkdir(parents=True)
    waits.write_text("the page")
    assert _read("shop_daily", f"file://{waits}") == b"the page"
    sites("shop", store={"url": "s3://bucket", "conn_id": "not_there"})
    assert _read("shop_daily", f"file://{waits}") == b"the page", "it waits because the store can't be opened"
    sites("shop")
    there = tmp_path / "store" / "shop" / "_reports"
    there.mkdir(parents=True)
    waits.rename(there / waits.name)
    assert _read("shop_daily", f"file://{waits}") == b"the page"
