"""What the duties found that belong to no target's line, each duty a section of the page: short where all is well.

A section is made from the ledger's bounded details. What a detail has no room for stands in the task's log, and the
section says how much that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from upkeep.domain.units import counted, human_bytes, human_seconds
from upkeep.reports.attempts import Attempt, last_of_each, one_line
from upkeep.reports.cluster_section import cluster
from upkeep.reports.forecast_section import forecasts
from upkeep.reports.migration_section import MIGRATION_DUTIES, migrated
from upkeep.reports.month_sections import benchmarked, drilled
from upkeep.reports.restore_section import RESTORE_DUTIES, by_hand
from upkeep.reports.rollout_section import ROLLOUT_DUTIES, rollouts
from upkeep.reports.section import (
    MOST,
    SAYS_CHARS,
    Item,
    Section,
    light_of,
    more,
    number,
    says,
    whole,
    worst_first,
)
from upkeep.reports.target_line import Status
from upkeep.reports.week_sections import cleaned_docker, cleaned_logs, fresh_backups, partitions, restored, tables

_QUIET_MESSAGES = 3
"""Messages of a log folder without anything new."""
_FULLEST = 3

_SEVERITIES = {"high": Status.RED, "medium": Status.AMBER, "low": Status.GREEN}


def tell_sections(attempts: Sequence[Attempt], checks: Sequence[str]) -> tuple[Section, ...]:
    """The sections of those duties that the run has acts of, in the order in which a person reads them.

    :param attempts: the run's acts in the order of the ledger, retries included.
    :param checks: what ``check_health`` was to look at.
    """
    told = []
    for duties, tell in _TELLERS.items():
        own = [attempt for attempt in attempts if attempt.duty in duties]
        if own:
            told.append(tell(own, checks))
    return tuple(told)


def _health(own: Sequence[Attempt], checks: Sequence[str]) -> Section:
    """Every target with its light. The green ones share a line: nobody reads forty of them."""
    tries = last_of_each(own)
    items = [
        Item(status, status.label, attempt.target, says(attempt))
        for attempt in tries
        if (status := light_of(attempt)) is not Status.GREEN
    ]
    looked_at = {attempt.target for attempt in tries}
    items += [
        Item(Status.AMBER, "unknown", check, "the ledger has no check of it in this run: look at its task")
        for check in checks
        if check not in looked_at
    ]
    green = [attempt for attempt in tries if light_of(attempt) is Status.GREEN]
    if green:
        said = ", ".join(f"{attempt.target} {attempt.text('summary').removeprefix('answers in ')}" for attempt in green)
        items.append(Item(Status.GREEN, "green", "", said))
    counts = Counter(item.label for item in items if item.label != "green")
    parts = [f"{count} {label}" for label, count in counts.items()] + ([f"{len(green)} green"] if green else [])
    return Section("Health", ", ".join(parts), worst_first(items))


def _logs(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    folders = last_of_each(own)
    items: list[Item] = []
    remarks: dict[str, list[str]] = {}
    for folder in folders:
        if folder.state != "done":
            items.append(Item(light_of(folder), folder.state, folder.target, folder.outcome))
            continue
        top = folder.mappings("top")
        shown = top if any(one.get("new") for one in top) else top[:_QUIET_MESSAGES]
        items += [_message(folder, one) for one in shown]
        for remark in folder.texts("remarks"):
            remarks.setdefault(remark, []).append(folder.target)
    items += [Item(Status.AMBER, "remark", ", ".join(where), remark) for remark, where in remarks.items()]
    lines = sum(folder.rows or 0 for folder in folders)
    kinds, new = (int(sum(folder.number(name) or 0 for folder in folders)) for name in ("kinds", "new"))
    where = counted(len(folders), "folder")
    found = f"{counted(lines, 'error line')} of {counted(kinds, 'kind')}, {new} new" if lines else "no errors"
    return Section("Logs", f"{found}, in {where}", worst_first(items))


def _message(folder: Attempt, one: Mapping[str, Any]) -> Item:
    message, sample = str(one.get("message", "")), str(one.get("sample", ""))
    status = Status.AMBER if one.get("new") else Status.GREEN
    where = f"{number(one.get('count'))} x {folder.target.rstrip('/')}/{one.get('file', '')}"
    return Item(
        status, "new" if one.get("new") else "known", where, one_line(message, SAYS_CHARS),
        one_line(sample, SAYS_CHARS) if sample != message else "",
    )  # fmt: skip


def _findings(title: str, own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """A review that compares with the last one: see ``duties.comparing``."""
    review = own[-1]
    if review.state != "done":
        return Section(title, review.outcome)
    counts = review.mapping("counts")
    new, standing, gone = review.mappings("new"), _standing(review), review.texts("gone")
    unread = review.texts("unread")
    items = [
        *(_finding("new", one) for one in new[:MOST]),
        *more(whole(counts.get("new")) - len(new[:MOST]), "new"),
        *(_finding("standing", one) for one in standing[:MOST]),
        *more(whole(counts.get("standing")) - len(standing[:MOST]), "standing"),
        *(Item(Status.GREEN, "gone", "", one_line(what, SAYS_CHARS)) for what in gone[:MOST]),
        *more(whole(counts.get("gone")) - len(gone[:MOST]), "gone"),
        *(Item(Status.AMBER, "not looked at", "", one_line(why, SAYS_CHARS)) for why in unread[:MOST]),
        *more(len(unread) - MOST, "not looked at"),
    ]
    if before := review.text("other_host_before"):
        told = f"the last one was made on {before}: files, ports and updates of two machines differ for no other reason"
        items.append(Item(Status.GREEN, "remark", "", told))
    return Section(title, review.text("summary"), tuple(items))


def _databases(own: Sequence[Attempt], checks: Sequence[str]) -> Section:
    """The findings, then the statements that cost most: by total time, and by the worst time of one."""
    found = _findings("Databases", own, checks)
    statements = own[-1].mappings("statements") if own[-1].state == "done" else ()
    return replace(found, items=(*found.items, *map(_statement, statements)))


def _statement(one: Mapping[str, Any]) -> Item:
    total, mean, worst = (human_seconds(_figure(one.get(f"{name}_s"))) for name in ("total", "mean", "worst"))
    calls = whole(one.get("calls"))
    cost = f"{total} in {counted(calls, 'call')}, {mean} each, {worst} at worst"
    text = one_line(str(one.get("text", "")), SAYS_CHARS)
    return Item(Status.GREEN, "statement", str(one.get("database", "")), cost, text)


def _figure(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _standing(review: Attempt) -> list[Mapping[str, Any]]:
    """From the review's own short list, or from what it keeps for the next one: that also has the new ones, whose
    first moment is the review's, and those that it couldn't look at.
    """
    if kept := review.mappings("standing"):
        return list(kept)
    at = review.text("at")
    new = {one.get("what") for one in review.mappings("new")}
    return [one for one in review.mappings("findings") if one.get("first_seen") != at and one.get("what") not in new]


def _finding(label: str, one: Mapping[str, Any]) -> Item:
    severity = str(one.get("severity", ""))
    status = _SEVERITIES.get(severity, Status.AMBER)
    return Item(
        status if label == "new" else max(status, Status.AMBER),  # what stands has been red once
        f"{label}, {severity}", "",
        one_line(str(one.get("what", "")), SAYS_CHARS), one_line(str(one.get("remedy", "")), SAYS_CHARS),
    )  # fmt: skip


def _purge(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """A rule that was tried again went on where the try before it stopped: the figures of all tries count."""
    items = []
    for last in last_of_each(own):
        tries = [attempt for attempt in own if (attempt.target, attempt.command) == (last.target, last.command)]
        deleted = sum(attempt.rows or 0 for attempt in tries)
        archived = int(sum(attempt.number("archived_rows") or 0 for attempt in tries))
        size = sum(attempt.size or 0 for attempt in tries)
        parts = [f"{counted(deleted, 'row')} deleted"]
        if archived:
            parts.append(f"{archived:,} archived first ({human_bytes(size)})")
        if changed := last.number("left_changed"):
            parts.append(f"{number(changed)} left because they had changed")
        if locked := last.number("left_locked"):
            parts.append(f"{number(locked)} left because others hold them")
        ended = last.text("stopped_because")
        if last.state != "done":
            parts.append(last.outcome)
        elif ended != "done":
            parts.append(ended or "it doesn't say why it ended")
        name = last.text("table") or last.command.removeprefix("purge ").partition(" by ")[0]
        early = last.state == "done" and ended != "done"
        status, label = (Status.AMBER, "stopped") if early else (light_of(last), last.state)
        items.append(Item(status, label, f"{last.target}.{name}", "; ".join(parts)))
    deleted = sum(attempt.rows or 0 for attempt in own)
    archived = int(sum(attempt.number("archived_rows") or 0 for attempt in own))
    summary = f"{counted(deleted, 'row')} deleted" if deleted else "no row deleted"
    summary += f", {archived:,} archived first" if archived else ""
    return Section("Expired rows", summary, worst_first(items))


def _capacity(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    sample = own[-1]
    if sample.state != "done":
        return Section("Capacity", sample.outcome)
    shares = {name: share for name, share in sample.mapping("figures").items() if isinstance(share, int | float)}
    fullest = ", ".join(
        f"{name} {share:g} %" for name, share in sorted(shares.items(), key=lambda one: -one[1])[:_FULLEST]
    )
    if light_of(sample) is Status.GREEN:
        return Section("Capacity", "; ".join(filter(None, (sample.text("summary"), fullest))))
    symptoms = [one for one in sample.text("summary").split("; ") if one]
    lights = [Status.RED] * whole(sample.detail.get("reds"))
    lights += [Status.AMBER] * (len(symptoms) - len(lights))
    items = [Item(light, light.label, "", one) for light, one in zip(lights, symptoms[:MOST], strict=False)]
    items += more(len(symptoms) - MOST, "amber")
    return Section("Capacity", f"{counted(len(symptoms), 'remark')}; fullest: {fullest or 'unknown'}", tuple(items))


_TELLERS: Mapping[tuple[str, ...], Callable[[Sequence[Attempt], Sequence[str]], Section]] = {
    ROLLOUT_DUTIES: rollouts,
    RESTORE_DUTIES: by_hand,
    MIGRATION_DUTIES: migrated,
    ("drill", "rebuild"): drilled,
    ("benchmark",): benchmarked,
    ("prove",): restored,
    ("require_backup",): fresh_backups,
    ("tend_tables", "tend_table"): tables,
    ("tend_partitions", "alter_partitions"): partitions,
    ("clean_logs",): cleaned_logs,
    ("clean_docker",): cleaned_docker,
    ("check_health",): _health,
    ("check_cluster",): cluster,
    ("sample_capacity",): _capacity,
    ("forecast_capacity",): forecasts,
    ("check_security",): partial(_findings, "Security"),
    ("scan_vulnerabilities",): partial(_findings, "Vulnerabilities"),
    ("review_databases",): _databases,
    ("review_logs",): _logs,
    ("purge_rows",): _purge,
}
SECTION_DUTIES = tuple(duty for duties in _TELLERS for duty in duties)
