"""Look at the health gates of a site's cluster, before a change and after it.

Gates are the ``health_url`` of every deployment, the site's endpoints, and the pods of the deployments at hand. All
addresses are looked at whatever is updated: what breaks is often what depends on it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from upkeep.domain.gates import Compared, Gate, compare_gates, judge_http, judge_pods
from upkeep.duties.cluster_work import CHANGE, acts_of, cluster_of
from upkeep.duties.job import Job
from upkeep.errors import RolloutRefused
from upkeep.ledger import Entry
from upkeep.site import HttpEndpoint

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

log = logging.getLogger(__name__)

TRIES = 3
PAUSE_S = 1.0
"""A gate is bad when it is bad three times in a row: services need a moment to notice their new pods."""
TIMEOUT_S = 5.0
SAID_CHARS = 150
FAILING_CHARS = 4000
"""What all gates that fail before may say together."""
SHOWN, SUMMARY_CHARS = 30, 1500
"""Together as much as the ledger has room for: of a longer detail it keeps nothing at all."""
DUTY = "check_gates"
Restarts = Mapping[str, Mapping[str, int] | None]
"""By deployment what its pods had restarted when the rollout was done; None: restarts don't count."""


def check_gates_before(job: Job, names: Sequence[str], deployments: Deployments) -> tuple[Gate, ...]:
    """The baseline: how everything was before the change. A gate that fails now is told, and stops nothing.

    Once this run has changed something no other is taken: what the change broke would count as failing before.

    Errors: ``RolloutRefused`` where the ledger has no room for so many: after the change nothing could be told.
    """
    if acts_of(job, CHANGE) and (known := baseline(job)):
        return known
    with recorded(job, f"look at the gates before changing {', '.join(names)}") as entry:
        gates = look(job, names, deployments, None)
        bad = [gate for gate in gates if not gate.ok]
        entry.note(
            stage="before",
            # Short, however many there are: what the ledger has no room for would be no baseline.
            holding=[gate.name for gate in gates if gate.ok],
            failing={gate.name: gate.said[: min(SAID_CHARS, FAILING_CHARS // len(bad))] for gate in bad},
            light="amber" if bad else "green",
            summary="; ".join(f"{gate.name} fails already: {gate.said}" for gate in bad)[:SUMMARY_CHARS]
            or _hold(gates),
            hint="these will not be blamed on the rollout; fix them first if you can" if bad else "",
        )
    if len(baseline(job)) < len(gates):
        raise RolloutRefused(
            f"the ledger has no room for the {len(gates)} gates as they were before the change: {len(bad)} fail",
            hint="mend some of what fails, or take addresses out of the site file, and start anew",
        )
    return gates


def baseline(job: Job) -> tuple[Gate, ...]:
    """This run's newest look before its change, from the ledger."""
    for record in reversed(acts_of(job, DUTY)):
        if record.state == "done" and record.detail.get("stage") == "before":
            return (
                *(Gate(name, True, "it held") for name in record.detail.get("holding", ())),
                *(Gate(name, False, said) for name, said in record.detail.get("failing", {}).items()),
            )
    return ()


def look(
    job: Job,
    names: Sequence[str],
    deployments: Deployments,
    restarts: Restarts | None,
    bad: Callable[[Sequence[Gate]], bool] | None = None,
    replicas: Mapping[str, int] | None = None,
) -> tuple[Gate, ...]:
    """All gates once, or up to three times while they are ``bad``: by default while any of them fails.

    :param replicas: by deployment, how many pods have to be ready; what an autoscaler adds takes its time.
    """
    for number in range(1, TRIES + 1):
        gates = (*_addresses(job), *_pods(names, deployments, restarts or {}, replicas or {}))
        is_bad = bad(gates) if bad else not all(gate.ok for gate in gates)
        if not is_bad or number == TRIES:
            break
        time.sleep(PAUSE_S)
    for gate in gates:
        log.info("gate %s: %s", gate.name, gate.said)
    return gates


def compare(before: Iterable[Gate], after: Iterable[Gate]) -> tuple[Compared, ...]:
    compared = compare_gates(before, after)
    for one in compared:
        log.info("gate %s", one.line())
    return compared


def note_after(entry: Entry, compared: Sequence[Compared], **detail: Any) -> None:
    told = [one for one in compared if one.said or one.verdict == "fixed"]
    bad = [one for one in compared if one.bad]
    failing = [one for one in compared if one.verdict == "was already failing"]
    entry.note(
        **detail,
        gates=[one.line()[:SAID_CHARS] for one in compared[:SHOWN]],
        light="red" if bad else "amber" if failing else "green",
        summary="; ".join(one.line() for one in told)[:SUMMARY_CHARS] or _hold(compared),
    )


def recorded(job: Job, command: str) -> AbstractContextManager[Entry]:
    return job.ledger.record(job.act(DUTY, cluster_of(job).namespace, command=command))


def _hold(gates: Sequence[Any]) -> str:
    return "the gate holds" if len(gates) == 1 else f"{len(gates)} gates hold"


def _addresses(job: Job) -> tuple[Gate, ...]:
    from upkeep.engines.health import endpoint_figures

    asked: list[tuple[str, HttpEndpoint, int | None]] = [
        (of_address(deployment.name), HttpEndpoint(name="gate", url=deployment.health_url, timeout_s=TIMEOUT_S), None)
        for deployment in cluster_of(job).deployments
        if deployment.health_url
    ]
    asked += [(f"endpoint {endpoint.name}", endpoint, endpoint.expect_status) for endpoint in job.site.endpoints]

    def ask(one: tuple[str, HttpEndpoint, int | None]) -> Gate:
        return judge_http(one[0], endpoint_figures(one[1]), expect_status=one[2])

    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(ask, asked))


def of_address(name: str) -> str:
    """The gate of a deployment's own ``health_url``."""
    return f"http {name}"


def of_pods(name: str) -> str:
    """The gate of a deployment's pods."""
    return f"pods {name}"


def _pods(
    names: Sequence[str], deployments: Deployments, restarts: Restarts, replicas: Mapping[str, int]
) -> Iterable[Gate]:
    for name, found in deployments.read_all(names).items():
        wanted = min(found.replicas, replicas.get(name, found.replicas))
        yield judge_pods(of_pods(name), found.ready, wanted, found.restarts, restarts.get(name), found.troubles())
