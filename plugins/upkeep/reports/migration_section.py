"""What a migration by hand did, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Sequence

from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import MOST, Item, Section, approved, light_of, more, step
from upkeep.reports.target_line import Status

MIGRATION_DUTIES = (
    "rehearse_migration", "migrate", "migrate_statement", "commit_migration", "undo_migration",
    "end_migration",
)  # fmt: skip
_RESULTS = ("rehearse_migration", "migrate", "end_migration")


def migrated(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    results = [one for one in own if one.duty in _RESULTS]
    said = results[-1].outcome if results else own[-1].outcome
    # Of many statements that ran, those that did not matter most.
    ran = [one for one in own if one.duty == "migrate_statement" and light_of(one) is Status.GREEN]
    left_out = {id(one) for one in ran[MOST:]}
    items = [_item(attempt) for attempt in own if id(attempt) not in left_out]
    items += more(len(left_out), "statements that ran")
    return Section("Migration", approved(said, own), tuple(items), figure=one_line(said, 160))


def _item(attempt: Attempt) -> Item:
    told = attempt.outcome if attempt.state != "done" else attempt.text("summary") or attempt.command
    helps = "; ".join(filter(None, (*attempt.texts("notes"), *attempt.texts("unlike"), attempt.text("hint"))))
    return step(attempt, told, helps)
