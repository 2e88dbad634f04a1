"""What retention keeps, removes and leaves alone: a pure plan with reasons, in the manner of restic's ``forget``.

Only a *good* backup counts: proven at least to the policy's ``counts_from`` and with no failed proof. Good backups are
kept by rules, and removed when no rule keeps them:

- a person pinned it
- it is the newest of a day, week, month or year that has a slot; only periods that hold a good backup use one up
- it is one of the newest ``keep_last`` or ``keep_at_least``
- it is the newest one older than ``max_age_days``
- it is younger than ``min_age_days``

The others wait for their proof, or are evidence. They are left alone for ``min_age_days``, and after that for as long
as good backups are short; then they are removed. So "keep" always means good or pinned.

Where a policy counts from ``restored`` on, a night's backups are whole as far as a night can prove, and wait for the
week's restore, which may be one of a sample. Those that would have a slot if they counted are left alone.

**A crash in the middle is harmless.** What the rules keep depends on kept backups only: the newest of each period, the
newest few. Removing any part of what a plan removes therefore changes no other decision, and planning again yields
the rest of the same plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.units import counted, human_bytes, human_seconds, utc
from upkeep.errors import PolicyRefused

Action = Literal["keep", "remove", "leave"]
Tonight = Literal["proven", "failed", "not run"]

FUTURE_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two workers may differ before a backup counts as dated in the future."""


@dataclass(frozen=True)
class Candidate:
    """One backup as retention sees it.

    :param pinned: who wants it kept and why: ``li.si: audit 2026``.
    :param failed_at: when a proof failed. Without it the time as evidence counts from ``taken_at``, and a backup of
        last year that turns out to be damaged tonight may go tonight.
    """

    site: str
    target: str
    backup_id: str
    taken_at: datetime
    level: ProofLevel
    failed: bool
    size: int
    pinned: str | None = None
    failed_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken_at", utc(self.taken_at, f"taken_at of {self.backup_id}"))
        if self.failed_at is not None:
            object.__setattr__(self, "failed_at", utc(self.failed_at, f"failed_at of {self.backup_id}"))


@dataclass(frozen=True, kw_only=True)
class RetentionPolicy:
    """How many slots each period has, and the limits around them. A day of age is 24 hours.

    ``max_age_days`` ends the slots: a backup older than that keeps none, yet the newest such backup stays until
    another is that old, so every point of the last ``max_age_days`` can be restored. ``keep_last``, ``keep_at_least``
    and pins know no age.
    """

    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    keep_last: int = 0
    keep_at_least: int
    min_age_days: int
    max_age_days: int | None = None
    timezone: str
    counts_from: ProofLevel = ProofLevel.STRUCTURE

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise PolicyRefused(
                f"retention policy refused: {'; '.join(text for text, _ in problems)}",
                hint="; ".join(hint for _, hint in problems),
            )

    def _problems(self) -> Iterator[tuple[str, str]]:
        counts = ("daily", "weekly", "monthly", "yearly", "keep_last")
        for name in (*counts, "min_age_days"):
            if getattr(self, name) < 0:
                yield f"{name} is {getattr(self, name)}", f"set {name} to 0 or more"
        if not any(getattr(self, name) for name in counts):
            yield (
                "it is empty and would keep nothing",
                f"set at least one of {', '.join(counts)}, for example daily: 14",
            )
        if self.keep_at_least < 1:
            yield f"keep_at_least is {self.keep_at_least}", "set keep_at_least to 1 or more"
        if self.max_age_days is not None and self.max_age_days < max(1, self.min_age_days):
            yield (
                f"max_age_days is {self.max_age_days}",
                f"set max_age_days to {max(1, self.min_age_days)} or more, or leave it out",
            )
        if self.counts_from < ProofLevel.CHECKSUM:
            yield (
                f"counts_from is {self.counts_from.label}, which proves nothing",
                "set counts_from to checksum, structure, restored or drilled",
            )
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            yield f"no time zone is called {self.timezone!r}", "set timezone to an IANA name such as Asia/Shanghai"


