"""Which openings of a window passed without a finished run: a backup that wasn't made fails no task."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upkeep.domain.units import utc


@dataclass(frozen=True)
class FinishedRun:
    """A run that got as far as its report: when, and whether all was well."""

    at: datetime
    ok: bool


@dataclass(frozen=True)
class Missed:
    """An opening that no run answered, or that only failed runs answered."""

    opening: datetime
    failed: bool

    @property
    def what(self) -> str:
        return f"{self.opening:%Y-%m-%d %H:%M}: {'the run failed' if self.failed else 'no run'}"


@dataclass(frozen=True)
class Tally:
    """Openings that were due, by what answered them."""

    due: int
    done: int
    failed: int
    missing: int


def tally_openings(
    openings: Sequence[datetime], runs: Sequence[FinishedRun], *, grace: timedelta, now: datetime
) -> Tally:
    """An opening whose window is still open isn't due yet."""
    due = sum(utc(now, "now") >= utc(opening, "an opening") + grace for opening in openings)
    missed = missed_openings(openings, runs, grace=grace, now=now)
    failed = sum(one.failed for one in missed)
    return Tally(due, due - len(missed), failed, len(missed) - failed)


def missed_openings(
    openings: Iterable[datetime], runs: Sequence[FinishedRun], *, grace: timedelta, now: datetime
) -> tuple[Missed, ...]:
    """The openings that should have been answered by now, oldest first.

    A run answers the latest opening before it, whenever it came: a run by hand at noon makes up for the night. An
    opening is due ``grace`` after it, when its window is over.
    """
    ordered = sorted(openings, key=lambda moment: utc(moment, "an opening"))
    starts = [utc(moment, "an opening") for moment in ordered]
    answers: list[list[FinishedRun]] = [[] for _ in ordered]
    for run in runs:
        if place := bisect_right(starts, utc(run.at, "a run")):
            answers[place - 1].append(run)
    missed = []
    for opening, start, answered in zip(ordered, starts, answers, strict=True):
        if utc(now, "now") < start + grace:
            continue
        if not any(run.ok for run in answered):
            missed.append(Missed(opening, failed=bool(answered)))
    return tuple(missed)
