"""What was changed in the cluster, in the order in which it happened: at night the order is what explains it."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import SAYS_CHARS, Item, Section, light_of
from upkeep.reports.target_line import Status

_STEPS = ("undo", "restart", "scale")
ROLLOUT_DUTIES = (
    "plan_rollout", "ask_approval", "approve_change", "roll_out", "confirm_rollout", "check_gates", "finish_rollout",
    "roll_back", "confirm_rollback", "finish_rollback",
    *(f"{prefix}{step}" for step in _STEPS for prefix in ("plan_", "", "confirm_")),
)  # fmt: skip
_VERDICTS = ("finish_rollout", "finish_rollback", *(f"confirm_{step}" for step in _STEPS))


def rollouts(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    verdicts = [attempt for attempt in own if attempt.duty in _VERDICTS]
    last = verdicts[-1] if verdicts else own[-1]
    changed = any(not attempt.duty.startswith(("plan_", "check_", "ask_", "approve_")) for attempt in own)
    said = last.outcome if changed else f"nothing was changed: {last.outcome}"
    approvers = sorted({attempt.approver for attempt in own if attempt.approver})
    summary = said + (f"; approved by {', '.join(approvers)}" if approvers else "")
    return Section(
        "Changes in the cluster", summary, tuple(_item(attempt) for attempt in own), figure=one_line(said, 160)
    )


def _item(attempt: Attempt) -> Item:
    status = light_of(attempt)
    if attempt.duty == "check_gates" and attempt.text("stage") == "before":
        status = max(status, Status.AMBER)
    at = f"{attempt.started_at:%H:%M:%S} " if attempt.started_at else ""
    told = [attempt.outcome]
    if attempt.duty.startswith("plan_"):
        told += attempt.texts("lines")
    if digests := attempt.texts("digests"):
        told.append(f"{'ran' if 'confirm' not in attempt.duty else 'runs'} {', '.join(digests)}")
    label = "done" if attempt.state == "done" else attempt.state
    subject = f"{at}{attempt.duty} {attempt.target}"
    return Item(status, label, subject, one_line(told[0], SAYS_CHARS), one_line("; ".join(told[1:]), 2 * SAYS_CHARS))
