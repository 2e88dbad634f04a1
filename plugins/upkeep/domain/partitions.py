"""Which partitions a table should get and lose, with a reason for each. Nothing here reads a clock or a server.

**Ahead.** There is a partition for this month and for ``ahead`` more. Where a catch-all (MAXVALUE, DEFAULT) already
holds rows of such a month, they move into it, as long as there are so few that nobody waits longer than for a lock.

**Behind.** Of the partitions that end before this month the newest ``keep`` stay. An older one goes only when a backup
that is fresh and proven holds it, and when one that counts as proven for the site's retention was taken after it ended:

- the fresh one (duties/fresh_backup.py) was taken after the data was last changed, as far as the server knows. MySQL
  says when that was, except right after its start; PostgreSQL doesn't, so there the partition must hold as many rows as
  the backup's manifest says, which an update gets past. The loss is bounded by the backup's age, 26 hours at most;
- the other one may be older, but where ``retention.counts_from`` is ``restored`` it has been restored.

The last partition stays whatever the rule says, and so do those that hold this month or a later one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from upkeep.domain.health import Light
from upkeep.domain.names import Named, quoted
from upkeep.domain.partition_bounds import (
    Kind,
    Months,
    NotUnderstood,
    Range,
    read_range,
    read_upper,
    write_bound,
)
from upkeep.domain.purge import Refusal
from upkeep.domain.units import counted

MOST_NEW = 120
"""Partitions made in one go, ten years of months. Whoever needs more has a table that nobody looked after."""
ROWS_PER_S, BYTES_PER_S = 10_000, 20_000_000
"""What even a slow server moves out of a catch-all. Writers wait meanwhile, so no more is moved than fits into the
site's ``lock_timeout_s``."""
SOON = timedelta(days=14)
"""Rows that will be refused so soon are grave: the next weekly run may be the last before."""
NAME_CHARS = 63

Action = Literal["add", "split", "finish detach", "detach", "drop"]


# What is asked for, and what the server says of the table.


@dataclass(frozen=True)
class Rule:
    """One partition rule of a site file; see ``site.PartitionRule``."""

    table: str
    column: str
    ahead: int = 3
    keep: int | None = None
    old: Literal["detach", "drop"] = "detach"


@dataclass(frozen=True)
class Existing:
    """A partition as the server describes it.

    :param bound: its own words: ``202402`` or ``MAXVALUE`` of MySQL, ``FOR VALUES FROM ... TO ...`` or ``DEFAULT`` of
        PostgreSQL.
    :param pending: PostgreSQL: its concurrent detach began and didn't end.
    :param kept: why it is left alone, such as ``a foreign table, whose rows no backup holds``; empty for all others.
    """

    name: str
    bound: str
    pending: bool = False
    kept: str = ""


@dataclass(frozen=True)
class CatchAll:
    """What landed in the partition that takes what no other does.

    :param rows: how many; counted up to a bit more than can be moved.
    :param landed: rows by month, ``2026-11``, where there are few enough; rows without a date under other keys.
    :param hindrances: what moving them would set off.
    """

    name: str
    rows: int
    size: int
    landed: Mapping[str, int] = field(default_factory=dict)
    hindrances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout(Named):
    """A table and its partitions.

    :param kind: what its bounds are; None where the table isn't partitioned by RANGE of the rule's column.
    :param trouble: how it is partitioned instead.
    :param taken: names that a new partition can't have.
    """

    partitioned: bool
    kind: Kind | None = None
    trouble: str = ""
    existing: tuple[Existing, ...] = ()
    catch_all: CatchAll | None = None
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measured:
    """What an old partition holds: ``rows`` where they were counted, ``changed_at`` where the server knows it.

    ``trouble``: why it stays whatever the backups say.
    """

    rows: int | None = None
    changed_at: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Archived:
    """The backups that stand behind a removal.

    :param backup_id: the fresh one.
    :param rows: what its manifest lists: rows by table, None where they are estimates.
    :param proven_at: when the newest backup was taken that counts as proven for retention; None without one.
    :param counts_from: from which rung on one does.
    """

    backup_id: str
    taken_at: datetime
    rows: Mapping[str, int | None]
    proven_at: datetime | None
    counts_from: str


