"""What is known of tables and their indexes, and what is planned for them. ``plan_care`` judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from upkeep.domain.names import Named
from upkeep.domain.units import human_seconds

Kind = Literal["drop leftover", "vacuum freeze", "vacuum full", "vacuum", "optimize", "reindex", "analyze"]
Verdict = Literal["act", "none", "refused"]

REBUILDS: frozenset[Kind] = frozenset({"optimize", "reindex", "vacuum full"})


@dataclass(frozen=True)
class Care:
    """The settings of one database; see ``site.TableCare``."""

    tables: tuple[str, ...] = ()
    analyze: tuple[str, ...] = ()
    vacuum_full: tuple[str, ...] = ()
    bloat_pct: int = 30
    bloat_mb: int = 100


@dataclass(frozen=True)
class IndexFacts:
    """One index of a PostgreSQL table.

    :param waste: bytes that a rebuild would free; None when that can't be known.
    :param exact: measured, not estimated.
    :param why_not: why it can't be rebuilt beside its work, where it can't.
    :param leftover: of a REINDEX CONCURRENTLY that broke off; ``building``: somebody is at it now.
    """

    place: tuple[str, ...]
    bytes: int
    waste: int | None = None
    exact: bool = False
    valid: bool = True
    leftover: bool = False
    building: bool = False
    why_not: str = ""

    @property
    def label(self) -> str:
        return ".".join(self.place)


@dataclass(frozen=True)
class TableFacts(Named):
    """A table as the server describes it. Sizes in bytes, ages in seconds; None: not known.

    :param kind: ``table``, ``partitioned`` (PostgreSQL: holds no rows itself), ``view``, ``foreign table``...
    :param parents: labels of the partitioned tables it is a part of.
    :param bytes: what a rebuild would read: on MySQL with all indexes.
    :param waste: bytes that a rebuild would free.
    :param storage: MySQL's storage engine.
    :param why_not: why MySQL can't rebuild it beside its work, where it can't.
    :param statistics_age: since its statistics were made.
    :param has_statistics: False: none were ever made.
    :param changed: rows changed since then; MySQL only knows whether any was.
    :param xid_age: of the oldest transaction id that isn't frozen, its TOAST included; ``mxid_age`` likewise.
    """

    kind: str = "table"
    parents: tuple[str, ...] = ()
    bytes: int = 0
    rows: int = 0
    waste: int | None = None
    exact: bool = False
    storage: str = ""
    why_not: str = ""
    statistics_age: float | None = None
    has_statistics: bool = True
    changed: int | None = None
    dead: int = 0
    inserted: int | None = None
    xid_age: int = 0
    mxid_age: int = 0
    vacuum_running: bool = False
    indexes: tuple[IndexFacts, ...] = ()


@dataclass(frozen=True)
class Server:
    """:param free: bytes of room on the server's disk; None when it isn't this machine, ``why_free_unknown`` says why.
    :param xid_age: of the oldest transaction id in the whole database, tables that aren't tended included.
    :param why_no_rebuilds: what speaks against any rebuild on this server.
    """

    engine: str
    version: tuple[int, ...]
    free: int | None = None
    why_free_unknown: str = ""
    freeze_max: int = 200_000_000
    mxid_freeze_max: int = 400_000_000
    xid_age: int = 0
    why_no_rebuilds: str = ""


@dataclass(frozen=True)
class Rebuilt:
    """What the last rebuild of one thing did."""

    before: int
    after: int
    promised: int


@dataclass(frozen=True)
class Past:
    """What the ledger remembers. Keys are (kind, label)."""

    speeds: Mapping[str, float] = field(default_factory=dict)
    postponed: frozenset[tuple[str, str]] = frozenset()
    rebuilt: Mapping[tuple[str, str], Rebuilt] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One verdict about one table or index; ``statement`` only where there is something to do."""

    verdict: Verdict
    table: str
    label: str
    """Of what is worked on: the table itself or one of its indexes."""
    reason: str
    kind: Kind | None = None
    place: tuple[str, ...] = ()
    statement: str = ""
    bytes: int = 0
    waste: int = 0
    seconds: float = 0
    """How long it will take, about."""
    remedy: str = ""
    postponed: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return (str(self.kind), self.label)

    def line(self) -> str:
        what = f"{self.kind} (about {human_seconds(self.seconds)})" if self.verdict == "act" else self.verdict
        if self.verdict == "refused" and self.kind:
            what = f"no {self.kind}"
        return f"{self.label}: {what}: {self.reason}"


@dataclass(frozen=True)
class CarePlan:
    """Everything that was judged; ``actions`` in the order in which they are carried out."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    @property
    def actions(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.verdict == "act")

    @property
    def refused(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.verdict == "refused")

    def lines(self) -> Iterator[str]:
        for item in self.items:
            yield item.line()
            if item.remedy:
                yield f"  remedy: {item.remedy}"
        yield from (f"note: {note}" for note in self.notes)
