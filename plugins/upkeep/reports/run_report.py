"""The report on one run: what every expected target came to, and what a person has to know about the run itself.

It is built from the ledger alone. Airflow's own history is purged, and the worker that writes the report isn't the one
that made the backups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from upkeep.domain.missed import Missed
from upkeep.domain.units import counted, human_bytes, human_seconds, utc
from upkeep.ledger import Head, Ledger, Record
from upkeep.reports.attempts import Attempt, State, last_of_each, one_line, read_attempts, visible
from upkeep.reports.judge_target import DUTIES, tell_target
from upkeep.reports.section import Section
from upkeep.reports.sections import SECTION_DUTIES, tell_sections
from upkeep.reports.since_last import Since, changes_between, standing_of
from upkeep.reports.target_line import LIGHTS, Remark, Removal, Status, TargetLine
from upkeep.reports.week_sections import INNER, latest, name_of
from upkeep.site import Site

PAST_ACTS = 1000
"""How many of a target's newest acts are looked at for what earlier nights left: several months."""

PAST_GUARDS = 50
"""Among how many of the newest runs of this rhythm the one before this is looked for."""

_SECONDS = "%Y-%m-%d %H:%M:%S"
_TOLD_BY_LINES = ("apply_retention",)
"""What it did stands in the targets' lines, act by act; only a failure is worth a word of its own."""

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
            Fact("Window", window.verdict if window else "the ledger has no verdict of this run", False),
            Fact("Overridden by", window.overridden_by if window else "", False),
            Fact("Hosts", ", ".join(run.hosts), False),
            *(Fact("Settings", config_hash, True) for config_hash in run.config_hashes),
            Fact("Ledger head", ":".join(map(str, self.head)) if self.head else "", True),
        )
        return tuple(fact for fact in found if fact.value)

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


def build_run_report(
    site: Site,
    run_id: str,
    rhythm: str,
    ledger: Ledger,
    now: datetime,
    expected_targets: Sequence[str],
    waiting: Mapping[str, Sequence[str]],
    *,
    chosen: Sequence[str] = (),
    dry_run: bool = False,
    missed: Sequence[Missed] = (),
    also: Sequence[Section] = (),
) -> RunReport:
    """Read the run's acts and judge them.

    :param expected_targets: the site's targets; each gets a line, whether the ledger knows it or not. Empty for a
        rhythm that backs nothing up: every act of its runs is told as a step.
    :param waiting: ids of finished backups in this worker's spool, by target.
    :param chosen: the targets that the form chose; none means all. The others are left out, not missing.
    :param dry_run: nothing was wanted to be written, so nothing is missing.
    :param missed: openings before this one that no good run answered.
    :param also: sections about more than this run.
    :raises LedgerUnavailable: the ledger doesn't answer.
    """
    utc(now, "now")
    records = ledger.acts(site.name, run_id=run_id)
    attempts = read_attempts(records)
    window = _window(attempts, rhythm)
    closed = f"the {rhythm} window was closed" if window and not window.open else ""
    seen = [attempt.target for attempt in attempts if attempt.duty in DUTIES]
    left = {visible(target): [visible(name) for name in names] for target, names in waiting.items() if names}
    names = dict.fromkeys((*expected_targets, *seen, *left)) if expected_targets else {}
    past = {target: ledger.acts(site.name, target=target, limit=PAST_ACTS, newest_first=True)[::-1] for target in names}
    lines = [
        tell_target(
            target,
            site,
            attempts,
            read_attempts(past[target]),
            waiting=left.get(target, ()),
            now=now,
            left_out=_why_left_out(target, expected_targets, chosen, dry_run),
            never_begun=closed,
        )
        for target in names
    ]
    steps = _steps(attempts, () if not names else DUTIES)
    return RunReport(
        site=site.name,
        title=visible(site.title),
        timezone=site.timezone,
        made_at=now,
        run=_run(run_id, rhythm, attempts, window, dry_run),
        lines=tuple(sorted(lines, key=lambda line: line.status)),
        run_remarks=(*_tell_window(window, attempts, rhythm), *_tell_missed(missed, rhythm)),
        since=None if closed else _since_last(ledger, site, rhythm, records, lines, past, not dry_run and not chosen),
        sections=(*tell_sections(steps, site.checks), *also),
        steps=tuple(
            Step(attempt.duty, attempt.target, attempt.state, attempt.outcome)
            for attempt in last_of_each(steps)
            if attempt.duty not in SECTION_DUTIES and not (attempt.duty in _TOLD_BY_LINES and attempt.state == "done")
        ),
        step_remarks=tuple(_tell_steps(steps)),
        head=ledger.heads().get(site.name),
    )


def _steps(attempts: Sequence[Attempt], in_lines: Sequence[str] = DUTIES) -> list[Attempt]:
    """The acts that belong to no target's line."""
    return [attempt for attempt in attempts if attempt.duty not in (*in_lines, "guard_window", "report")]


