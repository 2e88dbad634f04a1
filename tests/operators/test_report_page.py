"""The way from a run in Airflow's UI to its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

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


@pytest.mark.parametrize("page", ["file:///etc/passwd", "{store}/../secret.html", "{store}/shop/_reports/../x.html"])
def test_nothing_but_reports_of_the_site_s_own_store_is_read(sites: Sites, tmp_path: Path, page: str) -> None:
    from upkeep.errors import ObjectMissing
    from upkeep.operators.report_page import _read

    sites("shop")
    (tmp_path / "secret.html").write_text("secret")
    with pytest.raises(ObjectMissing, match="is no report of site shop"):
        _read("shop_daily", page.format(store=f"file://{tmp_path}/store"))
