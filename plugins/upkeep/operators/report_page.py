"""The way from a run in Airflow's UI to its page: a tab of the run, a button on the task ``report``, and the view that
both open; and from a DAG's documentation to its runbook.

A button can't lead to the store itself: browsers don't follow ``file://`` or ``oss://``. So Airflow serves the page, to
those only who may see the run. In Airflow 3.3 a task can't set its run's note.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from upkeep.errors import ObjectMissing, UpkeepError
from upkeep.operators.base import connect, object_storage, site_named
from upkeep.reports.runbook_page import runbook_page
from upkeep.resources import runbooks_folder, sites_folder
from upkeep.site import Site, load_sites
from upkeep.stores.opening import open_spool, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

log = logging.getLogger(__name__)

PREFIX = "/upkeep"
TAB = "upkeep/reports/{DAG_ID}/{RUN_ID}"
"""As the plugin names it: Airflow's UI fills it in, and reads it below its own base address."""
TASK = "report"
_KEY = re.compile(r"[\w-]+/_reports/[\w.-]+\.html")
_HEADERS = {
    # The page holds names and errors from outside. They are escaped; if one ever isn't, it still runs no script here.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}


def address_of(dag_id: str, run_id: str) -> str:
    """Where a run's page opens, as far as ``[api] base_url`` is known here."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}{PREFIX}/reports/{quote(dag_id, safe='')}/{quote(run_id, safe='')}"


class ReportLink(BaseOperatorLink):
    """The button. Its address is fixed when the task ends, so that it holds after the site file has changed."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return address_of(ti_key.dag_id, ti_key.run_id)


class PlotsLink(ReportLink):
    """The button of a task that keeps a page of its own beside the run's."""

    name = "Plots"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return f"{super().get_link(operator, ti_key=ti_key)}?task={quote(ti_key.task_id, safe='')}"


class ReportApp:
    """An ASGI application made on the first request: the plugin file is loaded by every task too."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            self._app = _make_app()
        await self._app(scope, receive, send)


def _make_app() -> Any:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse, PlainTextResponse, Response

    app = FastAPI(title="Upkeep", docs_url=None, redoc_url=None, openapi_url=None)

    # Plugins' routes are open to all unless each says otherwise.
    @app.get("/reports/{dag_id}/{run_id}", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))])
    def show_report(dag_id: str, run_id: str, task: str = TASK) -> Response:
        page = _place_of(dag_id, run_id, task)
        if not page:
            none = f"{dag_id} has no page of {run_id} yet: its task {task} makes it; if that is red, see its log"
            return PlainTextResponse(none, 404, headers=_HEADERS)
        try:
            return HTMLResponse(_read(dag_id, page), headers=_HEADERS)
        except UpkeepError as error:
            log.warning("the report of %s can't be shown: %s", run_id, error.message)
            status = 404 if isinstance(error, ObjectMissing) else 503
            return PlainTextResponse(f"the report is {page}; it can't be read here: {error}", status, headers=_HEADERS)

    @app.get("/runbooks/{name}.md", dependencies=[Depends(get_user)])
    def show_runbook(name: str) -> Response:
        if page := runbook_page(name):
            return HTMLResponse(page, headers=_HEADERS)
        return PlainTextResponse(f"there is no runbook {name!r} in {runbooks_folder()}", 404, headers=_HEADERS)

    return app


def _place_of(dag_id: str, run_id: str, task: str) -> str:
    """What the task returned as its page."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    query = XComModel.get_many(key="return_value", run_id=run_id, dag_ids=dag_id, task_ids=task, limit=1)
    with create_session() as session:
        found = session.scalars(query).first()
        value = XComModel.deserialize_value(found) if found else None
    return str(cast("dict[str, Any]", value).get("page", "")) if isinstance(value, dict) else ""


def _site_of(dag_id: str) -> Site:
    """By the longest name that fits: ``<site>_rolling_update`` has an underscore of its own."""
    sites, _ = load_sites(sites_folder())
    fitting = [name for name in sites if dag_id.startswith(f"{name}_")]
    return site_named(max(fitting, key=len) if fitting else dag_id.rpartition("_")[0])


def _read(dag_id: str, page: str) -> bytes:
    """The page's bytes, from the store or this machine's spool and from nowhere else, whatever the XCom says."""
    site = _site_of(dag_id)
    spool = open_spool(site.spool)
    key = _key_below(spool.url, page, site)
    if key:
        with suppress(ObjectMissing):  # then a later report has brought it to the store
            return spool.get(key)
    store = open_store(site.store, connect, object_storage)
    if key := key or _key_below(store.url, page, site):
        return store.get(key)
    raise ObjectMissing(f"{page} is not a report of site {site.name}", hint="was its store moved? look in the old one")


def _key_below(url: str, page: str, site: Site) -> str:
    """The page's key in the store of that address; empty where it is none of the site's reports."""
    key = page.removeprefix(f"{url}/")
    return key if key != page and _KEY.fullmatch(key) and key.startswith(f"{site.name}/") else ""
