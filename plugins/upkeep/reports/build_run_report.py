"""From the ledger's acts to the report on one run.

It is built from the ledger alone. Airflow's own history is purged, and the worker that writes the report isn't the one
that made the backups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from upkeep.domain.missed import Missed
from upkeep.domain.units import counted, utc
from upkeep.ledger import Ledger, Record
from upkeep.reports.attempts import Attempt, last_of_each, read_attempts, visible
from upkeep.reports.judge_target import DUTIES, tell_target
from upkeep.reports.run_report import Run, RunReport, Step, Window
from upkeep.reports.section import Section
from upkeep.reports.sections import SECTION_DUTIES, tell_sections
from upkeep.reports.since_last import Since, changes_between, standing_of
from upkeep.reports.target_line import LIGHTS, Remark, Status, TargetLine
from upkeep.reports.week_sections import INNER, latest, name_of
from upkeep.site import Site

PAST_ACTS = 1000
"""How many of a target's newest acts are looked at for what earlier nights left: several months."""
PAST_GUARDS = 50
"""Among how many of the newest runs of this rhythm the one before this is looked for."""
_TOLD_BY_LINES = ("apply_retention",)
"""What it did stands in the targets' lines, act by act; only a failure is worth a word of its own."""


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
    left_out: Sequence[str] = (),
    dry_run: bool = False,
    missed: Sequence[Missed] = (),
    also: Sequence[Section] = (),
) -> RunReport:
    """Read the run's acts and judge them.

    :param expected_targets: the site's targets; each gets a line, whether the ledger knows it or not. Empty for a
        rhythm that backs nothing up: every act of its runs is told as a step.
    :param waiting: ids of finished backups in this worker's spool, by target.
    :param chosen: the targets that the form chose; none means all. The others are left out, not missing.
    :param left_out: parts of the rhythm that the form took out.
    :param dry_run: nothing was wanted to be written, so nothing is missing.
    :param missed: openings before this one that no good run answered.
    :param also: sections about more than this run.
    :raises LedgerUnavailable: the ledger doesn't answer.
    """
    utc(now, "now")
    records = ledger.acts(site.name, run_id=run_id)
    attempts = read_attempts(records, ZoneInfo(site.timezone))
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
    whole = not (dry_run or chosen or left_out)
    return RunReport(
        site=site.name,
        title=visible(site.title),
        timezone=site.timezone,
        made_at=now,
        run=_run(run_id, rhythm, attempts, window, tuple(left_out), dry_run),
        lines=tuple(sorted(lines, key=lambda line: line.status)),
        run_remarks=(*_tell_window(window, attempts, rhythm), *_tell_missed(missed, rhythm)),
        since=None if closed else _since_last(ledger, site, rhythm, records, lines, past, whole),
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
    """The acts that belong to no target's line. Nor does whom an alert or an earlier report couldn't reach: that says
    nothing of the run.
    """
    return [attempt for attempt in attempts if attempt.duty not in (*in_lines, "guard_window", "report", "notify")]


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


def _run(
    run_id: str,
    rhythm: str,
    attempts: Sequence[Attempt],
    window: Window | None,
    left_out: tuple[str, ...],
    dry: bool,
) -> Run:
    own = [attempt for attempt in attempts if attempt.trigger != "deadline"]  # the triggerer's alert is not part of it
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
        left_out=left_out,
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


def _different(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
