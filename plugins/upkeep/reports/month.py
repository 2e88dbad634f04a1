"""The month in one section: how reliably Upkeep itself worked, what was proven, found and changed, and by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from upkeep.domain.missed import Tally
from upkeep.domain.proof import ProofLevel
from upkeep.domain.units import counted, human_bytes, human_seconds
from upkeep.ledger import Ledger
from upkeep.ledger.samples import Samples
from upkeep.reports.attempts import Attempt, read_attempts, visible
from upkeep.reports.rollout_section import CHANGES, ROLLOUT_DUTIES
from upkeep.reports.section import Item, Section, Table, light_of, whole
from upkeep.reports.target_line import Status
from upkeep.site import Site

MONTH = timedelta(days=31)
MOST_CHANGES = 25
"""Kinds of change by one person; the rest are counted."""
_BAD = ("ProofFailed", "ManifestBroken")
_REVIEWS = {
    "check_security": "security", "review_databases": "databases", "scan_vulnerabilities": "vulnerabilities",
}  # fmt: skip
_ONLY_LOOKS = frozenset({
    "guard_window", "check_health", "check_cluster", "review_logs", "check_security", "sample_capacity", "verify",
    "require_backup", "prove", "drill", "rebuild", "benchmark", "forecast_capacity", "scan_vulnerabilities",
    "review_databases", "report", "notify", "miss_deadline", "leave_parts", "export_evidence",
    "rehearse_migration",
    *(duty for duty in ROLLOUT_DUTIES if duty not in CHANGES),
    # Acts around others, which are counted themselves.
    "apply_retention", "tend_tables", "tend_partitions", "secure_live", "start_update",
    # Acts within a migration, which is counted itself.
    "migrate_statement", "commit_migration", "end_migration",
})  # fmt: skip
"""Duties that change nothing in the system under care or its backups; whatever a later release does counts as a
change.
"""


def tell_month(site: Site, ledger: Ledger, since: datetime, now: datetime, runs: Mapping[str, Tally]) -> Section:
    """:param runs: by rhythm, how many were due and took place.
    :raises LedgerUnavailable: the ledger doesn't answer.
    """
    attempts = read_attempts(ledger.acts(site.name, since=since), ZoneInfo(site.timezone))
    items = [
        *(_runs(rhythm, tally) for rhythm, tally in runs.items() if tally.due),
        _proofs(attempts),
        *_drills(attempts),
        *_space(site, ledger, since),
        *_findings(attempts),
    ]
    changes = _changes(attempts)
    done = sum(change.times - change.failed for change in changes)
    people = sorted({change.by for change in changes})
    days = round((now - since) / timedelta(days=1))
    summary = f"the last {counted(days, 'day')}: {_uptime(runs)}; {counted(done, 'change')}"
    summary += f" by {', '.join(people)}" if people else ""
    return Section("The month", summary, tuple(items), table=_table(changes))


def _uptime(runs: Mapping[str, Tally]) -> str:
    """Of the duties themselves: a run that didn't take place fails no task."""
    due, done = sum(tally.due for tally in runs.values()), sum(tally.done for tally in runs.values())
    return f"{done} of {counted(due, 'run')} that were due took place and ended well ({done / due:.1%})" if due else (
        "no run was due yet"
    )  # fmt: skip


def _runs(rhythm: str, tally: Tally) -> Item:
    parts = [f"{tally.due} due", f"{tally.done} well"]
    parts += [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.missing} missing"] if tally.missing else []
    light = Status.AMBER if tally.failed or tally.missing else Status.GREEN
    return Item(light, "runs", rhythm, ", ".join(parts), "upkeep status lists them" if tally.missing else "")


def _proofs(attempts: Sequence[Attempt]) -> Item:
    """Each proof counts, also several of one backup: checksum and structure by night, restored by week."""
    reached: Counter[str] = Counter()
    bad = sum(attempt.failed_as in _BAD for attempt in attempts if attempt.duty in ("verify", "prove"))
    for attempt in attempts:
        if attempt.duty in ("verify", "prove") and attempt.state == "done" and attempt.text("level"):
            reached[attempt.text("level")] += 1
        elif attempt.duty == "drill":
            reached.update(_counts(attempt.mapping("proven")))
            bad += _counts(attempt.mapping("outcomes")).get("bad", 0)
    words = [f"{reached[level.label]} {level.label}" for level in ProofLevel if reached[level.label]]
    words += [f"{bad} bad"] if bad else []
    return Item(Status.RED if bad else Status.GREEN, "proofs", "", ", ".join(words) or "none was reached")


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, count in found.items() if isinstance(count, int)}


