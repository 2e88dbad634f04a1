"""One emergency step on one Deployment: undo, restart or scale. Planned, changed once, and its result confirmed.

The mark in the patch keeps a rerun from doing it twice: a second undo would bring back what the first took away.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.rollout import Live, Mark
from upkeep.domain.units import human_seconds
from upkeep.duties import gates
from upkeep.duties.cluster_work import (
    Wait,
    acts_of,
    clock_of,
    cluster_of,
    deployment_of,
    held,
    is_done,
    opened,
    require_agreed,
    require_progress,
)
from upkeep.duties.job import Job
from upkeep.errors import RolloutFailed, RolloutRefused

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What is to be done to a Deployment as it is now."""

    act: str
    wanted: str
    previous: str
    line: str
    """For the person who approves it."""
    patch: Callable[[Deployments, Live, Mark, str, bool], None]
    """deployments, live, mark, change cause, dry run"""
    remarks: tuple[str, ...] = ()


Prepare = Callable[[Live, "Deployments"], Step]
Verify = Callable[[Live, Mark], str]
"""What is wrong with the result, or nothing."""


def plan_step(job: Job, name: str, act: str, prepare: Prepare, **facts: Any) -> dict[str, Any]:
    """The step as JSON for the approval. Errors: ``RolloutRefused``, ``SourceError``, ``SiteFileError``."""
    deployment_of(job, name)
    with (
        job.ledger.record(job.act(f"plan_{act}", name, command=f"plan {act} of {name}")) as entry,
        opened(job) as open_,
    ):
        live = open_.read(name)
        step = prepare(live, open_)
        log.info("%s", step.line)
        lines = [step.line, *(f"note: {remark}" for remark in step.remarks)]
        entry.note(lines=lines, light="green", summary=step.line, digests=list(live.digests), revision=live.revision)
    return {
        "action": act,
        "name": name,
        "wanted": step.wanted,
        "as_it_was": _fingerprint(live, step),
        "lines": lines,
        **facts,
    }


def take_step(
    job: Job, plan: Mapping[str, Any], prepare: Prepare, verify: Verify, *, approver: str, dry_run: bool
) -> Wait | dict[str, Any]:
    """What to wait for, or what came of it. Errors: ``RolloutFailed`` when the result isn't what was wanted;
    ``RolloutRefused`` when the Deployment has changed since the plan; ``SourceError``, ``Busy``.
    """
    name, act = str(plan["name"]), str(plan["action"])
    with opened(job) as deployments:
        if done := is_done(job, f"confirm_{act}", name):
            return dict(done.detail)
        with held(job):
            live = deployments.read(name)
            mark = live.action_mark
            if mark is None or (mark.run, mark.act) != (job.run.run_id, act):
                _change(job, plan, live, prepare(live, deployments), deployments, approver, dry_run)
                if dry_run:
                    return {"dry_run": True, "would": plan["lines"]}
        live = deployments.read(name)
        if (mark := live.action_mark) is None or mark.run != job.run.run_id:
            raise RolloutRefused(
                f"deployment {name} was changed by somebody else meanwhile", hint="look at kubectl rollout history"
            )
        return _confirm(job, live, mark, verify, approver, deployments)


def _change(
    job: Job,
    plan: Mapping[str, Any],
    live: Live,
    step: Step,
    deployments: Deployments,
    approver: str,
    dry_run: bool,
) -> None:
    name = live.name
    if _fingerprint(live, step) != plan["as_it_was"] or acts_done(job, step.act, name):
        raise RolloutRefused(
            f"deployment {name} isn't as it was planned: somebody has changed it since", hint="start a new run"
        )
    mark = Mark(
        run=job.run.run_id, act=step.act, wanted=step.wanted, previous=step.previous, previous_revision=live.revision,
        at=clock_of(job, live), deadline=job.now() + timedelta(seconds=deployment_of(job, name).timeout_s),
    )  # fmt: skip
    cause = f"upkeep: {step.act} by {job.run.actor}, {job.run.run_id}"
    if dry_run:
        step.patch(deployments, live, mark, cause, True)
        return
    require_agreed(job, plan)
    with job.ledger.record(job.act(step.act, name, command=step.line, approver=approver)) as entry:
        entry.note(before=step.previous, after=step.wanted, revision=live.revision, digests=list(live.digests))
        gates.check_gates_before(job, [name], deployments)
        step.patch(deployments, live, mark, cause, False)
        entry.note(light="green", summary=step.line)


def acts_done(job: Job, act: str, name: str) -> bool:
    return any(record.state == "done" for record in acts_of(job, act, name))


def _confirm(
    job: Job, live: Live, mark: Mark, verify: Verify, approver: str, deployments: Deployments
) -> Wait | dict[str, Any]:
    timeout_s = deployment_of(job, live.name).timeout_s
    act = job.act(f"confirm_{mark.act}", live.name, command=f"confirm {mark.wanted}", approver=approver)
    if not require_progress(job, live, mark, timeout_s, act):
        return Wait(mark.deadline, (live.name,))
    with job.ledger.record(act) as entry:
        if wrong := verify(live, mark):
            raise RolloutFailed(
                f"the {mark.act} of {live.name} did not bring what was wanted: {wrong}",
                hint=f"kubectl -n {cluster_of(job).namespace} rollout history deployment/{live.name}",
            )
        seconds = (clock_of(job, live) - mark.at).total_seconds()
        with gates.recorded(job, f"look at the gates after the {mark.act} of {live.name}") as look:
            found_now = gates.look(job, [live.name], deployments, None)
            if not live.replicas:  # nobody is left who could answer, as it was wanted
                found_now = tuple(gate for gate in found_now if gate.name != gates.of_address(live.name))
            compared = gates.compare(gates.baseline(job), found_now)
            gates.note_after(look, compared, stage="after")
        bad = [one for one in compared if one.said]
        found: dict[str, Any] = {
            "name": live.name, "action": mark.act, "images": live.images, "digests": list(live.digests),
            "revision": live.revision, "replicas": live.replicas, "seconds": round(seconds, 1),
            "light": "red" if any(one.bad for one in bad) else "amber" if bad else "green",
            "summary": "; ".join(
                [f"{mark.act} of {live.name}: {live.progress.why} after {human_seconds(seconds)}, runs {live.images}"]
                + [one.line() for one in bad]
            ),
        }  # fmt: skip
        entry.note(**found)
        if any(one.bad for one in bad):
            raise RolloutFailed(str(found["summary"]), hint="the pods are as wanted, but a gate broke: look at its log")
    log.info("%s", found["summary"])
    return found


def _fingerprint(live: Live, step: Step) -> str:
    """Of what the step was planned on, and of what it would bring. The number of replicas belongs to it only where the
    step is about it: an autoscaler may change it at any time.
    """
    return hashlib.sha256(json.dumps([live.template, step.previous, step.wanted], sort_keys=True).encode()).hexdigest()
