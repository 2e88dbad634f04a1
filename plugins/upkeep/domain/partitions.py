"""A table's partitions: what the site asks of them, what the server says of them, and what is planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from upkeep.domain.health import Light
from upkeep.domain.names import Named
from upkeep.domain.partition_bounds import Kind
from upkeep.domain.refusal import Refusal
from upkeep.domain.units import ends

ROWS_PER_S, BYTES_PER_S = 10_000, 20_000_000
"""What even a slow server moves out of a catch-all. Writers wait meanwhile, so no more is moved than fits into the
site's ``lock_timeout_s``."""
SOON = timedelta(days=14)
"""Rows that will be refused so soon are grave: the next weekly run may be the last before."""

Action = Literal["add", "split", "finish detach", "detach", "drop"]


@dataclass(frozen=True)
class Rule:
    """One partition rule of a site file; see ``site.PartitionRule``."""

    table: str
    column: str
    ahead: int = 3
    keep: int | None = None
    old: Literal["detach", "drop"] = "detach"


@dataclass(frozen=True)
class Existing:
    """A partition as the server describes it.

    :param bound: its own words: ``202402`` or ``MAXVALUE`` of MySQL, ``FOR VALUES FROM ... TO ...`` or ``DEFAULT`` of
        PostgreSQL.
    :param pending: PostgreSQL: its concurrent detach began and didn't end.
    :param kept: why it is left alone, such as ``a foreign table, whose rows no backup holds``; empty for all others.
    """

    name: str
    bound: str
    pending: bool = False
    kept: str = ""


@dataclass(frozen=True)
class CatchAll:
    """What landed in the partition that takes what no other does.

    :param rows: how many; counted up to a bit more than can be moved.
    :param landed: rows by month, ``2026-11``, where there are few enough; rows without a date under other keys.
    :param hindrances: what moving them would set off.
    """

    name: str
    rows: int
    size: int
    landed: Mapping[str, int] = field(default_factory=dict)
    hindrances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout(Named):
    """A table and its partitions.

    :param kind: what its bounds are; None where the table isn't partitioned by RANGE of the rule's column.
    :param trouble: how it is partitioned instead.
    :param taken: names that a new partition can't have.
    """

    partitioned: bool
    kind: Kind | None = None
    trouble: str = ""
    existing: tuple[Existing, ...] = ()
    catch_all: CatchAll | None = None
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measured:
    """What an old partition holds: ``rows`` where they were counted, ``changed_at`` where the server knows it.

    ``known_since``: when the server began to take note of changes. ``trouble``: why it stays whatever the backups say.
    """

    rows: int | None = None
    changed_at: datetime | None = None
    known_since: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Archived:
    """The backups that stand behind a removal.

    :param backup_id: the fresh one.
    :param rows: what its manifest lists: rows by table, None where they are estimates.
    :param proven_at: when the newest backup was taken that counts as proven for retention; None without one.
    :param counts_from: from which rung on one does.
    """

    backup_id: str
    taken_at: datetime
    rows: Mapping[str, int | None]
    proven_at: datetime | None
    counts_from: str


@dataclass(frozen=True)
class New:
    """A partition to be made; bounds as a statement says them, ``lower`` None where there is none below it."""

    name: str
    lower: str | None
    upper: str


@dataclass(frozen=True)
class Step:
    """One statement's worth of change. ``partition``: what is split, detached or dropped; empty when it is added."""

    action: Action
    reason: str
    partition: str = ""
    makes: tuple[New, ...] = ()

    @property
    def what(self) -> str:
        if self.action == "add":
            return f"add {self._made}"
        if self.action == "split":
            return f"split {self.partition} into {self._made}"
        return f"{self.action} {self.partition}"

    @property
    def _made(self) -> str:
        return ", ".join(ends([new.name for new in self.makes], 4))

    def same_as(self, other: Step) -> bool:
        """Whether both do the same, whatever they give as a reason."""
        return replace(self, reason="") == replace(other, reason="")


@dataclass(frozen=True)
class PartitionPlan:
    """What one rule would do now.

    ``advice`` is what Upkeep leaves to people. ``covered_until``: rows of this date and later are refused, as things
    are before the steps; None when there is no such date.
    """

    rule: Rule
    steps: tuple[Step, ...] = ()
    advice: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    covered_until: datetime | None = None
    newest: str = ""

    @property
    def summary(self) -> str:
        said = [*(step.what for step in self.steps), *(advice.reason for advice in self.advice)]
        return "; ".join(said) or f"nothing to do: {self.newest}"

    def lines(self) -> Iterator[str]:
        verdict = "" if self.steps or self.advice else f": nothing to do: {self.newest}"
        yield f"{self.rule.table} by {self.rule.column}{verdict}"
        yield from (f"  {step.what}: {step.reason}" for step in self.steps)
        for advice in self.advice:
            yield f"  left: {advice.reason}"
            yield f"  remedy: {advice.remedy}"
        yield from (f"  note: {note}" for note in self.notes)

    def light(self, now: datetime) -> Light:
        if self.covered_until is not None and self.covered_until - now < SOON:
            return "red"
        return "amber" if self.advice else "green"
