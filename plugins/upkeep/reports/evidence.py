"""What a page of evidence tells of a span, and of the chain behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upkeep.domain.evidence import Gap, Span, TakenBackup
from upkeep.domain.units import counted
from upkeep.ledger import Chain, Problem


@dataclass(slots=True)
class Failure:
    """Acts of one duty on one thing that failed in the same way, one after the other, and what came next.

    ``settled_at`` and ``settled_seq``: the first act after them that was done; ``after``: what became of the backup.
    """

    duty: str
    target: str
    backup_id: str
    kind: str
    why: str
    first_at: datetime | None
    last_at: datetime | None
    first_seq: int
    last_seq: int
    times: int = 1
    settled_at: datetime | None = None
    settled_seq: int = 0
    after: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """A backup that retention took away. ``standing``: how far it had been proven by then."""

    target: str
    backup_id: str
    at: datetime | None
    seq: int
    size: int | None
    standing: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A restore, a migration or a rollout, step by step; also what somebody was asked, and what they answered."""

    at: datetime | None
    seq: int
    duty: str
    target: str
    by: str
    approver: str
    state: str
    outcome: str
    command: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Drill:
    """``rto_s`` and ``rpo_s`` in seconds, None where they were not measured; ``goals`` has those that the site set."""

    at: datetime | None
    seq: int
    by: str
    outcome: str
    partial: bool
    stood: bool
    rto_s: float | None
    rpo_s: float | None
    goals: Mapping[str, Any]
    targets: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Exemption:
    """Where a person set a rule aside, and the reason they gave."""

    at: datetime | None
    seq: int
    what: str
    by: str
    reason: str


@dataclass(slots=True)
class Tally:
    """All acts of one duty. ``unfinished``: killed, or still running."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    unfinished: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass
class Evidence:
    """All that the page and its JSON tell. Moments have a time zone."""

    site: str
    title: str
    span: Span
    target: str | None
    made_at: datetime
    made_by: str
    made_on: str
    version: str
    fingerprint: str
    schedule: str
    chain: Chain
    guards: tuple[Problem, ...]
    noted: tuple[str, ...]
    """Heads from earlier exports or reports that the chain was compared with."""
    begins_at: datetime | None
    """The site's first row."""
    targets: tuple[str, ...]
    """Those of the site file in force now."""
    due: Mapping[str, int]
    gaps: tuple[Gap, ...]
    fingerprints: Mapping[str, int] = field(default_factory=dict)
    """Acts in the span, by SHA-256 of the site file they followed."""
    altered: tuple[int, ...] = ()
    """Rows whose contents don't match their hash: nothing on the page is taken from them."""
    backups: tuple[TakenBackup, ...] = ()
    failures: tuple[Failure, ...] = ()
    removals: tuple[Removal, ...] = ()
    changes: tuple[Change, ...] = ()
    drills: tuple[Drill, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    duties: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return not self.chain.problems and not self.guards

    @property
    def head(self) -> str:
        """As ``upkeep ledger verify --noted`` takes it; empty where there is none."""
        head = self.chain.head
        return f"{head.site}:{head.seq}:{head.hash}" if head else ""

    @property
    def missing(self) -> int:
        return sum(len(gap.not_tried) + len(gap.failed) for gap in self.gaps)

    def standings(self, target: str) -> Counter[str]:
        return Counter(backup.standing for backup in self.backups if backup.target == target)


def cannot_know(evidence: Evidence) -> tuple[str, ...]:
    """What no reading of this ledger could show, for the page to say."""
    said = [*_NEVER_KNOWN]
    begins = evidence.begins_at
    if begins is None or begins > evidence.span.start:
        since = f"{begins.astimezone(evidence.span.zone):%Y-%m-%d %H:%M}" if begins else "now"
        said.append(f"The site's ledger begins on {since}: nothing is known of the time before.")
    if not evidence.noted:
        said.append(
            "The chain was not compared with a head that was noted elsewhere: that alone would show a ledger that "
            "somebody computed anew from end to end. Run it again with --noted."
        )
    others = [name for name in evidence.fingerprints if name != evidence.fingerprint]
    if others:
        said.append(
            f"Which backups were due is told by the site file in force now ({evidence.fingerprint[:12]}); acts of this "
            f"span also followed {counted(len(others), 'other version')} of it ({_some(others)}), which the ledger "
            "knows by their SHA-256 only."
        )
    if evidence.altered:
        said.append("What altered rows said when they were written: nothing on this page is taken from them.")
    return tuple(said)


def _some(names: Iterable[str], most: int = 5) -> str:
    short = [name[:12] for name in names]
    return ", ".join(short[:most]) + (", ..." if len(short) > most else "")


_NEVER_KNOWN = (
    (
        "Nobody looked into the store for this page: it tells what was proven at the time given, not that the files "
        "are still there, nor that they are still whole."
    ),
    (
        "What was done without Upkeep (a backup deleted by hand or by a rule of the bucket, a statement typed into a "
        "database) leaves no row."
    ),
    "Times are what the clocks of the machines said; only the numbers of the rows prove an order.",
)
