"""The operator of the monthly drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from upkeep.duties.drill import drill
from upkeep.duties.job import Job
from upkeep.operators.base import WindowedOperator, is_dry
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context


def drill_params(site: Site) -> dict[str, Param]:
    """What the form asks about the drill."""
    return {
        "drill_from": Param(
            site.drill.backups, type="string", enum=["newest", "random"], title="Drill: rebuild from",
            description="Each target's newest proven backup, or one of the proven ones at random.",
        ),
        "drill_backups": Param(
            None, type=["null", "array"],
            items={"type": "string", "pattern": r"^[a-z0-9_-]+/[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}$"},
            title="Drill: rebuild from these instead",
            description="target/backup id, one to a line, such as app/20261121T020003Z-0a1b; for targets named here.",
        ),
    }  # fmt: skip


class DrillSiteOperator(WindowedOperator):
    """Rebuild the site in scratch, or what of it the form chose, measure it against its goals, take it away."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        targets = tuple(params.get("targets") or ())
        if targets and not set(targets) & set(job.site.drill_order):
            raise AirflowSkipException("the form chose no target that a drill rebuilds")
        backups = dict(one.split("/", 1) for one in params.get("drill_backups") or ())
        return drill(
            job,
            targets=targets,
            backups=backups,
            pick=params.get("drill_from"),
            dry_run=is_dry(context),
            until=self.until,
        )