# The plan.


@dataclass(frozen=True)
class New:
    """A partition to be made; bounds as a statement says them, ``lower`` None where there is none below it."""

    name: str
    lower: str | None
    upper: str


@dataclass(frozen=True)
class Step:
    """One statement's worth of change. ``partition``: what is split, detached or dropped; empty when it is added."""

    action: Action
    reason: str
    partition: str = ""
    makes: tuple[New, ...] = ()

    @property
    def what(self) -> str:
        if self.action == "add":
            return f"add {self._made}"
        if self.action == "split":
            return f"split {self.partition} into {self._made}"
        return f"{self.action} {self.partition}"

    @property
    def _made(self) -> str:
        names = [new.name for new in self.makes]
        return ", ".join(names if len(names) <= 4 else [names[0], "...", names[-1]])

    def same_as(self, other: Step) -> bool:
        """Whether both do the same, whatever they give as a reason."""
        return replace(self, reason="") == replace(other, reason="")


@dataclass(frozen=True)
class PartitionPlan:
    """What one rule would do now.

    ``advice`` is what Upkeep leaves to people. ``covered_until``: rows of this date and later are refused, as things
    are before the steps; None when there is no such date.
    """

    rule: Rule
    steps: tuple[Step, ...] = ()
    advice: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    covered_until: datetime | None = None
    newest: str = ""

    @property
    def summary(self) -> str:
        said = [*(step.what for step in self.steps), *(advice.reason for advice in self.advice)]
        return "; ".join(said) or f"nothing to do: {self.newest}"

    def lines(self) -> Iterator[str]:
        verdict = "" if self.steps or self.advice else f": nothing to do: {self.newest}"
        yield f"{self.rule.table} by {self.rule.column}{verdict}"
        yield from (f"  {step.what}: {step.reason}" for step in self.steps)
        for advice in self.advice:
            yield f"  left: {advice.reason}"
            yield f"  remedy: {advice.remedy}"
        yield from (f"  note: {note}" for note in self.notes)

    def light(self, now: datetime) -> Light:
        if self.covered_until is not None and self.covered_until - now < SOON:
            return "red"
        return "amber" if self.advice else "green"


@dataclass(frozen=True)
class _Part:
    name: str
    range: Range
    pending: bool
    kept: str


@dataclass(frozen=True)
class _Missing:
    """A month, or a part of one, that has no partition."""

    month: tuple[int, int]
    lower: datetime | None
    upper: datetime


def months_of(layout: Layout, timezone: str) -> Months:
    """Where the table's months begin. Errors: ``NotUnderstood``."""
    return _Table(Rule(layout.label, ""), layout, datetime(2000, 1, 1, tzinfo=UTC), timezone).months


def find_old(rule: Rule, layout: Layout, *, now: datetime, timezone: str) -> list[str]:
    """Partitions that the rule lets go, oldest first: what has to be measured before a plan is made."""
    try:
        table = _Table(rule, layout, now, timezone)
    except NotUnderstood:
        return []
    return [part.name for part in table.old()]


def make_plan(
    rule: Rule,
    layout: Layout | None,
    *,
    now: datetime,
    timezone: str,
    lock_timeout_s: int,
    archived: Archived | Refusal,
    measured: Mapping[str, Measured],
    read_only: str = "",
) -> PartitionPlan:
    """What to do now.

    :param layout: None when the database has no table of that name.
    :param archived: what stands behind a removal, or why nothing does.
    :param measured: each of ``find_old``.
    :param read_only: why the server takes no changes, where it doesn't.
    """
    if read_only:
        return PartitionPlan(
            rule, advice=(Refusal(read_only, "point conn_id of this database at the primary, and clear the task"),)
        )
    if layout is None:
        missing = Refusal(
            f"there is no table {rule.table!r} in this database",
            "check the rule's table in the site file (schema.table on PostgreSQL where it isn't in public), and that "
            "the account may see it",
        )
        return PartitionPlan(rule, advice=(missing,))
    if layout.kind is None:
        return PartitionPlan(rule, advice=(_unfit(rule, layout),))
    try:
        table = _Table(rule, layout, now, timezone)
    except NotUnderstood as error:
        advice = Refusal(f"{layout.label} is left alone: {error}", "make its partitions by hand, or take out the rule")
        return PartitionPlan(rule, advice=(advice,))
    making, advice_ahead, notes = table.ahead(lock_timeout_s)
    removing, advice_behind = table.behind(archived, measured)
    finishing = [
        Step("finish detach", "its detach began in an earlier run and did not end", part.name)
        for part in table.parts
        if part.pending
    ]
    return PartitionPlan(
        rule,
        (*finishing, *making, *removing),
        (*advice_ahead, *advice_behind),
        tuple(notes),
        table.covered_until(),
        table.newest(),
    )


