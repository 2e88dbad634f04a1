"""What the duties that change Deployments share: where they work, what they wait for, and when waiting is over.

None of them waits itself. Each call does all that can be done now, and returns either its result or what it waits for:
a trigger in Airflow, a loop elsewhere, then calls it again. Everything it needs then it finds in the ledger and on the
Deployments, so it makes no difference whether it is called again at once, by another process, or after a power cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from upkeep.domain.rollout import Live, Mark
from upkeep.domain.rollout_plan import agreed
from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.errors import RolloutFailed, RolloutRefused, SiteFileError
from upkeep.ledger import Act, Hold, Record
from upkeep.site import Cluster, Deployment

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

CHANGE, BACK = "roll_out", "roll_back"
"""The acts that change a Deployment, in the ledger and in the mark: a rolling update's, and its way back's."""
TOOK_EFFECT = ("done", "skipped")
"""A change's row is skipped where an earlier try had made it."""
ASK = "ask_approval"
SHOWN, LINE_CHARS = 20, 350
"""As much of a plan's lines as the ledger has room for; the task's result and its log have all of them."""
HOLD_WAIT_S = 15.0
"""A change takes well under a second; whoever holds the lock for longer has lost the cluster."""


@dataclass(frozen=True)
class Wait:
    """Call the duty again once the rollouts of ``names`` are all done or one of them failed, and at ``until`` at the
    latest. Without names: at ``until``.
    """

    until: datetime
    names: tuple[str, ...] = ()


def cluster_of(job: Job) -> Cluster:
    if job.site.cluster is None:
        raise SiteFileError(f"site {job.site.name!r} has no cluster", hint="describe it under cluster in its site file")
    return job.site.cluster


def deployment_of(job: Job, name: str) -> Deployment:
    cluster = cluster_of(job)
    for deployment in cluster.deployments:
        if deployment.name == name:
            return deployment
    raise SiteFileError(
        f"site {job.site.name!r} lists no deployment {name!r}",
        hint=f"add it under cluster.deployments; listed are {', '.join(one.name for one in cluster.deployments)}",
    )


@contextmanager
def opened(job: Job) -> Iterator[Deployments]:
    from upkeep.engines.deployments import Deployments

    cluster = cluster_of(job)
    with Deployments(job.connect(cluster.conn_id), cluster.namespace) as deployments:
        yield deployments


def held(job: Job) -> AbstractContextManager[Hold]:
    """Keep every other run from changing Deployments of this site for a moment. Errors: ``Busy``."""
    return job.ledger.hold(f"{job.site.name}/{cluster_of(job).name}/rollout", wait_s=HOLD_WAIT_S)


def clock_of(job: Job, live: Live) -> datetime:
    """The API server's time, when it was read; the worker's where the server didn't tell."""
    return live.read_at or job.now()


def acts_of(job: Job, duty: str, target: str | None = None) -> list[Record]:
    """What this run has done, whichever task and try did it, oldest first."""
    return job.ledger.acts(job.site.name, run_id=job.run.run_id, duty=duty, target=target)


def is_done(job: Job, duty: str, target: str) -> Record | None:
    return next((record for record in acts_of(job, duty, target) if record.state == "done"), None)


def note_asked(job: Job, plan: Mapping[str, Any]) -> None:
    """Keep what somebody is asked to approve. What they then see can't be read from Airflow afterwards: a plan whose
    task is cleared takes the place of the one before it.
    """
    act = job.act(ASK, cluster_of(job).namespace, command=f"ask: {plan['lines'][0]}")
    with job.ledger.record(act) as entry:
        lines = agreed(plan)
        entry.note(agreed=[line[:LINE_CHARS] for line in lines[:SHOWN]], digest=_digest(lines),
                   light="green", summary="waits for an answer")  # fmt: skip


def require_agreed(job: Job, plan: Mapping[str, Any]) -> None:
    """Where this run has asked somebody, it was about this very plan.

    Errors: ``RolloutRefused`` with the difference.
    """
    asked = [record.detail for record in acts_of(job, ASK) if record.state == "done"]
    lines = agreed(plan)
    if not asked or asked[-1]["digest"] == _digest(lines):
        return
    lines = [line[:LINE_CHARS] for line in lines]
    seen = asked[-1]["agreed"]
    gone, come = ([line for line in one if line not in other] for one, other in ((seen, lines), (lines, seen)))
    raise RolloutRefused(
        f"this is not the plan that was approved: approved was {'; '.join(gone) or 'more'}; "
        f"now it is {'; '.join(come) or 'less'}",
        hint="clear the approval with all that comes after it, so that somebody sees this plan; or start a new run",
    )


def _digest(lines: list[str]) -> str:
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def require_progress(job: Job, live: Live, mark: Mark, timeout_s: float, act: Act) -> bool:
    """Whether the rollout that the mark speaks of is done.

    Errors: ``RolloutFailed`` when it never will be, or not in time; recorded as ``act``.
    """
    progress, namespace = live.progress, cluster_of(job).namespace
    if progress.state == "done":
        return True
    late = job.now() >= mark.deadline
    if progress.state == "waiting" and not late:
        return False
    with job.ledger.record(act):
        if not live.seen:  # the pods are those from before the change, whatever they say
            raise RolloutFailed(
                f"the rollout of {live.name} failed: no controller has looked at it within {human_seconds(timeout_s)}: "
                "no pod was changed, so the image isn't to blame",
                hint="is kube-controller-manager running? kubectl -n kube-system get pods,leases; "
                "what is set on the Deployment takes effect once it is back",
            )
        why = f"not finished within {human_seconds(timeout_s)}: {progress.why}" if late else progress.why
        troubles = live.troubles()
        raise RolloutFailed(
            "; ".join([f"the rollout of {live.name} failed: {why}", *troubles]),
            hint=f"kubectl -n {namespace} describe deployment/{live.name}; "
            + ("the pods' own words are above" if troubles else "no pod says why: is kube-controller-manager running?"),
        )
