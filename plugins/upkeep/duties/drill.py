"""Rebuild a whole site from its backups into scratch, measure how long that takes and what would be lost, take it away.

Every target's backup is chosen, trusted, and its scratch found fit before the first byte is fetched -> one target after
the other is restored and compared, in the order in which the site's parts need each other -> while all copies stand,
the site's own checks are asked of them -> the newest rows are looked for -> all is taken away, whatever happened.

**What is measured.** The time to recover (RTO) runs from the choice of backups until the last check held; for each
target it is split into what it waited for the store (fetch), for decrypting and unpacking (decrypt), the rest of the
load, and the comparison with the checks (verify). The loss (RPO) runs back from the drill's start to the moment up to
which everything came back; see ``domain.recovery``.

**What fails it.** A bad backup, as in ``prove``, with a failed proof beside it. A target without a proven backup. A
goal that was missed: the slowest step is named. Infrastructure (no scratch server, no disk, no key) fails it too, but
says nothing about a backup. A database for which the site names no scratch can't be drilled: a remark, and a failure
where the site has goals, for nobody can know whether it meets them.

**Why a kill at any line is safe.** As in ``prove``: each copy's name tells whose it is, and the next drill or the next
proof of that target removes it, under the same hold.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upkeep.domain.drill import STEPS, Goals, Rebuilt, Verdict, judge_drill, pick_backup
from upkeep.domain.proof import ProofLevel
from upkeep.domain.recovery import recovered_until
from upkeep.domain.units import human_seconds
from upkeep.duties.catalogue import Backup, candidates, read_catalogue
from upkeep.duties.comparing import first
from upkeep.duties.job import Job
from upkeep.duties.rebuilding import Rebuilding, RemovedMeanwhile, infrastructure, sweep
from upkeep.duties.scratch import NoScratch
from upkeep.duties.scratches import scratch_of
from upkeep.duties.until import CLOSED, WITHOUT_END, Until
from upkeep.errors import (
    ConnectionUnknown,
    DrillFailed,
    GoalMissed,
    ManifestBroken,
    ObjectMissing,
    ProofFailed,
    RestoreUnavailable,
    UpkeepError,
)
from upkeep.ledger import Entry

log = logging.getLogger(__name__)

SITE = "site"
"""What the act about the whole drill is recorded under."""
ROWS_CHARS, TOTALS_CHARS, SUMMARY_CHARS = 4300, 1000, 1200
"""What is left of a ledger row for the targets' figures, for the last drill's, and for what it all came to."""
WORDS_CHARS = (200, 60, 0)
"""How much each of many targets may say, so that the figures of all of them fit."""
LOOK_BACK = 20
"""Drills among which the last one of the whole site is looked for."""


def drill(
    job: Job,
    *,
    targets: Sequence[str] = (),
    backups: Mapping[str, str] | None = None,
    pick: str | None = None,
    until: Until = WITHOUT_END,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Rebuild the site, or only ``targets`` of it; the figures, in seconds.

    ``backups``: backup ids by target, instead of what ``pick`` (``newest`` or ``random``; default: the site's) chooses.
    ``dry_run``: all but the restore. ``until``: no target's restore begins after it.

    Errors, after every target had its turn: ``ProofFailed`` or ``ManifestBroken`` for the first bad backup, else
    ``RestoreUnavailable``, else ``DrillFailed``, else ``GoalMissed``; ``Busy`` while another run uses a scratch;
    ``Stopped``; ``StoreUnreachable``; ``SiteFileError`` for a target that the site doesn't have.
    """
    for name in (*targets, *(backups or {})):
        job.site.target(name)
    names = [name for name in job.site.drill_order if not targets or name in targets]
    partial = len(names) < len(job.site.drill_order)
    words = f"rebuild {', '.join(names)} of it" if partial else "rebuild the whole site"
    with job.ledger.record(job.act("drill", SITE, command=f"rehearse: {words}" if dry_run else words)) as entry:
        work = _Drill(job, entry, backups or {}, pick or job.site.drill.backups, partial)
        try:
            with ExitStack() as holds:
                for name in names:
                    holds.enter_context(job.ledger.hold(f"{job.site.name}/{name}/scratch"))
                work.prepare(names)
                if not dry_run:
                    work.rebuild(until)
        finally:
            found = work.told(dry_run=dry_run)
            entry.note(**found)
        log.info("%s", found["summary"])
        if error := work.error(dry_run=dry_run):
            raise error
        return {"site": job.site.name, "dry_run": dry_run, **found}


