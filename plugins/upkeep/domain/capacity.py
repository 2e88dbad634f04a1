"""How full a system is, and where the last week is taking it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median
from typing import Any, NamedTuple

from upkeep.domain.health import Health, Light, Symptom
from upkeep.domain.units import counted, utc

TREND_SPAN = timedelta(days=7)
MOST_POINTS = 60
"""A trend is taken from at most so many points: it compares each with each. Daily samples make eight."""

Key = tuple[str, str]
"""A metric and what it was read of."""


@dataclass(frozen=True)
class Reading:
    """One figure of one thing, such as ``disk_pct`` of ``worker-1:/var`` in ``%``."""

    metric: str
    target: str
    value: float
    unit: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.metric} of {self.target} is {self.value}, which is not a number")

    @property
    def key(self) -> Key:
        return self.metric, self.target


class Point(NamedTuple):
    """A reading's value at a moment."""

    at: datetime
    value: float


@dataclass
class Measured:
    """What one source gave; ``unread`` says what it did not, and why."""

    readings: list[Reading] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add(self, metric: str, target: str, value: Any, unit: str) -> None:
        """Keep a figure; None, a figure that the source doesn't have, is left out."""
        if value is not None:
            self.readings.append(Reading(metric, target, float(value), unit))


class Trend(NamedTuple):
    """``per_day``: how much a value changes a day; ``span``: the time between the points it was taken from."""

    per_day: float
    span: timedelta


def trend_of(points: Sequence[Point]) -> Trend | None:
    """Theil-Sen: the median slope between any two points, so that one odd night in four changes little.

    None without three points that span a day: two nights show a difference, not a trend. Points less than an hour apart
    aren't compared, for a few seconds between two samples make any noise a landslide. A step in the middle of the week
    (a purge, a restore) bends every slope across it: a trend warns of what comes, the limit itself guards.
    """
    points = sorted(Point(utc(at, "a point's time"), value) for at, value in points)
    points = points[:: math.ceil(len(points) / MOST_POINTS)] if len(points) > MOST_POINTS else points
    if len(points) < 3 or points[-1].at - points[0].at < timedelta(days=1):
        return None
    slopes = [
        (second.value - first.value) / ((second.at - first.at) / timedelta(days=1))
        for first, second in combinations(points, 2)
        if second.at - first.at >= timedelta(hours=1)
    ]
    return Trend(median(slopes), points[-1].at - points[0].at)


class _Share(NamedTuple):
    """How a share of a resource is told. ``stops``: what needs more of it fails when there is none left, so that nearly
    all of it is red. ``fills``: it only goes up until somebody makes room, so that its trend can be drawn on.
    """

    words: str
    stops: bool
    fills: bool


_SHARES = {
    "disk_pct": _Share("disk {} is {:.0f} % full", stops=True, fills=True),
    "inodes_pct": _Share("inodes of disk {} are {:.0f} % used", stops=True, fills=True),
    "memory_pct": _Share("memory of {} is {:.0f} % used", stops=True, fills=False),
    "connections_pct": _Share("connections of {} are {:.0f} % used", stops=True, fills=False),
    "cpu_pct": _Share("CPU of {} is {:.0f} % busy", stops=False, fills=False),
    "pod_memory_pct": _Share("memory of a pod of {} is {:.0f} % of its limit", stops=True, fills=False),
    "pod_cpu_pct": _Share("CPU of a pod of {} is {:.0f} % of its limit", stops=False, fills=False),
    "cache_memory_pct": _Share("memory of cache {} is {:.0f} % of its maximum", stops=False, fills=False),
}
RED_PCT = 95
AMBER_DAYS, RED_DAYS = 7, 1
"""What fills up is told when the week's trend fills it within so many days."""


def judge_capacity(
    readings: Sequence[Reading],
    week: Mapping[Key, Sequence[Point]],
    limits: Mapping[Key, float],
    *,
    now: datetime,
    unread: Sequence[str] = (),
) -> Health:
    """Every share against its limit, with the trend of the last week; the worst first.

    :param week: the points before these readings, by metric and target; older ones than a week are left aside.
    :param limits: percent, by metric and target, or by metric and ``""`` for all other targets.
    """
    found: list[tuple[int, float, Symptom]] = []
    for reading in readings:
        limit = limits.get(reading.key, limits.get((reading.metric, "")))
        if reading.metric not in _SHARES or limit is None:
            continue
        earlier = [point for point in week.get(reading.key, ()) if now - TREND_SPAN <= point.at < now]
        symptom = _judged(reading, limit, trend_of([*earlier, Point(now, reading.value)]))
        if symptom:
            found.append((symptom.light != "red", -reading.value, symptom))
    told = [symptom for *_, symptom in sorted(found, key=lambda item: item[:2])]
    told += [Symptom("amber", f"not read: {why}") for why in unread]
    shares = {_name(reading): round(reading.value, 1) for reading in readings if reading.metric in _SHARES}
    return Health("capacity", "capacity", tuple(told), shares)


def _judged(reading: Reading, limit: float, trend: Trend | None) -> Symptom | None:
    share = _SHARES[reading.metric]
    words = f"{share.words.format(reading.target, reading.value)} (limit {limit:g} %){_trend_words(trend)}"
    left = _days_left(reading.value, trend) if share.fills else math.inf
    if left <= AMBER_DAYS and reading.value < 100:
        words += f": full in {left:.0f} days" if left >= 1.5 else ": full within a day or so"
    if (share.stops and reading.value >= RED_PCT) or left <= RED_DAYS:
        light: Light = "red"
    elif reading.value >= limit or left <= AMBER_DAYS:
        light = "amber"
    else:
        return None
    return Symptom(light, words)


def _days_left(value: float, trend: Trend | None) -> float:
    return (100 - value) / trend.per_day if trend and trend.per_day > 0 else math.inf


def _trend_words(trend: Trend | None) -> str:
    """``, +0.6 %/day over 7 days``; percent of the whole resource."""
    if trend is None:
        return ""
    days = round(trend.span / timedelta(days=1))
    return f", {round(trend.per_day, 1) + 0.0:+.1f} %/day over {counted(days, 'day')}"


def _name(reading: Reading) -> str:
    return f"{reading.metric} {reading.target}"


def first_lines(symptoms: Sequence[Symptom], most: int) -> Iterator[str]:
    """The first symptoms' texts, and how many more there are: what fits into a ledger row."""
    yield from (symptom.what for symptom in symptoms[:most])
    if len(symptoms) > most:
        yield f"and {len(symptoms) - most} more"
