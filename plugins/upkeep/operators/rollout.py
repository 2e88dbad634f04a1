"""Operators that change Deployments: planned, approved, carried out without holding a worker while they wait."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.sdk.exceptions import AirflowSkipException

from upkeep.duties.cluster_work import Wait, cluster_of, deployment_of, note_asked, opened
from upkeep.duties.gates import check_gates_before
from upkeep.duties.job import Job
from upkeep.duties.plan_rollout import plan_rollout
from upkeep.duties.restart import plan_restart, restart
from upkeep.duties.roll_back import roll_back
from upkeep.duties.roll_out import roll_out
from upkeep.duties.scale import plan_scale, scale
from upkeep.duties.undo import plan_undo, undo
from upkeep.errors import RolloutRefused, UpkeepError
from upkeep.operators.approval import PersonApprovalOperator, approver_of, as_list
from upkeep.operators.base import UpkeepOperator, fold, is_dry, job_of, site_named
from upkeep.site import Site
from upkeep.triggers.rollout import RolloutTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

GRACE = timedelta(minutes=1)
"""How long after its time a trigger may be silent; then the scheduler gives the task back, triggerer or not."""
IMAGE = "image_"
"""Before a deployment's name: its field in the form."""


class PlanRolloutOperator(UpkeepOperator):
    """Plan what the form asks for; skipped, and all after it, where nothing has to be done."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        asked = {
            deployment.name: str(params[f"{IMAGE}{deployment.name}"])
            for deployment in cluster_of(job).deployments
            if params.get(f"{IMAGE}{deployment.name}")
        }
        plan = plan_rollout(job, asked, params.get("strategy", "all"))
        if not plan["changes"]:
            raise AirflowSkipException("; ".join(plan["lines"]))
        return plan


class CheckGatesOperator(UpkeepOperator):
    """Look at every health gate before anything is changed."""

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        with opened(job) as deployments:
            gates = check_gates_before(job, list(self.plan["changes"]), deployments)
        return {
            "lines": [f"{gate.name}: {gate.said}" for gate in gates],
            "failing": [g.name for g in gates if not g.ok],
        }


class ApproveChangeOperator(PersonApprovalOperator):
    """Ask a person, with the plan before their eyes. No answer in time is a no; a no fails the run, and who said what
    is in the ledger.

    Skipped in a dry run and where the site asks for no approval. ``rest``: ask for what follows a canary.
    """

    template_fields = (*PersonApprovalOperator.template_fields, "plan", "gates")

    def __init__(self, *, site: Site, plan: Any, gates: Any = None, rest: bool = False, **kwargs: Any) -> None:
        cluster = site.cluster
        super().__init__(
            subject=f"{site.title}: may this be changed?",
            approvers=cluster.approvers if cluster else (),
            timeout_h=cluster.approval_timeout_h if cluster else 0,
            **kwargs,
        )
        self.site = site.name
        self.title = site.title
        self.plan = plan
        self.gates = gates
        self.rest = rest

    def execute(self, context: Context) -> Any:
        if not self.plan:
            raise AirflowSkipException("there is nothing to approve")
        if is_dry(context):
            raise AirflowSkipException("a dry run changes nothing")
        if self.rest and not is_canary(self.plan):
            raise AirflowSkipException("this run has no canary")
        if not self._is_needed(site_named(self.site)):
            raise AirflowSkipException(f"site {self.site} asks for no approval here")
        self.subject = f"{self.title}: {self._asked()}?"
        self.body = as_list([*self.plan["lines"], *(f"before: {line}" for line in (self.gates or {}).get("lines", ()))])
        note_asked(job_of(self.site, context), self.plan)
        return super().execute(context)

    def _asked(self) -> str:
        if self.rest:
            return f"go on after {self.plan['waves'][0][0]}"
        if action := self.plan.get("action"):
            return f"{action} {self.plan['name']}"
        return f"update {', '.join(self.plan['changes'])}"

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        job = job_of(self.site, context)
        who = approver_of(event, needed=False) or "nobody in time"
        act = job.act(
            "approve_change", cluster_of(job).namespace, command=f"ask: {self.plan['lines'][0]}", approver=who
        )
        with job.ledger.record(act) as entry:
            try:
                answer = super().execute_complete(context, event)
            except HITLRejectException as error:
                raise RolloutRefused(
                    f"not approved ({who}): {self.plan['lines'][0]}", hint="ask why; then start a new run"
                ) from error
            entry.note(light="green", summary=f"approved by {who}")
            return answer

    def _is_needed(self, site: Site) -> bool:
        if site.cluster is None:
            return True
        if self.plan.get("action") != "scale":
            return site.cluster.approval
        return any(one.name == self.plan["name"] and one.approve_scale for one in site.cluster.deployments)


class WaitingOperator(UpkeepOperator):
    """Carries out a duty that returns either its result or what it waits for, and waits in the triggerer."""

    def go_on(self, job: Job, context: Context) -> Wait | dict[str, Any]:
        raise NotImplementedError

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return self._result(job, context)

    def resume(self, context: Context, event: Any = None) -> dict[str, Any]:
        """The trigger only wakes: what became of the rollout is looked up again."""
        try:
            return self._result(job_of(self.site, context), context)
        except UpkeepError as error:
            fold(error)
            raise

    def _result(self, job: Job, context: Context) -> dict[str, Any]:
        found = self.go_on(job, context)
        if isinstance(found, Wait):
            self._wait(job, found)
        return found

    def _wait(self, job: Job, found: Wait) -> NoReturn:
        cluster = cluster_of(job)
        log.info("waiting for %s until %s", ", ".join(found.names) or "the gates", found.until.isoformat())
        self.defer(
            trigger=RolloutTrigger(
                conn_id=cluster.conn_id, namespace=cluster.namespace, names=list(found.names),
                until=found.until.isoformat(),
            ),
            method_name="resume",
            timeout=max(found.until - datetime.now(UTC), timedelta()) + GRACE,
        )  # fmt: skip


class RollOutOperator(WaitingOperator):
    """Carry out the plan, or with ``first_only`` its canary. Clearing it goes on where it was."""

    template_fields = ("plan", "approval", "rest")

    def __init__(self, *, plan: Any, approval: Any, rest: Any = None, first_only: bool = False, **kwargs: Any) -> None:
        """``rest``: the answer to what follows a canary, which needs its own."""
        super().__init__(**kwargs)
        self.plan = plan
        self.approval = approval
        self.rest = rest
        self.first_only = first_only

    def go_on(self, job: Job, context: Context) -> Wait | dict[str, Any]:
        if not self.plan:
            raise AirflowSkipException("there is nothing to roll out")
        if self.first_only and not is_canary(self.plan):
            raise AirflowSkipException("this run has no canary")
        cluster, dry_run = cluster_of(job), is_dry(context)
        needed = cluster.approval and not dry_run
        approver = approver_of(self.approval, needed, cluster.approvers)
        if is_canary(self.plan) and not self.first_only:
            approver = approver_of(self.rest, needed, cluster.approvers)
        return roll_out(
            job,
            self.plan,
            approver=approver,
            first_only=self.first_only,
            dry_run=dry_run,
        )


class RollBackOperator(WaitingOperator):
    """Take back what this run changed unless it came to a good end; skipped where there is nothing to take back."""

    def go_on(self, job: Job, context: Context) -> Wait | dict[str, Any]:
        found = roll_back(job)
        if isinstance(found, dict) and not found.get("back"):
            raise AirflowSkipException(f"{found['verdict']}: {found.get('reason', '')}")
        return found


class PlanActionOperator(UpkeepOperator):
    """Plan the undo, the restart or the scaling that the form asks for."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        name, replicas = str(params["deployment"]), params.get("replicas")
        if replicas is not None and params["action"] != "scale":
            raise RolloutRefused(
                f"the form asks to {params['action']} {name}, and for {replicas} replicas",
                hint="choose scale, or leave Replicas empty; nothing was changed",
            )
        match params["action"]:
            case "undo":
                return plan_undo(job, name)
            case "restart":
                return plan_restart(job, name)
            case _:
                return plan_scale(job, name, replicas)


class ApplyActionOperator(WaitingOperator):
    """Carry out one planned action, once, and confirm its result."""

    template_fields = ("plan", "approval")

    def __init__(self, *, plan: Any, approval: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.approval = approval

    def go_on(self, job: Job, context: Context) -> Wait | dict[str, Any]:
        duty = {"undo": undo, "restart": restart, "scale": scale}[self.plan["action"]]
        is_scale = self.plan["action"] == "scale"
        needed = deployment_of(job, self.plan["name"]).approve_scale if is_scale else cluster_of(job).approval
        dry_run = is_dry(context)
        approver = approver_of(self.approval, needed and not dry_run, cluster_of(job).approvers)
        return duty(job, self.plan, approver=approver, dry_run=dry_run)


def is_canary(plan: Mapping[str, Any]) -> bool:
    return plan["strategy"] == "canary" and len(plan["waves"]) > 1
