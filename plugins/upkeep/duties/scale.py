"""Set how many pods one Deployment has, by the autoscaler's own formula unless a number is given, and confirm it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upkeep.domain.rollout import Live, Mark
from upkeep.domain.scaling import Advice, recommend_replicas
from upkeep.duties.cluster_work import Wait, opened
from upkeep.duties.job import Job
from upkeep.duties.one_deployment import Step, plan_step, take_step
from upkeep.errors import RolloutRefused

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

ACT = "scale"


def plan_scale(job: Job, name: str, replicas: int | None = None) -> dict[str, Any]:
    """``replicas`` None: what ``advise`` says. Errors: ``RolloutRefused`` where an autoscaler would undo it."""
    reason = "asked for"
    if replicas is None:
        advice = advise(job, name)
        replicas, reason = advice.replicas, advice.reason
    return plan_step(job, name, ACT, _preparing(replicas, reason), replicas=replicas, reason=reason)


def advise(job: Job, name: str) -> Advice:
    """What the autoscaler's formula makes of the pods' CPU now. Errors: ``RolloutRefused`` without figures."""
    with opened(job) as deployments:
        live = deployments.read(name)
        used = deployments.cpu_pct(live) if live.replicas else None
    if used is None:
        raise RolloutRefused(
            f"how many pods {name} needs can't be calculated: no CPU figures for its pods",
            hint="give the number in the form; the formula needs metrics-server and CPU requests",
        )
    return recommend_replicas(live.replicas, used)


def scale(job: Job, plan: Mapping[str, Any], *, approver: str, dry_run: bool = False) -> Wait | dict[str, Any]:
    prepare = _preparing(int(plan["replicas"]), str(plan["reason"]))
    return take_step(job, plan, prepare, _verify, approver=approver, dry_run=dry_run)


def _preparing(replicas: int, reason: str) -> Any:
    def prepare(live: Live, deployments: Deployments) -> Step:
        if live.replicas == replicas:
            raise RolloutRefused(
                f"deployment {live.name} has {replicas} replicas already ({reason})", hint="there is nothing to do"
            )
        around = deployments.surroundings()
        if scaler := around.autoscaler_of(live.name):
            raise RolloutRefused(
                f"deployment {live.name} is scaled by autoscaler {scaler['metadata']['name']}, which would undo it",
                hint="change its minReplicas and maxReplicas instead",
            )

        def patch(deployments: Deployments, live: Live, mark: Mark, cause: str, dry_run: bool) -> None:
            deployments.scale(live, replicas, mark, cause, dry_run=dry_run)

        line = f"{live.name}: {live.replicas} -> {replicas} replicas ({reason}); {live.ready} ready now"
        remarks = ["all its pods end: whatever needs it stops working"] if not replicas else []
        remarks += [f"not looked at: {what}" for what in around.unread if what.startswith("HorizontalPodAutoscalers")]
        return Step(ACT, f"{replicas} replicas", f"{live.replicas} replicas", line, patch, tuple(remarks))

    return prepare


def _verify(live: Live, mark: Mark) -> str:
    return "" if f"{live.replicas} replicas" == mark.wanted else f"it has {live.replicas} replicas, not {mark.wanted}"
