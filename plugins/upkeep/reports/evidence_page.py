"""Evidence as one page of HTML, to be read and printed years later, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from upkeep.domain.evidence import TakenBackup
from upkeep.domain.proof import ProofLevel
from upkeep.domain.units import counted
from upkeep.reports.evidence import Evidence, cannot_know
from upkeep.reports.html_page import template

FORMAT = "upkeep-evidence/1"
STANDINGS = ("drilled", "restored", "structure", "checksum", "stored", "waits", "bad")
MEANINGS = {
    "drilled": "the whole site was rebuilt in scratch from it and others, with time and loss measured",
    "restored": "restored in scratch, compared with what was recorded when it was made, and the site's checks held",
    "structure": "every byte read back from the store, its SHA-256 compared, and unpacked to the end",
    "checksum": "every byte read back from the store, its SHA-256 compared",
    "stored": "written to the store; nobody has proven that it can be read",
    "waits": "finished on a worker while the store was away, and not shipped since",
    "bad": "a proof failed for what is in it, and no later one held",
}  # fmt: skip


def evidence_page(evidence: Evidence, *, json_name: str, json_sha256: str) -> str:
    """``json_name`` and ``json_sha256``: the file beside it, so that this page's own hash vouches for both."""
    zone = evidence.span.zone

    def clock(moment: datetime | None) -> str:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}" if moment else ""

    return template("evidence.html.j2").render(
        evidence=evidence,
        light=_light(evidence),
        verdict=verdict(evidence),
        clock=clock,
        day=lambda moment: clock(moment)[:16],
        rows=_rows(evidence),
        standings=STANDINGS,
        meanings=MEANINGS,
        unknown=cannot_know(evidence),
        json_name=json_name,
        json_sha256=json_sha256,
    )


def evidence_json(evidence: Evidence) -> str:
    """Moments in UTC, sizes in bytes, durations in seconds; ``seq`` is the number of a row of the ledger."""
    told = {
        "format": FORMAT,
        **{
            name: getattr(evidence, name)
            for name in ("site", "title", "target", "made_at", "made_by", "made_on", "version", "schedule")
        },
        "from": str(evidence.span.first),
        "to": str(evidence.span.last),
        "timezone": str(evidence.span.zone),
        "site_file_sha256": evidence.fingerprint,
        "site_files_followed": evidence.fingerprints,
        "verdict": verdict(evidence),
        "ledger": {
            "whole": evidence.is_whole,
            "rows": evidence.chain.count,
            "head": evidence.head,
            "compared_with": evidence.noted,
            "begins_at": evidence.begins_at,
            "problems": (*evidence.guards, *evidence.chain.problems),
            "altered_rows": evidence.altered,
        },
        "targets": _rows(evidence),
        "missing": evidence.gaps,
        "backups": [
            {
                "standing": backup.standing,
                **_plain(backup),
                "proof": backup.proof and {**_plain(backup.proof), "level": backup.proof.level.label},
            }
            for backup in evidence.backups
        ],
        **{
            name: getattr(evidence, name)
            for name in ("failures", "removals", "changes", "drills", "exemptions", "duties")
        },
        "cannot_know": cannot_know(evidence),
    }
    return json.dumps(_plain(told), ensure_ascii=False, indent=1) + "\n"


def verdict(evidence: Evidence) -> str:
    """The answer in two sentences."""
    taken, due = len(evidence.backups), sum(evidence.due.values())
    restored = sum(backup.is_restored for backup in evidence.backups)
    bad = sum(backup.standing == "bad" for backup in evidence.backups)
    said = f"{counted(taken, 'backup')} taken; "
    said += f"of {due:,} that were due {evidence.missing:,} missing; " if due else "none was due; "
    said += f"{restored:,} proven by a restore that was compared, {bad:,} found bad. "
    chain = evidence.chain
    if evidence.is_whole:
        return said + f"The ledger's chain is whole: {chain.count:,} rows, none altered, missing or reordered."
    problems = len(chain.problems) + len(evidence.guards)
    return said + f"The ledger is broken ({counted(problems, 'problem')}): it proves nothing until that is explained."


def _light(evidence: Evidence) -> str:
    if not evidence.is_whole:
        return "red"
    return "amber" if evidence.missing or any(backup.bad for backup in evidence.backups) else "green"


def _rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Each target, also one that has left the site file, with its counts and its newest proof by a restore."""
    of: dict[str, list[TakenBackup]] = {target: [] for target in evidence.targets}
    for backup in evidence.backups:
        of.setdefault(backup.target, []).append(backup)
    missing = [target for gap in evidence.gaps for target in (*gap.not_tried, *gap.failed)]
    rows = []
    for target, backups in of.items():
        counts = evidence.standings(target)
        proofs = [backup.proof.at for backup in backups if backup.is_restored and backup.proof and backup.proof.at]
        rows.append({
            "target": target,
            "in_site_file": target in evidence.targets,
            "due": evidence.due.get(target),
            "taken": len(backups),
            "missing": missing.count(target),
            "standings": {name: counts[name] for name in STANDINGS if counts[name]},
            "last_restored_at": max(proofs, default=None),
        })  # fmt: skip
    return rows


def _plain(value: Any) -> Any:
    """The nearest thing JSON can say."""
    if isinstance(value, ProofLevel):
        return value.label
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
