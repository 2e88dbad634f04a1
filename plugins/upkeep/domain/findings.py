"""What a security review found, and what of it is news."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from upkeep.domain.health import Light
from upkeep.domain.units import utc

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


@dataclass(frozen=True)
class Finding:
    """One thing that is less safe than it should be.

    ``high``: whoever finds it is in, or something stops soon. ``medium``: one more mistake and they are. ``low``: tidy
    it up when you are there.
    """

    kind: str
    """Which rule it breaks, such as ``world-writable``."""
    where: str
    """The one thing that breaks it: a path, an account, an address. No count and no date, for it is part of the id."""
    severity: Severity
    what: str
    """For people; may hold what changes from day to day."""
    remedy: str
    """The next action, in a form that can be carried out."""
    source: str = ""
    """Which reading found it: while that one can't be made, nobody can say that the finding is gone."""
    first_seen: str = ""
    """UTC, ISO 8601; empty until ``compare`` has seen it."""

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.where}"

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, **asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Finding:
        """Errors: ``KeyError`` and ``TypeError`` for what was never a finding."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


@dataclass
class Inspection:
    """What one reading found; ``unread`` says what it could not look at, and why."""

    findings: list[Finding] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, where: str, severity: Severity, what: str, remedy: str) -> None:
        self.findings.append(Finding(kind, where, severity, what, remedy))


class Comparison(NamedTuple):
    """Each the most severe first. ``new``: not there last time, or worse than last time. ``unseen``: there last time,
    but it could not be looked at now."""

    new: tuple[Finding, ...]
    standing: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    unseen: tuple[Finding, ...]

    @property
    def open(self) -> tuple[Finding, ...]:
        """All that is to be kept for the next comparison, new ones first."""
        return (*self.new, *self.standing, *self.unseen)

    @property
    def light(self) -> Light:
        found = {finding.severity for finding in self.open}
        return "red" if "high" in found else "amber" if "medium" in found else "green"


def compare(
    previous: Iterable[Finding], current: Iterable[Finding], *, at: datetime, unread: Collection[str] = ()
) -> Comparison:
    """What came, stayed and went.

    :param previous: the open findings of the last review.
    :param at: when ``current`` was found: the ``first_seen`` of what is new.
    :param unread: the sources that could not be looked at, or not wholly.
    """
    before = {finding.id: finding for finding in previous}
    now: dict[str, Finding] = {}
    for finding in sorted(current, key=_order, reverse=True):
        now[finding.id] = finding  # found twice, it counts as severe as it can be
    moment = utc(at, "the moment of the review").isoformat()
    new: list[Finding] = []
    standing: list[Finding] = []
    for finding in now.values():
        known = before.get(finding.id)
        dated = replace(finding, first_seen=known.first_seen if known else moment)
        worse = known and SEVERITIES.index(finding.severity) < SEVERITIES.index(known.severity)
        (standing if known and not worse else new).append(dated)
    missing = [finding for finding in before.values() if finding.id not in now]
    return Comparison(
        _sorted(new),
        _sorted(standing),
        _sorted(finding for finding in missing if finding.source not in unread),
        _sorted(finding for finding in missing if finding.source in unread),
    )


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=_order))


def _order(finding: Finding) -> tuple[int, str, str]:
    return SEVERITIES.index(finding.severity), finding.kind, finding.where
