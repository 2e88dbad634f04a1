"""The frame of DAGs that a person starts to change something: by hand only, one at a time, with a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Param

from upkeep.operators.forms import with_form
from upkeep.operators.retries import retry_policy
from upkeep.site import Site


def by_hand_dag(
    site: Site,
    name: str,
    *,
    doc: str,
    description: str,
    params: Mapping[str, Param],
    dry_run: str,
    decided: Sequence[type[BaseException]],
    run_types: Sequence[str] = ("manual",),
) -> AbstractContextManager[DAG]:
    """``dry_run``: what the form says a dry run does; ``decided``: errors that a second try would only meet again;
    ``run_types``: how it may be started.

    No ``dagrun_timeout``: it would kill the task that takes back. Each wait has a deadline of its own.
    """
    dag = DAG(
        dag_id=f"{site.name}_{name}",
        description=f"{site.title}: {description}",
        doc_md=doc,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo(site.timezone)),
        catchup=False,
        max_active_runs=1,
        allowed_run_types=list(run_types),  # type: ignore[arg-type]  # converted; the enum isn't public
        default_args={
            "owner": "upkeep",
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": retry_policy(decided),
        },
        render_template_as_native_obj=True,
        tags=["upkeep", name, site.name],
    )
    return with_form(dag, {**params, "dry_run": Param(False, type="boolean", title="Dry run", description=dry_run)})