@dataclass(frozen=True)
class Decision:
    """What happens to one backup, and why; there is always at least one reason."""

    backup: Candidate
    action: Action
    reasons: tuple[str, ...]

    @property
    def backup_id(self) -> str:
        return self.backup.backup_id

    @property
    def why(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class RetentionPlan:
    """One decision for each backup of one target, oldest first. Removing in this order keeps the newest the longest."""

    decisions: tuple[Decision, ...]
    timezone: str

    @property
    def keeps(self) -> tuple[Decision, ...]:
        return self._with("keep")

    @property
    def removes(self) -> tuple[Decision, ...]:
        return self._with("remove")

    @property
    def leaves(self) -> tuple[Decision, ...]:
        return self._with("leave")

    @property
    def removed_bytes(self) -> int:
        return sum(decision.backup.size for decision in self.removes)

    def _with(self, action: Action) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.action == action)

    def lines(self) -> list[str]:
        """The plan as aligned text: a heading, then one line for each reason."""
        if not self.decisions:
            return ["no backups, nothing to decide"]
        zone, first = ZoneInfo(self.timezone), self.decisions[0].backup
        rows = [
            (
                decision.action,
                f"{decision.backup.taken_at.astimezone(zone):%Y-%m-%d %H:%M}",
                decision.backup_id,
                "damaged" if decision.backup.failed else decision.backup.level.label,
                human_bytes(decision.backup.size),
            )
            for decision in self.decisions
        ]
        action, taken, name, level, size = (max(map(len, column)) for column in zip(*rows, strict=True))
        counts = f"keep {len(self.keeps)}, remove {len(self.removes)} ({human_bytes(self.removed_bytes)})"
        lines = [f"{first.site}/{first.target}: {counts}, leave {len(self.leaves)}; times in {self.timezone}"]
        for row, decision in zip(rows, self.decisions, strict=True):
            margin = f"{row[0]:{action}}  {row[1]:{taken}}  {row[2]:{name}}  {row[3]:{level}}  {row[4]:>{size}}"
            for reason in decision.reasons:
                lines.append(f"{margin}  {reason}")
                margin = " " * len(margin)
        return lines


def plan_retention(
    backups: Iterable[Candidate], policy: RetentionPolicy, now: datetime, tonight: Tonight
) -> RetentionPlan:
    """Decide about every backup of one target. Unless tonight's backup is proven, nothing is removed."""
    ordered = _of_one_target(backups)
    rules = _Rules(policy, ordered, utc(now, "now"), tonight)
    return RetentionPlan(tuple(rules.decide(backup) for backup in ordered), policy.timezone)


def _of_one_target(backups: Iterable[Candidate]) -> list[Candidate]:
    """Oldest first by the time they were taken, never by the order of a listing; one second is split by the id."""
    ordered = sorted(backups, key=lambda backup: (backup.taken_at, backup.backup_id))
    targets = sorted({f"{backup.site}/{backup.target}" for backup in ordered})
    if len(targets) > 1:
        raise ValueError(f"retention is planned for one target at a time, not for {', '.join(targets)}")
    times_listed = Counter(backup.backup_id for backup in ordered)
    if twice := sorted(backup_id for backup_id, times in times_listed.items() if times > 1):
        raise ValueError(f"listed twice in {targets[0]}: {', '.join(twice)}")
    return ordered


