"""Whether a rhythm may work now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from upkeep.domain.units import human_seconds, utc
from upkeep.errors import WindowClosed


@dataclass(frozen=True)
class Window:
    """A stretch of time in which work is allowed: from ``opens_at`` on, and at ``closes_at`` no longer."""

    opens_at: datetime
    closes_at: datetime

    def __post_init__(self) -> None:
        if utc(self.closes_at, "closes_at") <= utc(self.opens_at, "opens_at"):
            raise ValueError(f"a window can't close ({self.closes_at}) before it opens ({self.opens_at})")

    @classmethod
    def from_length(cls, opens_at: datetime, length: timedelta) -> Window:
        """``length`` is time that passes, not clock time: 3 h stay 3 h in the night that DST begins or ends."""
        return cls(opens_at, (utc(opens_at, "opens_at") + length).astimezone(opens_at.tzinfo))


@dataclass(frozen=True)
class Override:
    """A person's decision to work outside the window. Without a name and a reason it is none."""

    by: str
    reason: str

    def __post_init__(self) -> None:
        for field, text in (("name", self.by), ("reason", self.reason)):
            if not text.strip():
                raise WindowClosed(
                    f"an override of the window without a {field}",
                    hint="say who overrides the window and why in the form of a new run: both go into the ledger",
                )

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}"


@dataclass(frozen=True)
class WindowVerdict:
    """``closes_at`` is when work has to stop. ``override`` is there only if the work is allowed because of it."""

    open: bool
    reason: str
    closes_at: datetime
    hint: str = ""
    override: Override | None = None

    @property
    def overridden(self) -> bool:
        return self.override is not None


def judge_window(
    now: datetime, last_opening: datetime, length: timedelta, override: Override | None = None
) -> WindowVerdict:
    """Judge once, at the start of a run, and hand ``closes_at`` on: an override counts its length from ``now``.

    :param last_opening: the latest opening at or before ``now``, in the site's time zone. One that lies after ``now``
        means that the clock was set back since it was computed: the window is closed.
    """
    window = Window.from_length(last_opening, length)
    moment, opens, closes = utc(now, "now"), utc(window.opens_at, "opens_at"), utc(window.closes_at, "closes_at")

    if opens <= moment < closes:
        left = human_seconds((closes - moment).total_seconds())
        return WindowVerdict(
            True, f"the window is open until {_clock(window.closes_at)}, {left} left", window.closes_at
        )

    if moment < opens:
        here = moment.astimezone(last_opening.tzinfo)
        reason = (
            f"the clock says {_clock(here)}, before the last opening at {_clock(window.opens_at)}: was it set back?"
        )
        hint = "check the worker's clock (chronyc tracking, timedatectl)"
    else:
        ago = human_seconds((moment - closes).total_seconds())
        reason = f"the window closed at {_clock(window.closes_at)}, {ago} ago"
        hint = "wait for the next opening"
    if override is None:
        hint += ", or start the run by hand with 'Work outside the window' and a reason"
        return WindowVerdict(False, reason, window.closes_at, hint)

    until = (moment + length).astimezone(last_opening.tzinfo)
    return WindowVerdict(
        True, f"{reason}; overridden by {override}; open until {_clock(until)}", until, override=override
    )


def _clock(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")
