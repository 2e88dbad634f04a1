"""Operators of a restore by hand: planned, for what is live approved by a person, and resumable at every step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from upkeep.domain.restoring import DESTINATIONS, RestoreRequest, moment_of
from upkeep.duties.job import Job
from upkeep.duties.restore import plan_restore, restore
from upkeep.duties.restore_over import Waivers, bring_beside, let_write, secure_live, stop_writes, swap_live
from upkeep.duties.restore_rows import restore_rows
from upkeep.errors import ObjectMissing, RestoreRefused
from upkeep.operators.approval import PersonApprovalOperator, approver_of, as_list
from upkeep.operators.base import UpkeepOperator, is_dry
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

DECIDED: tuple[type[BaseException], ...] = (RestoreRefused, ObjectMissing)
"""A second try meets these again; a person has to act first."""


WAIVED = {
    "waive_stop": "applications may go on writing, because",
    "waive_backup": "no fresh backup first, because",
}


def restore_form(site: Site) -> dict[str, Param]:
    names = [target.name for target in site.targets]
    return {
        "target": Param(names[0], type="string", enum=names, title="Target", description="What to restore."),
        "destination": Param(
            "beside", type="string", enum=list(DESTINATIONS), title="Where to",
            values_display={
                "beside": "beside: on the live server under another name",
                "scratch": "scratch: into the scratch server",
                "tables": "tables: beside, with the rows of single tables only",
                "rows": "rows: purged rows back into their table",
                "over": "OVER LIVE: in the place of the live database; asks for an approval",
            },
            description="Only the last two change anything that is there.",
        ),
        "before": Param(
            None, type=["null", "string"], format="date-time", title="Newest before",
            description="The newest proven backup before this moment, in the zone that is shown; empty: before now.",
        ),
        "backup_id": Param(
            None, type=["null", "string"], pattern=r"^\d{8}T\d{6}Z-[0-9a-f]{4}$", title="Or this very backup",
            description="Its id, as in 20261121T020003Z-0a1b.",
        ),
        "tables": Param(
            None, type=["null", "array"], items={"type": "string"}, title="Tables",
            description="For tables and rows: which, one to a line. Empty for the others, which take all of it.",
        ),
        "waive_stop": Param(
            None, type=["null", "string"], title=f"Over live: {WAIVED['waive_stop']}",
            description="Instead of the site's stop_writes. What they write until the swap is in the old one only.",
        ),
        "waive_backup": Param(
            None, type=["null", "string"], title=f"Over live: {WAIVED['waive_backup']}",
            description="When what is live can't be backed up any more. It is kept under another name all the same.",
        ),
    }  # fmt: skip


class PlanRestoreOperator(UpkeepOperator):
    """Choose the backup and say what would be lost. The choice holds for the whole run, also after it is cleared."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params, request = context["params"], _request(job, context)
        if request.destination == "rows":
            found = [restore_rows(job, request.target, table, "all", dry_run=True) for table in request.tables]
            lines = [
                f"{one['table']}: {one['rows_archived']:,} rows of {len(one['archives'])} archives" for one in found
            ]
            return {"lines": lines, "backup_id": None, "destination": "rows"}
        plan = plan_restore(job, request)
        lines = list(plan.lines())
        for name, says in WAIVED.items():
            if request.destination == "over" and params.get(name):
                lines.append(f"{says}: {params[name]}")
        for line in lines:
            log.info("%s", line)
        return {"lines": lines, "backup_id": plan.backup_id, "destination": request.destination}


class RestoreStepOperator(UpkeepOperator):
    """One step behind the plan; ``only_over``: skipped unless the form says over live."""

    template_fields: Sequence[str] = ("plan",)
    only_over = True

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        request = _request(job, context, self.plan)
        if self.only_over and request.destination != "over":
            raise AirflowSkipException(f"{request.destination} leaves what is live as it is")
        return self.step(job, context, request)

    def step(self, job: Job, context: Context, request: RestoreRequest) -> dict[str, Any]:
        raise NotImplementedError


