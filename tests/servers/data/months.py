"""Months, for tables that are partitioned by them."""

from __future__ import annotations

from datetime import date


def months_before(day: date, back: int) -> date:
    """The first day of the month ``back`` months before the one ``day`` is in; negative for months after it."""
    month = day.year * 12 + day.month - 1 - back
    return date(month // 12, month % 12 + 1, 1)