def _since_last(
    ledger: Ledger,
    site: Site,
    rhythm: str,
    records: Sequence[Record],
    lines: Sequence[TargetLine],
    past: Mapping[str, Sequence[Record]],
    whole: bool,
) -> Since | None:
    """Against the newest run of this rhythm before this one whose guard let it work, judged as it stood when this one
    began. What waited in the spool then, nobody can know any more.
    """
    if not records:
        return None
    begun = records[0].started.seq
    guards = ledger.acts(site.name, duty="guard_window", target=rhythm, limit=PAST_GUARDS, newest_first=True)
    last = next((guard for guard in guards if guard.started.seq < begun and guard.state == "done"), None)
    if last is None:
        return None

    def earlier(found: Sequence[Record]) -> list[Attempt]:
        return read_attempts(record for record in found if record.started.seq < begun)

    run_id = last.started.run_id
    attempts = earlier(ledger.acts(site.name, run_id=run_id))
    at = next(attempt.started_at for attempt in read_attempts([last]))
    if at is None:
        return None
    worked_on = {attempt.target for attempt in attempts if attempt.duty in DUTIES}
    before = [
        tell_target(target, site, attempts, earlier(past[target]), waiting=(), now=at)
        for target in past
        if target in worked_on
    ]
    in_lines = DUTIES if past else ()
    now = standing_of(lines, _steps(read_attempts(records), in_lines))
    return Since(
        visible(run_id), at, changes_between(standing_of(before, _steps(attempts, in_lines)), now, whole=whole)
    )


def _why_left_out(target: str, expected: Sequence[str], chosen: Sequence[str], dry_run: bool) -> str:
    if target not in expected:
        return "not among the expected targets"
    if chosen and target not in chosen:
        return "not chosen in the form"
    return "dry run: nothing was written" if dry_run else ""


def _run(run_id: str, rhythm: str, attempts: Sequence[Attempt], window: Window | None, dry: bool) -> Run:
    own = [attempt for attempt in attempts if attempt.trigger != "deadline"]  # the triggerer's alert is no part of it
    moments = [moment for attempt in own for moment in (attempt.started_at, attempt.ended_at) if moment]
    return Run(
        run_id=visible(run_id),
        rhythm=rhythm,
        actors=_different([attempt.actor for attempt in own]),
        triggers=_different([attempt.trigger for attempt in own]),
        hosts=_different([attempt.host for attempt in own]),
        started_at=min(moments, default=None),
        ended_at=max(moments, default=None),
        config_hashes=_different([attempt.config_hash for attempt in own]),
        window=window,
        dry=dry,
    )


def _guards(attempts: Sequence[Attempt], rhythm: str) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.duty == "guard_window" and attempt.target == rhythm]


def _window(attempts: Sequence[Attempt], rhythm: str) -> Window | None:
    guards = _guards(attempts, rhythm)
    if not guards:
        return None
    guard = guards[-1]
    said = guard.text("reason") or guard.outcome
    overridden = guard.state == "done" and bool(guard.detail.get("overridden"))
    return Window(open=guard.state == "done", verdict=said, overridden_by=guard.approver if overridden else "")


def _tell_window(window: Window | None, attempts: Sequence[Attempt], rhythm: str) -> list[Remark]:
    if window is None:
        return []
    if not window.open:
        guard = _guards(attempts, rhythm)[-1]
        trouble = guard.trouble
        why = trouble.why if trouble else f"the guard {window.verdict}"
        if guard.failed_as == "WindowClosed":  # whose message begins with this very title
            why = guard.text("reason") or why
        hint = trouble.hint if trouble else "read the log of task guard_window, then clear it"
        return [Remark(Status.RED, "", f"the {rhythm} window was closed", why, hint)]
    if window.overridden_by:
        return [Remark(Status.AMBER, "", "the run worked outside its window", window.verdict)]
    return []


def _tell_steps(steps: Sequence[Attempt]) -> list[Remark]:
    """What this report knows nothing about must still not fail unseen."""
    remarks = []
    outer = {(step.duty, step.target) for step in steps}
    for step in latest(steps):
        around = INNER.get(step.duty, "")
        if (around, step.target.partition("/")[0]) in outer or (around, "site") in outer:
            continue  # the act around it tells the worst of them
        what = name_of(step) or f"{step.duty} of {step.target}"
        log = f"read the log of task {step.task_id}, try {step.try_number}, on {step.host}"
        if step.duty == "miss_deadline":
            remarks.append(Remark(Status.AMBER, "", "the run outlived its window", step.command))
        elif step.trouble:
            hint = step.trouble.hint or log
            remarks.append(Remark(Status.RED, what, "failed", step.trouble.why, hint))
        elif step.state == "died":
            hint = f"look for the reason on {step.host}, then clear the task {step.task_id}"
            remarks.append(Remark(Status.RED, what, "was killed", step.command, hint))
        elif step.state != "done":
            remarks.append(Remark(Status.AMBER, what, step.outcome.partition(":")[0], step.text("reason")))
        elif (light := step.text("light")) in ("red", "amber"):  # done, but it found something
            hint = step.text("hint") or (log if light == "red" else "")
            remarks.append(Remark(LIGHTS[light], what, f"is {light}", visible(step.text("summary")), hint))
    return remarks


def _tell_missed(missed: Sequence[Missed], rhythm: str) -> list[Remark]:
    if not missed:
        return []
    hint = "look why: was Airflow down, or the DAG paused? upkeep status lists what is missing"
    what = f"{counted(len(missed), f'{rhythm} run')} before this one did not end well"
    return [Remark(Status.AMBER, "", what, ", ".join(entry.what for entry in missed[-3:]), hint)]


def _in_short(remarks: Sequence[Remark]) -> str:
    """The first few, each once, with the reason of the first."""
    told = list({remark.title: remark for remark in remarks}.values())
    why = one_line(told[0].why, _HEADLINE_WHY_CHARS)
    parts = [f"{told[0].title}: {why}" if why else told[0].title, *(r.title for r in told[1:_HEADLINE_REDS])]
    if len(told) > _HEADLINE_REDS:
        parts.append(f"{len(told) - _HEADLINE_REDS} more")
    return "; ".join(parts)


def _different(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