def _drills(attempts: Sequence[Attempt]) -> Iterator[Item]:
    drills = [
        one for one in attempts if one.duty == "drill" and not one.detail.get("dry_run") and one.state != "running"
    ]
    for drill in drills:
        took, lost = drill.number("rto_s"), drill.number("rpo_s")
        if took is None:
            yield Item(Status.RED, "drill", drill.began("%Y-%m-%d"), drill.outcome)
            continue
        partial = bool(drill.detail.get("partial"))
        said = f"{'a part of it ' if partial else ''}rebuilt in {human_seconds(took)}"
        said += f", {human_seconds(lost)} lost" if lost is not None else ", from older backups"
        goals = drill.mapping("goals")
        missed = any(
            isinstance(goal := goals.get(name), int | float) and (drill.number(name) or 0) > goal
            for name in ("rto_s", "rpo_s")
        )
        if missed:
            said += ", a goal missed"
        elif drill.state != "done":
            said += f"; {drill.outcome}"
        elif len(goals) > 1 and lost is not None and not partial:
            said += ", both goals kept"
        yield Item(light_of(drill), "drill", drill.began("%Y-%m-%d"), said)
    if not drills:
        yield Item(Status.AMBER, "drill", "", "there was none", "run the drill of the monthly DAG by hand")


def _space(site: Site, ledger: Ledger, since: datetime) -> Iterator[Item]:
    """What the backups take, and which target made the difference."""
    series = Samples(ledger.database).series(site.name, since=since, metric="store_bytes")
    whole_site = series.get(("store_bytes", site.name), [])
    if not whole_site:
        return
    first, last = whole_site[0].value, whole_site[-1].value
    said = f"{human_bytes(int(last))} of backups, {_signed(last - first)} since {whole_site[0].at:%Y-%m-%d}"
    grown = {
        target.partition("/")[2]: points[-1].value - points[0].value
        for (_, target), points in series.items()
        if "/" in target
    }
    if grown and (most := max(grown, key=lambda target: abs(grown[target]))) and grown[most]:
        said += f"; most of it {visible(most)}, {_signed(grown[most])}"
    yield Item(Status.GREEN, "space", "", said)


def _findings(attempts: Sequence[Attempt]) -> Iterator[Item]:
    for duty, name in _REVIEWS.items():
        reviews = [attempt for attempt in attempts if attempt.duty == duty and attempt.state == "done"]
        if not reviews:
            continue
        new, gone = (sum(whole(review.mapping("counts").get(kind)) for review in reviews) for kind in ("new", "gone"))
        counts = reviews[-1].mapping("counts")
        open_now = whole(counts.get("new")) + whole(counts.get("standing"))
        high = whole(counts.get("high"))
        said = f"{open_now} open" + (f", {high} of them high" if high else "") + f"; {new} came, {gone} went"
        yield Item(Status.AMBER if high else Status.GREEN, "findings", name, said)


@dataclass
class _Change:
    duty: str
    by: str
    approver: str
    times: int = 0
    failed: int = 0
    rows: int = 0
    size: int = 0
    targets: Counter[str] = field(default_factory=Counter)


def _changes(attempts: Sequence[Attempt]) -> list[_Change]:
    """By duty, who started it and who approved it; the most frequent first."""
    found: dict[tuple[str, str, str], _Change] = {}
    for attempt in attempts:
        if attempt.duty in _ONLY_LOOKS or attempt.state in ("skipped", "running"):
            continue
        key = attempt.duty, attempt.actor, attempt.approver
        change = found.setdefault(key, _Change(*key))
        change.times += 1
        change.failed += attempt.state != "done"
        change.rows += attempt.rows or 0
        change.size += attempt.size or 0
        change.targets[attempt.target] += 1
    return sorted(found.values(), key=lambda change: -change.times)


def _table(changes: Sequence[_Change]) -> Table | None:
    rows = [
        (
            change.duty,
            ", ".join(target for target, _ in change.targets.most_common(3))
            + ("..." if len(change.targets) > 3 else ""),
            change.by,
            change.approver,
            f"{change.times:,}" + (f", {change.failed} failed" if change.failed else ""),
            f"{change.rows:,}" if change.rows else "",
            human_bytes(change.size) if change.size else "",
        )
        for change in changes[:MOST_CHANGES]
    ]
    if len(changes) > MOST_CHANGES:
        rest = sum(change.times for change in changes[MOST_CHANGES:])
        rows.append(("others", "", "", "", f"{rest:,}", "", ""))
    heading = ("Changed by", "In", "Started by", "Approved by", "Times", "Rows", "Bytes")
    return Table(heading, tuple(rows)) if rows else None


def _signed(size: float) -> str:
    return f"{'+' if size >= 0 else ''}{human_bytes(int(size))}"
