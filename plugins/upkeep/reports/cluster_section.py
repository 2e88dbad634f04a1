"""The section on a site's cluster: what isn't well in its namespace, with the last words of what fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upkeep.domain.units import counted
from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import SAYS_CHARS, Item, Section, light_of, more, says, whole, worst_first
from upkeep.reports.target_line import Status


def cluster(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    check = own[-1]
    findings, unread = check.mappings("findings"), check.texts("unread")
    if check.state != "done" or not (findings or unread):
        light = light_of(check)
        if light is Status.GREEN:
            return Section("Cluster", says(check))
        return Section("Cluster", "not looked at", (Item(light, light.label, check.target, says(check)),))
    reds, ambers = whole(check.detail.get("reds")), whole(check.detail.get("ambers"))
    figures = check.mapping("figures")
    looked = ", ".join(counted(whole(figures[kind]), kind.removesuffix("s")) for kind in _NAMED if kind in figures)
    parts = [f"{reds} red"] * bool(reds) + [f"{ambers} amber"] * bool(ambers)
    parts += [counted(len(unread), "kind") + " not looked at"] * bool(unread)
    return Section(
        "Cluster",
        f"{', '.join(parts)}; {looked or 'nothing could be read'}",
        (
            *worst_first([_item(one) for one in findings]),
            *more(reds + ambers - len(findings), "more"),
            *(Item(Status.AMBER, "not looked at", "", one_line(why, SAYS_CHARS)) for why in unread),
        ),
    )


_NAMED = ("pods", "deployments", "services")


def _item(one: Mapping[str, Any]) -> Item:
    red = one.get("light") == "red"
    said = one_line(str(one.get("says", "")), SAYS_CHARS)
    return Item(
        Status.RED if red else Status.AMBER, "red" if red else "amber", str(one.get("subject", "")), said,
        "; ".join(_helps(one)),
    )  # fmt: skip


def _helps(one: Mapping[str, Any]) -> Iterator[str]:
    if hint := str(one.get("hint", "")):
        yield one_line(hint, SAYS_CHARS)
    lines = one.get("log")
    if isinstance(lines, list) and lines:
        yield f"its last lines: {' | '.join(one_line(str(line), SAYS_CHARS) for line in lines)}"
