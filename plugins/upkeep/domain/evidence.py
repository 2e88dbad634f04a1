"""What an auditor asks months later: which backups were due, which were taken, and how far each was proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from upkeep.domain.missed import FinishedRun, missed_openings
from upkeep.domain.proof import ProofLevel
from upkeep.domain.units import utc
from upkeep.errors import EvidenceRefused

A_YEAR = timedelta(days=365)
_FORM = "write dates as 2026-06-30; both days are counted whole, in the site's time zone"


@dataclass(frozen=True)
class Span:
    """Whole days of the site's own calendar, the last one included."""

    first: date
    last: date
    zone: ZoneInfo

    @cached_property
    def start(self) -> datetime:
        """In UTC, as is ``end``."""
        return _midnight(self.first, self.zone)

    @cached_property
    def end(self) -> datetime:
        """The first moment after it."""
        return _midnight(self.last + timedelta(days=1), self.zone)

    def holds(self, moment: datetime) -> bool:
        return self.start <= utc(moment, "a moment") < self.end


def span_of(first: str | None, last: str | None, zone: ZoneInfo, now: datetime) -> Span:
    """From what a person typed; by default up to today, and a year back.

    Errors: ``EvidenceRefused`` for what is not a date, and for a span that ends before it begins.
    """
    today = now.astimezone(zone).date()
    until = _date(last, "--to") if last else today
    since = _date(first, "--from") if first else until - A_YEAR
    if since > until:
        raise EvidenceRefused(f"the span ends before it begins: from {since} to {until}", hint=_FORM)
    if since > today:
        raise EvidenceRefused(f"the span begins on {since}, and today is {today}", hint="choose days that have passed")
    return Span(since, until, zone)


@dataclass(frozen=True, slots=True)
class Proof:
    """One rung that held. ``seq``: the ledger's row that says so; ``seconds``: what its restore or reading took."""

    level: ProofLevel
    at: datetime | None
    seq: int
    where: str
    seconds: float | None
    compared: str


@dataclass(frozen=True, slots=True)
class FailedProof:
    """A proof that failed for what is in the backup. ``level``: from which rung on a later proof overturns it."""

    level: ProofLevel
    at: datetime | None
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Removed:
    at: datetime | None
    seq: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class TakenBackup:
    """One backup as the ledger alone tells of it, whether or not it is still there. ``size`` in bytes."""

    target: str
    backup_id: str
    taken_at: datetime
    seq: int = 0
    """The row that says it was made; 0 where only later acts tell of it."""
    run_id: str = ""
    by: str = ""
    host: str = ""
    size: int | None = None
    seconds: float | None = None
    manifest: str = ""
    """SHA-256 of its manifest, which has the SHA-256 of each file."""
    waits: bool = False
    """It was finished into a worker's spool, and nobody shipped it since."""
    proof: Proof | None = None
    bad: FailedProof | None = None
    removed: Removed | None = None

    def reach(self, proof: Proof) -> None:
        """The highest rung counts, and of several proofs on it the latest."""
        if self.proof is None or proof.level >= self.proof.level:
            self.proof = proof
        if self.bad and proof.level >= self.bad.level:
            self.bad = None

    def fail(self, bad: FailedProof) -> None:
        self.bad = bad

    @property
    def standing(self) -> str:
        """Its highest rung in a word; ``bad`` outweighs every rung."""
        if self.bad:
            return "bad"
        if self.waits:
            return "waits"
        return self.proof.level.label if self.proof else ProofLevel.STORED.label

    @property
    def is_restored(self) -> bool:
        return not self.bad and self.proof is not None and self.proof.level >= ProofLevel.RESTORED


@dataclass(frozen=True, slots=True)
class Gap:
    """An opening of the window that left targets without a backup: those that nobody tried, and those that failed."""

    opening: datetime
    not_tried: tuple[str, ...]
    failed: tuple[str, ...]


def find_gaps(
    openings: Sequence[datetime],
    answers: Mapping[str, Sequence[FinishedRun]],
    in_care_since: Mapping[str, datetime],
    span: Span,
    *,
    grace: timedelta,
    now: datetime,
) -> tuple[dict[str, int], tuple[Gap, ...]]:
    """How many backups of each target were due in ``span``, and the openings that left some of them out.

    ``openings``: those of the span and the one after, before which a late backup still answers the last one.
    ``answers``: each target's attempts; ``ok`` says that a backup came of it.
    """
    due: dict[str, int] = {}
    found: dict[datetime, tuple[list[str], list[str]]] = {}
    for target, since in in_care_since.items():
        own = [opening for opening in openings if utc(opening, "an opening") >= since]
        within = [opening for opening in own if span.holds(opening)]
        due[target] = sum(utc(now, "now") >= utc(opening, "an opening") + grace for opening in within)
        for missed in missed_openings(own, answers.get(target, ()), grace=grace, now=now):
            if span.holds(missed.opening):
                found.setdefault(missed.opening, ([], []))[missed.failed].append(target)
    gaps = (Gap(opening, tuple(none), tuple(failed)) for opening, (none, failed) in found.items())
    return due, tuple(sorted(gaps, key=lambda gap: utc(gap.opening, "an opening")))


def good_after(backups: Iterable[TakenBackup], target: str, moment: datetime) -> TakenBackup | None:
    """The next backup of the target whose whole stream was read and unpacked, or better."""
    later = (
        backup
        for backup in backups
        if backup.target == target and backup.taken_at > moment and not backup.bad
        and backup.proof is not None and backup.proof.level >= ProofLevel.STRUCTURE
    )  # fmt: skip
    return min(later, key=lambda backup: backup.taken_at, default=None)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return utc(datetime.combine(day, time.min, tzinfo=zone), "midnight")


def _date(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise EvidenceRefused(f"{option} {text!r} is not a date", hint=_FORM) from error
