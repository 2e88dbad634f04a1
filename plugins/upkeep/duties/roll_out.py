"""Carry out a planned rolling update, wave by wave: change, wait, look at the gates until they have held long enough.

Each call does what can be done now (see ``cluster_work``). **Why a kill at any line is safe.** The ledger's row stands
before the patch, and the patch carries the run's mark: a rerun finds the mark and goes on from there. Whatever fails,
``roll_back`` finds by the same two what this run has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.gates import compare_gates, with_held
from upkeep.domain.rollout import Live, Mark
from upkeep.domain.rollout_plan import is_mine, why_not, why_not_as_planned, why_not_begin
from upkeep.domain.units import human_seconds
from upkeep.duties import gates
from upkeep.duties.cluster_work import (
    BACK,
    CHANGE,
    TOOK_EFFECT,
    Wait,
    acts_of,
    clock_of,
    cluster_of,
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

CONFIRM, FINISH = "confirm_rollout", "finish_rollout"
LOOKS = 8
"""How often the gates are looked at while they settle."""
LOOK_AT_LEAST_EVERY_S = 10.0
PODS = 100
"""Names of pods that the ledger's row has room for."""


def roll_out(
    job: Job, plan: Mapping[str, Any], *, approver: str, first_only: bool = False, dry_run: bool = False
) -> Wait | dict[str, Any]:
    """What to wait for, or what came of it.

    :param plan: what ``plan_rollout`` returned.
    :param approver: empty where nobody had to be asked.
    :param first_only: the first wave only: a canary.
    :param dry_run: send every patch, but only for the server to check.

    Errors: ``RolloutFailed`` when a rollout fails or a gate broke; ``RolloutRefused`` when a Deployment isn't as it was
    planned, or the plan isn't the one that was approved; ``SourceError``, ``Busy``. Whatever was changed before stays
    changed until ``roll_back``.
    """
    waves = plan["waves"][:1] if first_only else plan["waves"]
    with opened(job) as deployments:
        work = _Rollout(job, plan, approver, deployments)
        if dry_run:
            return work.rehearse(waves)
        if done := is_done(job, FINISH, cluster_of(job).namespace):
            return dict(done.detail)
        work.begin()
        for wave in waves:
            if wait := work.wave(wave):
                return wait
        return {"first": waves[0], "light": "green"} if first_only else work.finish(waves)