class _Table:
    """A layout whose bounds are understood, seen at one moment."""

    def __init__(self, rule: Rule, layout: Layout, now: datetime, timezone: str) -> None:
        if layout.kind is None:
            raise NotUnderstood(f"it is partitioned {layout.trouble}")
        self.rule, self.layout, self.kind, self.timezone = rule, layout, layout.kind, timezone
        self.parts = list(self._parts())
        edges = [edge for part in self.parts for edge in (part.range.lower, part.range.upper) if edge]
        self.months = Months.of(layout.kind, timezone, edges)
        self.now = self.months.now(now, timezone)
        self.this_month = self.months.containing(self.now)
        self.month_start = self.months.start(*self.this_month)
        self.horizon = self.months.start(self.this_month[0], self.this_month[1] + rule.ahead + 1)

    def _parts(self) -> Iterator[_Part]:
        """All but the catch-all, in order."""
        lower: datetime | None = None
        found: list[_Part] = []
        for one in self.layout.existing:
            if self.layout.engine == "mysql":
                upper = read_upper(one.bound, self.kind)
                if upper is not None:
                    found.append(_Part(one.name, Range(lower, upper), one.pending, one.kept))
                    lower = upper
            elif (bounds := read_range(one.bound, self.kind)) is not None:
                found.append(_Part(one.name, bounds, one.pending, one.kept))
        unbounded = [part for part in found if part.range.lower is None]
        bounded = [(part.range.lower, part.name, part) for part in found if part.range.lower is not None]
        yield from [*unbounded, *(part for *_, part in sorted(bounded))]

    # Ahead.

    def ahead(self, lock_timeout_s: int) -> tuple[list[Step], list[Refusal], list[str]]:
        """Steps, advice and notes."""
        wanted = self._beyond_the_last() if self.layout.engine == "mysql" else self._gaps()
        notes = list(self._left_in_catch_all({missing.month for missing in wanted}))
        if endless := next((part.name for part in self.parts if part.range.upper is None), None):
            return [], [self._endless(endless)], notes
        if not wanted:
            return [], [], notes
        if len(wanted) > MOST_NEW:
            return [], [self._neglected(len(wanted))], notes
        if self._is_too_large(lock_timeout_s):
            return [], [self._too_large(wanted, lock_timeout_s)], notes
        if self.layout.engine == "mysql":
            return [self._all_at_once(wanted)], [], notes
        held = [missing for missing in wanted if self._landed(missing)]
        advice = []
        if held and self.layout.catch_all and self.layout.catch_all.hindrances:
            advice.append(self._hindered(held, self.layout.catch_all))
            wanted = [missing for missing in wanted if missing not in held]
        return (
            [self._one(missing, new) for missing, new in zip(wanted, self._named(wanted), strict=True)],
            advice,
            notes,
        )

    def _all_at_once(self, wanted: Sequence[_Missing]) -> Step:
        """MySQL copies what a catch-all holds with each statement that splits it, so there is one for all months."""
        makes, months, catch_all = self._named(wanted), _span(wanted), self.layout.catch_all
        if catch_all is None:
            return Step("add", f"{months} had no partition, and rows of it would be refused", "", makes)
        return Step(
            "split", f"{months} had no partition of {_their(wanted)} own; {_holds(catch_all)}", catch_all.name, makes
        )

    def _one(self, missing: _Missing, new: New) -> Step:
        """On PostgreSQL each partition is made by itself; rows that landed in the default partition move into it."""
        rows, month = self._landed(missing), _span([missing])
        if rows:
            return Step("split", f"{counted(rows, 'row')} of {month} landed in {self._default}", self._default, (new,))
        fate = f"would land in {self._default}" if self.layout.catch_all else "would be refused"
        return Step("add", f"{month} had no partition, and rows of it {fate}", "", (new,))

    @property
    def _default(self) -> str:
        return self.layout.catch_all.name if self.layout.catch_all else ""

    def _landed(self, missing: _Missing) -> int:
        year, month = missing.month
        return self.layout.catch_all.landed.get(f"{year:04}-{month:02}", 0) if self.layout.catch_all else 0

    def _beyond_the_last(self) -> list[_Missing]:
        """MySQL's partitions have no gaps: what is missing comes after the last."""
        lower = self.parts[-1].range.upper if self.parts else None
        first = self.months.containing(lower) if lower else min([*self._landed_before_horizon(), self.this_month])
        missing = []
        for which, _, upper in self.months.ranges(first, _months_between(first, self.months.containing(self.horizon))):
            missing.append(_Missing(which, lower, upper))
            lower = upper
        return missing

    def _gaps(self) -> list[_Missing]:
        """Months, or the parts of months, that no partition holds."""
        floor = min((part.range.lower for part in self.parts if part.range.lower), default=None)
        unbounded = any(part.range.lower is None for part in self.parts)
        landed = {
            month
            for month in self._landed_before_horizon()
            if unbounded or floor is None or self.months.start(*month) >= floor
        }
        ahead = {which for which, _, _ in self.months.ranges(self.this_month, self.rule.ahead + 1)}
        ranges = [part.range for part in self.parts]
        return [
            _Missing(which, lower, upper)
            for which in sorted(landed | ahead)
            for _, start, end in self.months.ranges(which, 1)
            for lower, upper in _uncovered(start, end, ranges)
        ]

    def _landed_before_horizon(self) -> set[tuple[int, int]]:
        landed = self.layout.catch_all.landed if self.layout.catch_all else {}
        months = {month for key in landed if (month := _month(key))}
        return {month for month in months if self.months.start(*month) < self.horizon}

    def _named(self, wanted: Sequence[_Missing]) -> tuple[New, ...]:
        taken = {one.name for one in self.layout.existing} | set(self.layout.taken)
        makes = []
        for missing in wanted:
            name = free_name(self._name(*missing.month), taken)
            taken.add(name)
            lower = write_bound(missing.lower, self.kind) if missing.lower is not None else None
            makes.append(New(name, lower, write_bound(missing.upper, self.kind)))
        return tuple(makes)

    def _name(self, year: int, month: int) -> str:
        """As the newest partition is named whose name holds its month; else as the engine's manual does."""
        for part in reversed(self.parts):
            if part.range.upper is None:
                continue
            # A MySQL partition's lower bound is its predecessor's upper one, so its month is the one before its end.
            end = self.months.containing(part.range.upper)
            own = _shifted(end, -1)
            for form in _NAME_FORMS:
                if (said := form.format(*own)) in part.name:
                    before, _, after = part.name.rpartition(said)
                    return before + form.format(year, month) + after
        if self.layout.engine == "mysql":
            return f"p{year:04}{month:02}"
        return f"{self.layout.place[-1][: NAME_CHARS - 9]}_p{year:04}_{month:02}"

    def _is_too_large(self, lock_timeout_s: int) -> bool:
        """Whether splitting the catch-all, or even looking through it, would keep others waiting."""
        catch_all = self.layout.catch_all
        if catch_all is None or not catch_all.rows:
            return False
        return catch_all.rows > ROWS_PER_S * lock_timeout_s or catch_all.size > BYTES_PER_S * lock_timeout_s

    def _too_large(self, wanted: Sequence[_Missing], lock_timeout_s: int) -> Refusal:
        assert self.layout.catch_all  # noqa: S101 - it is what is too large
        how = "move its rows in small batches (pg_partman's partition_data_proc), or detach it while nobody writes"
        if self.layout.engine == "mysql":
            how = (
                f"pt-online-schema-change, or while nobody writes: ALTER TABLE {self.layout.quoted} "
                f"REORGANIZE PARTITION {quoted('mysql', self._default)} INTO (...)"
            )
        return Refusal(
            f"{_holds(self.layout.catch_all)}, so {_span(wanted)} can't get {_their(wanted)} own partition: writers of "
            f"{self.layout.label} would wait longer than lock_timeout_s ({lock_timeout_s} s)",
            how,
        )

    def _hindered(self, held: Sequence[_Missing], catch_all: CatchAll) -> Refusal:
        return Refusal(
            f"rows of {_span(held)} stay in {catch_all.name}: moving them would set off "
            f"{', '.join(catch_all.hindrances)}",
            "move them by hand, with those switched off",
        )

    def _endless(self, name: str) -> Refusal:
        return Refusal(
            f"{name} has no end, so {self.layout.label} can't get a month after it",
            f"detach {name}, attach it again up to a month that is to come, and make a DEFAULT partition instead",
        )

    def _neglected(self, count: int) -> Refusal:
        return Refusal(
            f"{self.layout.label} lacks {count} partitions, more than are made in one go ({MOST_NEW}): {self.newest()}",
            "make one wide partition up to the beginning of this month by hand; from then on the rule does the rest",
        )

    def _left_in_catch_all(self, made: set[tuple[int, int]]) -> Iterator[str]:
        if not self.layout.catch_all:
            return
        fates: dict[str, int] = {}
        for key, rows in self.layout.catch_all.landed.items():
            month = _month(key)
            if month in made:
                continue
            if month is None:
                fate = "no date that a partition could hold"
            elif self.months.start(*month) >= self.horizon:
                fate = f"dates later than the partitions made ahead (up to {key})"
            else:
                fate = "dates before the oldest partition"
            fates[fate] = fates.get(fate, 0) + rows
        for fate, rows in fates.items():
            yield f"{counted(rows, 'row')} stay{'s' if rows == 1 else ''} in {self._default}: {fate}"

    # Behind.

    def old(self) -> list[_Part]:
        if self.rule.keep is None:
            return []
        past = [p for p in self.parts if not p.pending and p.range.upper and p.range.upper <= self.month_start]
        going = past[: max(0, len(past) - self.rule.keep)]
        # A table without any partition takes no row at all, and on MySQL it can't be made.
        return going[:-1] if len(going) == len([part for part in self.parts if not part.pending]) else going

    def behind(
        self, archived: Archived | Refusal, measured: Mapping[str, Measured]
    ) -> tuple[list[Step], list[Refusal]]:
        old = self.old()
        if not old:
            return [], []
        names = _some([part.name for part in old])
        if self.layout.engine == "mysql" and self.rule.old == "detach":
            return [], [
                Refusal(
                    f"older than the rule keeps: {names}; but MySQL can't detach a partition",
                    "set old: drop in the rule, or take keep out of it",
                )
            ]
        if isinstance(archived, Refusal):
            return [], [Refusal(f"{names} stay{'s' if len(old) == 1 else ''}: {archived.reason}", archived.remedy)]
        steps, advice = [], []
        for part in old:
            why_not = self._why_not(part, archived, measured.get(part.name, Measured()))
            if why_not:
                advice.append(Refusal(f"{part.name} stays: {why_not.reason}", why_not.remedy))
                continue
            why = (
                f"ended at {part.range.upper:%Y-%m-%d}, beyond the {self.rule.keep} that are kept; "
                f"backup {archived.backup_id} holds it"
            )
            steps.append(Step(self.rule.old, why, part.name))
        return steps, advice

    def _why_not(self, part: _Part, archived: Archived, measured: Measured) -> Refusal | None:
        again = "back it up and verify that, then run this task again"
        held = part.name if self.layout.engine == "postgres" else self.layout.label
        if self.layout.engine == "postgres" and "." not in held:
            held = f"{self.layout.place[0]}.{held}"
        if part.kept:
            return Refusal(f"it is {part.kept}", "look after it by hand")
        if held not in archived.rows:
            return Refusal(f"backup {archived.backup_id} doesn't hold {held}", again)
        assert part.range.upper is not None  # noqa: S101 - only partitions that end are old
        ended = self.months.instant(part.range.upper, self.timezone)
        if archived.proven_at is None or archived.proven_at < ended:
            return Refusal(
                f"no backup taken after it ended is {archived.counts_from}, from where on this site counts",
                f"bring a newer backup to {archived.counts_from}, then run this task again",
            )
        if measured.trouble:
            return Refusal(measured.trouble, "look into it, and take it away by hand")
        if measured.changed_at is not None and measured.changed_at >= archived.taken_at:
            return Refusal(f"it was changed after backup {archived.backup_id} was taken", again)
        then = archived.rows[held]
        if measured.rows is not None and then is not None and measured.rows != then:
            return Refusal(
                f"it has {measured.rows:,} rows and had {then:,} when backup {archived.backup_id} was taken", again
            )
        return None

    # How far it reaches.

    def covered_until(self) -> datetime | None:
        """From when on rows are refused, in UTC."""
        if self.layout.catch_all:
            return None
        reached = self.now
        for part in self.parts:
            if part.pending or (part.range.lower is not None and part.range.lower > reached):
                continue
            if part.range.upper is None:
                return None
            reached = max(reached, part.range.upper)
        return self.months.instant(reached, self.timezone)

    def newest(self) -> str:
        uppers = [part.range.upper for part in self.parts]
        if not uppers:
            return "it has no partition but the catch-all" if self.layout.catch_all else "it has no partition"
        if None in uppers:
            return "its last partition has no end"
        last = max(upper for upper in uppers if upper)
        return f"partitions reach to {last:%Y-%m-%d}" + (f" {last:%H:%M} UTC" if self.months.zone else "")


