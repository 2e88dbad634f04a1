"""What a restore by hand did, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.domain.units import human_seconds
from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import SAYS_CHARS, Item, Section, light_of

RESTORE_DUTIES = ("restore", "secure_live", "stop_writes", "swap", "let_write", "restore_rows", "return_keys")
_RESULTS = ("swap", "return_keys", "restore", "restore_rows")


def by_hand(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    results = sorted((one for one in own if one.duty in _RESULTS), key=lambda one: _RESULTS.index(one.duty))
    said = results[0].outcome if results else f"nothing was restored: {own[-1].outcome}"
    approvers = sorted({attempt.approver for attempt in own if attempt.approver})
    summary = said + (f"; approved by {', '.join(approvers)}" if approvers else "")
    return Section("Restore", summary, tuple(_item(attempt) for attempt in own), figure=one_line(said, 160))


def _item(attempt: Attempt) -> Item:
    at = f"{attempt.started_at:%H:%M:%S} " if attempt.started_at else ""
    told = [attempt.outcome]
    phases = attempt.mapping("phases")
    took = ", ".join(f"{name} {human_seconds(part)}" for name, part in phases.items() if isinstance(part, int | float))
    more = "; ".join(filter(None, (took, *attempt.texts("notes"), attempt.text("hint"))))
    label = "done" if attempt.state == "done" else attempt.state
    subject = f"{at}{attempt.duty} {attempt.target}"
    return Item(light_of(attempt), label, subject, one_line(told[0], SAYS_CHARS), one_line(more, 2 * SAYS_CHARS))
