"""What the month's forecast found, as a section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upkeep.domain.units import counted
from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import MOST, SAYS_CHARS, Item, Section, more, whole
from upkeep.reports.target_line import LIGHTS, Status

_LATER = 3
"""Of what is reached later than in three months."""


def forecasts(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """What runs out soon, with what would change it; the first of what runs out later; and where the plots are."""
    last = own[-1]
    if last.state != "done":
        return Section("Forecast", last.outcome)
    soon, later = last.mappings("soon")[:MOST], last.mappings("later")[:_LATER]
    odd, replicas = last.texts("odd_backups")[:MOST], last.texts("replicas")[:MOST]
    counts = last.mapping("counts")  # of all, also of those for which the ledger's row had no room
    items = [
        *(_runs_out(one) for one in soon),
        *more(whole(counts.get("soon")) - len(soon), "soon"),
        *(Item(Status.AMBER, "backup", "", one_line(what, SAYS_CHARS)) for what in odd),
        *more(whole(counts.get("odd_backups")) - len(odd), "backup"),
        *(_runs_out(one) for one in later),
        *more(whole(counts.get("later")) - len(later), "later"),
        *(Item(Status.GREEN, "replicas", "", one_line(what, SAYS_CHARS)) for what in replicas),
        *more(whole(counts.get("replicas")) - len(replicas), "replicas"),
    ]
    if page := last.text("page"):
        items.append(Item(Status.GREEN, "plots", "", page))
    figure = f"{counted(whole(last.detail.get('figures')), 'figure')} forecast"
    return Section("Forecast", last.text("summary"), tuple(items), figure)


def _runs_out(one: Mapping[str, Any]) -> Item:
    status = LIGHTS.get(str(one.get("light", "")), Status.GREEN)
    changes = one.get("changes")
    helps = "; ".join(str(change) for change in changes) if isinstance(changes, list) else ""
    says = one_line(str(one.get("says", "")), SAYS_CHARS)
    return Item(status, status.label, str(one.get("name", "")), says, one_line(helps, SAYS_CHARS))
