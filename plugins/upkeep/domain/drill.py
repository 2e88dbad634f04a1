"""A disaster drill: which backups it rebuilds a site from, and what its figures mean."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from upkeep.domain.proof import ProofLevel
from upkeep.domain.recovery import Recovered
from upkeep.domain.retention import FUTURE_TOLERANCE, Candidate
from upkeep.domain.units import human_seconds, utc

STEPS = ("fetch", "decrypt", "load", "verify")
"""What the time of one target is made of, in seconds that add up; decrypt is unpacking too."""


@dataclass(frozen=True)
class Pick:
    """The backup that one target is rebuilt from, or why there is none. ``newest``: a disaster now would have taken
    this very one.
    """

    target: str
    backup_id: str
    reason: str
    newest: bool = False


def pick_backup(
    target: str, backups: Sequence[Candidate], now: datetime, how: str, *, seed: str, has_key: bool = True
) -> Pick:
    """:param how: ``newest``, ``random``, or a backup's id.
    :param seed: tells one drill from another; a retry of one picks what its first try picked.
    :param has_key: whether the site can open what it encrypts.
    """
    ordered = sorted(backups, key=lambda backup: (backup.taken_at, backup.backup_id), reverse=True)
    if not ordered:
        return Pick(target, "", "it has no backup")
    fit = [backup.backup_id for backup in ordered if not _unfit(backup, now, has_key=has_key)]
    if how not in ("newest", "random"):
        found = next((backup for backup in ordered if backup.backup_id == how), None)
        if found is None:
            return Pick(target, "", f"the store holds no backup {how}")
        why = _unfit(found, now, has_key=has_key)
        return Pick(target, "", f"{how} is {why}") if why else Pick(target, how, "asked for", how == fit[0])
    if not fit:
        newest = ordered[0]
        why = _unfit(newest, now, has_key=has_key)
        return Pick(target, "", f"none of its {len(ordered)} backups is proven; {newest.backup_id} is {why}")
    if how == "newest":
        return Pick(target, fit[0], "the newest that is proven", True)
    chosen = random.Random(f"{seed}/{target}").choice(fit)  # noqa: S311 - a sample, and no secret
    return Pick(target, chosen, f"picked at random from {len(fit)} proven ones", chosen == fit[0])


def _unfit(backup: Candidate, now: datetime, *, has_key: bool) -> str:
    if backup.failed:
        return "damaged"
    if backup.taken_at > utc(now, "now") + FUTURE_TOLERANCE:
        return "dated in the future: check the clocks"
    if not has_key and backup.level < ProofLevel.STRUCTURE:
        return "encrypted, and the site names no identity_conn_id"
    return "" if backup.level >= ProofLevel.STRUCTURE else f"only {backup.level.label}"


@dataclass(frozen=True)
class Rebuilt:
    """One target that stood again. ``seconds`` by step, and ``total``, which also has what lies between them.
    ``newest``: from its newest proven backup; an older one, chosen or drawn, doesn't say what a disaster would cost.
    """

    target: str
    backup_id: str
    seconds: Mapping[str, float]
    recovered: Recovered
    newest: bool = True


@dataclass(frozen=True)
class Goals:
    """In seconds; None where the site sets none."""

    rto_s: float | None = None
    rpo_s: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What the drill measured. ``rpo_s`` is the worst of the targets rebuilt from their newest backup, None where there
    was none; ``breaches`` are goals missed, in words.
    """

    rto_s: float
    rpo_s: float | None
    rpo_target: str
    slowest: tuple[str, str, float] = ("", "", 0.0)
    """Target, step, seconds."""
    breaches: tuple[str, ...] = field(default=())

    @property
    def slowest_words(self) -> str:
        target, step, seconds = self.slowest
        return f"the slowest step was to {step} {target}, {human_seconds(seconds)}" if target else ""


def judge_drill(rebuilt: Sequence[Rebuilt], *, begun: datetime, total_s: float, goals: Goals) -> Verdict:
    """:param begun: the disaster: what was written after a target's recovered moment and before this is lost.
    :param total_s: from then until the last of the site's checks held.
    """
    begun = utc(begun, "a drill's begin")
    losses = {one.target: max(0.0, (begun - one.recovered.at).total_seconds()) for one in rebuilt if one.newest}
    worst = max(losses, key=lambda target: losses[target], default="")
    steps = [(one.target, step, one.seconds.get(step, 0.0)) for one in rebuilt for step in STEPS]
    verdict = Verdict(total_s, losses.get(worst), worst, max(steps, key=lambda step: step[2], default=("", "", 0.0)))
    breaches = []
    if goals.rto_s is not None and total_s > goals.rto_s:
        breaches.append(
            f"the site stood again after {human_seconds(total_s)}, its goal is {human_seconds(goals.rto_s)}: "
            f"{verdict.slowest_words}"
        )
    if goals.rpo_s is not None:
        by = {one.target: one.recovered.by for one in rebuilt}
        breaches += [
            f"{target} lost {human_seconds(lost)}, the goal is {human_seconds(goals.rpo_s)} (by {by[target]})"
            for target, lost in losses.items()
            if lost > goals.rpo_s
        ]
    return Verdict(verdict.rto_s, verdict.rpo_s, verdict.rpo_target, verdict.slowest, tuple(breaches))