class SecureLiveOperator(RestoreStepOperator):
    """Have a proven backup of what is live, not older than an hour."""

    def step(self, job: Job, context: Context, request: RestoreRequest) -> dict[str, Any]:
        waived = str(context["params"].get("waive_backup") or "")
        return secure_live(job, request, waived=waived, dry_run=is_dry(context))


class ApproveRestoreOperator(PersonApprovalOperator):
    """Ask a person, with the plan before their eyes. No answer in time is a no; a no fails the run."""

    template_fields = (*PersonApprovalOperator.template_fields, "plan")

    def __init__(self, *, site: Site, plan: Any, **kwargs: Any) -> None:
        super().__init__(
            subject=f"{site.title}: may what is live be replaced?",
            approvers=site.approval.approvers,
            timeout_h=site.approval.timeout_h,
            **kwargs,
        )
        self.title = site.title
        self.plan = plan

    def execute(self, context: Context) -> Any:
        # The run's own word, as the steps behind it: an XCom can be changed through the API.
        destination = context["params"]["destination"]
        if destination != "over":
            raise AirflowSkipException(f"{destination} leaves what is live as it is")
        if is_dry(context):
            raise AirflowSkipException("a dry run changes nothing")
        self.subject = f"{self.title}: may {context['params']['target']} be replaced by a backup?"
        self.body = as_list(self.plan["lines"])
        return super().execute(context)


class ApprovedStepOperator(RestoreStepOperator):
    """One step that a person has agreed to."""

    template_fields = ("plan", "approval")

    def __init__(self, *, approval: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approval = approval


class StopWritesOperator(ApprovedStepOperator):
    """Keep applications from writing, by the site's hook."""

    def step(self, job: Job, context: Context, request: RestoreRequest) -> dict[str, Any]:
        dry_run = is_dry(context)
        approver = approver_of(self.approval, not dry_run, job.site.approval.approvers)
        return stop_writes(job, request, waived=_waivers(context).writes, approver=approver, dry_run=dry_run)


class RestoreBackupOperator(RestoreStepOperator):
    """Load the backup where the form says, and compare it."""

    only_over = False

    def step(self, job: Job, context: Context, request: RestoreRequest) -> dict[str, Any]:
        if request.destination == "rows":
            dry_run = is_dry(context)
            return {table: restore_rows(job, request.target, table, "all", dry_run=dry_run) for table in request.tables}
        if is_dry(context):
            return {"dry_run": True, "plan": self.plan["lines"]}
        return bring_beside(job, request) if request.destination == "over" else restore(job, request)


class SwapLiveOperator(ApprovedStepOperator):
    """Put the copy in the place of what is live, which stays under a dated name."""

    def step(self, job: Job, context: Context, request: RestoreRequest) -> dict[str, Any]:
        if is_dry(context):
            raise AirflowSkipException("a dry run changes nothing")
        approver = approver_of(self.approval, True, job.site.approval.approvers)
        return swap_live(job, request, approver=approver, waivers=_waivers(context))


class LetWriteOperator(RestoreStepOperator):
    """Let applications write again, whatever became of the restore; not in the middle of a swap."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        params = context["params"]
        if params["destination"] != "over" or is_dry(context):
            raise AirflowSkipException("nobody was kept from writing")
        return let_write(job, str(params["target"]))


def _request(job: Job, context: Context, plan: Any = None) -> RestoreRequest:
    params = context["params"]
    if plan:
        backup_id, before = plan["backup_id"], None
    else:
        backup_id, text = params.get("backup_id"), params.get("before")
        before = moment_of(text, job.site.timezone) if text else context["dag_run"].run_after
    return RestoreRequest(
        str(params["target"]), params["destination"], backup_id=backup_id, before=before,
        tables=tuple(params.get("tables") or ()),
    )  # fmt: skip


def _waivers(context: Context) -> Waivers:
    params = context["params"]
    return Waivers(backup=str(params.get("waive_backup") or ""), writes=str(params.get("waive_stop") or ""))
