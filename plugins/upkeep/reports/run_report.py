"""The report on one run: what every expected target came to, and what a person has to know about the run itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from upkeep.domain.units import counted, first_few, human_bytes, human_seconds
from upkeep.ledger import Head
from upkeep.reports.attempts import State, one_line, visible
from upkeep.reports.section import Section
from upkeep.reports.since_last import Since
from upkeep.reports.target_line import Remark, Removal, Status, TargetLine
from upkeep.site.rhythms import Rhythms

_SECONDS = "%Y-%m-%d %H:%M:%S"
_HEADLINE_REDS = 2
_HEADLINE_WHY_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class Window:
    """What the guard said before the run began."""

    open: bool
    verdict: str
    overridden_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The facts an auditor asks for first."""

    run_id: str
    rhythm: str
    actors: tuple[str, ...]
    """Who started it, as the ledger has it; more than one when somebody else cleared a task."""
    triggers: tuple[str, ...]
    hosts: tuple[str, ...]
    started_at: datetime | None
    ended_at: datetime | None
    config_hashes: tuple[str, ...]
    """SHA-256 of the site's settings in force; more than one when the site file changed under the run."""
    window: Window | None
    """None when the ledger has no verdict of this run."""
    left_out: tuple[str, ...]
    """Parts of the rhythm that the form took out."""
    dry: bool

    @property
    def took(self) -> str:
        if self.started_at is None or self.ended_at is None or self.ended_at < self.started_at:
            return ""
        return human_seconds((self.ended_at - self.started_at).total_seconds())


class Fact(NamedTuple):
    name: str
    value: str
    exact: bool
    """Whether it is to be copied letter by letter: an id, a hash."""


