"""Openings that nobody answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from upkeep.domain.missed import FinishedRun, missed_openings


def at(day: int, hour: float = 2) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=hour)


OPENINGS = [at(1), at(2), at(3)]


def missed(runs: list[FinishedRun], now: datetime) -> list[str]:
    return [entry.what for entry in missed_openings(OPENINGS, runs, grace=timedelta(hours=3), now=now)]


def test_a_night_without_a_run_is_missed_once_its_window_is_over() -> None:
    runs = [FinishedRun(at(1, 2.5), True)]
    assert missed(runs, at(2, 4.9)) == []
    assert missed(runs, at(2, 5)) == ["2026-11-02 02:00: no run"]


def test_a_failed_run_is_told_apart_from_none() -> None:
    assert missed([FinishedRun(at(1, 3), False)], at(2, 1)) == ["2026-11-01 02:00: the run failed"]


def test_a_run_by_hand_at_noon_makes_up_for_the_night() -> None:
    runs = [FinishedRun(at(1, 3), False), FinishedRun(at(1, 12), True)]
    assert missed(runs, at(2, 1)) == []


def test_a_run_answers_one_opening_only() -> None:
    assert missed([FinishedRun(at(3, 2.1), True)], at(3, 6)) == [
        "2026-11-01 02:00: no run",
        "2026-11-02 02:00: no run",
    ]


def test_a_run_before_the_first_opening_answers_none() -> None:
    assert missed([FinishedRun(at(1, 1), True)], at(1, 6)) == ["2026-11-01 02:00: no run"]
