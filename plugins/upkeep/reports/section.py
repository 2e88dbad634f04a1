"""A section of a report's page, and the words that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.target_line import LIGHTS, Status

MOST = 10
"""Items of one kind in a section."""
SAYS_CHARS = 300


@dataclass(frozen=True)
class Item:
    """One line: ``<label> <subject>: <says>``, and below it what helps: a sample, the remedy."""

    status: Status
    label: str
    subject: str
    says: str
    more: str = ""


@dataclass(frozen=True)
class Table:
    """Cells of text, row by row."""

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """``figure``: what it adds to the headline of a run that makes no backups, such as ``3 tables tended``."""

    title: str
    summary: str
    items: tuple[Item, ...] = ()
    figure: str = ""
    table: Table | None = None


def light_of(attempt: Attempt) -> Status:
    """What its light in the report is, whatever it was to do."""
    match attempt.state:
        case "done":
            return LIGHTS.get(attempt.text("light"), Status.GREEN)
        case "failed" | "died":
            return Status.RED
        case _:
            return Status.AMBER


def says(attempt: Attempt) -> str:
    """What it found, or how it ended without."""
    return attempt.outcome if attempt.state != "done" else attempt.text("summary")


def step(attempt: Attempt, told: str, more: str = "", *, status: Status | None = None) -> Item:
    """One act where acts are told in the order in which they happened; ``status`` where it isn't its own light."""
    return Item(
        light_of(attempt) if status is None else status,
        attempt.state,
        f"{attempt.began('%H:%M:%S')} {attempt.duty} {attempt.target}".lstrip(),
        one_line(told, SAYS_CHARS),
        one_line(more, 2 * SAYS_CHARS),
    )


def approved(said: str, own: Sequence[Attempt]) -> str:
    """What came of it, and who had agreed to it."""
    approvers = sorted({attempt.approver for attempt in own if attempt.approver})
    return said + (f"; approved by {', '.join(approvers)}" if approvers else "")


def worst_first(items: list[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.status))


def more(count: int, label: str) -> Iterator[Item]:
    if count > 0:
        yield Item(Status.GREEN, label, "", f"and {count} more: see the task's log")


def number(value: Any) -> str:
    return f"{int(value):,}" if isinstance(value, int | float) else "?"


def whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