@dataclass(frozen=True)
class Step:
    """An act of the run that belongs to no target's line and no section: whatever a later release does."""

    duty: str
    target: str
    state: State
    outcome: str


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run, as a person reads it. Every text in it is fit to be shown, but not yet escaped for any format."""

    site: str
    title: str
    timezone: str
    made_at: datetime
    run: Run
    lines: tuple[TargetLine, ...]
    """Worst first, then in the order of the site file."""
    run_remarks: tuple[Remark, ...]
    """About the run as a whole."""
    since: Since | None
    """What changed since the last run of this rhythm; None when there is none to compare with."""
    sections: tuple[Section, ...]
    steps: tuple[Step, ...]
    step_remarks: tuple[Remark, ...]
    head: Head | None
    """The end of the site's chain when the report was made. A report that was kept proves the rows up to it."""

    @cached_property
    def status(self) -> Status:
        found = [line.status for line in self.lines if line.status is not Status.SKIPPED]
        if not self.lines and (self.sections or self.steps):
            found = [Status.GREEN]  # a rhythm without backups: all that isn't well has a remark
        return min([*found, *(remark.status for remark in self.remarks)], default=Status.SKIPPED)

    @property
    def ok(self) -> bool:
        """Whether nothing is red."""
        return self.status is not Status.RED

    @cached_property
    def remarks(self) -> tuple[Remark, ...]:
        """All of them, worst first: those about the run, then those about its targets, then those about its steps."""
        told = [*self.run_remarks, *(remark for line in self.lines for remark in line.remarks), *self.step_remarks]
        return tuple(sorted(told, key=lambda remark: remark.status))

    def remarks_of(self, status: Status) -> tuple[Remark, ...]:
        return tuple(remark for remark in self.remarks if remark.status is status)

    def with_failed(self, tasks: Sequence[str]) -> RunReport:
        """The same, but no better than the run's tasks: some of them may have failed without a word in the ledger, for
        it was away, or another run held what they needed.
        """
        if not tasks or not self.ok:
            return self
        remark = Remark(
            Status.RED,
            "",
            f"{counted(len(tasks), 'task')} failed without a word in the ledger",
            first_few([visible(task) for task in tasks], 10),
            "read the log of the first of them, then clear it",
        )
        return replace(self, run_remarks=(remark, *self.run_remarks))

    def told_with(self, remarks: Sequence[Remark]) -> Iterator[tuple[Remark, TargetLine | None]]:
        """Each remark; with a target's first also its line, if a restore can't start from this run's backup."""
        fallbacks = {line.target: line for line in self.lines if not line.proven}
        for remark in remarks:
            yield remark, fallbacks.pop(remark.subject, None)

    @property
    def removed(self) -> tuple[tuple[TargetLine, Removal], ...]:
        return tuple((line, removal) for line in self.lines for removal in line.removed)

    @property
    def held(self) -> tuple[tuple[TargetLine, Removal], ...]:
        return tuple((line, removal) for line in self.lines for removal in line.held)

    @property
    def changed(self) -> bool:
        """Whether there is anything to tell under "in the store"."""
        return any(line.removed or line.held or line.shipped or line.swept or line.proven_late for line in self.lines)

    @cached_property
    def tally(self) -> str:
        """What was reached, in figures."""
        wanted = [line for line in self.lines if line.status is not Status.SKIPPED]
        left_out = len(self.lines) - len(wanted)
        if self.run.dry:
            parts = ["dry run: nothing was written or removed"]
        elif not self.lines:
            parts = [section.figure for section in self.sections if section.figure] or ["nothing had to be done"]
        elif not wanted:
            parts = ["no target was chosen"]
        else:
            proven = [line for line in wanted if line.proven]
            parts = [f"{len(proven)} of {counted(len(wanted), 'target')} backed up and proven"]
            if proven:
                parts.append(human_bytes(sum(line.size or 0 for line in proven)))
            if self.removed:
                parts.append(f"{counted(len(self.removed), 'old backup')} removed")
            if left_out:
                parts.append(f"{left_out} left out")
        return ", ".join(parts)

    @cached_property
    def summary(self) -> str:
        """One sentence without the status."""
        tally = self.tally
        if reds := self.remarks_of(Status.RED):
            return f"{_in_short(reds)}; {tally}"
        if ambers := self.remarks_of(Status.AMBER):
            subjects = list(dict.fromkeys(remark.subject or "the run" for remark in ambers))
            return f"{tally}; look at {', '.join(subjects)}"
        return tally

    @property
    def headline(self) -> str:
        """``4 of 4 targets backed up and proven, 412.3 MB, 2 old backups removed``, or ``RED: app has no ...``."""
        return f"{self.status.name}: {self.summary}" if self.status <= Status.AMBER else self.summary

    def clock(self, moment: datetime, form: str = "%Y-%m-%d %H:%M") -> str:
        """In the site's time zone."""
        return f"{moment.astimezone(ZoneInfo(self.timezone)):{form}}"

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What an auditor asks for first."""
        run, window = self.run, self.run.window
        found = (
            Fact("Run", run.run_id, True),
            Fact("Started by", f"{', '.join(run.actors)} ({', '.join(run.triggers)})" if run.actors else "", False),
            Fact("Worked", self._worked(), False),
            Fact("Time zone", self.timezone, False),
            Fact("Window", window.verdict if window else self._no_verdict(), False),
            Fact("Overridden by", window.overridden_by if window else "", False),
            Fact("Left out in the form", ", ".join(run.left_out), False),
            Fact("Hosts", ", ".join(run.hosts), False),
            *(Fact("Settings", config_hash, True) for config_hash in run.config_hashes),
            Fact("Ledger head", ":".join(map(str, self.head)) if self.head else "", True),
        )
        return tuple(fact for fact in found if fact.value)

    def _no_verdict(self) -> str:
        """Nothing for what is only started by hand and asks no guard."""
        return "the ledger has no verdict of this run" if self.run.rhythm in Rhythms.model_fields else ""

    def _worked(self) -> str:
        """``2026-11-21 02:00:04 to 02:01:16, 1 min 12 s``"""
        begun, ended = self.run.started_at, self.run.ended_at
        if begun is None or ended is None:
            return ""
        first, last = self.clock(begun, _SECONDS), self.clock(ended, _SECONDS)
        day, _, time = last.partition(" ")
        until = time if first.startswith(day) else last
        return ", ".join(filter(None, (f"{first} to {until}", self.run.took)))

    @property
    def anchor_words(self) -> str:
        if self.head is None:
            return "The ledger of this site is empty."
        return (
            "Keep this page outside the ledger. With the head above, upkeep ledger verify --noted shows whether "
            f"anybody has changed row {self.head.seq} or one before it."
        )


def _in_short(remarks: Sequence[Remark]) -> str:
    """The first few, each once, with the reason of the first."""
    told = list({remark.title: remark for remark in remarks}.values())
    why = one_line(told[0].why, _HEADLINE_WHY_CHARS)
    parts = [f"{told[0].title}: {why}" if why else told[0].title, *(r.title for r in told[1:_HEADLINE_REDS])]
    if len(told) > _HEADLINE_REDS:
        parts.append(f"{len(told) - _HEADLINE_REDS} more")
    return "; ".join(parts)
