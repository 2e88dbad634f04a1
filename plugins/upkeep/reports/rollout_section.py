"""What was changed in the cluster, in the order in which it happened: at night the order is what explains it."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import Item, Section, approved, light_of, step
from upkeep.reports.target_line import Status

_STEPS = ("undo", "restart", "scale")
CHANGES = ("roll_out", "roll_back", *_STEPS)
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
    items = tuple(_item(attempt) for attempt in own)
    return Section("Changes in the cluster", approved(said, own), items, figure=one_line(said, 160))


def _item(attempt: Attempt) -> Item:
    status = light_of(attempt)
    if attempt.duty == "check_gates" and attempt.text("stage") == "before":
        status = max(status, Status.AMBER)
    told = list(attempt.texts("lines")) if attempt.duty.startswith("plan_") else []
    if digests := attempt.texts("digests"):
        told.append(f"{'ran' if 'confirm' not in attempt.duty else 'runs'} {', '.join(digests)}")
    return step(attempt, attempt.outcome, "; ".join(told), status=status)
