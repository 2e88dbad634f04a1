"""What the month did: a site rebuilt as a drill, its fixed queries timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upkeep.domain.units import counted, human_seconds
from upkeep.reports.attempts import Attempt, one_line
from upkeep.reports.section import SAYS_CHARS, Item, Section, Table, light_of, says
from upkeep.reports.target_line import Status

_STEPS = ("fetch", "decrypt", "load", "verify", "total")
_DRILLED = ("Target", "Fetch", "Decrypt, unpack", "Load", "Verify", "Total", "Last time", "Lost", "Came to")
_TIMED = ("Query", "Median", "Spread", "Last time", "Plan", "Reads")
_OUTCOMES = {"rebuilt": Status.GREEN, "no scratch": Status.AMBER, "not tried": Status.AMBER}


def drilled(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """The whole site against its goals and the last drill, then each target by step."""
    drills = [attempt for attempt in own if attempt.duty == "drill"]
    if not drills:
        return Section("Disaster drill", "only parts of it are in the ledger", ())
    last = drills[-1]
    rows = [*(told := last.mappings("targets")), *_beside(own, told)]
    items = [*_goals(last), *(item for row in told if (item := _unlike(row)))]
    before = last.mapping("last").get("totals")
    totals = before if isinstance(before, Mapping) else {}
    table = Table(_DRILLED, tuple(_target(row, totals) for row in rows)) if rows else None
    rebuilt = sum(row.get("outcome") == "rebuilt" for row in rows)
    took = last.number("rto_s")
    figure = f"{counted(rebuilt, 'target')} rebuilt in {human_seconds(took)}" if took is not None else ""
    summary = last.text("summary") or says(last)
    return Section("Disaster drill", summary, tuple(items), figure, table)


def _beside(own: Sequence[Attempt], rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The targets for which the drill's own row had no room, by the last restore of each."""
    told = {row.get("target") for row in rows}
    restores = {one.target: one for one in own if one.duty == "rebuild" and one.mapping("phases")}
    return [
        {"target": target, "outcome": "rebuilt", **restore.mapping("phases")}
        for target, restore in restores.items()
        if target not in told
    ]


def _goals(drill: Attempt) -> Iterator[Item]:
    """Each goal with what was measured and the last time's. Kept is one only by a site that stood as a whole."""
    stood = drill.detail.get("stood") and not drill.detail.get("partial")
    goals, last = drill.mapping("goals"), drill.mapping("last")
    for name, words in (("rto_s", "time to recover"), ("rpo_s", "data lost")):
        measured, goal, before = drill.number(name), goals.get(name), last.get(name)
        if measured is None:
            continue
        said = human_seconds(measured)
        missed = isinstance(goal, int | float) and measured > goal
        if isinstance(goal, int | float):
            said += f", the goal is {human_seconds(goal)}"
        if isinstance(before, int | float):
            said += f"; last time {human_seconds(before)}"
        label = "missed" if missed else "kept" if goal is not None and stood else "measured"
        yield Item(Status.RED if missed else Status.GREEN, label, words, said)


def _unlike(row: Mapping[str, Any]) -> Item | None:
    """Why a target did not stand, or by what its loss is known."""
    target, outcome = str(row.get("target", "")), str(row.get("outcome", ""))
    if outcome == "rebuilt":
        return Item(Status.GREEN, "rebuilt", target, f"{row.get('backup_id')}, recovered up to {row.get('by')}")
    return Item(_OUTCOMES.get(outcome, Status.RED), outcome, target, one_line(str(row.get("why", "")), SAYS_CHARS))


def _target(row: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, ...]:
    target = str(row.get("target", ""))
    return (
        target,
        *(_seconds(row.get(step)) for step in _STEPS),
        _seconds(before.get(target)),
        _seconds(row.get("rpo_s")),
        str(row.get("outcome", "")),
    )


def benchmarked(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """Every query of every database; what is slower, or has another plan, stands below with the reason."""
    tries = list({attempt.target: attempt for attempt in own}.values())
    rows, items = [], []
    for database in tries:
        if database.state != "done":
            items.append(Item(light_of(database), database.state, database.target, says(database)))
        for query in database.mappings("queries"):
            rows.append(_query(database.target, query))
            if query.get("verdict") not in ("same", "new") and (said := str(query.get("says", ""))):
                worse = query.get("slower") or query.get("verdict") == "failed"
                light = Status.AMBER if worse else Status.GREEN
                subject = f"{database.target}/{query.get('name')}"
                items.append(Item(light, str(query.get("verdict")), subject, one_line(said, SAYS_CHARS)))
    summary = "; ".join(f"{database.target}: {says(database)}" for database in tries)
    table = Table(_TIMED, tuple(rows)) if rows else None
    figure = counted(len(rows), "query timed") if len(rows) == 1 else f"{len(rows)} queries timed"
    return Section("Benchmark", summary, tuple(sorted(items, key=lambda item: item.status)), figure, table)


def _query(database: str, query: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{database}/{query.get('name')}",
        _ms(query.get("median_ms")),
        _ms(query.get("spread_ms")),
        "new" if query.get("verdict") == "new" else _ms(query.get("last_ms")),
        str(query.get("plan_words", ""))[:80],
        ", ".join(f"{name} {count:,}" for name, count in _counts(query.get("reads"))),
    )


def _counts(value: Any) -> list[tuple[str, int]]:
    found = value.items() if isinstance(value, Mapping) else ()
    return [(str(name), count) for name, count in found if isinstance(count, int)]


def _seconds(value: Any) -> str:
    return human_seconds(value) if isinstance(value, int | float) else ""


def _ms(value: Any) -> str:
    return f"{value:,.2f} ms" if isinstance(value, int | float) else ""
