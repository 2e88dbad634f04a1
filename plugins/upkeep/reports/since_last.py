"""What changed between two runs of one rhythm: lights, sizes of backups, findings. Two standings in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from upkeep.domain.units import human_bytes
from upkeep.reports.attempts import Attempt, last_of_each, one_line
from upkeep.reports.section import light_of
from upkeep.reports.target_line import Status, TargetLine
from upkeep.reports.week_sections import INNER, latest, name_of

MOST = 10
"""Lines that a person reads; the last one counts the rest."""
SIZE_PCT = 20
"""A backup that grew or shrank by more than this is told, in percent of the last one."""
_WHY_CHARS = 160
_NOT_COMPARED = ("notify", "miss_deadline", "sweep", *INNER)
"""What comes after the report, or from outside: when the report is made this run can't have it yet. And what is only
done where it is needed: a table that needed care last week and none today is no news.
"""


@dataclass(frozen=True)
class Light:
    status: Status
    why: str = ""


@dataclass(frozen=True)
class Change:
    """``status`` says how good or bad the news is."""

    status: Status
    says: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one run came to, as far as two runs can be compared. Keys are names that people know things by."""

    lights: Mapping[str, Light] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the backups that are in the store, by target."""
    findings: Sequence[Change] = ()
    """What its reviews, which compare with the ones before them by themselves, called new or gone."""


@dataclass(frozen=True)
class Since:
    """The changes since the run that began at ``at``. None at all is good news too, and is told."""

    run_id: str
    at: datetime
    changes: tuple[Change, ...]


def changes_between(before: Standing, now: Standing, *, whole: bool) -> tuple[Change, ...]:
    """The worst news first, at most ``MOST`` lines.

    :param whole: this run was to do all that the last one did: what is missing then is news. False for a dry run or a
        choice of targets.
    """
    changes = [*_lights(before, now, whole), *_sizes(before, now), *now.findings]
    changes.sort(key=lambda change: change.status)
    return _cut(changes)


def standing_of(lines: Sequence[TargetLine], attempts: Sequence[Attempt]) -> Standing:
    """:param attempts: the run's acts that belong to no target's line."""
    lights = {
        f"backup of {line.target}": Light(line.status, line.reason)
        for line in lines
        if line.status is not Status.SKIPPED
    }
    for attempt in latest(attempts):
        if attempt.duty in _NOT_COMPARED:
            continue
        why = attempt.text("summary") if attempt.state == "done" else attempt.outcome
        name, light = _name(attempt), Light(light_of(attempt), why)
        if name not in lights or light.status < lights[name].status:  # of several backups of a target the worst counts
            lights[name] = light
    return Standing(
        lights=lights,
        sizes={line.target: line.size for line in lines if line.in_store and line.size is not None},
        findings=tuple(_findings(attempts)),
    )


def _lights(before: Standing, now: Standing, whole: bool) -> Iterator[Change]:
    for name, light in now.lights.items():
        last = before.lights.get(name)
        if last and last.status is not light.status:
            why = f": {one_line(light.why, _WHY_CHARS)}" if light.why and light.status < Status.GREEN else ""
            yield Change(light.status, f"{name} is {light.status.label}, was {last.status.label}{why}")
    if whole:
        for name, last in before.lights.items():
            if name not in now.lights:
                yield Change(Status.AMBER, f"{name} was {last.status.label} and is missing from this run")


def _sizes(before: Standing, now: Standing) -> Iterator[Change]:
    for target, size in now.sizes.items():
        last = before.sizes.get(target)
        if last and abs(size - last) * 100 > SIZE_PCT * last:
            change = 100 * (size - last) / last
            yield Change(
                Status.AMBER,
                f"backup of {target} is {abs(change):.0f} % {'larger' if change > 0 else 'smaller'}: "
                f"{human_bytes(last)}, now {human_bytes(size)}",
            )


def _findings(attempts: Sequence[Attempt]) -> Iterator[Change]:
    """Of each review that compares with the last one itself: see ``duties.comparing``."""
    for review in last_of_each(attempts):
        grave = any(one.get("severity") == "high" for one in review.mappings("new"))
        news = [str(one.get("what", "")) for one in review.mappings("new")]
        kind = review.text("kind") or review.duty
        for name, status, told in (
            ("new", Status.RED if grave else Status.AMBER, news),
            ("gone", Status.GREEN, review.texts("gone")),
        ):
            if told:
                count = review.mapping("counts").get(name)
                rest = max(count if isinstance(count, int) else 0, len(told)) - 1
                more = f", and {rest} more" if rest else ""
                yield Change(status, f"{kind} finding {name}: {one_line(told[0], _WHY_CHARS)}{more}")


def _name(attempt: Attempt) -> str:
    match attempt.duty:
        case "check_health":
            return attempt.target
        case "purge_rows":
            return f"purge of {attempt.target}.{attempt.command.removeprefix('purge ').partition(' by ')[0]}"
        case "check_security" | "sample_capacity" | "check_cluster":
            return attempt.duty.partition("_")[2]
        case "prove":  # without the backup: next week it is another one
            return f"restore proof of {attempt.target}"
        case _:
            return name_of(attempt) or f"{attempt.duty} of {attempt.target}"


def _cut(changes: Sequence[Change]) -> tuple[Change, ...]:
    if len(changes) <= MOST:
        return tuple(changes)
    rest = len(changes) - MOST + 1
    return (*changes[: MOST - 1], Change(changes[MOST - 1].status, f"and {rest} more"))
