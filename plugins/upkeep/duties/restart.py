"""Replace all pods of one Deployment by new ones of the same template, as ``kubectl rollout restart``; confirm it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upkeep.domain.rollout import Live, Mark
from upkeep.domain.rollout_plan import surge_of, why_not
from upkeep.duties.cluster_work import Wait
from upkeep.duties.job import Job
from upkeep.duties.one_deployment import Step, plan_step, take_step
from upkeep.errors import RolloutRefused

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

ACT = "restart"


def plan_restart(job: Job, name: str) -> dict[str, Any]:
    return plan_step(job, name, ACT, _preparing(job))


def restart(job: Job, plan: Mapping[str, Any], *, approver: str, dry_run: bool = False) -> Wait | dict[str, Any]:
    return take_step(job, plan, _preparing(job), _verify, approver=approver, dry_run=dry_run)


def _preparing(job: Job) -> Any:
    def prepare(live: Live, _: Deployments) -> Step:
        if reasons := list(why_not(live)):
            raise RolloutRefused(
                f"deployment {live.name} is not restarted: {'; '.join(reasons)}",
                hint="what is under way makes new pods anyway; undo it if it is stuck",
            )

        def patch(deployments: Deployments, live: Live, mark: Mark, cause: str, dry_run: bool) -> None:
            deployments.restart(live, job.now(), mark, cause, dry_run=dry_run)

        surge, unavailable = surge_of(live)
        line = (
            f"{live.name}: new pods for all {live.replicas}, in steps of up to +{surge}/-{unavailable}; {live.images}"
        )
        return Step(ACT, "new pods", f"pods of revision {live.revision}", line, patch)

    return prepare


def _verify(live: Live, mark: Mark) -> str:
    return "" if live.revision > mark.previous_revision else f"its revision is still {live.revision}: nothing restarted"
