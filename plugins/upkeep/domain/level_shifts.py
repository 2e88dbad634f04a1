"""Where a figure stepped to another level: a purge, a restore, a bigger disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from typing import TYPE_CHECKING

from upkeep.domain.daily_series import WEEK, day_of, robust_sigma

if TYPE_CHECKING:
    from upkeep.domain.daily_series import Days, Values

SHIFT_SIGMAS, SHORT_SHIFT_SIGMAS = 6.0, 10.0
"""How far a week's median must lie from the one before. In a short history its own noise is badly known."""
KNOWN_NOISE_FROM = 6 * WEEK
LEAST_SHIFT = 0.01
"""Of the usual value: a smaller step changes no decision."""
LEAST_WINDOW = 4
"""Days on either side of a shift: three odd nights are not yet a new level."""


@dataclass(frozen=True)
class Shift:
    """A step to another level. ``on``: the first day there; ``before``, ``after``: the week's medians around it."""

    on: date
    before: float
    after: float

    @property
    def size(self) -> float:
        return self.after - self.before


def find_shifts(days: Days, level: Values) -> list[tuple[int, Shift]]:
    """Level shifts in the order of time, each with the place of its first day."""
    import numpy as np

    count = len(level)
    if count < 2 * LEAST_WINDOW:
        return []
    back = WEEK if count > 2 * WEEK else 1
    drift = float(np.median((level[back:] - level[:-back]) / (days[back:] - days[:-back])))
    places = np.arange(LEAST_WINDOW, count - LEAST_WINDOW + 1)
    before, after = _medians_around(level, places)
    day_before, day_after = _medians_around(days, places)
    # The median of the week from each place on less that of the week before it, and less what the trend gave.
    steps = after - before - drift * (day_after - day_before)
    limit = _least_step(level, steps)
    found: list[tuple[int, Shift]] = []
    # Both: whole numbers that grow slowly stand still for a week, which is a step only against their own trend.
    free = (np.abs(steps) > limit) & (np.abs(after - before) > limit / 2)
    while free.any():
        best = int(places[np.argmax(np.where(free, np.abs(steps), -1.0))])
        cut = _edge(days, level, best, drift)
        (low,), (high,) = _medians_around(level, np.array([cut]))
        found.append((cut, Shift(day_of(days[cut]), float(low), float(high))))
        free &= (np.abs(places - best) >= WEEK) & (np.abs(places - cut) >= WEEK)
    return sorted(found, key=lambda one: one[0])


def sudden_step(days: Days, level: Values, cuts: Sequence[int]) -> Shift | None:
    """The last sample against the week before it, the trend taken out of both."""
    import numpy as np

    begin = max([0, *cuts])
    if len(level) - begin <= LEAST_WINDOW:
        return None
    drift = float(np.median(np.diff(level[begin:-1]) / np.diff(days[begin:-1])))
    before = slice(max(begin, len(level) - 1 - WEEK), len(level) - 1)
    usual = float(np.median(level[before] + drift * (days[-1] - days[before])))
    unusual = max(SHIFT_SIGMAS * robust_sigma(np.diff(level)) / sqrt(2), LEAST_SHIFT * abs(usual))
    return Shift(day_of(days[-1]), usual, float(level[-1])) if abs(level[-1] - usual) > unusual else None


def _medians_around(values: Days | Values, places: Days) -> tuple[Values, Values]:
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


def _least_step(level: Values, steps: Values) -> float:
    """How large a step must be. The noise of single days tells how much two medians of seven differ by chance, 0.67 of
    it; a figure that wanders shows it in the steps themselves."""
    import numpy as np

    chance = 0.67 * robust_sigma(np.diff(level)) / sqrt(2)
    floor = LEAST_SHIFT * float(np.median(np.abs(level)))
    if len(level) < KNOWN_NOISE_FROM:
        return max(SHORT_SHIFT_SIGMAS * chance, floor)
    return max(SHIFT_SIGMAS * chance, SHIFT_SIGMAS * robust_sigma(steps), floor)


def _edge(days: Days, level: Values, place: int, drift: float) -> int:
    """The first day of the new level: where two flat lines fit best. Medians see a step three days off as well."""
    import numpy as np

    low, high = max(0, place - WEEK), min(len(level), place + WEEK)
    flat = level - drift * (days - days[place])

    def misfit(cut: int) -> float:
        parts = (flat[low:cut], flat[cut:high])
        return float(sum(np.abs(part - np.median(part)).sum() for part in parts))

    return min(range(max(low + 1, place - 3), min(high, place + 4)), key=misfit)
