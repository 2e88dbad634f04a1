"""The frame every scheduled DAG shares: its schedule, limits, alert and form, all from the site file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.sdk import (  # type: ignore[attr-defined]  # airflow.sdk's stub lacks the deadline names
    DAG,
    AsyncCallback,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    get_parsing_context,
)

from upkeep.operators.forms import with_form
from upkeep.operators.retries import retry_policy
from upkeep.resources import sites_folder
from upkeep.site import Rhythm, Site, load_sites
from upkeep.triggers.deadline import tell_overrun

STUCK_AFTER = timedelta(hours=2)
"""What a run may still work after its window has closed."""
LAST_WORD = timedelta(minutes=2)
"""So long before its end the last alert: afterwards a run that was ended looks like any other that failed."""


def sites_wanted(name: str) -> list[Site]:
    """The sites whose DAG ``<site>_<name>`` is wanted: all for the scheduler, the running one's for a task.

    Files that are broken are left out here; ``dags/site_files.py`` reports them.
    """
    sites, _ = load_sites(sites_folder())
    wanted = get_parsing_context().dag_id
    return [site for site in sites.values() if wanted in (None, f"{site.name}_{name}")]


def sites_with_rhythm(name: str) -> list[Site]:
    """The sites that have such a rhythm and whose DAG for it is wanted."""
    return [site for site in sites_wanted(name) if getattr(site.rhythms, name)]


def rhythm_dag(
    site: Site, name: str, *, doc: str, parts: Sequence[str] = (), params: Mapping[str, Param] | None = None
) -> AbstractContextManager[DAG]:
    """The DAG ``<site>_<name>``, for its tasks to be made within.

    ``parts``: task ids among which the form lets choose; ``params``: what else it asks.

    It is alerted on when the window closes over it, and once more when it is ended two hours later: what is still at
    work then is stuck.
    """
    rhythm: Rhythm = getattr(site.rhythms, name)
    length = timedelta(hours=rhythm.length_h)
    limit = length + STUCK_AFTER
    dag = DAG(
        dag_id=f"{site.name}_{name}",
        description=f"{site.title}: {name} maintenance",
        doc_md=f"{doc}\n\nSite `{site.name}` ({site.title}), window `{rhythm.at}` {site.timezone} for "
        f"{rhythm.length_h:g} h, store `{site.store.url}`.",
        schedule=CronTriggerTimetable(rhythm.at, timezone=site.timezone),
        start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo(site.timezone)),
        catchup=False,
        max_active_runs=1,
        # No backfill: a night that has passed can't be backed up any more.
        allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # converted; the enum isn't public
        dagrun_timeout=limit,
        deadline=[
            _alert(site, name, "window", length),
            _alert(site, name, "limit", limit - LAST_WORD, limit_h=limit / timedelta(hours=1)),
        ],
        default_args={
            "owner": "upkeep",
            "retries": 2,
            "retry_delay": timedelta(minutes=1),
            "retry_policy": retry_policy(),
        },
        render_template_as_native_obj=True,
        tags=["upkeep", name, site.name],
    )
    return with_form(dag, {**_form(site, parts), **(params or {})})


def _alert(site: Site, name: str, what: str, after: timedelta, **more: float) -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=after,
        name=f"{name} {what}",
        callback=AsyncCallback(tell_overrun, {"site": site.name, "rhythm": name, **more}),
    )


def _form(site: Site, parts: Sequence[str]) -> dict[str, Param]:
    names = [target.name for target in site.targets]
    chosen = {
        "parts": Param(
            list(parts), type="array", items={"type": "string", "enum": list(parts)}, examples=list(parts), minItems=1,
            title="Parts", description="What to do; all of it unless you take some out.",
        ),
    } if parts else {}  # fmt: skip
    return {
        **chosen,
        "targets": Param(
            names, type="array", items={"type": "string", "enum": names}, examples=names, minItems=1,
            title="Targets", description="What to work on; all of them unless you take some out. What belongs to no "
            f"target, such as logs, {'stands under Parts' if parts else 'is looked at all the same'}.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run",
            description="Do everything up to the last call, and only say what would be written or removed.",
        ),
        "override_window": Param(
            False, type="boolean", title="Work outside the window",
            description="Only counts for a run started by hand; your name and reason go into the ledger.",
        ),
        "override_reason": Param(
            None, type=["null", "string"],  # an empty text would be a missing answer, and the form could never be sent
            title="Reason for working outside the window", description="Required with the override.",
        ),
    }  # fmt: skip
