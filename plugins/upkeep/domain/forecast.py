"""Where a figure is going, from the samples of up to two years.

Least squares lies across level shifts (a purge, a restore, a bigger disk) and is led astray by one odd night. So days
are taken by their median, the pattern of the week is taken out, level shifts are found, and only what came since the
last of them is measured, by slopes that outliers can't move:

- slope: the median of the slopes between any two days (Theil 1950; Sen 1968, J. Am. Stat. Assoc. 63, 1379-1389). From
  four weeks on only days of the same weekday are compared, so that the week's own pattern has no part in it (Hirsch,
  Slack and Smith 1982, Water Resources Research 18, 107-121).
- interval: 95 %, from the variance of Kendall's S, summed over the weekdays (Sen; Hirsch), widened where neighbouring
  days err alike, by (1 + r) / (1 - r) with r their correlation (Bayley and Hammersley 1946, J. R. Stat. Soc. Suppl. 8),
  which n days beside a fitted line show smaller than it is, by about (2 + 4 r) / n (measured; beside a mean it is
  (1 + 3 r) / n: Kendall 1954, Biometrika 41, 403-404).
- what is young: growth that began lately is an outlier to such slopes. So the last half, quarter, eighth of the days is
  held against those before it. Where a part counts that is young, the interval also holds what it may turn out to be.

The interval is that of the trend if it goes on as it went. What nobody has sampled yet (a new customer) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, SupportsInt

from upkeep.domain.capacity import Point
from upkeep.domain.units import counted, utc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Days = NDArray[np.int64]
    Values = NDArray[np.float64]

HORIZON_DAYS = 365
LEAST_SAMPLES, LEAST_DAYS = 8, 7
"""Days with a sample, and days between the first and the last: with fewer there is no trend."""
WEEK = 7
SEASONAL_FROM_DAYS = 4 * WEEK
LEAST_OF_WEEKDAY = 3
"""Samples of each weekday; with fewer, the week's pattern isn't known."""
BEND_FROM_DAYS = 4 * WEEK
"""From here on the later half is compared with the earlier: if it went elsewhere, it alone counts."""
SIGMAS_95 = 1.96
LEAST_BEND = 4.0
"""How many times its noise a bend must have moved the figure by now. By the intervals alone, noise that lasts for ten
days bent one course of a year in five; so it bends one in twenty.
"""
SHIFT_SIGMAS, SHORT_SHIFT_SIGMAS = 6.0, 10.0
"""How far a week's median must lie from the one before. In a short history its own noise is badly known."""
KNOWN_NOISE_FROM = 6 * WEEK
LEAST_SHIFT = 0.01
"""Of the usual value: a smaller step changes no decision."""
LEAST_WINDOW = 4
"""Days on either side of a shift: three odd nights are not yet a new level."""
STAIRS = 3
"""So many shifts one way, and little else: that is how this figure grows (files that are extended by chunks)."""
GAP_DAYS = 7
STALE_DAYS = 3
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Shift:
    """A step to another level. ``on``: the first day there; ``before``, ``after``: the week's medians around it."""

    on: date
    before: float
    after: float

    @property
    def size(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Slope:
    """Change in a day, with its 95 % interval, from ``samples`` days between ``since`` and ``until``."""

    per_day: float
    low: float
    high: float
    since: date
    until: date
    samples: int


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
    """What a reader must know of the samples before he believes this."""

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
    days, values = _daily(points, today)
    if not len(days):
        return None
    weekly = _weekly_pattern(days, values)
    level = values - weekly[days % WEEK]
    found = _shifts(days, level)
    cuts = [cut for cut, _ in found]
    begin, stairs = _last_part(days, level, found)
    measured, by_before = _measurable(days, cuts, begin)
    remarks = list(_remarks(days, today, found, stairs=stairs))
    slope: Slope | None = None
    courses: list[Values] = []
    if measured is not None:
        part = days[measured], level[measured]
        told = _slope(*part)
        if not stairs:
            part = _after_bend(*part)
            if len(part[0]) < measured.stop - measured.start:
                told = _since_bend(*part)
                remarks.append(f"its course changed: only what came since {_day(part[0][0])} counts")
        if by_before:
            told, remark = _with_the_young(told, days[begin:], level[begin:])
            remarks.append(remark)
        per_day, low, high = told
        slope = Slope(per_day, low, high, _day(part[0][0]), _day(part[0][-1]), len(part[0]))
        # Where the last part is too short for a slope of its own, the line of before goes on from its level.
        near = slice(begin, len(days)) if by_before else slice(len(days) - len(part[0]), len(days))
        ahead = np.arange(HORIZON_DAYS + 1)
        pattern = weekly[(today.toordinal() + ahead) % WEEK]
        for rate in (per_day, low, high):
            start = float(np.median(level[near] - rate * (days[near] - today.toordinal())))
            courses.append(start + rate * ahead + pattern)
        # The three cross somewhere in the past, where the samples are; in the future the band holds the line.
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
        first=_day(days[0]),
        last=_day(days[-1]),
        expected=tuple(courses[0].tolist()) if courses else (),
        low=tuple(courses[1].tolist()) if courses else (),
        high=tuple(courses[2].tolist()) if courses else (),
        sudden=_sudden(days, level, cuts),
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


def _daily(points: Sequence[Point], today: date) -> tuple[Days, Values]:
    """The days (as ``date.toordinal`` counts them, in UTC) that have samples, and the median of each."""
    import numpy as np

    values = np.array([value for _, value in points], dtype=np.float64)
    moments = np.array([at.timestamp() for at, _ in points], dtype=np.float64)
    days = np.floor_divide(moments, 86_400).astype(np.int64) + _EPOCH_DAY
    counts = np.isfinite(values) & (days <= today.toordinal())
    days, values = days[counts], values[counts]
    order = np.argsort(days, kind="stable")
    single, begins = np.unique(days[order], return_index=True)
    if len(single) == len(days):
        return single, values[order]
    return single, np.array([np.median(part) for part in np.split(values[order], begins[1:])], dtype=np.float64)


def _weekly_pattern(days: Days, values: Values) -> Values:
    """How far each weekday lies from the week around it; zero where that can't be told from chance."""
    import numpy as np

    none = np.zeros(WEEK)
    if len(days) < SEASONAL_FROM_DAYS:
        return none
    # Continued beyond both ends as it began and ended, or a trend would look like a pattern there.
    padded = np.pad(values, WEEK // 2, mode="reflect", reflect_type="odd")
    apart = values - np.median(np.lib.stride_tricks.sliding_window_view(padded, WEEK), axis=1)
    weekday = days % WEEK
    counts = np.bincount(weekday, minlength=WEEK)
    if counts.min() < LEAST_OF_WEEKDAY:
        return none
    pattern = np.array([np.median(apart[weekday == number]) for number in range(WEEK)])
    noise = _spread(apart - pattern[weekday])
    return np.where(np.abs(pattern) > 4 * noise / np.sqrt(counts), pattern, 0.0)


def _shifts(days: Days, level: Values) -> list[tuple[int, Shift]]:
    """Level shifts in the order of time, each with the place of its first day."""
    import numpy as np

    count = len(level)
    if count < 2 * LEAST_WINDOW:
        return []
    back = WEEK if count > 2 * WEEK else 1
    drift = float(np.median((level[back:] - level[:-back]) / (days[back:] - days[:-back])))
    places = np.arange(LEAST_WINDOW, count - LEAST_WINDOW + 1)
    before, after = _weeks_around(level, places)
    day_before, day_after = _weeks_around(days, places)
    # The median of the week from each place on less that of the week before it, and less what the trend gave.
    steps = after - before - drift * (day_after - day_before)
    limit = _unusual(level, steps)
    found: list[tuple[int, Shift]] = []
    # Both: whole numbers that grow slowly stand still for a week, which is a step only against their own trend.
    free = (np.abs(steps) > limit) & (np.abs(after - before) > limit / 2)
    while free.any():
        best = int(places[np.argmax(np.where(free, np.abs(steps), -1.0))])
        cut = _edge(days, level, best, drift)
        (low,), (high,) = _weeks_around(level, np.array([cut]))
        found.append((cut, Shift(_day(days[cut]), float(low), float(high))))
        free &= (np.abs(places - best) >= WEEK) & (np.abs(places - cut) >= WEEK)
    return sorted(found, key=lambda one: one[0])


def _weeks_around(values: Days | Values, places: Days) -> tuple[Values, Values]:
    """The medians of the seven values before each place, and of the seven from it on; near the ends of fewer."""
    import numpy as np

    count = len(values)
    before, after = np.empty(len(places)), np.empty(len(places))
    whole = np.empty(0)
    if count >= WEEK:
        whole = np.median(np.lib.stride_tricks.sliding_window_view(values, WEEK), axis=1)
    for part, first in ((before, places - WEEK), (after, places)):
        inside = (first >= 0) & (first + WEEK <= count)
        part[inside] = whole[first[inside]]
        for at in np.flatnonzero(~inside):
            part[at] = np.median(values[max(0, first[at]) : first[at] + WEEK])
    return before, after


def _unusual(level: Values, steps: Values) -> float:
    """How large a step must be. The noise of single days tells how much two medians of seven differ by chance, 0.67 of
    it; a figure that wanders shows it in the steps themselves."""
    import numpy as np

    chance = 0.67 * _spread(np.diff(level)) / sqrt(2)
    floor = LEAST_SHIFT * float(np.median(np.abs(level)))
    if len(level) < KNOWN_NOISE_FROM:
        return max(SHORT_SHIFT_SIGMAS * chance, floor)
    return max(SHIFT_SIGMAS * chance, SHIFT_SIGMAS * _spread(steps), floor)


def _edge(days: Days, level: Values, place: int, drift: float) -> int:
    """The first day of the new level: where two flat lines fit best. Medians see a step three days off as well."""
    import numpy as np

    low, high = max(0, place - WEEK), min(len(level), place + WEEK)
    flat = level - drift * (days - days[place])

    def misfit(cut: int) -> float:
        parts = (flat[low:cut], flat[cut:high])
        return float(sum(np.abs(part - np.median(part)).sum() for part in parts))

    return min(range(max(low + 1, place - 3), min(high, place + 4)), key=misfit)


def _last_part(days: Days, level: Values, found: Sequence[tuple[int, Shift]]) -> tuple[int, bool]:
    """Where the part begins that tells of the future, and whether it is a flight of stairs."""
    import numpy as np

    if not found:
        return 0, False
    last = len(found) - 1
    first = last
    on = [int(days[cut]) for cut, _ in found]
    while first and (found[first - 1][1].size > 0) == (found[last][1].size > 0):
        if first < last and on[first] - on[first - 1] > STAIRS * (on[last] - on[last - 1]):
            break  # that one stands alone
        first -= 1
    count = last - first + 1
    # A ramp of two or three weeks looks like two steps, and too little follows the second to tell by itself.
    ramp = count == 2 and on[last] - on[first] <= 2 * WEEK and not _is_enough(days[found[last][0] :])
    if count >= STAIRS or ramp:
        # They begin one step before the first that is seen: what was flat before them says nothing of them.
        each = float(np.median(np.diff(on[first:])))
        begin = max(found[first - 1][0] if first else 0, int(np.searchsorted(days, on[first] - each)))
        by_steps = sum(shift.size for _, shift in found[first:])
        in_all = float(np.median(level[-WEEK:]) - np.median(level[begin : begin + WEEK]))
        if by_steps * in_all > 0 and abs(by_steps) > abs(in_all) / 2:
            return begin, True
    return found[last][0], False


def _measurable(days: Days, cuts: Sequence[int], begin: int) -> tuple[slice | None, bool]:
    """The part that is long enough for a slope: the last, else the one before its shift."""
    if _is_enough(days[begin:]):
        return slice(begin, len(days)), False
    end = begin
    for cut in sorted({0, *(cut for cut in cuts if cut < begin)}, reverse=True):
        if _is_enough(days[cut:end]):
            return slice(cut, end), True
        end = cut
    return None, False


def _is_enough(days: Days) -> bool:
    return len(days) >= LEAST_SAMPLES and int(days[-1] - days[0]) >= LEAST_DAYS


def _after_bend(days: Days, level: Values) -> tuple[Days, Values]:
    """The last half, quarter, eighth ... of the days: the longest that goes otherwise than what came before it, and of
    that again. Slopes that outliers can't move don't see a change that is young: it is looked for from its end.
    """
    share = 2
    while len(days) and days[-1] - days[0] >= BEND_FROM_DAYS:
        later = days > days[-1] - (days[-1] - days[0] + 1) // share
        if not (_is_enough(days[later]) and _is_enough(days[~later])):
            break
        if _bends(*((days[part], level[part]) for part in (~later, later))):
            days, level, share = days[later], level[later], 2
        else:
            share *= 2
    return days, level


def _bends(before: tuple[Days, Values], after: tuple[Days, Values]) -> bool:
    """Whether the course after goes another way beyond doubt, and by enough to matter: a figure that wanders goes
    somewhere for some weeks, and so few of them can't tell how slowly it does.
    """
    import numpy as np

    (then, low_before, high_before), (now, low, high) = (_slope(*part) for part in (before, after))
    beside = [level - rate * days for rate, (days, level) in ((then, before), (now, after))]
    noise = _spread(np.concatenate([values - np.median(values) for values in beside]))
    days = after[0]
    by_now = abs(now - then) * float(days[-1] - days[0] + 1)
    return by_now >= LEAST_BEND * noise and (low > high_before or low_before > high)


def _since_bend(days: Days, level: Values) -> tuple[float, float, float]:
    """The day of a bend isn't known, and something from before it may be left in its part. The later half has none of
    it: the interval holds both slopes.
    """
    per_day, low, high = _slope(days, level)
    later = days > (days[0] + days[-1]) // 2
    if not _is_enough(days[later]):
        return per_day, low, high
    _, low_later, high_later = _slope(days[later], level[later])
    return per_day, min(low, low_later), max(high, high_later)


def _with_the_young(
    before: tuple[float, float, float], days: Days, level: Values
) -> tuple[tuple[float, float, float], str]:
    """The slope of before a shift, and what the few days since tell of theirs: the interval holds both. Where theirs is
    another beyond doubt, it is the better guess, though a first one.
    """
    per_day, low, high = before
    since = f"too few samples since the shift of {_day(days[0])}"
    if len(days) < LEAST_WINDOW:
        return before, f"{since}: the slope is that of before it"
    young, low_young, high_young = _slope(days, level)
    both = min(low, low_young), max(high, high_young)
    if len(days) == LEAST_WINDOW or low_young <= per_day <= high_young:  # four may all rise by chance
        return (per_day, *both), f"{since}: the slope is that of before it"
    return (young, *both), f"{since} for a trend, but they go otherwise than before it: a first guess"


def _slope(days: Days, level: Values) -> tuple[float, float, float]:
    """The slope and the ends of its interval; see the module's sources."""
    import numpy as np

    groups = [days % WEEK == number for number in range(WEEK)]
    # Weekdays with a sample or two make so few pairs that chance has no say: the interval would be a point.
    if days[-1] - days[0] < SEASONAL_FROM_DAYS or min(int(group.sum()) for group in groups) < LEAST_OF_WEEKDAY:
        groups = [np.ones(len(days), bool)]
    slopes, variance = [], 0.0
    for group in groups:
        at, value, count = days[group], level[group], int(group.sum())
        first, second = _pairs(count)
        slopes.append((value[second] - value[first]) / (at[second] - at[first]))
        variance += count * (count - 1) * (2 * count + 5) / 18
    each = np.sort(np.concatenate(slopes))
    middle = float(np.median(each))
    half = SIGMAS_95 * np.sqrt(variance * _likeness(days, level - middle * days)) / 2
    low = each[max(0, int(np.floor(len(each) / 2 - half)) - 1)]
    high = each[min(len(each) - 1, int(np.ceil(len(each) / 2 + half)))]
    return middle, float(low), float(high)


@lru_cache(maxsize=256)
def _pairs(count: int) -> tuple[Days, Days]:
    import numpy as np

    first, second = np.triu_indices(count, 1)
    return first, second


def _likeness(days: Days, apart: Values) -> float:
    """How many times wider the variance gets because neighbouring days err alike; at least 1."""
    import numpy as np

    apart = apart - np.median(apart)
    spread = _spread(apart)
    apart = np.clip(apart, -3 * spread, 3 * spread)
    neighbours = np.diff(days) <= 2
    first, second = apart[:-1][neighbours], apart[1:][neighbours]
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if power == 0:
        return 1.0
    alike = float((first * second).sum()) / power
    alike = min(0.97, max(0.0, alike + (2 + 4 * alike) / len(days)))
    return (1 + alike) / (1 - alike)


def _first_at(course: Values, limit: float | None) -> int | None:
    import numpy as np

    if limit is None:
        return None
    over = np.flatnonzero(course >= limit)
    return int(over[0]) if len(over) else None


def _sudden(days: Days, level: Values, cuts: Sequence[int]) -> Shift | None:
    """The last sample against the week before it, the trend taken out of both."""
    import numpy as np

    begin = max([0, *cuts])
    if len(level) - begin <= LEAST_WINDOW:
        return None
    drift = float(np.median(np.diff(level[begin:-1]) / np.diff(days[begin:-1])))
    before = slice(max(begin, len(level) - 1 - WEEK), len(level) - 1)
    usual = float(np.median(level[before] + drift * (days[-1] - days[before])))
    unusual = max(SHIFT_SIGMAS * _spread(np.diff(level)) / sqrt(2), LEAST_SHIFT * abs(usual))
    return Shift(_day(days[-1]), usual, float(level[-1])) if abs(level[-1] - usual) > unusual else None


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
        yield f"no samples from {_day(days[place] + 1)} to {_day(days[place + 1] - 1)}"
    if today.toordinal() - days[-1] > STALE_DAYS:
        yield f"the last sample is {today.toordinal() - days[-1]} days old"


def _spread(values: Values) -> float:
    """The standard deviation, as the median distance from the median tells it."""
    import numpy as np

    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def _day(ordinal: SupportsInt) -> date:
    return date.fromordinal(int(ordinal))
