"""Plan a rolling update: what runs now by digest, what would run, and why it can't work where it can't."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from upkeep.domain.rollout_plan import Item, Strategy, order_waves, plan_item
from upkeep.duties.cluster_work import cluster_of, deployment_of, is_done, opened
from upkeep.duties.job import Job
from upkeep.duties.roll_out import FINISH
from upkeep.errors import RolloutRefused

log = logging.getLogger(__name__)

DUTY = "plan_rollout"
SHOWN = 20
LINE_CHARS = 250
"""As much of the lines as the ledger has room for; the task's result and its log have all of them."""


def plan_rollout(job: Job, asked: Mapping[str, str], strategy: Strategy = "all") -> dict[str, Any]:
    """The plan of one run, as JSON: ``changes`` by deployment, ``waves`` of their names, ``lines`` for people.

    :param asked: by deployment a tag, a digest or a whole image.

    Errors: ``RolloutRefused`` with every reason at once; ``SourceError``; ``SiteFileError``.
    """
    cluster = cluster_of(job)
    act = job.act(DUTY, cluster.namespace, command=f"plan {strategy}: {_in_words(asked)}")
    with job.ledger.record(act) as entry:
        if not asked:
            raise RolloutRefused("nothing was asked for", hint="name an image for at least one deployment in the form")
        sections = {name: deployment_of(job, name) for name in asked}
        run_id = "" if is_done(job, FINISH, cluster.namespace) else job.run.run_id
        with opened(job) as deployments:
            around = deployments.surroundings()
            items = [
                plan_item(live, asked[name], sections[name].container, around, run_id)
                for name, live in deployments.read_all(list(asked)).items()
            ]
        lines = [item.line() for item in items]
        changes = {
            item.name: _change(item, sections[item.name].timeout_s) for item in items if item.verdict == "change"
        }
        after = {deployment.name: deployment.after for deployment in cluster.deployments}
        waves = order_waves([deployment.name for deployment in cluster.deployments if deployment.name in changes],
                            after, strategy)  # fmt: skip
        if strategy == "canary" and len(waves) == 1:
            lines.append("note: this is not a canary: one deployment is changed, so none follows that it could warn")
        for line in lines:
            log.info("%s", line)
        entry.note(lines=[line[:LINE_CHARS] for line in lines[:SHOWN]], waves=waves, strategy=strategy, **_light(items))
        if refused := [item for item in items if item.verdict == "refused"]:
            raise RolloutRefused(
                f"the rolling update of {cluster.namespace} is refused, nothing was changed: "
                + "; ".join(f"{item.name}: {', '.join(item.reasons)}" for item in refused),
                hint="fix what is named, or leave these deployments out of the form",
            )
    return {"strategy": strategy, "changes": changes, "waves": waves, "lines": lines}


def _change(item: Item, timeout_s: int) -> dict[str, Any]:
    return {
        "container": item.container, "before": item.before, "after": item.after, "revision": item.revision,
        "replicas": item.replicas, "scaler": item.scaler, "template": item.template, "timeout_s": timeout_s,
    }  # fmt: skip


def _light(items: list[Item]) -> dict[str, Any]:
    by_verdict = {
        verdict: [item.name for item in items if item.verdict == verdict]
        for verdict in ("change", "nothing", "refused")
    }
    said = {"change": "to change", "nothing": "nothing to do for", "refused": "refused"}
    return {
        "light": "red" if by_verdict["refused"] else "green",
        "summary": "; ".join(f"{said[verdict]}: {', '.join(names)}" for verdict, names in by_verdict.items() if names),
    }


def _in_words(asked: Mapping[str, str]) -> str:
    return ", ".join(f"{name} -> {wanted}" for name, wanted in asked.items())