_NAME_FORMS = ("{0:04}{1:02}", "{0:04}_{1:02}", "{0:04}m{1:02}", "{0:04}-{1:02}")


def free_name(wanted: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted[: NAME_CHARS - 4]}_{number}" in taken:
        number += 1
    return f"{wanted[: NAME_CHARS - 4]}_{number}"


def _unfit(rule: Rule, layout: Layout) -> Refusal:
    label = layout.label
    if not layout.partitioned:
        how = (
            f"make a table PARTITION BY RANGE ({rule.column}) beside it and move the rows (pg_partman's manual shows "
            "how), or take out the rule"
        )
        if layout.engine == "mysql":
            how = (
                f"make {rule.column} a part of its primary key and of every unique key, then "
                f"ALTER TABLE {layout.quoted} PARTITION BY RANGE COLUMNS({rule.column}) (...), while nobody writes "
                "or with pt-online-schema-change; or take out the rule"
            )
        return Refusal(f"{label} isn't partitioned, and won't be unasked: that rewrites all of it", how)
    return Refusal(
        f"{label} is partitioned {layout.trouble}, which isn't RANGE by months of {rule.column}",
        "make its partitions by hand and take out the rule, or partition it by RANGE of that column alone",
    )


def _holds(catch_all: CatchAll) -> str:
    if not catch_all.rows:
        return f"{catch_all.name} is empty"
    return f"{catch_all.name} holds {'' if catch_all.landed else 'at least '}{counted(catch_all.rows, 'row')}"


