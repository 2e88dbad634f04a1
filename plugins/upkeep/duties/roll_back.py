"""Take back what this run has changed, if it didn't come to a good end; confirm that it moved; look at the gates again.

What was changed is read from the ledger and from the marks on the Deployments, never from Airflow. All of it goes back
at once, each Deployment to the template of the revision that it had before this run. One that somebody else has changed
since is left alone, and told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.gates import compare_gates
from upkeep.domain.rollout import Json, Live, Mark, only_the_image_lies_between, revision_to_restore
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
    deployment_of,
    held,
    is_done,
    opened,
    require_progress,
)
from upkeep.duties.job import Job
from upkeep.duties.roll_out import FINISH, PODS
from upkeep.errors import RollbackFailed, RolloutFailed, RolloutRefused, SourceError

if TYPE_CHECKING:
    from upkeep.engines.deployments import Deployments

log = logging.getLogger(__name__)

CONFIRM, FINISH_BACK = "confirm_rollback", "finish_rollback"
RESULT = ("verdict", "back", "light", "summary")
GONE = 404


def roll_back(job: Job) -> Wait | dict[str, Any]:
    """What to wait for, or what came of it: ``verdict`` is ``nothing to take back`` or ``rolled back, healthy``.

    Errors: ``RollbackFailed`` ("rolled back, still failing", or what could not be taken back); ``SourceError``.
    """
    namespace = cluster_of(job).namespace
    if is_done(job, FINISH, namespace):
        return {"verdict": "nothing to take back", "reason": "the rolling update came to a good end"}
    changed = list(dict.fromkeys(record.started.target for record in acts_of(job, CHANGE)))
    if not changed:
        return {"verdict": "nothing to take back", "reason": "this run has changed nothing"}
    if done := is_done(job, FINISH_BACK, namespace):
        return {name: done.detail[name] for name in RESULT}
    with opened(job) as deployments:
        return _Rollback(job, deployments).run(changed)


class _Rollback:
    def __init__(self, job: Job, deployments: Deployments) -> None:
        self._job, self._deployments = job, deployments
        self._left: dict[str, str] = {}
        """What was not taken back, and why."""

    def run(self, changed: Sequence[str]) -> Wait | dict[str, Any]:
        back = self._undo_all(changed)
        waiting: dict[str, datetime] = {}
        stuck: list[str] = []
        for name in back:
            live = self._deployments.read(name)
            try:
                if not self._confirm(live) and live.mark:
                    waiting[name] = live.mark.deadline
            except RolloutFailed as error:
                stuck.append(error.message)
        if waiting:
            return Wait(min(waiting.values()), tuple(waiting))
        return self._finish(back, stuck)

    def _undo_all(self, changed: Sequence[str]) -> list[str]:
        """One that can't be read or changed keeps none of the others from going back; it is raised after them."""
        back, away = [], None
        for name in reversed(changed):  # those that depend on others were updated last, and go first
            try:
                if self._undo(name):
                    back.append(name)
            except SourceError as error:
                if getattr(error.__cause__, "status", None) == GONE:
                    self._left[name] = "somebody else has deleted it since"
                else:
                    log.warning("%s is not taken back yet: %s", name, error.message)
                    away = away or error
        if away:
            raise away
        return back

    def _undo(self, name: str) -> bool:
        """Whether it is taken back, now or by an earlier try."""
        with held(self._job):
            live = self._deployments.read(name)
            mark = live.mark
            if mark is None or mark.run != self._job.run.run_id:
                if any(record.state in TOOK_EFFECT for record in acts_of(self._job, CHANGE, name)):
                    self._left[name] = f"somebody else has changed it since: it runs {live.images}"
                return False  # else the try died before its patch
            if mark.act == BACK:
                return True
            if mark.wanted not in live.containers.values():
                self._left[name] = f"somebody else has set its image since: it runs {live.images}"
                return False
            if is_done(self._job, FINISH, cluster_of(self._job).namespace):
                raise RolloutRefused(
                    "the rolling update came to a good end just now, in a task that was given up for dead",
                    hint="nothing was taken back; clear this task, and it says so",
                )
            try:
                before = revision_to_restore(live, mark.previous_revision)
            except RolloutRefused as error:
                self._left[name] = error.message
                return False
            if not only_the_image_lies_between(before, mark, live):
                self._left[name] = f"somebody else has changed its template since: it is at revision {live.revision}"
                return False
            act = self._job.act(
                BACK, name,
                command=f"undo to revision {mark.previous_revision} ({mark.wanted} -> {mark.previous})",
            )  # fmt: skip
            try:
                with self._job.ledger.record(act) as entry:
                    entry.note(before=mark.wanted, after=mark.previous, digests=list(live.digests),
                               revision=live.revision)  # fmt: skip
                    self._patch(live, mark, before)
                    entry.note(light="green", summary=f"taken back: {mark.wanted} -> {mark.previous}")
            except RolloutRefused as error:
                self._left[name] = error.message
                return False
        log.warning("%s: taken back to %s", name, mark.previous)
        return True

    def _patch(self, live: Live, mark: Mark, before: Json) -> None:
        at = clock_of(self._job, live)
        deadline = self._job.now() + timedelta(seconds=deployment_of(self._job, live.name).timeout_s)
        cause = f"upkeep: taken back to {mark.previous} by {self._job.run.run_id}"
        self._deployments.undo(live, before, mark.way_back(live, BACK, at, deadline), cause, dry_run=False)

    def _confirm(self, live: Live) -> bool:
        """Whether image and revision have moved back and its pods are there; recorded once, with what runs then."""
        mark = live.mark
        if is_done(self._job, CONFIRM, live.name) or mark is None:
            return True
        timeout_s = deployment_of(self._job, live.name).timeout_s
        act = self._job.act(CONFIRM, live.name, command=f"confirm {mark.wanted}")
        if not require_progress(self._job, live, mark, timeout_s, act):
            return False
        with self._job.ledger.record(act) as entry:
            if mark.wanted not in live.containers.values() or live.revision <= mark.previous_revision:
                raise RolloutFailed(
                    f"deployment {live.name} was to go back to {mark.wanted}, but runs {live.images} of revision "
                    f"{live.revision}",
                    hint=f"kubectl -n {cluster_of(self._job).namespace} rollout undo deployment/{live.name}",
                )
            seconds = (clock_of(self._job, live) - mark.at).total_seconds()
            entry.note(
                digests=list(live.digests), pods=sorted(live.restarts)[:PODS], revision=live.revision,
                seconds=round(seconds, 1), light="green",
                summary=f"runs {mark.wanted} again: {live.progress.why}, revision {live.revision}, "
                f"after {human_seconds(seconds)}",
            )  # fmt: skip
        return True

    def _finish(self, back: Sequence[str], stuck: Sequence[str]) -> dict[str, Any]:
        """The gates decide what it is called. They get no time to settle: a person waits for this verdict."""
        before = gates.baseline(self._job)
        act = self._job.act(
            FINISH_BACK, cluster_of(self._job).namespace, command=f"finish taking back {', '.join(back)}"
        )
        with self._job.ledger.record(act) as entry:
            found = gates.look(
                self._job, back, self._deployments, None,
                bad=lambda seen: any(one.bad for one in compare_gates(before, seen)),
            )  # fmt: skip
            compared = gates.compare(before, found)
            wrong = [
                *(f"{name} is not taken back: {why}" for name, why in self._left.items()),
                *stuck,
                *(one.line() for one in compared if one.bad),
            ]
            failing = [one.line() for one in compared if one.verdict == "was already failing"]
            verdict = "rolled back, still failing" if wrong else "rolled back, healthy"
            result: dict[str, Any] = {
                "verdict": verdict, "back": list(back), "light": "red" if wrong else "amber",
                "summary": "; ".join([f"{verdict}: {', '.join(back) or 'nothing'}", *wrong, *failing])[
                    : gates.SUMMARY_CHARS
                ],
            }  # fmt: skip
            entry.note(
                **result, gates=[one.line()[: gates.SAID_CHARS] for one in compared[: gates.SHOWN]], left=self._left
            )
            if wrong:
                raise RollbackFailed(
                    f"{verdict}: {'; '.join(wrong)}",
                    hint="see 'still failing' in docs/runbooks/rolling_update.md; once it is fixed, clear this task",
                )
        log.warning("%s", result["summary"])
        return result
