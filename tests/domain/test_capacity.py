"""Capacity is judged by its limit and by where the last week is taking it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.capacity import Measured, Point, Reading, first_lines, judge_capacity, trend_of
from upkeep.domain.health import Symptom

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = {("disk_pct", ""): 85.0, ("cpu_pct", ""): 80.0, ("memory_pct", ""): 85.0, ("connections_pct", ""): 80.0}


def nights(*values: float) -> list[Point]:
    """One point a night, the last one a day ago."""
    return [Point(NOW - DAY * (len(values) - place), value) for place, value in enumerate(values)]


def disk(value: float, target: str = "/") -> Reading:
    return Reading("disk_pct", target, value, "%")


def told(reading: Reading, *values: float) -> tuple[str, str]:
    health = judge_capacity([reading], {reading.key: nights(*values)}, LIMITS, now=NOW)
    return health.light, health.summary if health.symptoms else ""


def test_a_share_over_its_limit_is_told_with_the_limit_and_the_trend_of_the_week() -> None:
    light, summary = told(disk(87), 82.8, 83.4, 84.0, 84.6, 85.2, 85.8, 86.4)
    assert (light, summary) == ("amber", "disk / is 87 % full (limit 85 %), +0.6 %/day over 7 days")


def test_a_share_below_its_limit_that_goes_nowhere_is_green() -> None:
    assert told(disk(84.9), 84.9, 84.9, 84.9, 84.9) == ("green", "")


def test_a_share_at_its_limit_is_told() -> None:
    assert told(disk(85)) == ("amber", "disk / is 85 % full (limit 85 %)")


def test_a_disk_below_its_limit_that_fills_within_a_week_is_told() -> None:
    light, summary = told(disk(70), 45, 50, 55, 60, 65)
    assert (light, summary) == ("amber", "disk / is 70 % full (limit 85 %), +5.0 %/day over 5 days: full in 6 days")


def test_a_disk_that_fills_within_a_day_is_red() -> None:
    light, summary = told(disk(80), 20, 40, 60)
    assert light == "red"
    assert summary.endswith("+20.0 %/day over 3 days: full within a day or so")


def test_a_disk_that_is_nearly_full_is_red_whatever_its_trend() -> None:
    assert told(disk(95), 99, 98, 97, 96)[0] == "red"


def test_what_moves_up_and_down_is_not_drawn_on_into_the_future() -> None:
    assert told(Reading("memory_pct", "worker-1", 70, "%"), 45, 50, 55, 60, 65) == ("green", "")


def test_a_busy_processor_is_never_red() -> None:
    assert told(Reading("cpu_pct", "worker-1", 100, "%"))[0] == "amber"


def test_a_falling_share_says_so_and_no_minus_stands_before_a_zero() -> None:
    assert ", -1.0 %/day" in told(disk(86), 89, 88, 87)[1]
    assert ", +0.0 %/day" in told(disk(86), 86.06, 86.04, 86.02)[1]


def test_one_odd_night_in_the_week_changes_the_trend_little() -> None:
    steady = trend_of([*nights(80, 81, 82, 83, 84, 85, 86), Point(NOW, 87)])
    odd = trend_of([*nights(80, 81, 82, 20, 84, 85, 86), Point(NOW, 87)])
    assert steady and steady.per_day == pytest.approx(1)
    assert odd and odd.per_day == pytest.approx(1, abs=0.01)


def test_two_nights_are_a_difference_and_not_a_trend() -> None:
    assert trend_of([*nights(80), Point(NOW, 87)]) is None


def test_many_samples_of_one_hour_are_not_a_trend() -> None:
    assert trend_of([Point(NOW + timedelta(minutes=minute), minute) for minute in range(50)]) is None


def test_samples_seconds_apart_do_not_make_a_landslide() -> None:
    tonight = [Point(NOW + timedelta(seconds=second), 50 + second / 10) for second in range(10)]
    trend = trend_of([*nights(50, 50), *tonight])
    assert trend and 0 <= trend.per_day < 1


def test_points_older_than_a_week_do_not_count() -> None:
    reading = disk(87)
    old = [Point(NOW - DAY * days, 10) for days in range(8, 30)]
    health = judge_capacity([reading], {reading.key: [*old, *nights(87, 87, 87)]}, LIMITS, now=NOW)
    assert health.summary.endswith("+0.0 %/day over 3 days")


@given(
    per_day=st.floats(-50, 50),
    start=st.floats(0, 100),
    hours=st.lists(st.integers(0, 168), min_size=3, max_size=200, unique=True).filter(lambda h: max(h) - min(h) >= 24),
)
def test_the_trend_of_a_straight_line_is_its_slope(per_day: float, start: float, hours: list[int]) -> None:
    trend = trend_of([Point(NOW + timedelta(hours=hour), start + per_day * hour / 24) for hour in hours])
    assert trend is not None
    assert trend.per_day == pytest.approx(per_day, abs=1e-6)


def test_the_reddest_comes_first_and_then_the_fullest() -> None:
    readings = [disk(86, "/a"), disk(97, "/b"), Reading("cpu_pct", "worker-1", 99, "%"), disk(90, "/c")]
    health = judge_capacity(readings, {}, LIMITS, now=NOW)
    assert [symptom.what.split(" is ")[0] for symptom in health.symptoms] == [
        "disk /b", "CPU of worker-1", "disk /c", "disk /a",
    ]  # fmt: skip
    assert health.light == "red"


def test_a_target_may_have_a_limit_of_its_own() -> None:
    cache = Reading("cache_memory_pct", "sessions", 75, "%")
    assert judge_capacity([cache], {}, {("cache_memory_pct", "sessions"): 70}, now=NOW).light == "amber"
    assert judge_capacity([cache], {}, {("cache_memory_pct", "other"): 70}, now=NOW).light == "green"


def test_what_could_not_be_read_is_amber_and_comes_last() -> None:
    health = judge_capacity([disk(90)], {}, LIMITS, now=NOW, unread=["store: no answer"])
    assert [symptom.what for symptom in health.symptoms][1:] == ["not read: store: no answer"]
    assert judge_capacity([], {}, LIMITS, now=NOW, unread=["store: no answer"]).light == "amber"


def test_figures_without_a_limit_are_not_judged() -> None:
    health = judge_capacity([Reading("table_bytes", "app/users", 1e12, "bytes")], {}, LIMITS, now=NOW)
    assert health.light == "green"
    assert health.figures == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        disk(value)


def test_a_figure_that_a_source_does_not_have_is_left_out() -> None:
    found = Measured()
    found.add("table_rows", "app/users", None, "rows")
    assert found.readings == []


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    symptoms = [Symptom("amber", letter) for letter in "abcde"]
    assert list(first_lines(symptoms, 3)) == ["a", "b", "c", "and 2 more"]
    assert list(first_lines(symptoms, 5)) == list("abcde")