def _span(missing: Sequence[_Missing]) -> str:
    names = [f"{year:04}-{month:02}" for year, month in (one.month for one in missing)]
    return names[0] if names[0] == names[-1] else f"{names[0]} to {names[-1]}"


def _their(missing: Sequence[_Missing]) -> str:
    return "its" if len(missing) == 1 else "their"


def _uncovered(start: datetime, end: datetime, ranges: Sequence[Range]) -> Iterator[tuple[datetime, datetime]]:
    for one in ranges:  # in order
        if start >= end:
            return
        if one.lower is not None and one.lower >= end:
            break
        if one.upper is not None and one.upper <= start:
            continue
        if one.lower is not None and one.lower > start:
            yield start, one.lower
        if one.upper is None:
            return
        start = one.upper
    if start < end:
        yield start, end


def _month(key: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", key)
    return (int(found[1]), int(found[2])) if found and int(found[1]) else None


def _months_between(first: tuple[int, int], last: tuple[int, int]) -> int:
    return max(0, (last[0] - first[0]) * 12 + last[1] - first[1])


def _shifted(month: tuple[int, int], by: int) -> tuple[int, int]:
    ordinal = month[0] * 12 + month[1] - 1 + by
    return ordinal // 12, ordinal % 12 + 1


def _some(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"and {len(names) - 3} more"])
