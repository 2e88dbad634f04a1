"""What runs out, when, and what would change it: the forecasts of all that is sampled of a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from upkeep.domain.capacity import RED_PCT, Key, Point
from upkeep.domain.forecast import HORIZON_DAYS, Forecast, daily_increase, forecast
from upkeep.domain.health import Light
from upkeep.domain.level_shifts import Shift
from upkeep.domain.scaling import recommend_replicas
from upkeep.domain.units import counted, human_bytes, utc

AMBER_DAYS = 92
"""A limit that is reached within so many days leaves three months to order a disk."""
RED_DAYS = 31
"""What is all but full before the next month's forecast is red."""
STOPPING = frozenset({"disk_pct", "inodes_pct", "memory_pct", "pod_memory_pct", "connections_pct"})
"""What fails when there is none left."""
COUNTERS = frozenset({"network_in_bytes", "network_out_bytes"})
"""They only grow until the machine starts anew: what they gain a day is forecast."""
BACKUPS = "backup_bytes"
ODD_BACKUP = 0.2
"""A backup whose size changes by this share from one week to the next is told."""
ODD_WITHIN = timedelta(days=35)
"""A month and some days, so that no shift falls between two forecasts."""
ENDED = timedelta(days=14)
"""What wasn't sampled for so long isn't there any more: a machine that is gone, a table that was dropped."""
SILENT = timedelta(days=92)
"""So long it is told that something which was about to run out isn't sampled any more."""
GROWERS = 3


