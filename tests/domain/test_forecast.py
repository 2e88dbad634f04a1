"""A forecast of a history whose future is known: what was put in comes out, whatever else happened to the samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.domain.capacity import Point
from upkeep.domain.forecast import HORIZON_DAYS, Forecast, daily_increase, forecast

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
DAYS = np.arange(200)


def noise(size: float, count: int = 200, seed: int = 7) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(0, size, count)


def wandering(alike: float, count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """As large as noise of 1, but each day is in part as the day before it."""
    fresh = noise(1, count + 100, seed)
    found = fresh.copy()
    for day in range(1, len(found)):
        found[day] = alike * found[day - 1] + math.sqrt(1 - alike**2) * fresh[day]
    return found[100:]


def samples(values: Iterable[float], *, without: Sequence[int] = ()) -> list[Point]:
    """One a day, the last one now."""
    values = list(values)
    first = NOW - timedelta(days=len(values) - 1)
    return [
        Point(first + timedelta(days=day), float(value)) for day, value in enumerate(values) if day not in set(without)
    ]


def told(values: Iterable[float], limit: float | None = 85.0, *, without: Sequence[int] = ()) -> Forecast:
    found = forecast(samples(values, without=without), now=NOW, limit=limit)
    assert found is not None
    return found


def rate(found: Forecast) -> float:
    assert found.slope is not None
    return found.slope.per_day


def test_a_line_is_drawn_on_to_the_day() -> None:
    found = told(30 + 0.2 * DAYS)  # 69.8 now: 15.2 are left
    assert (found.days, found.earliest, found.latest, found.shifts) == (76, 76, 76, ())
    assert rate(found) == pytest.approx(0.2)
    assert found.words == "in 76 days (76 to 76)"
    assert (found.samples, found.span_days, found.remarks) == (200, 199, ())


def test_noise_widens_the_interval_around_the_truth() -> None:
    found = told(30 + 0.2 * DAYS + noise(2))
    assert found.slope and found.slope.low < 0.2 < found.slope.high
    assert found.days is not None and found.earliest is not None and found.latest is not None
    assert found.earliest < found.latest and abs(found.days - 76) <= 5


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        found = told(30 + 0.1 * DAYS[:90] + noise(1.5, 90, seed))
        held += bool(found.slope and found.slope.low <= 0.1 <= found.slope.high)
    assert held >= 90


@pytest.mark.parametrize(("every", "count"), [(5, 9), (6, 8), (8, 8), (15, 10), (30, 14)])
def test_so_it_does_where_samples_are_days_apart(every: int, count: int) -> None:
    days = every * np.arange(count)
    held = 0
    for seed in range(100):
        values = 100 + 0.1 * days + noise(5, count, seed)
        found = forecast(
            [
                Point(NOW - timedelta(days=int(days[-1] - day)), float(value))
                for day, value in zip(days, values, strict=True)
            ],
            now=NOW,
        )
        held += bool(found and found.slope and found.slope.low <= 0.1 <= found.slope.high)
    assert held >= 88


def test_what_falls_as_it_would_rise_has_the_mirrored_interval() -> None:
    values = 10 + 0.5 * DAYS[:10] + noise(1, 10)
    up, down = told(values, None).slope, told(-values, None).slope
    assert up and down
    assert (up.low, up.per_day, up.high) == pytest.approx((-down.high, -down.per_day, -down.low))


def test_where_neighbouring_days_err_alike_the_interval_is_wider() -> None:
    alone = noise(1)
    alike = np.convolve(alone, np.ones(10) / 10, "same") * math.sqrt(10)  # as large, but ten days at a time
    widths = []
    for wobble in (alone, alike):
        slope = told(50 + 0.05 * DAYS + wobble).slope
        assert slope
        widths.append(slope.high - slope.low)
    assert widths[1] > 2 * widths[0]


def test_the_week_has_a_pattern_and_its_peak_is_what_reaches_the_limit() -> None:
    weekend = np.where(DAYS % 7 >= 5, -20.0, 0.0)
    found = told(30 + 0.2 * DAYS + weekend + noise(0.3))
    assert rate(found) == pytest.approx(0.2, abs=0.01)
    assert found.days is not None and 74 <= found.days <= 80
    assert found.shifts == ()
    lowest_of_a_week, highest_of_a_week = min(found.expected[:7]), max(found.expected[:7])
    assert highest_of_a_week - lowest_of_a_week == pytest.approx(20, abs=2.5)


def test_a_week_without_growth_is_never_full() -> None:
    found = told(60 + np.where(DAYS % 7 >= 5, -20.0, 0.0) + noise(0.3))
    assert (found.days, found.shifts) == (None, ())
    assert found.words.startswith("not within a year")


@pytest.mark.parametrize("step", [-25.0, 10.0], ids=["a purge or a bigger disk", "a restore"])
def test_a_level_shift_is_found_on_its_day_and_does_not_bend_the_slope(step: float) -> None:
    found = told(30 + 0.15 * DAYS + np.where(DAYS >= 150, step, 0) + noise(0.4))
    (shift,) = found.shifts
    assert shift.on == (NOW - timedelta(days=49)).date()
    assert shift.size == pytest.approx(step, abs=2)
    assert found.slope and found.slope.since == shift.on
    assert rate(found) == pytest.approx(0.15, abs=0.02)
    truth = (85 - (30 + 0.15 * 199 + step)) / 0.15
    assert found.days is not None and abs(found.days - truth) / truth <= 0.1


def test_least_squares_would_have_been_wrong_there() -> None:
    """The reason for all this: a straight line through a purge says that the disk gets emptier."""
    values = 30 + 0.15 * DAYS + np.where(DAYS >= 150, -25.0, 0)
    assert np.polyfit(DAYS, values, 1)[0] < 0.05 < 0.14 < rate(told(values))


def test_the_slope_from_before_goes_on_where_a_shift_is_a_few_days_old() -> None:
    found = told(30 + 0.2 * DAYS + np.where(DAYS >= 195, -20.0, 0) + noise(0.2))
    assert [shift.on for shift in found.shifts] == [(NOW - timedelta(days=4)).date()]
    assert rate(found) == pytest.approx(0.2, abs=0.01)
    assert found.days is not None and abs(found.days - 176) <= 6
    assert "the slope is that of before it" in found.remarks[0]


def test_odd_nights_change_nothing() -> None:
    values = 30 + 0.2 * DAYS + noise(0.3)
    values[[5, 50, 51, 90, 120, 121, 180]] = 99
    found = told(values)
    assert found.shifts == ()
    assert rate(found) == pytest.approx(0.2, abs=0.005)
    assert found.days is not None and abs(found.days - 76) <= 3


def test_gaps_are_told_and_change_nothing() -> None:
    found = told(30 + 0.2 * DAYS + noise(0.3), without=[*range(20, 25), *range(80, 121)])
    assert found.samples == 200 - 46
    assert rate(found) == pytest.approx(0.2, abs=0.005)
    assert found.remarks == ("no samples from 2026-07-26 to 2026-09-04",)


def test_a_history_that_ended_is_told() -> None:
    points = samples(30 + 0.2 * DAYS)
    found = forecast(points, now=NOW + timedelta(days=10), limit=85)
    assert found and found.days == 66
    assert found.remarks == ("the last sample is 10 days old",)


def test_ten_samples_make_a_forecast_with_a_wide_interval() -> None:
    found = told(50 + 0.5 * DAYS[:10] + noise(0.5, 10))
    assert found.slope and found.slope.low < 0.5 < found.slope.high
    assert found.slope.high - found.slope.low > 0.2
    assert found.earliest is not None and found.days is not None


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_week_is_too_little(count: int) -> None:
    found = told(50 + DAYS[:count])
    assert (found.slope, found.days, found.expected, found.words) == (None, None, (), "too few samples")
    assert found.value == 50 + count - 1


def test_eight_samples_of_one_day_are_one_sample() -> None:
    points = [Point(NOW - timedelta(minutes=minute), 50.0 + minute) for minute in range(8)]
    found = forecast(points, now=NOW, limit=85)
    assert found and (found.samples, found.value, found.slope) == (1, 53.5, None)


def test_a_constant_stays() -> None:
    found = told([50.0] * 200)
    assert found.slope and (found.slope.low, found.slope.per_day, found.slope.high) == (0, 0, 0)
    assert (found.days, found.earliest, found.words) == (None, None, "not within a year")


def test_what_falls_never_gets_there() -> None:
    found = told(80 - 0.2 * DAYS)
    assert rate(found) == pytest.approx(-0.2)
    assert (found.days, found.earliest, found.latest) == (None, None, None)


def test_what_is_over_its_limit_is_there_now() -> None:
    assert (told([90.0] * 50).words, told([90.0] * 50).reached) == ("now", True)


def test_without_a_limit_there_is_a_slope_and_no_day() -> None:
    found = told(30 + 0.2 * DAYS, limit=None)
    assert (found.days, found.words) == (None, "no limit")
    assert rate(found) == pytest.approx(0.2)


def test_a_year_is_as_far_as_it_looks() -> None:
    found = told(84 - 0.003 * 199 - 0.01 + 0.003 * DAYS)  # 336 days or so
    assert found.days is not None and 300 < found.days <= HORIZON_DAYS
    assert told(80 + 0.001 * DAYS).days is None


def test_a_file_that_is_extended_by_chunks_grows_by_its_steps() -> None:
    """Each step alone looks like a level shift, and after the last one nothing moves."""
    found = told(40 + 3.0 * (DAYS // 30))
    assert len(found.shifts) == 6
    assert rate(found) == pytest.approx(0.1, abs=0.02)
    assert any("by steps, 6 of them" in remark for remark in found.remarks)


@pytest.mark.parametrize("length", [16, 20, 25, 30, 45, 60, 90])
@pytest.mark.parametrize("old_step", [0, 4])
def test_growth_that_began_lately_counts_and_not_the_flat_months_before_it(length: int, old_step: float) -> None:
    flat = 50 - old_step * (np.arange(150) < 40) + noise(0.3, 150)
    found = told([*flat, *(50 + 0.5 * np.arange(length) + noise(0.3, length, 8))], limit=100.0)
    left = (100 - 50 - 0.5 * (length - 1)) / 0.5
    assert found.days is not None and abs(found.days - left) <= max(4, left / 3)


@pytest.mark.parametrize(
    ("size", "slope", "length"),
    [(0.3, 0.5, 8), (0.3, 2.0, 8), (0.3, 0.5, 12), (1, 0.5, 16), (1, 0.5, 45), (1, 0.2, 25)],
)
def test_the_interval_holds_the_slope_of_a_ramp_that_is_a_week_or_two_old(
    size: float, slope: float, length: int
) -> None:
    """However clear the flat months before it were: what began lately is what will be."""
    held = reached = 0
    for seed in range(40):
        ramp = 50 + slope * np.arange(1, length + 1)
        found = told([*(50 + noise(size, 150, seed)), *(ramp + noise(size, length, 1000 + seed))], limit=100.0)
        held += bool(found.slope and found.slope.low <= slope <= found.slope.high)
        reached += found.earliest is not None
    assert held >= 35
    assert reached >= 35


def test_a_few_days_after_a_shift_widen_the_interval_and_only_a_clear_course_replaces_the_slope_of_before() -> None:
    before = 30 + 0.2 * DAYS[:190] + noise(0.2, 190)
    still = told([*before, *(50 + 0.2 * np.arange(6) + noise(0.2, 6, 3))], limit=None)
    assert rate(still) == pytest.approx(0.2, abs=0.01)
    assert still.slope and still.slope.high - still.slope.low > 0.05, "six days are few"
    steep = told([*before, *(50 + 3.0 * np.arange(6) + noise(0.2, 6, 3))], limit=None)
    assert rate(steep) == pytest.approx(3, abs=0.2)
    assert steep.slope and steep.slope.low < 0.21
    assert "a first guess" in steep.remarks[0]


@pytest.mark.parametrize(
    ("days", "alike", "most"), [(60, 0.0, 4), (365, 0.0, 4), (60, 0.8, 6), (120, 0.9, 9), (365, 0.8, 5), (365, 0.9, 5)]
)
def test_neither_chance_nor_a_figure_that_wanders_bends_a_course(days: int, alike: float, most: int) -> None:
    """``alike``: the correlation of neighbouring days: at 0.9 a figure stays up or down for ten days and longer."""
    bent = sum(bool(told(50 + 0.1 * np.arange(days) + wandering(alike, days, seed)).remarks) for seed in range(60))
    assert bent <= most


def test_the_interval_holds_the_truth_of_a_figure_that_wanders() -> None:
    held = 0
    for seed in range(100):
        found = told(50 + 0.1 * np.arange(120) + wandering(0.9, 120, seed))
        held += bool(found.slope and found.slope.low <= 0.1 <= found.slope.high)
    assert held >= 86


def test_whole_numbers_that_grow_slowly_have_no_shifts() -> None:
    found = told(np.floor(50 + 0.1 * DAYS))
    assert (found.shifts, found.remarks) == ((), ())
    assert found.days is not None and abs(found.days - 151) <= 6


def test_a_purge_each_second_month_is_told_and_the_growth_since_the_last_one_counts() -> None:
    found = told(40 + 0.5 * (DAYS % 60) + noise(0.3))
    assert [round(shift.size) // 10 for shift in found.shifts] == [-3, -3, -3]
    assert rate(found) == pytest.approx(0.5, abs=0.05)
    assert any("fell 3 times, about every 60 days" in remark for remark in found.remarks)


def test_a_course_that_bent_counts_from_its_bend() -> None:
    found = told(np.where(DAYS < 100, 50.0, 50 + (DAYS - 100) * 0.2) + noise(0.3))
    assert rate(found) == pytest.approx(0.2, abs=0.03)
    assert any("its course changed" in remark for remark in found.remarks)


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_makes_no_shift(seed: int) -> None:
    assert told(50 + noise(2, 200, seed)).shifts == ()
    assert told(50 + 0.05 * DAYS[:20] + noise(2, 20, seed)).shifts == ()


def test_a_last_sample_far_from_its_week_is_told_before_it_is_a_shift() -> None:
    found = told([*(30 + 0.2 * DAYS + noise(0.3)), 20.0], limit=None)
    assert found.sudden and found.sudden.on == NOW.date()
    assert (round(found.sudden.before), found.sudden.after) == (70, 20.0)
    assert told(30 + 0.2 * DAYS + noise(0.3)).sudden is None


def test_many_samples_a_day_count_as_their_median() -> None:
    points = [
        Point(at + timedelta(hours=hour), value + (40 if hour == 7 else 0))
        for at, value in samples(30 + 0.2 * DAYS)
        for hour in (-7, 0, 5)
    ]
    found = forecast(points, now=NOW + timedelta(hours=5), limit=85)
    assert found and (found.samples, found.days) == (200, 76)


def test_what_lies_in_the_future_or_is_no_number_is_left_out() -> None:
    odd = [Point(NOW + timedelta(days=3), 1e9), Point(NOW - timedelta(days=3), math.nan), Point(NOW, math.inf)]
    found = forecast([*samples(30 + 0.2 * DAYS), *odd], now=NOW, limit=85)
    assert found and found.days == 76
    assert forecast(odd, now=NOW) is None


def test_a_counter_is_forecast_by_what_it_gains_a_day_across_a_restart() -> None:
    values = [100.0, 150.0, 200.0, 10.0, 60.0]
    gained = daily_increase(samples(values))
    assert [value for _, value in gained] == [50, 50, 50]
    assert gained[-1].at == NOW


def test_two_years_are_read_to_the_end() -> None:
    days = np.arange(730)
    found = told(20 + 0.07 * days + np.where(days % 7 >= 5, -5, 0) + noise(1, 730))
    assert (found.samples, found.first) == (730, date(2024, 11, 23))
    assert found.days is not None and abs(found.days - 200) <= 15


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(-1e12, 1e12)), min_size=1, max_size=120),
    st.none() | st.floats(-1e12, 1e12),
)
def test_any_history_gives_finite_figures_in_order(history: list[tuple[int, float]], limit: float | None) -> None:
    points = [Point(NOW - timedelta(days=day), value) for day, value in history]
    found = forecast(points, now=NOW, limit=limit)
    assert found is not None
    figures = [*found.expected, *found.low, *found.high, found.value]
    if found.slope:
        figures += [found.slope.low, found.slope.per_day, found.slope.high]
        assert found.slope.low <= found.slope.per_day <= found.slope.high
        assert len(found.expected) == HORIZON_DAYS + 1
    assert all(math.isfinite(figure) for figure in figures)
    assert all(first.on < second.on for first, second in pairwise(found.shifts))
    assert all(low <= value <= high for low, value, high in zip(found.low, found.expected, found.high, strict=True))
    if found.days is not None:
        assert limit is not None and found.expected[found.days] >= limit
        assert found.earliest is not None and found.earliest <= found.days
        assert found.latest is None or found.days <= found.latest


@pytest.mark.parametrize("growth", [1.01, 1.015, 1.02])
@pytest.mark.parametrize("way", [1, -1])
def test_growth_that_grows_is_told_and_may_get_there_sooner_than_by_a_straight_line(growth: float, way: int) -> None:
    """A straight line is always late then, and so was nearly all of its interval."""
    values = way * 60 * growth ** (np.arange(120) - 119.0) * (1 + noise(0.004, 120))
    found = told(values, limit=90.0)
    assert any(remark.startswith("it has quickened: the earliest day is") for remark in found.remarks)
    if way > 0:
        assert found.days is not None and found.earliest is not None
        assert found.earliest <= 1.1 * math.log(90 / 60) / math.log(growth) < found.days
    else:
        assert found.days is None and found.low[40] < found.expected[40], "what falls falls faster"
