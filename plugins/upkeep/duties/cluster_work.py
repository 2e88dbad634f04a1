"""What the duties that change Deployments share: where they work, what they wait for, and when waiting is over.

None of them waits itself. Each call does all that can be done now, and returns either its result or what it waits for:
a trigger in Airflow, a loop elsewhere, then calls it again. Everything it needs then it finds in the ledger and on the
Deployments, so it makes no difference whether it is called again at once, by another process, or after a power cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from upkeep.domain.rollout import Live
from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.errors import RolloutFailed, SiteFileError
from upkeep.ledger import Hold, Record
from upkeep.site import Cluster, Deployment

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

CHANGE, BACK = "roll_out", "roll_back"
"""The acts that change a Deployment, in the ledger and in the mark: a rolling update's, and its way back's."""
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


def acts_of(job: Job, duty: str, target: str | None = None) -> list[Record]:
    """What this run has done, whichever task and try did it, oldest first."""
    return job.ledger.acts(job.site.name, run_id=job.run.run_id, duty=duty, target=target)


def is_done(job: Job, duty: str, target: str) -> Record | None:
    return next((record for record in acts_of(job, duty, target) if record.state == "done"), None)


def require_progress(job: Job, live: Live, timeout_s: float) -> bool:
    """Whether its rollout is done. Errors: ``RolloutFailed`` when it never will be, or not in time."""
    progress = live.progress
    if progress.state == "done":
        return True
    mark = live.mark
    late = mark is not None and job.now() >= mark.deadline
    if progress.state == "waiting" and not late:
        return False
    why = f"not finished within {human_seconds(timeout_s)}: {progress.why}" if late else progress.why
    raise RolloutFailed(
        "; ".join([f"the rollout of {live.name} failed: {why}", *live.troubles()]),
        hint=f"kubectl -n {cluster_of(job).namespace} describe deployment/{live.name}; the pods' own words are above",
    )