class _Rollout:
    def __init__(self, job: Job, plan: Mapping[str, Any], approver: str, deployments: Deployments) -> None:
        self._job, self._plan, self._approver, self._deployments = job, plan, approver, deployments
        self._cluster = cluster_of(job)

    def rehearse(self, waves: Sequence[Sequence[str]]) -> dict[str, Any]:
        names = [name for wave in waves for name in wave]
        for name in names:
            self._patch(self._checked(name), dry_run=True)
            log.info("the server would take the change of %s", name)
        return {"dry_run": True, "would_change": names}

    def begin(self) -> None:
        """All is looked at anew right before the first change: the approval may have taken hours."""
        require_agreed(self._job, self._plan)
        self._require_not_taken_back()
        if not acts_of(self._job, CHANGE):
            names = [name for wave in self._plan["waves"] for name in wave]
            self._require_as_planned(names)
            gates.check_gates_before(self._job, names, self._deployments)

    def _require_as_planned(self, names: Sequence[str]) -> None:
        """Every difference at once, while nothing has been changed."""
        around = self._deployments.surroundings()
        said = []
        for name, live in self._deployments.read_all(names).items():
            change = self._plan["changes"][name]
            if reasons := [*_why_refused(live, change), *why_not_begin(live, change, around)]:
                said.append(f"{name}: {', '.join(reasons)}")
        if said:
            raise RolloutRefused(
                f"not as it was planned, so nothing was changed: {'; '.join(said)}",
                hint="plan again: start a new run of the DAG",
            )

    def wave(self, names: Sequence[str]) -> Wait | None:
        """None when all of it is updated and has settled."""
        if self._has_settled(names):
            for live in self._deployments.read_all(names).values():  # a canary may have waited a night for its answer
                if not self._is_applied(live):
                    raise self._changed_by_somebody(live)
            return None
        for name in names:
            self._apply(name)
        waiting: dict[str, datetime] = {}
        for name, live in self._deployments.read_all(names).items():
            if live.mark is None or not is_mine(live.mark, self._job.run.run_id):
                raise self._changed_by_somebody(live)
            if not self._confirm(live, live.mark):
                waiting[name] = live.mark.deadline
        if waiting:
            return Wait(min(waiting.values()), tuple(waiting))
        return self._settle(names)

    def finish(self, waves: Sequence[Sequence[str]]) -> dict[str, Any]:
        names = [name for wave in waves for name in wave]
        act = self._job.act(
            FINISH, self._cluster.namespace, command=f"finish {', '.join(names)}", approver=self._approver
        )
        looks = [record.detail for record in acts_of(self._job, gates.DUTY)]
        amber = [look for look in looks if look.get("final") and look.get("light") == "amber"]
        found: dict[str, Any] = {
            "updated": names,
            "light": "amber" if amber else "green",
            "summary": f"{len(names)} deployments updated: {', '.join(names)}"
            + (f"; {amber[-1]['summary']}" if amber else ""),
        }
        with held(self._job):
            # A task that was given up for dead may come this far while the way back is at work.
            self._require_not_taken_back()
            with self._job.ledger.record(act) as entry:
                entry.note(**found)
        return found

    def _require_not_taken_back(self) -> None:
        """A task cleared after the way back would change only the rest of the plan, and call that a good end."""
        if acts_of(self._job, BACK):
            raise RolloutRefused(
                "what this run had changed was taken back by this very run", hint="start a new run of the DAG"
            )

    def _apply(self, name: str) -> None:
        """Change it unless this run has already."""
        with held(self._job):
            self._require_not_taken_back()
            live = self._deployments.read(name)
            change, tries = self._plan["changes"][name], acts_of(self._job, CHANGE, name)
            act = self._job.act(
                CHANGE, name, approver=self._approver,
                command=f"set image {change['container']}={change['after']} (was {change['before']})",
            )  # fmt: skip
            took_effect = any(record.state in TOOK_EFFECT for record in tries)
            if self._is_applied(live):
                if not took_effect:
                    with self._job.ledger.record(act) as entry:
                        entry.skip("an earlier try had changed it already, and died or lost the answer")
                return
            if took_effect:
                # As it was before: somebody has taken it back by hand. To change it again would be to fight them.
                raise self._changed_by_somebody(live)
            live = self._checked(name)
            with self._job.ledger.record(act) as entry:
                entry.note(
                    before=change["before"], after=change["after"], digests=list(live.digests),
                    revision=live.revision, replicas=live.replicas,
                    light="green", summary=f"{change['before']} -> {change['after']}",
                )  # fmt: skip
                self._patch(live, dry_run=False)
            log.info("%s: %s -> %s", name, change["before"], change["after"])

    def _is_applied(self, live: Live) -> bool:
        mark, change = live.mark, self._plan["changes"][live.name]
        if mark is None or (mark.run, mark.act) != (self._job.run.run_id, CHANGE):
            return False
        return bool(mark.wanted == change["after"] == live.containers.get(change["container"]))

    def _checked(self, name: str) -> Live:
        """As it is now, if it still is what was planned."""
        live = self._deployments.read(name)
        if reasons := _why_refused(live, self._plan["changes"][name]):
            raise RolloutRefused(
                f"deployment {name} is not changed: {'; '.join(reasons)}", hint="plan again: start a new run of the DAG"
            )
        return live

    def _patch(self, live: Live, *, dry_run: bool) -> None:
        change = self._plan["changes"][live.name]
        mark = Mark(
            run=self._job.run.run_id, act=CHANGE, wanted=change["after"], previous=change["before"],
            previous_revision=live.revision, at=clock_of(self._job, live),
            deadline=self._job.now() + timedelta(seconds=change["timeout_s"]),
        )  # fmt: skip
        cause = f"upkeep: {change['before']} -> {change['after']} by {self._job.run.actor}, {self._job.run.run_id}"
        self._deployments.set_image(live, change["container"], change["after"], mark, cause, dry_run=dry_run)

    def _confirm(self, live: Live, mark: Mark) -> bool:
        """Whether its rollout is done; recorded once, with what runs then. Errors: ``RolloutFailed``."""
        change = self._plan["changes"][live.name]
        if is_done(self._job, CONFIRM, live.name):
            return True
        timeout_s = float(change["timeout_s"])
        act = self._job.act(CONFIRM, live.name, command=f"confirm {change['after']}", approver=self._approver)
        if not require_progress(self._job, live, mark, timeout_s, act):
            return False
        with self._job.ledger.record(act) as entry:
            if live.containers.get(change["container"]) != change["after"] or live.revision <= mark.previous_revision:
                raise RolloutFailed(
                    f"deployment {live.name} says it is done, but runs {live.images} of revision {live.revision}",
                    hint="somebody changed it meanwhile: look at kubectl rollout history",
                )
            seconds = (clock_of(self._job, live) - mark.at).total_seconds()
            entry.note(
                digests=list(live.digests), pods=sorted(live.restarts)[:PODS], revision=live.revision,
                replicas=live.replicas, restarts={pod: count for pod, count in live.restarts.items() if count},
                seconds=round(seconds, 1), light="green",
                summary=f"{live.progress.why}, revision {live.revision}, after {human_seconds(seconds)}",
            )  # fmt: skip
        return True

    def _settle(self, names: Sequence[str]) -> Wait | None:
        """Look at the gates until they have held for ``settle_s``, also at those of the waves before.

        Errors: ``RolloutFailed`` when one broke.
        """
        confirmed = {one.started.target: one for one in acts_of(self._job, CONFIRM) if one.state == "done"}
        since = max(datetime.fromisoformat(row.at) for name in names if (row := confirmed[name].finished))
        settled_at = since + timedelta(seconds=self._cluster.settle_s)
        final = self._job.now() >= settled_at
        # All of these pods were available when they were confirmed, whatever was wrong with those before them.
        before = with_held(gates.baseline(self._job), [gates.of_pods(name) for name in confirmed])
        restarts = {name: one.detail.get("restarts") for name, one in confirmed.items()}
        replicas = {name: int(one.detail["replicas"]) for name, one in confirmed.items() if "replicas" in one.detail}
        with gates.recorded(self._job, f"look at the gates after changing {', '.join(names)}") as entry:
            found = gates.look(
                self._job, list(confirmed), self._deployments, restarts, replicas=replicas,
                bad=lambda seen: any(one.bad for one in compare_gates(before, seen)),
            )  # fmt: skip
            compared = gates.compare(before, found)
            gates.note_after(entry, compared, stage="after", wave=list(names), final=final)
            if broken := [one for one in compared if one.bad]:
                raise RolloutFailed(
                    f"after the update of {', '.join(names)}: {'; '.join(one.line() for one in broken)}",
                    hint="what this run changed is taken back; compare the logs of the new pods with the old",
                )
        if final:
            return None
        pause_s = max(LOOK_AT_LEAST_EVERY_S, self._cluster.settle_s / LOOKS)
        return Wait(min(settled_at, self._job.now() + timedelta(seconds=pause_s)))

    def _has_settled(self, names: Sequence[str]) -> bool:
        return any(
            record.state == "done" and record.detail.get("final") and record.detail.get("wave") == list(names)
            for record in acts_of(self._job, gates.DUTY)
        )

    @staticmethod
    def _changed_by_somebody(live: Live) -> RolloutRefused:
        return RolloutRefused(
            f"deployment {live.name} was changed by somebody else while it was updated: it runs {live.images}",
            hint="find out who (kubectl rollout history); what this run changed elsewhere is taken back",
        )


def _why_refused(live: Live, change: Mapping[str, Any]) -> list[str]:
    return [*why_not(live), *why_not_as_planned(live, change)]
