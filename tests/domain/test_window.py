"""Work begins inside a window, or because a person said so by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.window import Override, Window, judge_window
from upkeep.errors import WindowClosed

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
OPENING = datetime(2026, 11, 21, 2, 0, tzinfo=SHANGHAI)
THREE_HOURS = timedelta(hours=3)
BY_HAND = "or start the run by hand with 'Work outside the window' and a reason"


@pytest.mark.parametrize(
    ("after_opening", "is_open", "reason"),
    [
        pytest.param(
            timedelta(0),
            True,
            "the window is open until 2026-11-21 05:00:00+08:00, 3 h left",
            id="at the opening: open",
        ),
        pytest.param(
            timedelta(hours=2, minutes=13),
            True,
            "the window is open until 2026-11-21 05:00:00+08:00, 47 min left",
            id="in the middle: open",
        ),
        pytest.param(
            THREE_HOURS - timedelta(seconds=1),
            True,
            "the window is open until 2026-11-21 05:00:00+08:00, 1 s left",
            id="the last second: open",
        ),
        pytest.param(
            THREE_HOURS, False, "the window closed at 2026-11-21 05:00:00+08:00, 0 s ago", id="at the closing: closed"
        ),
        pytest.param(
            timedelta(hours=10),
            False,
            "the window closed at 2026-11-21 05:00:00+08:00, 7 h ago",
            id="hours later: closed",
        ),
        pytest.param(
            timedelta(microseconds=-1),
            False,
            "the clock says 2026-11-21 01:59:59+08:00, before the last opening at 2026-11-21 02:00:00+08:00:"
            " was it set back?",
            id="before the opening: the clock was set back",
        ),
    ],
)
def test_the_opening_belongs_to_the_window_and_the_closing_does_not(
    after_opening: timedelta, is_open: bool, reason: str
) -> None:
    verdict = judge_window((OPENING + after_opening).astimezone(UTC), OPENING, THREE_HOURS)
    assert (verdict.open, verdict.reason) == (is_open, reason)
    assert verdict.closes_at == OPENING + THREE_HOURS
    assert not verdict.overridden


def test_a_closed_window_says_what_to_do() -> None:
    late = judge_window(OPENING + timedelta(hours=4), OPENING, THREE_HOURS)
    assert late.hint == f"wait for the next opening, {BY_HAND}"
    early = judge_window(OPENING - timedelta(days=400), OPENING, THREE_HOURS)
    assert early.hint == f"check the worker's clock (chronyc tracking, timedatectl), {BY_HAND}"


def test_an_open_window_needs_no_hint() -> None:
    assert judge_window(OPENING, OPENING, THREE_HOURS).hint == ""


def test_an_override_opens_a_closed_window_for_one_length_and_names_who_and_why() -> None:
    override = Override("li.si", "disk nearly full")
    verdict = judge_window(datetime(2026, 11, 21, 4, 0, tzinfo=UTC), OPENING, THREE_HOURS, override)
    assert verdict.open
    assert verdict.overridden
    assert verdict.override == override
    assert verdict.closes_at == datetime(2026, 11, 21, 15, 0, tzinfo=SHANGHAI)
    assert verdict.reason == (
        "the window closed at 2026-11-21 05:00:00+08:00, 7 h ago; overridden by li.si: disk nearly full; "
        "open until 2026-11-21 15:00:00+08:00"
    )


def test_an_override_also_works_when_the_clock_was_set_back_and_the_verdict_says_so() -> None:
    verdict = judge_window(OPENING - timedelta(hours=1), OPENING, THREE_HOURS, Override("li.si", "clock known"))
    assert verdict.open
    assert "was it set back?; overridden by li.si: clock known" in verdict.reason


def test_an_override_that_was_not_needed_is_not_used() -> None:
    verdict = judge_window(OPENING, OPENING, THREE_HOURS, Override("li.si", "to be sure"))
    assert verdict.open
    assert not verdict.overridden
    assert verdict.closes_at == OPENING + THREE_HOURS


@pytest.mark.parametrize(
    ("by", "reason", "missing"),
    [("", "disk full", "name"), ("  ", "disk full", "name"), ("li.si", "", "reason"), ("li.si", "\t\n", "reason")],
)
def test_an_override_without_a_name_or_a_reason_is_refused(by: str, reason: str, missing: str) -> None:
    with pytest.raises(WindowClosed, match=f"without a {missing}\nHINT: say who overrides the window"):
        Override(by, reason)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        pytest.param(
            datetime(2026, 3, 29, 1, 30, tzinfo=BERLIN),
            "2026-03-29T05:30:00+02:00",
            id="the night that loses an hour",
        ),
        pytest.param(
            datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN),
            "2026-10-25T03:30:00+01:00",
            id="the night that repeats an hour",
        ),
        pytest.param(
            datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=BERLIN),
            "2026-10-25T04:30:00+01:00",
            id="opening in the first pass of the repeated hour",
        ),
        pytest.param(
            datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
            "2026-10-25T05:30:00+01:00",
            id="opening in its second pass",
        ),
    ],
)
def test_three_hours_are_three_hours_in_a_night_of_dst(opening: datetime, closing: str) -> None:
    window = Window.from_length(opening, THREE_HOURS)
    assert window.closes_at.isoformat() == closing
    last = opening.astimezone(UTC) + THREE_HOURS - timedelta(seconds=1)
    assert judge_window(last.astimezone(BERLIN), opening, THREE_HOURS).open
    assert not judge_window((last + timedelta(seconds=1)).astimezone(BERLIN), opening, THREE_HOURS).open


def test_the_repeated_hour_is_told_apart_within_one_zone() -> None:
    opening = datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=BERLIN)
    an_hour_later = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=BERLIN)
    assert judge_window(an_hour_later, opening, timedelta(minutes=50)).open


def test_a_window_that_closes_before_it_opens_is_refused() -> None:
    for length in (timedelta(0), timedelta(hours=-1)):
        with pytest.raises(ValueError, match="before it opens"):
            judge_window(OPENING, OPENING, length)


def test_times_without_a_zone_are_refused() -> None:
    naive = datetime(2026, 11, 21, 2, 0)  # noqa: DTZ001 the missing zone is what is tested
    with pytest.raises(ValueError, match=r"now .* has no time zone"):
        judge_window(naive, OPENING, THREE_HOURS)
    with pytest.raises(ValueError, match=r"opens_at .* has no time zone"):
        judge_window(OPENING, naive, THREE_HOURS)


@given(
    now=st.datetimes(
        datetime(2026, 10, 24),  # noqa: DTZ001 hypothesis wants naive bounds
        datetime(2026, 10, 27),  # noqa: DTZ001 hypothesis wants naive bounds
        timezones=st.sampled_from([UTC, SHANGHAI, BERLIN]),
    ),
    opening=st.datetimes(
        datetime(2026, 10, 24),  # noqa: DTZ001 hypothesis wants naive bounds
        datetime(2026, 10, 27),  # noqa: DTZ001 hypothesis wants naive bounds
        timezones=st.sampled_from([UTC, SHANGHAI, BERLIN]),
    ),
    length=st.timedeltas(timedelta(seconds=1), timedelta(hours=12)),
    override=st.none() | st.just(Override("li.si", "urgent")),
)
def test_open_means_inside_or_overridden_and_work_always_has_an_end(
    now: datetime, opening: datetime, length: timedelta, override: Override | None
) -> None:
    verdict = judge_window(now, opening, length, override)
    inside = timedelta(0) <= now.astimezone(UTC) - opening.astimezone(UTC) < length
    assert verdict.open == (inside or override is not None)
    assert verdict.overridden == (override is not None and not inside)
    assert verdict.reason
    assert verdict.open != bool(verdict.hint)
    if verdict.open:
        assert now.astimezone(UTC) < verdict.closes_at.astimezone(UTC) <= now.astimezone(UTC) + length