class _Rules:
    """The policy applied to the backups of one target at one moment."""

    def __init__(
        self, policy: RetentionPolicy, oldest_first: Sequence[Candidate], now: datetime, tonight: Tonight
    ) -> None:
        self._policy, self._now, self._tonight = policy, now, tonight
        self._good = [
            backup for backup in reversed(oldest_first) if self._is_good(backup) and not self._is_future(backup)
        ]  # newest first
        outlived = [backup for backup in self._good if self._has_outlived(backup)]
        within_reach = self._good[: len(self._good) - len(outlived)]
        self._slots = _slots_of(policy, within_reach)
        whole = [backup for backup in reversed(oldest_first) if self._is_whole(backup)]
        self._slots_of_whole = _slots_of(policy, whole)
        self._last = _ids(self._good[: policy.keep_last])
        self._floor = _ids(self._good[: policy.keep_at_least])
        self._cover = _ids(outlived[:1])
        self._remaining = sum(any(self._keeps(backup)) for backup in self._good)

    def decide(self, backup: Candidate) -> Decision:
        decision = self._decide(backup)
        if self._tonight == "proven":
            return decision
        hold = f"nothing is removed: tonight's backup is not proven ({self._tonight})"
        return replace(decision, reasons=(*decision.reasons, hold))

    def _decide(self, backup: Candidate) -> Decision:
        if self._is_future(backup):
            ahead = human_seconds((backup.taken_at - self._now).total_seconds())
            return Decision(backup, "leave", (f"dated {ahead} in the future: check the clocks",))
        return self._decide_good(backup) if self._is_good(backup) else self._decide_other(backup)

    def _decide_good(self, backup: Candidate) -> Decision:
        if reasons := tuple(self._keeps(backup)):
            return Decision(backup, "keep", reasons)
        return self._remove(backup, f"no rule keeps it: {', '.join(self._why_no_rule(backup))}")

    def _decide_other(self, backup: Candidate) -> Decision:
        policy = self._policy
        if backup.failed:
            standing = f"damaged: a proof failed (had reached {backup.level.label})"
        else:
            standing = f"not proven: reached {backup.level.label}, counts from {policy.counts_from.label}"
        if pin := _pin(backup):
            return Decision(backup, "keep", (pin, standing))
        if self._is_young(backup):
            until = f"left as {'evidence' if backup.failed else 'it is'} until min_age_days {policy.min_age_days} pass"
            return Decision(backup, "leave", (standing, until))
        if self._remaining < policy.keep_at_least:
            few = f"left as it is: {self._remain()}, fewer than keep_at_least {policy.keep_at_least}"
            return Decision(backup, "leave", (standing, few))
        if self._is_whole(backup) and (slots := next((s for s in self._slots_of_whole if s.holds(backup)), None)):
            return Decision(backup, "leave", (standing, f"left as it is: whole, and {slots.why(backup)}"))
        newest = self._good[0]
        if not backup.failed and newest.taken_at <= backup.taken_at:
            return Decision(backup, "leave", (standing, "left as it is: no newer backup is proven"))
        passed = f"min_age_days {policy.min_age_days} have passed"
        if backup.failed:
            return self._remove(backup, standing, passed)
        return self._remove(backup, standing, passed, f"{newest.backup_id} is newer and proven")

    def _remove(self, backup: Candidate, *reasons: str) -> Decision:
        """The only way to a removal."""
        if self._tonight == "proven":
            return Decision(backup, "remove", (*reasons, self._remain()))
        return Decision(backup, "keep" if self._is_good(backup) else "leave", reasons)

    def _keeps(self, backup: Candidate) -> Iterator[str]:
        """Every reason to keep a good backup."""
        policy = self._policy
        if pin := _pin(backup):
            yield pin
        for slots in self._slots:
            if slots.holds(backup):
                yield slots.why(backup)
        if backup.backup_id in self._last:
            yield f"{_one_of_the_newest(policy.keep_last)} (keep_last)"
        if backup.backup_id in self._floor:
            if len(self._good) < policy.keep_at_least:
                yield f"fewer proven backups than keep_at_least {policy.keep_at_least}: {len(self._good)}"
            else:
                yield f"{_one_of_the_newest(policy.keep_at_least)} (keep_at_least)"
        if backup.backup_id in self._cover:
            yield f"the newest proven backup older than max_age_days {policy.max_age_days}: kept until another is"
        if self._is_young(backup):
            yield f"younger than min_age_days {policy.min_age_days}"

    def _why_no_rule(self, backup: Candidate) -> Iterator[str]:
        if self._has_outlived(backup):
            yield f"older than max_age_days {self._policy.max_age_days}"
            return
        for slots in self._slots:
            yield slots.why_not(backup)
        if self._policy.keep_last:
            yield f"not {_one_of_the_newest(self._policy.keep_last)}"

    def _remain(self) -> str:
        return "1 proven backup remains" if self._remaining == 1 else f"{self._remaining} proven backups remain"

    def _is_good(self, backup: Candidate) -> bool:
        return is_proven(backup.level, backup.failed, counts_from=self._policy.counts_from)

    def _is_whole(self, backup: Candidate) -> bool:
        """As good as a night can prove, whatever the policy counts from."""
        counts_from = min(self._policy.counts_from, ProofLevel.STRUCTURE)
        proven = is_proven(backup.level, backup.failed, counts_from=counts_from)
        return proven and not self._is_future(backup) and not self._has_outlived(backup)

    def _is_future(self, backup: Candidate) -> bool:
        return backup.taken_at > self._now + FUTURE_TOLERANCE

    def _is_young(self, backup: Candidate) -> bool:
        since = backup.taken_at
        if backup.failed and backup.failed_at is not None:
            since = max(since, backup.failed_at)
        return self._age(since) < timedelta(days=self._policy.min_age_days)

    def _has_outlived(self, backup: Candidate) -> bool:
        days = self._policy.max_age_days
        return days is not None and self._age(backup.taken_at) > timedelta(days=days)

    def _age(self, since: datetime) -> timedelta:
        return max(self._now - since, timedelta())  # within the tolerance a moment may lie ahead


