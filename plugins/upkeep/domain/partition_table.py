"""A partitioned table whose bounds are understood, as it is at one moment: its months, and how far it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from upkeep.domain.partition_bounds import Months, NotUnderstood, Range, read_range, read_upper
from upkeep.domain.partitions import Layout, Rule


@dataclass(frozen=True)
class Part:
    name: str
    range: Range
    pending: bool
    kept: str


class PartitionedTable:
    """A layout whose bounds are understood, seen at one moment. Errors: ``NotUnderstood``."""

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

    def _parts(self) -> Iterator[Part]:
        """All but the catch-all, in order."""
        lower: datetime | None = None
        found: list[Part] = []
        for one in self.layout.existing:
            if self.layout.engine == "mysql":
                upper = read_upper(one.bound, self.kind)
                if upper is not None:
                    found.append(Part(one.name, Range(lower, upper), one.pending, one.kept))
                    lower = upper
            elif (bounds := read_range(one.bound, self.kind)) is not None:
                found.append(Part(one.name, bounds, one.pending, one.kept))
        unbounded = [part for part in found if part.range.lower is None]
        bounded = [(part.range.lower, part.name, part) for part in found if part.range.lower is not None]
        yield from [*unbounded, *(part for *_, part in sorted(bounded))]
