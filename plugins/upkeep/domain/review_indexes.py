"""Which indexes of a database are redundant, and which nobody uses, with a reason for each. Nothing is dropped.

Nothing that was measured for less than a week is called unused: a report of Sundays would make every index of the other
days redundant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from upkeep.domain.findings import Inspection
from upkeep.domain.units import human_bytes, human_seconds

MEASURED = timedelta(days=7)
"""For how long the use of indexes must have been counted."""
SMALL_ROWS = 10_000
"""Reading a table of so few rows costs less than looking after another index."""


@dataclass(frozen=True)
class Index:
    """An index as the server describes it.

    :param keys: what it is sorted by, in order, each with all that makes it another key: the length of a prefix, the
        operator class, the collation, the direction.
    :param includes: columns that are only kept in it.
    :param predicate: of a partial index.
    :param constraint: whether a primary key, a unique or an exclusion constraint is made of it.
    :param needed: why it stays although nobody looks anything up in it; empty for all others.
    """

    table: str
    name: str
    keys: tuple[str, ...]
    method: str = "btree"
    unique: bool = False
    primary: bool = False
    constraint: bool = False
    includes: frozenset[str] = frozenset()
    predicate: str = ""
    needed: str = ""
    size: int = 0
    scans: int | None = None
    """None where nobody counts."""


@dataclass(frozen=True)
class Redundant:
    index: Index
    by: Index
    why: str


def find_redundant(indexes: Iterable[Index]) -> list[Redundant]:
    """Indexes that another one of the same table makes redundant; of two equal ones the one that is easier to spare.

    A unique index is redundant only beside another unique one of the same keys: a longer index doesn't keep its
    promise. Of methods other than btree only an equal index will do.
    """
    found: list[Redundant] = []
    gone: set[tuple[str, str]] = set()
    tables: dict[str, list[Index]] = {}
    for index in indexes:
        tables.setdefault(index.table, []).append(index)
    for _, own in sorted(tables.items()):
        for index in sorted(own, key=_worth_keeping):
            for other in sorted(own, key=_worth_keeping, reverse=True):
                if other is index or (other.table, other.name) in gone:
                    continue
                if why := _why_redundant(index, other):
                    found.append(Redundant(index, other, why))
                    gone.add((index.table, index.name))
                    break
    return found


def judge_indexes(
    inspection: Inspection, indexes: Sequence[Index], *, server: str, drop: Callable[[Index], str]
) -> None:
    """:param drop: the statement that drops one, as the engine writes it."""
    for one in find_redundant(indexes):
        duplicate = one.why == "the same keys"
        inspection.add(
            "duplicate-index" if duplicate else "redundant-index",
            _where(one.index, server),
            "medium" if duplicate else "low",
            f"index {one.index.name} of {one.index.table} on {server} ({_keys(one.index)}"
            f"{_sized(one.index)}) is made redundant by {one.by.name} ({_keys(one.by)}): {one.why}",
            f"{drop(one.index)} after a look at what names it in a hint",
        )


def judge_use(
    inspection: Inspection,
    indexes: Sequence[Index],
    measured_for: timedelta | None,
    *,
    server: str,
    drop: Callable[[Index], str],
    elsewhere: str = "",
) -> None:
    """Which indexes nobody uses, as far as was counted.

    :param measured_for: for how long uses have been counted; None where nobody knows.
    :param elsewhere: where else uses may happen that this server doesn't count.
    """
    if measured_for is None or measured_for < MEASURED:
        since = "nobody knows since when" if measured_for is None else human_seconds(measured_for.total_seconds())
        inspection.add(
            "young-statistics",
            f"the use of indexes on {server}",
            "low",
            f"the use of indexes on {server} has not been counted for a week yet ({since}): none is called unused",
            "wait, and don't reset the statistics; what counts belongs in the server's option file",
        )
        return
    for index in indexes:
        if index.scans != 0 or index.unique or index.primary or index.constraint or index.needed:
            continue
        since = human_seconds(measured_for.total_seconds())
        inspection.add(
            "unused-index",
            _where(index, server),
            "low",
            f"index {index.name} of {index.table} on {server} ({_keys(index)}{_sized(index)}) has not been used in the "
            f"{since} that are measured",
            f"make sure that it is older than that and that no yearly job{elsewhere} needs it, then {drop(index)}",
        )


def _worth_keeping(index: Index) -> tuple[bool, bool, bool, int, str]:
    return index.primary, index.constraint, index.unique, len(index.keys), index.name


def _why_redundant(index: Index, other: Index) -> str:
    if index.primary or index.method != other.method or index.predicate != other.predicate:
        return ""
    covered = index.includes <= other.includes | set(other.keys)
    if index.keys == other.keys and covered:
        if not index.unique or other.unique:
            return "the same keys"
        return ""
    longer = len(other.keys) > len(index.keys) and other.keys[: len(index.keys)] == index.keys
    if longer and covered and index.method == "btree" and not index.unique:
        return "it begins with the same keys"
    return ""


def _where(index: Index, server: str) -> str:
    return f"{index.table}.{index.name} on {server}"


def _keys(index: Index) -> str:
    return ", ".join(index.keys)


def _sized(index: Index) -> str:
    return f"; {human_bytes(index.size)}" if index.size else ""
