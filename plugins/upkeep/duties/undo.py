"""Take one Deployment back to its previous revision, exactly as ``kubectl rollout undo`` would, and confirm it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upkeep.domain.rollout import Live, Mark, revision_of, revision_to_restore
from upkeep.duties.cluster_work import Wait
from upkeep.duties.job import Job
from upkeep.duties.one_deployment import Step, plan_step, take_step

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

ACT = "undo"


def plan_undo(job: Job, name: str) -> dict[str, Any]:
    return plan_step(job, name, ACT, _prepare)


def undo(job: Job, plan: Mapping[str, Any], *, approver: str, dry_run: bool = False) -> Wait | dict[str, Any]:
    return take_step(job, plan, _prepare, _verify, approver=approver, dry_run=dry_run)


def _prepare(live: Live, _: Deployments) -> Step:
    """Also while a rollout is under way: that is when it is needed most."""
    target = revision_to_restore(live)
    images = ", ".join(one["image"] for one in target["spec"]["template"]["spec"]["containers"])

    def patch(deployments: Deployments, live: Live, mark: Mark, cause: str, dry_run: bool) -> None:
        deployments.undo(live, target, mark, cause, dry_run=dry_run)

    line = (
        f"{live.name}: back to revision {revision_of(target)}: {live.images} -> {images}; "
        f"{live.ready} of {live.replicas} pods ready now ({live.progress.why})"
    )
    same = ("the images are the same: something else in the template goes back",) if images == live.images else ()
    return Step(ACT, images, live.images, line, patch, same)


def _verify(live: Live, mark: Mark) -> str:
    if live.images != mark.wanted:
        return f"it runs {live.images} instead of {mark.wanted}"
    if live.revision <= mark.previous_revision:
        return f"its revision is still {live.revision}"
    return ""
