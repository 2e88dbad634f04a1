"""Where a figure is going, from the samples of up to two years.

Least squares lies across level shifts (a purge, a restore, a bigger disk) and is led astray by one odd night. So days
are taken by their median and the pattern of the week is taken out (``daily_series``), level shifts are found
(``level_shifts``), and only what came since the last of them is measured, by slopes that outliers can't move
(``trend``, with the sources).

The interval is that of the trend if it goes on as it went. What nobody has sampled yet (a new customer) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from upkeep.domain.capacity import Point
from upkeep.domain.daily_series import WEEK, daily_medians, day_of, weekly_pattern
from upkeep.domain.level_shifts import Shift, find_shifts, sudden_step
from upkeep.domain.trend import (
    Quickening,
    Slope,
    after_bend,
    latest_regime,
    measurable,
    quickening,
    since_bend,
    theil_sen,
    with_the_young,
)
from upkeep.domain.units import counted, utc

if TYPE_CHECKING:
    from upkeep.domain.daily_series import Days, Values

HORIZON_DAYS = 365
GAP_DAYS = 7
STALE_DAYS = 3


@dataclass(frozen=True)
class Forecast:
    """What the samples say of the year to come. ``days``: until the expected value reaches the limit; 0: it has.

    None in ``days``, ``earliest`` or ``latest``: not within ``HORIZON_DAYS``. Without a limit or a slope all are None.
    """

    value: float
    """The last day's."""
    limit: float | None
    slope: Slope | None
    days: int | None
    earliest: int | None
    latest: int | None
    shifts: tuple[Shift, ...]
    samples: int
    first: date
    last: date
    expected: tuple[float, ...]
    """Today and each day of the horizon; empty without a slope."""
    low: tuple[float, ...]
    """The same by the lower end of the slope's interval."""
    high: tuple[float, ...]
    sudden: Shift | None
    """The last sample, where it lies far from the week before it: not yet a shift, and maybe never one."""
    remarks: tuple[str, ...]
    """What a reader must know of the samples before believing this."""

    @property
    def span_days(self) -> int:
        return (self.last - self.first).days

    @property
    def reached(self) -> bool:
        return self.days == 0

    @property
    def over(self) -> bool:
        """The last sample is at the limit, and the trend doesn't say so."""
        return self.limit is not None and self.value >= self.limit and not self.reached

    @property
    def words(self) -> str:
        """``in 43 days (31 to 70)``, ``not within a year``, ``now``, or why nothing can be said."""
        if not self.over:
            return self._expected
        return "over it in its last sample" + (f"; by the trend {self._expected}" if self.slope else "")

    @property
    def _expected(self) -> str:
        if self.slope is None:
            return "too few samples"
        if self.limit is None:
            return "no limit"
        if self.days == 0:
            return "now"
        if self.days is None:
            return "not within a year" + (f" (at the earliest in {self.earliest} days)" if self.earliest else "")
        latest = "more than a year" if self.latest is None else f"{self.latest}"
        return f"in {counted(self.days, 'day')} ({self.earliest or 0} to {latest})"


