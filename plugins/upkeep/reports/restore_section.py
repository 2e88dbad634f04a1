"""What a restore by hand did, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.domain.units import human_seconds
from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import Item, Section, approved, step

RESTORE_DUTIES = ("restore", "secure_live", "stop_writes", "swap", "let_write", "restore_rows")
_RESULTS = ("swap", "restore", "restore_rows")


def by_hand(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    results = [one for one in own if one.duty in _RESULTS]
    said = results[-1].outcome if results else f"nothing was restored: {own[-1].outcome}"
    return Section("Restore", approved(said, own), tuple(_item(attempt) for attempt in own), figure=one_line(said, 160))


def _item(attempt: Attempt) -> Item:
    phases = attempt.mapping("phases")
    took = ", ".join(f"{name} {human_seconds(part)}" for name, part in phases.items() if isinstance(part, int | float))
    more = "; ".join(filter(None, (took, *attempt.texts("notes"), attempt.text("hint"))))
    return step(attempt, attempt.outcome, more)