def _slots_of(policy: RetentionPolicy, newest_first: Sequence[Candidate]) -> list[_Slots]:
    zone = ZoneInfo(policy.timezone)
    return [
        _Slots(rhythm, count, period_of, zone, newest_first)
        for rhythm, count, period_of in (
            ("daily", policy.daily, _day),
            ("weekly", policy.weekly, _week),
            ("monthly", policy.monthly, _month),
            ("yearly", policy.yearly, _year),
        )
        if count
    ]


class _Slots:
    """One rhythm's slots: the newest good backup of each of the last ``count`` periods that hold one."""

    def __init__(
        self,
        rhythm: str,
        count: int,
        period_of: Callable[[datetime], str],
        zone: ZoneInfo,
        newest_first: Sequence[Candidate],
    ) -> None:
        self._rhythm, self._count = rhythm, count
        self._periods = {backup.backup_id: period_of(backup.taken_at.astimezone(zone)) for backup in newest_first}
        newest: dict[str, str] = {}
        for backup_id, period in self._periods.items():
            newest.setdefault(period, backup_id)
        self._holders = dict(islice(newest.items(), count))

    def holds(self, backup: Candidate) -> bool:
        period = self._periods.get(backup.backup_id)
        return period is not None and self._holders.get(period) == backup.backup_id

    def why(self, backup: Candidate) -> str:
        period = self._periods[backup.backup_id]
        place = list(self._holders).index(period) + 1
        return f"newest proven of {period} ({self._rhythm} {place} of {self._count})"

    def why_not(self, backup: Candidate) -> str:
        period = self._periods[backup.backup_id]
        if holder := self._holders.get(period):
            return f"{period} is held by {holder}"
        return f"older than the {counted(self._count, f'{self._rhythm} slot')}"


def _ids(backups: Iterable[Candidate]) -> frozenset[str]:
    return frozenset(backup.backup_id for backup in backups)


def _one_of_the_newest(count: int) -> str:
    return "the newest proven backup" if count == 1 else f"one of the {count} newest proven backups"


def _pin(backup: Candidate) -> str | None:
    if backup.pinned is None:
        return None
    return f"pinned by {backup.pinned.strip() or 'somebody unnamed'}"


def _day(local: datetime) -> str:
    return f"day {local:%Y-%m-%d}"


def _week(local: datetime) -> str:
    """The ISO week: Monday to Sunday, in the year that holds its Thursday. 2027-01-01 is in 2026-W53."""
    year, week, _ = local.isocalendar()
    return f"week {year}-W{week:02}"


def _month(local: datetime) -> str:
    return f"month {local:%Y-%m}"


def _year(local: datetime) -> str:
    return f"year {local:%Y}"
