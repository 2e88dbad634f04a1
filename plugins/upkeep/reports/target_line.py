"""What a report says about one target of one run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from upkeep.domain.backup import taken_at
from upkeep.domain.proof import ProofLevel
from upkeep.domain.shrink import SizeVerdict
from upkeep.domain.units import human_bytes, human_seconds


class Status(IntEnum):
    """Worst first."""

    RED = 0
    """Something a person has to act on."""
    AMBER = 1
    """It is well, but a person should look at something."""
    GREEN = 2
    SKIPPED = 3
    """Left out on purpose."""

    @property
    def label(self) -> str:
        return self.name.lower()


LIGHTS = {status.label: status for status in (Status.RED, Status.AMBER, Status.GREEN)}
"""By what a duty notes as ``light``."""


@dataclass(frozen=True)
class Remark:
    """One thing to know: ``<subject> <what>: <why>``, and what to do. ``subject`` is a target, or empty for the run."""

    status: Status
    subject: str
    what: str
    why: str = ""
    hint: str = ""

    @property
    def title(self) -> str:
        return f"{self.subject} {self.what}".strip()


@dataclass(frozen=True)
class Proven:
    """A backup whose last proof held."""

    backup_id: str
    size: int | None
    level: ProofLevel

    @property
    def taken_at(self) -> datetime:
        return taken_at(self.backup_id)


@dataclass(frozen=True)
class Removal:
    """A backup that retention removed, or that the store held back; ``reasons`` are retention's."""

    backup_id: str
    size: int | None
    reasons: tuple[str, ...]
    held: str = ""
    """Why the store holds it; empty when it was removed."""


@dataclass(frozen=True, kw_only=True)
class TargetLine:
    """One target in one run. What isn't known is None or empty."""

    target: str
    engine: str
    status: Status
    reason: str
    """The status in words."""
    remarks: tuple[Remark, ...] = ()
    """Worst first."""

    backup_id: str = ""
    """The backup that this run made, or was making."""
    in_store: bool = False
    """Whether that backup is finished and in the store."""
    proven: bool = False
    """Whether it passed its proof and didn't shrink beyond the limit."""
    size: int | None = None
    verdict: SizeVerdict | None = None
    """Its size against the last proven backup before it."""
    seconds: float | None = None
    proof: ProofLevel | None = None
    """The rung it reached in this run."""
    proof_seconds: float | None = None
    holds: str = ""
    """What was found in it: tables, keys, entries."""
    rows_are: str = ""
    """Whether its row counts are exact."""
    position: str = ""
    """Where the source's log stood at its moment."""
    position_missing: str = ""
    earlier: Proven | None = None
    """The newest proven backup before this run's: what a restore starts from if this run's is no good."""
    earlier_age_s: float = 0

    proven_late: tuple[Proven, ...] = ()
    """Older backups that this run proved on the way."""
    removed: tuple[Removal, ...] = ()
    held: tuple[Removal, ...] = ()
    swept: tuple[str, ...] = ()
    """Unfinished leftovers of killed runs that were removed."""
    shipped: tuple[str, ...] = ()
    """Backups that left the spool for the store."""
    waiting: tuple[str, ...] = ()
    """Backups that wait in the spool."""

    @property
    def bytes_per_s(self) -> float | None:
        return self.size / self.seconds if self.size is not None and self.seconds else None

    @property
    def there(self) -> bool:
        """Whether this run's backup can be found anywhere."""
        return self.in_store or self.backup_id in self.waiting

    @property
    def size_words(self) -> str:
        return "" if self.size is None else human_bytes(self.size)

    @property
    def change_words(self) -> str:
        """Its size against the last proven one: ``+1.2 %``, ``-63 %``, ``same size``, ``the first``."""
        if self.verdict is None:
            return ""
        change = self.verdict.change_pct
        if change is None:
            return "the first" if self.verdict.ok else "empty"
        if change == 0:
            return "same size"
        sign = "+" if change > 0 else "-"
        return f"{sign}<0.1 %" if abs(change) < 0.1 else f"{sign}{abs(change):.1f}".removesuffix(".0") + " %"

    @property
    def rate_words(self) -> str:
        return f"{human_bytes(round(rate))}/s" if (rate := self.bytes_per_s) else ""

    @property
    def time_words(self) -> str:
        if self.seconds is None:
            return ""
        return " at ".join(filter(None, (human_seconds(self.seconds), self.rate_words)))

    @property
    def proof_words(self) -> str:
        return self.proof.label if self.proof else ""

    @property
    def rows_words(self) -> str:
        """How far the counts can be relied on; nothing for those that can't be but exact."""
        if "table" in self.holds:
            return f"row counts {self.rows_are}" if self.rows_are else ""
        return "" if self.rows_are == "exact" else self.rows_are

    @property
    def holds_words(self) -> str:
        return ", ".join(filter(None, (self.holds, self.rows_words)))

    @property
    def earlier_words(self) -> str:
        if self.earlier is None:
            return "no earlier backup has passed a proof"
        age = human_seconds(max(self.earlier_age_s, 0))
        return f"the newest proven backup is {self.earlier.backup_id} ({self.earlier.level.label}), {age} old"
