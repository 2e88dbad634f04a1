"""What a migration by hand did, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import MOST, SAYS_CHARS, Item, Section, light_of, more
from upkeep.reports.target_line import Status

MIGRATION_DUTIES = (
    "rehearse_migration", "migrate", "migrate_statement", "commit_migration", "undo_migration",
    "end_migration",
)  # fmt: skip
_RESULTS = ("end_migration", "migrate", "rehearse_migration")


def migrated(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    results = sorted((one for one in own if one.duty in _RESULTS), key=lambda one: _RESULTS.index(one.duty))
    said = results[0].outcome if results else own[-1].outcome
    approvers = sorted({attempt.approver for attempt in own if attempt.approver})
    summary = said + (f"; approved by {', '.join(approvers)}" if approvers else "")
    # Of many statements that ran, those that did not matter most.
    ran = [one for one in own if one.duty == "migrate_statement" and light_of(one) is Status.GREEN]
    left_out = {id(one) for one in ran[MOST:]}
    items = [_item(attempt) for attempt in own if id(attempt) not in left_out]
    items += more(len(left_out), "statements that ran")
    return Section("Migration", summary, tuple(items), figure=one_line(said, 160))


def _item(attempt: Attempt) -> Item:
    at = f"{attempt.started_at:%H:%M:%S} " if attempt.started_at else ""
    label = "done" if attempt.state == "done" else attempt.state
    told = attempt.outcome if attempt.state != "done" else attempt.text("summary") or attempt.command
    subject = f"{at}{attempt.duty} {attempt.target}"
    helps = "; ".join(filter(None, (*attempt.texts("notes"), *attempt.texts("unlike"), attempt.text("hint"))))
    return Item(light_of(attempt), label, subject, one_line(told, SAYS_CHARS), one_line(helps, 2 * SAYS_CHARS))
