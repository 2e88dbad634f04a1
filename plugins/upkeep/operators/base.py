"""What all operators share: from an Airflow context to a job, and from a signal to a stop."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

from upkeep.domain.endpoint import Endpoint
from upkeep.duties.job import Job, Run
from upkeep.duties.until import Until
from upkeep.errors import ConnectionUnknown, SiteFileError, UpkeepError
from upkeep.ledger import Ledger, default_url, url_of
from upkeep.resources import sites_folder
from upkeep.settings import airflow_home
from upkeep.site import Site, load_sites

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

LEDGER_CONN_ID = "upkeep_ledger"
FRAME = frozenset({"guard_window", "still_open", "report", "watch"})
"""Tasks of every run, whatever parts of it the form chose."""


class UpkeepOperator(BaseOperator):
    """One duty for one site. The site file is read when the task runs, so a change counts from the next task on."""

    def __init__(self, *, site: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.site = site

    def execute(self, context: Context) -> dict[str, Any]:
        part, parts = str(self.task_id).rpartition(".")[2], context["params"].get("parts")
        if parts and part not in parts and part not in FRAME:
            raise AirflowSkipException(f"{part} was not chosen in the form")
        try:
            return self.work(job_of(self.site, context), context)
        except UpkeepError as error:
            fold(error)
            raise

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        """Call the duty; what it returns goes to XCom, so it is small, plain and without secrets."""
        raise NotImplementedError

    def on_kill(self) -> None:
        # Imported here: a DAG file is parsed far more often than a task is killed.
        from upkeep.engines.pipeline import Pipeline

        Pipeline.stop_all()


def fold(error: UpkeepError) -> None:
    """Log where it was raised, folded away, and leave that out of the error itself: who opens the log of a failed task
    lands at its end, and is to find what is wrong and the HINT there, not the lines of a socket library.
    """
    log.info("::group::Where it was raised")
    for line in "".join(traceback.format_exception(error)).splitlines():
        log.info("%s", line)
    log.info("::endgroup::")
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


class WindowedOperator(UpkeepOperator):
    """A duty that goes on until the window closes, or until somebody marks the task, and leaves the rest for the next.

    ``window``: what the guard returned. Without one there is no end in time.
    """

    template_fields: Sequence[str] = ("window",)

    def __init__(self, *, window: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window

    @property
    def until(self) -> Until:
        return Until(datetime.fromisoformat(self.window["closes_at"]) if self.window else None)


def skip_unless_chosen(context: Context, target: str) -> None:
    """Skip the task when the form names targets and this is none of them."""
    chosen = context["params"].get("targets") or []
    if chosen and target not in chosen:
        raise AirflowSkipException(f"{target} was not chosen in the form")


def is_dry(context: Context) -> bool:
    return bool(context["params"].get("dry_run"))


def job_of(site: str, context: Context) -> Job:
    """The job a task works on. Errors: ``SiteFileError`` when the site's file has gone or broken since."""
    dag_run, instance = context["dag_run"], context["ti"]
    manual = getattr(dag_run, "triggering_user_name", None)
    return Job(
        site=site_named(site),
        run=Run(
            # Two DAGs of one site that start at the same minute have the same run id in Airflow.
            run_id=f"{dag_run.dag_id}/{context['run_id']}",
            task_id=str(instance.task_id),
            try_number=int(instance.try_number),
            actor=str(manual or "airflow"),
            trigger=str(getattr(dag_run.run_type, "value", dag_run.run_type)),
        ),
        ledger=open_ledger(),
        connect=connect,
        make_filesystem=object_storage,
    )


def site_named(name: str) -> Site:
    sites, broken = load_sites(sites_folder())
    if name in sites:
        return sites[name]
    if broken:
        raise broken[0]
    raise SiteFileError(f"no file in {sites_folder()} describes site {name!r}", hint="put it back, or remove its DAGs")


def connect(conn_id: str) -> Endpoint:
    """From an Airflow connection to a plain value. Errors: ``ConnectionUnknown``."""
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConnectionUnknown(
            f"Airflow has no connection {conn_id!r}",
            hint=f"add it under Admin, Connections, or set AIRFLOW_CONN_{conn_id.upper()}",
        ) from error
    return Endpoint(
        conn_id=conn_id,
        kind=connection.conn_type or "",
        host=connection.host or "",
        port=connection.port,
        user=connection.login or "",
        secret=connection.password or "",
        schema=connection.schema or "",
        extra=dict(connection.extra_dejson),
    )


def open_ledger() -> Ledger:
    """The ledger behind the connection ``upkeep_ledger``; without one, a SQLite file in Airflow's home."""
    try:
        return Ledger(url_of(connect(LEDGER_CONN_ID)))
    except ConnectionUnknown:
        return Ledger(default_url(airflow_home()))


def object_storage(url: str, conn_id: str | None) -> tuple[Any, str]:
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(url, conn_id=conn_id)
    return path.fs, path.path
