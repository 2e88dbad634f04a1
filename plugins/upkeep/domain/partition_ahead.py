"""Which partitions a table lacks: one for this month and for ``ahead`` more.

Where a catch-all (MAXVALUE, DEFAULT) already holds rows of such a month, they move into it, as long as there are so few
that nobody waits longer than for a lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from upkeep.domain.names import quoted
from upkeep.domain.partition_bounds import Range, write_bound
from upkeep.domain.partition_table import PartitionedTable
from upkeep.domain.partitions import BYTES_PER_S, ROWS_PER_S, CatchAll, New, Step
from upkeep.domain.refusal import Refusal
from upkeep.domain.units import counted

MOST_NEW = 120
"""Partitions made in one go, ten years of months. Whoever needs more has a table that nobody looked after."""
NAME_CHARS = 63
"""PostgreSQL's limit for a name, and one less than MySQL's."""
_NAME_FORMS = ("{0:04}{1:02}", "{0:04}_{1:02}", "{0:04}m{1:02}", "{0:04}-{1:02}")


@dataclass(frozen=True)
class _Missing:
    """A month, or a part of one, that has no partition."""

    month: tuple[int, int]
    lower: datetime | None
    upper: datetime


def plan_ahead(table: PartitionedTable, lock_timeout_s: int) -> tuple[list[Step], list[Refusal], list[str]]:
    """Steps, what is left to people, and notes.

    :param lock_timeout_s: what writers may be kept waiting for.
    """
    return _Ahead(table).plan(lock_timeout_s)


class _Ahead:
    def __init__(self, table: PartitionedTable) -> None:
        self._table, self._layout, self._months = table, table.layout, table.months

    def plan(self, lock_timeout_s: int) -> tuple[list[Step], list[Refusal], list[str]]:
        wanted = self._beyond_the_last() if self._layout.engine == "mysql" else self._gaps()
        notes = list(self._left_in_catch_all({missing.month for missing in wanted}))
        if endless := next((part.name for part in self._table.parts if part.range.upper is None), None):
            return [], [self._endless(endless)], notes
        if not wanted:
            return [], [], notes
        if len(wanted) > MOST_NEW:
            return [], [self._neglected(len(wanted))], notes
        if self._is_too_large(lock_timeout_s):
            return [], [self._too_large(wanted, lock_timeout_s)], notes
        if self._layout.engine == "mysql":
            return [self._all_at_once(wanted)], [], notes
        held = [missing for missing in wanted if self._landed(missing)]
        advice = []
        if held and self._layout.catch_all and self._layout.catch_all.hindrances:
            advice.append(self._hindered(held, self._layout.catch_all))
            wanted = [missing for missing in wanted if missing not in held]
        return (
            [self._one(missing, new) for missing, new in zip(wanted, self._named(wanted), strict=True)],
            advice,
            notes,
        )

    def _all_at_once(self, wanted: Sequence[_Missing]) -> Step:
        """MySQL copies what a catch-all holds with each statement that splits it, so there is one for all months."""
        makes, months, catch_all = self._named(wanted), _span(wanted), self._layout.catch_all
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
        fate = f"would land in {self._default}" if self._layout.catch_all else "would be refused"
        return Step("add", f"{month} had no partition, and rows of it {fate}", "", (new,))

    @property
    def _default(self) -> str:
        return self._layout.catch_all.name if self._layout.catch_all else ""

    def _landed(self, missing: _Missing) -> int:
        year, month = missing.month
        return self._layout.catch_all.landed.get(f"{year:04}-{month:02}", 0) if self._layout.catch_all else 0

    def _beyond_the_last(self) -> list[_Missing]:
        """MySQL's partitions have no gaps: what is missing comes after the last."""
        lower = self._table.parts[-1].range.upper if self._table.parts else None
        months, table = self._months, self._table
        first = months.containing(lower) if lower else min([*self._landed_before_horizon(), table.this_month])
        missing = []
        for which, _, upper in months.ranges(first, _months_between(first, months.containing(table.horizon))):
            missing.append(_Missing(which, lower, upper))
            lower = upper
        return missing

    def _gaps(self) -> list[_Missing]:
        """Months, or the parts of months, that no partition holds."""
        floor = min((part.range.lower for part in self._table.parts if part.range.lower), default=None)
        unbounded = any(part.range.lower is None for part in self._table.parts)
        landed = {
            month
            for month in self._landed_before_horizon()
            if unbounded or floor is None or self._months.start(*month) >= floor
        }
        ahead = {which for which, _, _ in self._months.ranges(self._table.this_month, self._table.rule.ahead + 1)}
        ranges = [part.range for part in self._table.parts]
        return [
            _Missing(which, lower, upper)
            for which in sorted(landed | ahead)
            for _, start, end in self._months.ranges(which, 1)
            for lower, upper in _uncovered(start, end, ranges)
        ]

    def _landed_before_horizon(self) -> set[tuple[int, int]]:
        landed = self._layout.catch_all.landed if self._layout.catch_all else {}
        months = {month for key in landed if (month := _month(key))}
        return {month for month in months if self._months.start(*month) < self._table.horizon}

    def _named(self, wanted: Sequence[_Missing]) -> tuple[New, ...]:
        taken = {one.name for one in self._layout.existing} | set(self._layout.taken)
        makes = []
        for missing in wanted:
            name = free_name(self._name(*missing.month), taken)
            taken.add(name)
            lower = write_bound(missing.lower, self._table.kind) if missing.lower is not None else None
            makes.append(New(name, lower, write_bound(missing.upper, self._table.kind)))
        return tuple(makes)

    def _name(self, year: int, month: int) -> str:
        """As the newest partition is named whose name holds its month; else as the engine's manual does."""
        for part in reversed(self._table.parts):
            if part.range.upper is None:
                continue
            # A MySQL partition's lower bound is its predecessor's upper one, so its month is the one before its end.
            end = self._months.containing(part.range.upper)
            own = _shifted(end, -1)
            for form in _NAME_FORMS:
                if (said := form.format(*own)) in part.name:
                    before, _, after = part.name.rpartition(said)
                    return before + form.format(year, month) + after
        if self._layout.engine == "mysql":
            return f"p{year:04}{month:02}"
        return f"{self._layout.place[-1][: NAME_CHARS - 9]}_p{year:04}_{month:02}"

    def _is_too_large(self, lock_timeout_s: int) -> bool:
        """Whether splitting the catch-all, or even looking through it, would keep others waiting."""
        catch_all = self._layout.catch_all
        if catch_all is None or not catch_all.rows:
            return False
        return catch_all.rows > ROWS_PER_S * lock_timeout_s or catch_all.size > BYTES_PER_S * lock_timeout_s

    def _too_large(self, wanted: Sequence[_Missing], lock_timeout_s: int) -> Refusal:
        assert self._layout.catch_all  # noqa: S101 - it is what is too large
        how = "move its rows in small batches (pg_partman's partition_data_proc), or detach it while nobody writes"
        if self._layout.engine == "mysql":
            how = (
                f"pt-online-schema-change, or while nobody writes: ALTER TABLE {self._layout.quoted} "
                f"REORGANIZE PARTITION {quoted('mysql', self._default)} INTO (...)"
            )
        return Refusal(
            f"{_holds(self._layout.catch_all)}, so {_span(wanted)} can't get {_their(wanted)} own partition: writers "
            f"of {self._layout.label} would wait longer than lock_timeout_s ({lock_timeout_s} s)",
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
            f"{name} has no end, so {self._layout.label} can't get a month after it",
            f"detach {name}, attach it again up to a month that is to come, and make a DEFAULT partition instead",
        )

    def _neglected(self, count: int) -> Refusal:
        return Refusal(
            f"{self._layout.label} lacks {count} partitions, more than are made in one go ({MOST_NEW}): "
            f"{self._table.newest()}",
            "make one wide partition up to the beginning of this month by hand; from then on the rule does the rest",
        )

    def _left_in_catch_all(self, made: set[tuple[int, int]]) -> Iterator[str]:
        if not self._layout.catch_all:
            return
        fates: dict[str, int] = {}
        for key, rows in self._layout.catch_all.landed.items():
            month = _month(key)
            if month in made:
                continue
            if month is None:
                fate = "no date that a partition could hold"
            elif self._months.start(*month) >= self._table.horizon:
                fate = f"dates later than the partitions made ahead (up to {key})"
            else:
                fate = "dates before the oldest partition"
            fates[fate] = fates.get(fate, 0) + rows
        for fate, rows in fates.items():
            yield f"{counted(rows, 'row')} stay{'s' if rows == 1 else ''} in {self._default}: {fate}"


def free_name(wanted: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted[: NAME_CHARS - 4]}_{number}" in taken:
        number += 1
    return f"{wanted[: NAME_CHARS - 4]}_{number}"


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