@dataclass
class _Target:
    name: str
    rebuilding: Rebuilding | None = None
    outcome: str = "not tried"
    """``rebuilt``, ``bad``, ``infrastructure``, ``no backup``, ``no scratch``."""
    error: UpkeepError | None = None
    recovered: Rebuilt | None = None
    backup_id: str = ""
    newest: bool = False
    proven: str = ""
    """The rung whose proof was written."""

    def failed(self, outcome: str, error: UpkeepError) -> None:
        self.outcome, self.error = outcome, error
        log.error("%s: %s", self.name, error)


@dataclass
class _Drill:
    job: Job
    entry: Entry
    backups: Mapping[str, str]
    pick: str
    partial: bool
    targets: list[_Target] = field(default_factory=list)
    begun: datetime | None = None
    total_s: float = 0.0
    verdict: Verdict | None = None
    last: dict[str, Any] | None = None

    @property
    def goals(self) -> Goals:
        goals = self.job.site.goals
        return Goals(goals.rto_min * 60, goals.rpo_h * 3600) if goals else Goals()

    @property
    def standing(self) -> list[_Target]:
        return [target for target in self.targets if target.outcome == "rebuilt"]

    def prepare(self, names: Sequence[str]) -> None:
        """Choose backups and find the scratches fit for them, all together."""
        self.targets = [_Target(name) for name in names]
        self.last = self._last()
        scratches = {}
        for target in self.targets:
            try:
                scratches[target.name] = scratch_of(self.job, target.name)
                sweep(self.job, target.name, scratches[target.name])
            except NoScratch as error:
                target.failed("no scratch", error)
            except (RestoreUnavailable, ConnectionUnknown) as error:
                target.failed("infrastructure", infrastructure(error))
        self.begun, self._clock = self.job.now(), time.monotonic()
        beside: dict[str, int] = {}
        for target in self.targets:
            backup = self._choose(target)
            scratch = scratches.get(target.name)
            if backup is None or scratch is None:
                continue
            rebuilding = Rebuilding(self.job, backup, scratch)
            with _Outcome(target):
                rebuilding.check(self.entry, beside=beside.get(scratch.place, 0))
                beside[scratch.place] = beside.get(scratch.place, 0) + rebuilding.plain_bytes
                target.rebuilding = rebuilding

    def _choose(self, target: _Target) -> Backup | None:
        job = self.job
        catalogue = read_catalogue(job.store, job.site.name, target.name)
        has_key = not job.site.encryption or bool(job.site.encryption.identity_conn_id)
        how = self.backups.get(target.name, self.pick)
        pick = pick_backup(
            target.name, candidates(job.store, catalogue), job.now(), how, seed=job.run.run_id, has_key=has_key
        )
        log.info("%s: %s %s", target.name, pick.backup_id or "no backup", pick.reason)
        target.backup_id, target.newest = pick.backup_id, pick.newest
        if not pick.backup_id and target.outcome in ("not tried", "no scratch"):
            target.failed("no backup", DrillFailed(
                f"{job.site.name}/{target.name} could not be rebuilt after a disaster: {pick.reason}",
                hint=f"see upkeep backups {job.site.name} {target.name}; back it up, verify that, then drill again",
            ))  # fmt: skip
        return catalogue.find(pick.backup_id) if pick.backup_id else None

    def rebuild(self, until: Until) -> None:
        """All copies stand until the site's checks were made and the newest rows found."""
        with ExitStack() as copies:
            for target in self.targets:
                if target.rebuilding is None:
                    continue
                until.require_going(
                    f"{target.name} was not rebuilt",
                    hint="what stood is taken away; run the task again for a whole drill",
                )
                if until.is_over(self.job.now()):
                    target.failed("infrastructure", RestoreUnavailable(
                        f"{target.name} was not rebuilt: {CLOSED} at {until.closes_at:%H:%M %Z}",
                        hint="lengthen rhythms.monthly.length_h; this says nothing about the backup",
                    ))  # fmt: skip
                    continue
                self._restore(target, target.rebuilding, copies)
            for target in self.standing:
                self._ask(target)
            self.total_s = round(time.monotonic() - self._clock, 3)
            for target in self.standing:
                self._look_for_newest(target)
        self._judge()

    def _restore(self, target: _Target, rebuilding: Rebuilding, copies: ExitStack) -> None:
        backup_id, place = rebuilding.backup.ref.backup_id, rebuilding.scratch.place
        command = f"restore {backup_id} into {place}"
        with _Outcome(target), self.job.ledger.record(self.job.act("rebuild", target.name, command=command)) as entry:
            entry.note(backup_id=backup_id, where=place)
            copies.enter_context(rebuilding.standing(entry))
            rebuilding.require_alike(entry)
            rebuilding.note(entry)
            target.outcome = "rebuilt"

    def _ask(self, target: _Target) -> None:
        rebuilding = target.rebuilding
        if rebuilding is None:
            raise ValueError(f"{target.name} doesn't stand")
        command = f"ask the site's checks of {rebuilding.backup.ref.backup_id}"
        with _Outcome(target), self.job.ledger.record(self.job.act("rebuild", target.name, command=command)) as entry:
            entry.note(backup_id=rebuilding.backup.ref.backup_id)
            rebuilding.ask(entry)
            rebuilding.require_alike(entry)
            checks = rebuilding.restored.figures.get("checks", 0)
            entry.note(light="green", summary=f"{checks} checks hold while the whole site stands")

    def _look_for_newest(self, target: _Target) -> None:
        rebuilding = target.rebuilding
        if rebuilding is None:
            raise ValueError(f"{target.name} doesn't stand")
        manifest = rebuilding.manifest
        with _Outcome(target):
            try:
                stamps = rebuilding.scratch.stamps(manifest)
            except RestoreUnavailable as error:
                raise infrastructure(error) from error
            rebuilding.restored.notes += stamps.remarks
            moments = (datetime.fromisoformat(moment) for moment in (manifest.started_at, manifest.finished_at))
            recovered = recovered_until(stamps, *moments)
            target.recovered = Rebuilt(
                target.name, target.backup_id, rebuilding.restored.seconds, recovered, target.newest
            )

    def _judge(self) -> None:
        """Proofs and verdict. The rung ``drilled`` is only for copies of a site that stood as a whole."""
        if self.begun is None:
            raise ValueError("nothing was prepared")
        rebuilt = [target.recovered for target in self.standing if target.recovered]
        self.verdict = judge_drill(rebuilt, begun=self.begun, total_s=self.total_s, goals=self.goals)
        stood = all(target.outcome in ("rebuilt", "no scratch") for target in self.targets)
        level = ProofLevel.DRILLED if stood and not self.partial else ProofLevel.RESTORED
        for target in self.standing:
            if target.rebuilding and target.recovered:
                recovered = target.recovered.recovered
                target.rebuilding.prove(
                    level, recovered_until=recovered.at.isoformat(), recovered_by=recovered.by, site_s=self.total_s
                )
                target.proven = level.label

    def error(self, *, dry_run: bool) -> UpkeepError | None:
        """The one that matters most."""
        by_outcome: dict[str, UpkeepError] = {}
        for target in self.targets:
            if target.error:
                by_outcome.setdefault(target.outcome, target.error)
        for outcome in ("bad", "infrastructure", "no backup"):
            if outcome in by_outcome:
                return by_outcome[outcome]
        if "no scratch" in by_outcome and self.job.site.goals:
            first_of = by_outcome["no scratch"]
            return DrillFailed(f"{first_of.message}; so nobody knows whether the goals are met", hint=first_of.hint)
        if self.verdict and self.verdict.breaches and not dry_run:
            return GoalMissed(
                "; ".join(self.verdict.breaches),
                hint="docs/runbooks/monthly.md says what makes each step faster; a backup before the drill, or more "
                "often, loses less",
            )
        return None

    def told(self, *, dry_run: bool) -> dict[str, Any]:
        """What the ledger keeps, the report shows, and the next drill compares itself with."""
        rows = self._rows()
        outcomes = Counter(target.outcome for target in self.targets)
        found: dict[str, Any] = {
            "targets": rows,
            "outcomes": dict(outcomes),
            "proven": dict(Counter(target.proven for target in self.targets if target.proven)),
            "stood": self.verdict is not None and outcomes.keys() <= {"rebuilt", "no scratch"},
            "partial": self.partial,
            "dry_run": dry_run,
            "goals": {name: value for name, value in vars(self.goals).items() if value is not None},
            "last": self.last,
        }
        verdict = self.verdict
        error = self.error(dry_run=dry_run)
        unfinished = self.verdict is None and not dry_run
        light = "red" if error or unfinished else "amber" if any(target.error for target in self.targets) else "green"
        counted = f"{len(self.standing)} of {len(self.targets)} targets"
        if verdict is None:
            ready = [target.name for target in self.targets if target.rebuilding]
            would = f"would rebuild {_some(ready, ', ', SUMMARY_CHARS // 2) or 'nothing'}"
            words = would if dry_run else f"rebuilt {counted}, then stopped"
        else:
            found |= {"begun": str(self.begun), "rto_s": verdict.rto_s, "slowest": list(verdict.slowest)}
            lost = "from older backups, so their loss is not judged" if self.standing else "nothing of it"
            if verdict.rpo_s is not None:
                found["rpo_s"] = round(verdict.rpo_s)
                lost = f"with {human_seconds(verdict.rpo_s)} lost{_against(self.goals.rpo_s)}"
            words = (
                f"rebuilt {counted} in {human_seconds(verdict.rto_s)}{_against(self.goals.rto_s)}, {lost}; "
                f"{verdict.slowest_words}"
            )
            if self.last and not self.partial:
                words += f"; last time {human_seconds(self.last['rto_s'])}"
        if unsaid := len(self.targets) - len(rows):
            words += f"; the drill's own row has no room for {unsaid} targets: their restores tell their figures"
        left = [f"{target.name}: {target.outcome}" for target in self.targets if target.error]
        return {
            "light": light,
            "summary": "; ".join(filter(None, (words, _some(left, "; ", SUMMARY_CHARS - len(words))))),
            "hint": error.hint if error else next((one.error.hint for one in self.targets if one.error), ""),
            **found,
        }

    def _rows(self) -> list[dict[str, Any]]:
        """In the drill's order. Where even their figures have no room, those that did not stand are told first."""
        rows = sorted((self._row(target) for target in self.targets), key=lambda row: row["outcome"] == "rebuilt")
        kept: list[dict[str, Any]] = []
        for chars in WORDS_CHARS:
            short = [{**row, **{name: row[name][:chars] for name in ("by", "why") if name in row}} for row in rows]
            kept = first(ROWS_CHARS, short)
            if len(kept) == len(rows):
                break
        order = [target.name for target in self.targets]
        return sorted(kept, key=lambda row: order.index(row["target"]))

    def _row(self, target: _Target) -> dict[str, Any]:
        row: dict[str, Any] = {"target": target.name, "outcome": target.outcome, "backup_id": target.backup_id}
        if target.rebuilding and target.rebuilding.restored.seconds:
            seconds = target.rebuilding.restored.seconds
            row |= {step: seconds[step] for step in (*STEPS, "total") if step in seconds}
        if target.recovered and self.begun:
            recovered = target.recovered.recovered
            row["rpo_s"] = max(0, round((self.begun - recovered.at).total_seconds()))
            row["by"] = recovered.by
        if target.error:
            row["why"] = target.error.message
        return row

    def _last(self) -> dict[str, Any] | None:
        """The last drill by another run in which the whole site stood, whether it met its goals or not."""
        job = self.job
        for record in job.ledger.acts(job.site.name, duty="drill", target=SITE, limit=LOOK_BACK, newest_first=True):
            detail = record.detail
            if detail.get("stood") and not detail.get("partial") and record.started.run_id != job.run.run_id:
                totals = [(row["target"], row["total"]) for row in detail["targets"] if "total" in row]
                figures = {name: detail.get(name) for name in ("rto_s", "rpo_s")}
                return {"at": record.started.at, **figures, "totals": dict(first(TOTALS_CHARS, totals))}
        return None


class _Outcome:
    """Keeps what becomes of one target, so that the others have their turn."""

    def __init__(self, target: _Target) -> None:
        self._target = target

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if isinstance(error, ProofFailed | ManifestBroken):
            self._target.failed("bad", error)
        elif isinstance(error, RestoreUnavailable):
            self._target.failed("infrastructure", error)
        elif isinstance(error, ObjectMissing):
            self._target.failed("infrastructure", infrastructure(error))
        elif isinstance(error, RemovedMeanwhile):
            message = f"the backup of {self._target.name} was removed while the drill began"
            self._target.failed("infrastructure", RestoreUnavailable(message, hint="run the task again"))
        else:
            return False
        return True


def _some(words: Sequence[str], joint: str, chars: int) -> str:
    kept = first(chars, words)
    return joint.join(kept if len(kept) == len(words) else [*kept, f"and {len(words) - len(kept)} more"])


def _against(goal_s: float | None) -> str:
    return f" (goal {human_seconds(goal_s)})" if goal_s is not None else ""