def forecast(points: Sequence[Point], *, now: datetime, limit: float | None = None) -> Forecast | None:
    """The forecast of one series; None without a single finite point that isn't in the future.

    :param points: in any order; several of one day (UTC) count as their median.
    :param limit: what the value must stay below.
    """
    import numpy as np

    today = utc(now, "now").date()
    days, values = daily_medians(points, today)
    if not len(days):
        return None
    weekly = weekly_pattern(days, values)
    level = values - weekly[days % WEEK]
    found = find_shifts(days, level)
    cuts = [cut for cut, _ in found]
    begin, stairs = latest_regime(days, level, found)
    measured, by_before = measurable(days, cuts, begin)
    remarks = list(_remarks(days, today, found, stairs=stairs))
    slope: Slope | None = None
    courses: list[Values] = []
    quick: Quickening | None = None
    if measured is not None:
        part = days[measured], level[measured]
        estimate = theil_sen(*part)
        if not stairs:
            part = after_bend(*part)
            if len(part[0]) < measured.stop - measured.start:
                estimate = since_bend(*part)
                remarks.append(f"its course changed: only what came since {day_of(part[0][0])} counts")
                quick = quickening(days[measured], level[measured], int(part[0][0]))
        if by_before:
            estimate, remark = with_the_young(estimate, days[begin:], level[begin:])
            remarks.append(remark)
        per_day, low, high = estimate
        slope = Slope(per_day, low, high, day_of(part[0][0]), day_of(part[0][-1]), len(part[0]))
        # Where the last part is too short for a slope of its own, the line of before goes on from its level.
        near = slice(begin, len(days)) if by_before else slice(len(days) - len(part[0]), len(days))
        ahead = np.arange(HORIZON_DAYS + 1)
        pattern = weekly[(today.toordinal() + ahead) % WEEK]
        for rate in (per_day, low, high):
            start = float(np.median(level[near] - rate * (days[near] - today.toordinal())))
            courses.append(start + rate * ahead + pattern)
        if quick and not by_before:
            last = quick.ahead(today.toordinal() - int(days[-1]) + HORIZON_DAYS)[-HORIZON_DAYS - 1 :]
            courses.append(float(np.median(level[-WEEK:] + estimate[0] * (days[-1] - days[-WEEK:]))) + last + pattern)
            remarks.append(
                "it has quickened: the earliest day is that of quickening on, the expected one that of a straight line"
            )
        # The courses cross somewhere in the past, where the samples are; in the future the band holds the line.
        courses = [courses[0], np.minimum.reduce(courses), np.maximum.reduce(courses)]
    reaching = [_first_at(course, limit) for course in courses] or [None, None, None]
    return Forecast(
        value=float(values[-1]),
        limit=limit,
        slope=slope,
        days=reaching[0],
        earliest=reaching[2],
        latest=reaching[1],
        shifts=tuple(shift for _, shift in found),
        samples=len(days),
        first=day_of(days[0]),
        last=day_of(days[-1]),
        expected=tuple(courses[0].tolist()) if courses else (),
        low=tuple(courses[1].tolist()) if courses else (),
        high=tuple(courses[2].tolist()) if courses else (),
        sudden=sudden_step(days, level, cuts),
        remarks=tuple(remarks),
    )


def daily_increase(points: Sequence[Point]) -> list[Point]:
    """What a counter gained a day, from one sample to the next; no point where it began anew (a restart)."""
    points = sorted(Point(utc(at, "a point's time"), value) for at, value in points)
    found = []
    for earlier, later in pairwise(points):
        days = (later.at - earlier.at).total_seconds() / 86_400
        if days > 0 and later.value >= earlier.value:
            found.append(Point(later.at, (later.value - earlier.value) / days))
    return found


def _first_at(course: Values, limit: float | None) -> int | None:
    import numpy as np

    if limit is None:
        return None
    over = np.flatnonzero(course >= limit)
    return int(over[0]) if len(over) else None


def _remarks(days: Days, today: date, found: Sequence[tuple[int, Shift]], *, stairs: bool) -> Iterator[str]:
    import numpy as np

    if stairs:
        yield f"it goes by steps, {len(found)} of them: they are taken for its trend"
    falls = [shift for _, shift in found if shift.size < 0]
    if len(falls) >= 2 and not stairs:
        every = (falls[-1].on - falls[0].on).days // (len(falls) - 1)
        yield f"it fell {len(falls)} times, about every {every} days; the forecast is for the case that it won't again"
    gaps = np.diff(days)
    if len(gaps) and gaps.max() > GAP_DAYS:
        place = int(gaps.argmax())
        yield f"no samples from {day_of(days[place] + 1)} to {day_of(days[place + 1] - 1)}"
    if today.toordinal() - days[-1] > STALE_DAYS:
        yield f"the last sample is {today.toordinal() - days[-1]} days old"
