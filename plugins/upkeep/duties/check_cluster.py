"""Check the site's namespace in its cluster: what isn't well, why, and the last words of what fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from upkeep.domain.cluster_health import counts_of, judge_cluster
from upkeep.domain.log_message import sample
from upkeep.domain.log_secrets import conceal, conceal_people, conceal_words
from upkeep.domain.masking import mask
from upkeep.domain.pod_health import ClusterFinding
from upkeep.duties.comparing import first
from upkeep.duties.job import Job
from upkeep.errors import UpkeepError
from upkeep.site import Cluster

if TYPE_CHECKING:
    from upkeep.engines.cluster_health import ClusterReading

log = logging.getLogger(__name__)

LOG_LINES = 20
"""Of a failing container, in the task's log; the last few of them go into the report."""
KEPT_LINES = 3
MOST_LOGS = 8
MOST_EVENTS = 10
FINDING_CHARS, LOG_CHARS, UNREAD_CHARS = 3200, 2200, 1200
"""Characters of a ledger row (8000 at most) for what is told of each kind."""
SUMMARY = 4
"""Findings in the summary, which counts the rest."""
Logs = dict[tuple[str, str], list[str]]
"""Last lines by pod and container."""
SUBJECT_CHARS, SAYS_CHARS, HINT_CHARS = 160, 260, 200


def check_cluster(job: Job) -> dict[str, Any]:
    """Read and judge the namespace. A cluster that doesn't answer, or shows nothing of it, is red, not an error; a kind
    that the account may not list is amber, and the remark names the rule that is missing.
    """
    section = job.site.cluster
    if section is None:
        raise ValueError(f"site {job.site.name} has no cluster")
    target = f"cluster/{section.namespace}"
    with job.ledger.record(job.act("check_cluster", target, command=f"check {target}")) as entry:
        try:
            found = _examine(job, section, _last_check(job, target))
        except UpkeepError as error:
            log.warning("%s: %s", target, error)
            found = _fields("red", f"does not answer: {error.message}", hint=error.hint)
        entry.note(at=job.now().isoformat(), name=section.namespace, kind="cluster", **found)
    log.info("%s is %s: %s", target, found["light"], found["summary"])
    return {name: found[name] for name in ("light", "summary", "reds", "ambers", "figures")}


def _examine(job: Job, section: Cluster, since: datetime | None) -> dict[str, Any]:
    from upkeep.engines.cluster_health import reading_cluster

    endpoint = job.connect(section.conn_id)
    with reading_cluster(endpoint, section.namespace) as reading:
        seen = reading.objects(section.leave_out)
        findings = judge_cluster(
            seen,
            now=job.now(),
            since=since,
            expected=[deployment.name for deployment in section.deployments],
            certificate_days=section.certificate_days,
        )
        if "events" not in section.leave_out:
            findings = _with_events(reading, findings)
        findings = [_masked(finding, endpoint.secrets()) for finding in findings]
        for finding in findings:
            log.warning("%s: %s: %s%s", finding.light, finding.subject, finding.says, _hinted(finding))
        lines = _logs(reading, findings, endpoint.secrets())
    for why in seen.unread:
        log.warning("not looked at: %s", why)
    reds = sum(finding.light == "red" for finding in findings)
    return _fields(
        "red" if reds else "amber" if findings or seen.unread else "green",
        _summary(findings, seen.unread, counts_of(seen.items)),
        hint=next((f"{one.subject}: {one.hint}" for one in findings if one.hint), "")[: SUBJECT_CHARS + HINT_CHARS],
        reds=reds,
        ambers=len(findings) - reds,
        findings=_kept(findings, lines),
        unread=first(UNREAD_CHARS, [why[:SAYS_CHARS] for why in seen.unread]),
        figures={**counts_of(seen.items), **({"certificates": len(seen.certificates)} if seen.certificates else {})},
    )


def _fields(
    light: str, summary: str, *, hint: str = "", reds: int = 1, ambers: int = 0, findings: Sequence[Any] = (),
    unread: Sequence[str] = (), figures: dict[str, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "light": light, "summary": summary, "hint": hint, "reds": reds, "ambers": ambers, "findings": list(findings),
        "unread": list(unread), "figures": figures or {},
    }  # fmt: skip


def _last_check(job: Job, target: str) -> datetime | None:
    """When the last check that was finished looked."""
    last = job.last_act(
        "check_cluster", target, lambda record: record.state == "done" and bool(record.detail.get("figures")), among=5
    )
    return datetime.fromisoformat(last.detail["at"]) if last else None


def _with_events(reading: ClusterReading, findings: Iterable[ClusterFinding]) -> list[ClusterFinding]:
    """What a pod that waits or isn't ready says only in its events, put behind what is known."""
    asked, told = 0, []
    for finding in findings:
        if finding.has_events and asked < MOST_EVENTS:
            asked += 1
            if event := reading.last_event(finding):
                finding = replace(finding, what=f"{finding.what} ({event})")
        told.append(finding)
    return told


def _logs(reading: ClusterReading, findings: Iterable[ClusterFinding], secrets: tuple[str, ...]) -> Logs:
    """The last lines of the first containers that fail; all of them go into the task's log."""
    found: Logs = {}
    for finding in [one for one in findings if one.log_of][:MOST_LOGS]:
        try:
            lines = reading.last_lines(finding, LOG_LINES)
        except UpkeepError as error:
            lines = [error.message]
        lines = [sample(mask(line, secrets)) for line in lines if line.strip()]
        for line in lines:
            log.warning("%s %s: %s", finding.name, finding.log_of, line)
        found[finding.name, finding.log_of] = lines[-KEPT_LINES:]
    return found


def _masked(finding: ClusterFinding, secrets: tuple[str, ...]) -> ClusterFinding:
    """Containers write their last words into their status themselves, so they are as little to be trusted as logs."""
    what = conceal_people(conceal_words(conceal(mask(finding.what, secrets))))
    return replace(finding, what=what[:SAYS_CHARS])


def _hinted(finding: ClusterFinding) -> str:
    return f" (HINT: {finding.hint})" if finding.hint else ""


def _kept(findings: Sequence[ClusterFinding], lines: Logs) -> list[dict[str, Any]]:
    """As many findings as the ledger has room for, then as many of their last lines."""
    items = [
        {
            "light": finding.light,
            "subject": finding.subject[:SUBJECT_CHARS],
            "says": finding.says[: SAYS_CHARS + 60],
            "hint": finding.hint[:HINT_CHARS],
        }
        for finding in findings
    ]
    kept: list[dict[str, Any]] = first(FINDING_CHARS, items)
    left = LOG_CHARS
    for item, finding in zip(kept, findings, strict=False):
        said = first(left, lines.get((finding.name, finding.log_of), []))
        if said:
            item["log"] = said
            left -= sum(len(line) + 4 for line in said)
    return kept


def _summary(findings: Sequence[ClusterFinding], unread: Sequence[str], counts: dict[str, int]) -> str:
    parts = [f"{finding.subject}: {finding.says}" for finding in findings[:SUMMARY]]
    if len(findings) > SUMMARY:
        parts.append(f"and {len(findings) - SUMMARY} more")
    if unread:
        parts.append(f"not looked at: {', '.join(why.partition(' (')[0] for why in unread)}")
    named = [(kind, counts[kind]) for kind in ("pods", "deployments", "services") if kind in counts]
    looked = ", ".join(f"{count} {kind if count != 1 else kind.removesuffix('s')}" for kind, count in named)
    return "; ".join(parts) or f"well: {looked or 'nothing was looked at'}"