@dataclass(frozen=True)
class Levers:
    """What the site's own settings can change.

    :param purged: what a purge rule says of a table, by the target of its ``table_bytes``.
    :param retention: the rule for backups, in words.
    :param stores: targets of ``disk_pct`` on which the site's backups lie.
    :param endless_logs: log folders without a rule that ever removes anything.
    """

    purged: Mapping[str, str] = field(default_factory=dict)
    retention: str = ""
    stores: frozenset[str] = frozenset()
    endless_logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One figure of one thing. ``changes``: what would put the day off, the surest first."""

    metric: str
    target: str
    points: tuple[Point, ...]
    forecast: Forecast
    light: Light
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.metric} {self.target}"

    @property
    def now(self) -> str:
        return shown(self.metric, self.forecast.value)

    @property
    def limit(self) -> str:
        limit = self.forecast.limit
        return "" if limit is None else f"{limit:g} %" if self.metric.endswith("_pct") else shown(self.metric, limit)

    @property
    def month(self) -> str:
        """``+2.3 % a month (1.9 to 2.6)``, the change in thirty days with its interval; empty without a slope."""
        slope = self.forecast.slope
        if slope is None:
            return ""
        low, middle, high = (signed(self.metric, 30 * rate) for rate in (slope.low, slope.per_day, slope.high))
        return f"{middle} a month" + (f" ({low} to {high})" if (low, high) != (middle, middle) else "")

    @property
    def basis(self) -> str:
        """``118 of 204 samples since 2026-08-01``: what the slope was taken from."""
        found, slope = self.forecast, self.forecast.slope
        if slope is None:
            return f"{counted(found.samples, 'day')} with samples, over {found.span_days} days"
        of = f" of {found.samples}" if slope.samples != found.samples else ""
        return f"{slope.samples}{of} days from {slope.since} to {slope.until}"

    @property
    def says(self) -> str:
        """All of it in one line, for a report."""
        found = self.forecast
        parts = [f"{self.now} now", self.month]
        if found.limit is not None:
            reaches = found.days is not None and not found.over
            parts.append(f"reaches {self.limit} {found.words}" if reaches else found.words)
        return "; ".join(filter(None, [", ".join(filter(None, parts)), self.basis, *found.remarks]))


@dataclass(frozen=True)
class OddBackup:
    """A backup whose size changed at once. It may be what somebody did; it may be half a backup."""

    target: str
    shift: Shift

    @property
    def words(self) -> str:
        before, after = self.shift.before, self.shift.after
        verb = "fell" if after < before else "rose"
        share = f"{100 * self.shift.size / before:+.0f} %" if before else "from nothing"
        return (
            f"the backup of {self.target} {verb} from {human_bytes(round(before))} to {human_bytes(round(after))} "
            f"on {self.shift.on} ({share})"
        )


@dataclass(frozen=True)
class CapacityPlan:
    """Worst first: by light, then by what is reached soonest, then by name."""

    lines: tuple[Line, ...]
    odd_backups: tuple[OddBackup, ...]
    replicas: tuple[str, ...]
    """What the replicas of each deployment should be."""
    ended: int = 0
    """Series that are left aside because nothing was added to them lately."""
    silent: tuple[str, ...] = ()
    """Those among them that were about to run out when they were last sampled."""

    @property
    def light(self) -> Light:
        lights = {line.light for line in self.lines}
        if "red" in lights:
            return "red"
        unsure = self.odd_backups or self.silent or (self.ended and not self.lines)
        return "amber" if "amber" in lights or unsure else "green"

    @property
    def summary(self) -> str:
        """What a reader of one sentence must know."""
        soon = [line for line in self.lines if line.light != "green"]
        parts = [f"{line.name} {line.forecast.words} at {line.limit}" for line in soon[:3]]
        parts += [f"{len(soon) - 3} more within {AMBER_DAYS} days"] if len(soon) > 3 else []
        parts += [
            f"{name} was about to run out, and has not been sampled for {ENDED.days} days" for name in self.silent[:3]
        ]
        parts += [f"{len(self.silent) - 3} more such"] if len(self.silent) > 3 else []
        parts += [odd.words for odd in self.odd_backups[:2]]
        parts += [f"{len(self.odd_backups) - 2} more odd backups"] if len(self.odd_backups) > 2 else []
        limited = [line for line in self.lines if line.forecast.limit is not None]
        if not self.lines:
            return (
                f"nothing was sampled in the last {ENDED.days} days" if self.ended else "nothing has been sampled yet"
            )
        if not soon:
            first = next((line for line in limited if line.forecast.days is not None), None)
            next_one = f"the first is {first.name} {first.forecast.words}" if first else "none within a year"
            parts.insert(0, f"{counted(len(limited), 'limit')}, none reached within {AMBER_DAYS} days; {next_one}")
        return "; ".join(parts)

    def shown(self, most: int) -> tuple[Line, ...]:
        """Those with a limit, then those that grow fastest: what is worth a line, or a plot."""
        limited = [line for line in self.lines if line.forecast.limit is not None]
        others = [line for line in self.lines if line.forecast.limit is None]
        return tuple([*limited, *sorted(others, key=_by_growth)][:most])


def plan_capacity(
    series: Mapping[Key, Sequence[Point]], limits: Mapping[Key, float], levers: Levers, *, now: datetime
) -> CapacityPlan:
    """The forecast of every series, and what to do about those that run out.

    :param limits: percent, by metric and target, or by metric and ``""`` for all other targets.
    """
    found: dict[Key, tuple[Sequence[Point], Forecast]] = {}
    ended, silent = 0, []
    for (metric, target), given in series.items():
        points = daily_increase(given) if metric in COUNTERS else given
        limit = limits.get((metric, target), limits.get((metric, "")))
        told = forecast(points, now=now, limit=limit)
        if told and told.last >= (utc(now, "now") - ENDED).date():
            found[metric, target] = points, told
        elif told:
            ended += 1
            if told.last >= (utc(now, "now") - SILENT).date() and _light(metric, told) != "green":
                silent.append(f"{metric} {target}")
    each = {key: told for key, (_, told) in found.items()}
    growers = tuple(_growers(each, levers))
    lines = [
        Line(
            metric,
            target,
            tuple(points),
            told,
            _light(metric, told),
            tuple(_changes(metric, target, each, levers, growers)),
        )
        for (metric, target), (points, told) in found.items()
    ]
    odd = [
        OddBackup(target, shift)
        for (metric, target), told in each.items()
        if metric == BACKUPS and (shift := _odd(told, now))
    ]
    return CapacityPlan(
        tuple(sorted(lines, key=_worst_first)), tuple(odd), tuple(_replicas(each)), ended, tuple(silent)
    )


def shown(metric: str, value: float) -> str:
    """``62.1 %``, ``41.2 MB``, ``1,234``."""
    if metric.endswith("_pct"):
        return f"{value:.1f} %"
    if metric.endswith("_bytes"):
        return human_bytes(round(value))
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def signed(metric: str, value: float) -> str:
    words = shown(metric, value)
    return words if words.startswith("-") or not any(digit in words for digit in "123456789") else f"+{words}"


def _light(metric: str, told: Forecast) -> Light:
    full = next((day for day, value in enumerate(told.expected) if value >= RED_PCT), None)
    is_full = told.value >= RED_PCT or (full is not None and full <= RED_DAYS)
    if metric in STOPPING and told.limit is not None and is_full:
        return "red"
    soon = told.days is not None and told.days <= AMBER_DAYS
    return "amber" if soon or told.over else "green"


def _odd(told: Forecast, now: datetime) -> Shift | None:
    """The largest change at once of the last month."""
    since = (utc(now, "now") - ODD_WITHIN).date()
    recent = [shift for shift in (*told.shifts, told.sudden) if shift and shift.on >= since]
    odd = [shift for shift in recent if abs(shift.size) >= ODD_BACKUP * abs(shift.before)]
    return max(odd, key=lambda shift: abs(shift.size), default=None)


def _growers(each: Mapping[Key, Forecast], levers: Levers) -> Iterator[str]:
    """What grows fastest, with the rule that keeps it small, if there is one."""
    growing = [
        (told.slope.per_day, metric, target)
        for (metric, target), told in each.items()
        # A whole site's store is the sum of its targets', a database's size that of its tables.
        if (metric == "table_bytes" or (metric == "store_bytes" and "/" in target))
        and told.slope
        and told.slope.low > 0
    ]
    for rate, metric, target in sorted(growing, reverse=True)[:GROWERS]:
        what, rule = (f"table {target}", levers.purged.get(target, "no purge rule"))
        if metric == "store_bytes":
            what, rule = f"backups of {target}", levers.retention
        yield f"{what} {signed(metric, 30 * rate)} a month ({rule})"


def _changes(
    metric: str, target: str, each: Mapping[Key, Forecast], levers: Levers, growers: Iterable[str]
) -> Iterator[str]:
    """What would put the day off, for what reaches its limit within the horizon."""
    told = each[metric, target]
    if told.limit is None or told.days is None or not told.expected:
        return
    factor = max(told.expected) / told.limit
    year = f"stays below {told.limit:g} % for a year"
    match metric:
        case "disk_pct":
            used = each.get(("disk_used_bytes", target))
            size = 100 * used.value / told.value if used and told.value > 0 else None
            now = f", {human_bytes(ceil(size * factor))} instead of {human_bytes(round(size))}" if size else ""
            yield f"a disk {factor:.1f} times as large{now}: {year}"
            if target in levers.stores:
                yield f"backups lie on it: a shorter retention (now {levers.retention}) or another store"
            yield from (f"grows: {one}" for one in growers)
            if levers.endless_logs:
                yield f"logs that are never removed: {', '.join(levers.endless_logs)} (keep_days)"
        case "inodes_pct":
            yield "fewer small files, or a filesystem with more inodes"
        case "connections_pct":
            most = each.get(("connections_max", target))
            now = f" ({ceil(most.value * factor)} instead of {most.value:.0f})" if most else ""
            yield f"max_connections {factor:.1f} times as high{now}: {year}; or a pool, and an end for idle sessions"
        case "memory_pct":
            yield f"{factor:.1f} times the memory: {year}"
        case "pod_memory_pct" | "pod_cpu_pct":
            what = metric.removeprefix("pod_").removesuffix("_pct")
            yield f"a {what} limit {factor:.1f} times as high: {year}; or more replicas"
        case "cpu_pct":
            yield f"{factor:.1f} times the processors: {year}; or the statements at the top of the weekly review"
        case "cache_memory_pct":
            yield f"maxmemory {factor:.1f} times as high: {year}; or shorter lives for its keys"


def _replicas(each: Mapping[Key, Forecast]) -> Iterator[str]:
    """By the autoscaler's formula, where the cluster's own figures were sampled."""
    for (metric, name), told in sorted(each.items()):
        busy = each.get(("deployment_cpu_pct", name))
        if metric == "deployment_replicas" and busy:
            advice = recommend_replicas(round(told.value), round(busy.value))
            yield f"{name}: {advice.replicas} replicas, now {told.value:.0f} ({advice.reason})"


def _worst_first(line: Line) -> tuple[int, int, str]:
    days = line.forecast.days
    return ("red", "amber", "green").index(line.light), HORIZON_DAYS + 1 if days is None else days, line.name


def _by_growth(line: Line) -> tuple[bool, float, str]:
    """Bytes first: nothing else adds up."""
    slope = line.forecast.slope
    return not line.metric.endswith("_bytes"), -abs(slope.per_day) if slope else 0.0, line.name
