"""Samples as one value a day, and what of them is only the pattern of the week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, SupportsInt

from upkeep.domain.capacity import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Days = NDArray[np.int64]
    Values = NDArray[np.float64]

WEEK = 7
SEASONAL_FROM_DAYS = 4 * WEEK
LEAST_OF_WEEKDAY = 3
"""Samples of each weekday; with fewer, the week's pattern isn't known."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def daily_medians(points: Sequence[Point], today: date) -> tuple[Days, Values]:
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


def weekly_pattern(days: Days, values: Values) -> Values:
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
    noise = robust_sigma(apart - pattern[weekday])
    return np.where(np.abs(pattern) > 4 * noise / np.sqrt(counts), pattern, 0.0)


def robust_sigma(values: Values) -> float:
    """The standard deviation, as the median distance from the median tells it."""
    import numpy as np

    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def day_of(ordinal: SupportsInt) -> date:
    return date.fromordinal(int(ordinal))
