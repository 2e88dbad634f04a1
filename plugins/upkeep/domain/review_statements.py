"""Which statements are slow each time, and which sessions wait for a lock that another one holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from upkeep.domain.findings import Inspection
from upkeep.domain.units import human_seconds

SLOW_S = 1.0
"""The stricter of the manuals' two: long_query_time 2 and log_min_duration_statement 1000."""
TEXT_CHARS = 160


@dataclass(frozen=True)
class Statement:
    """A kind of statement: its text has no values in it."""

    id: str
    text: str
    calls: int
    total_s: float
    worst_s: float

    @property
    def mean_s(self) -> float:
        return self.total_s / self.calls if self.calls else 0.0

    def as_dict(self) -> dict[str, object]:
        return {
            "text": self.text[:TEXT_CHARS],
            "calls": self.calls,
            "total_s": round(self.total_s, 1),
            "mean_s": round(self.mean_s, 3),
            "worst_s": round(self.worst_s, 2),
        }


@dataclass
class Reviewed(Inspection):
    """``statements``: those that take the most time, then those that once took longest."""

    statements: list[Statement] = field(default_factory=list)


def judge_statements(reviewed: Reviewed, statements: Iterable[Statement], *, server: str) -> None:
    """Keep the statements, and find those that are slow each time rather than once."""
    seen = {one.id: one for one in statements}
    reviewed.statements += seen.values()
    for one in seen.values():
        if one.mean_s >= SLOW_S and one.calls > 1 and not _DUMP.match(one.text):
            reviewed.add(
                "slow-statement",
                f"{one.id} on {server}",
                "medium",
                f"a statement on {server} takes {human_seconds(one.mean_s)} each time ({one.calls:,} times, "
                f"{human_seconds(one.worst_s)} at worst): {one.text[:TEXT_CHARS]}",
                "EXPLAIN it with typical values; look for an index on what it filters and joins by",
            )


def top(statements: Iterable[Statement], count: int) -> list[Statement]:
    """The ``count`` with the most time in all, then those of the ``count`` worst that aren't among them."""
    known = list({one.id: one for one in statements}.values())
    most = sorted(known, key=lambda one: -one.total_s)[:count]
    return most + [one for one in sorted(known, key=lambda one: -one.worst_s)[:count] if one not in most]


@dataclass(frozen=True)
class Wait:
    """A session that waits for another. ``open_s``: for how long the other one's transaction has been open.

    ``blocking`` is None where the server doesn't tell whom it waits for.
    """

    waiting: int
    blocking: int | None
    table: str
    waited_s: float
    open_s: float
    text: str


def judge_wait(
    inspection: Inspection, wait: Wait, *, server: str, lock_timeout_s: int, end: str, find: str = ""
) -> None:
    """
    :param end: what ends the session in the way, and with it its transaction.
    :param find: how to find that session, where the server doesn't name it.
    """
    waited = f"session {wait.waiting} has waited {human_seconds(wait.waited_s)} for {wait.table} on {server}"
    holder, remedy = "", find
    if wait.blocking is not None:
        holder = f", which session {wait.blocking} holds in a transaction that is open for {human_seconds(wait.open_s)}"
        remedy = f"look at what session {wait.blocking} does; {end} ends it, and undoes its transaction"
    inspection.add(
        "lock-wait",
        f"{wait.table} on {server}",
        "medium" if wait.waited_s >= lock_timeout_s else "low",
        f"{waited}{holder}: {wait.text[:TEXT_CHARS]}",
        remedy,
    )


_VALUES = re.compile(
    r"""
    (?P<name>`(?:[^`]|``)*`)
    | (?P<quoted>"(?:[^"\\]|""|\\.)*")
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|$)  # PostgreSQL's dollar quotes; each kind may have lost its end
    | [bBeEnNxX]?'(?:[^'\\]|''|\\.)*(?:'|$)
    | ".*$
    | \b0[xX][0-9a-fA-F]+\b
    | (?<![\w$.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b
    """,
    re.VERBOSE | re.DOTALL,
)


def without_values(text: str, *, quotes_are_text: bool = False) -> str:
    """A statement without what was compared or stored: servers leave values in statements that define or grant.

    PostgreSQL's ``$1`` stays.

    :param quotes_are_text: whether a value may stand in double quotes, as on MySQL; elsewhere they hold names.
    """

    def shown(found: re.Match[str]) -> str:
        kept = found["name"] or ("" if quotes_are_text else found["quoted"])
        return kept or "?"

    return " ".join(_VALUES.sub(shown, text).split())


_DUMP = re.compile(r"COPY |SELECT (/\*.*?\*/ )?SQL_NO_CACHE \* FROM |FETCH |BACKUP ", re.IGNORECASE)
"""What a dump runs reads whole tables, and takes as long as it takes."""
