"""Have a site scanned for vulnerabilities by the programs it names, and tell what is new since the last time."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from upkeep.domain.findings import Inspection, compare
from upkeep.domain.units import counted, cut
from upkeep.duties.comparing import LONGEST_TEXT, Review, Room, first
from upkeep.duties.job import Job
from upkeep.duties.sources import read_sources
from upkeep.errors import ToolMissing
from upkeep.site import Scan

log = logging.getLogger(__name__)

ROOM = Room(findings=1900, new=1900, gone=700, unread=1000)
COMMANDS_CHARS = 1000
SPARE_S = 60.0
"""What ending a scanner and reading its report may take beyond the scan's own limit."""


def scan_vulnerabilities(job: Job, *, dry_run: bool = False) -> dict[str, Any]:
    """Run every scan of the site, one after the other, and compare what they find with the last time.

    A program that is missing, or a scan that doesn't get to its end, is told and keeps its findings of last time; it
    fails nothing. A grave finding is red when it appears.

    :param dry_run: say which commands would be run, and which programs are missing.
    :raises StoreError: there are too many findings for the ledger, and neither the store nor the spool takes them.
    :raises Stopped: the task was told to stop.
    """
    at = job.now()
    with job.ledger.record(job.act("scan_vulnerabilities", "site", command="scan for vulnerabilities")) as entry:
        commands, missing = _commands(job.site.scans)
        if dry_run:
            found: dict[str, Any] = _would(commands, missing)
            entry.note(dry_run=True, **found)
            return found
        review = Review(job, "scan_vulnerabilities", "vulnerabilities", ROOM)
        problems: list[str] = []
        previous = review.previous(problems)
        given, failed = _run(job.site.scans, commands)
        current = [replace(one, source=name) for name, inspection in given.items() for one in inspection.findings]
        partly = [name for name, inspection in given.items() if inspection.unread]
        compared = compare(previous, current, at=at, unread={*failed, *missing, *partly})
        problems += missing.values()
        problems += [f"{name}: {why}" for name, why in failed.items()]
        problems += [why for inspection in given.values() for why in inspection.unread]
        found = review.tell(compared, problems)
        if not job.site.scans:
            found["summary"] = "the site names no scans"
        found["figures"] = {name: value for inspection in given.values() for name, value in inspection.figures.items()}
        entry.note(at=at.isoformat(), **found, **_commands_run(commands), **review.moved(), **review.keep(compared))
    log.info("the scans are %s: %s", found["light"], found["summary"])
    for finding in compared.open:
        level = logging.WARNING if finding in compared.new else logging.INFO
        log.log(level, "%s: %s. %s", finding.severity, finding.what, finding.remedy)
    return found


def _commands(scans: Iterable[Scan]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The command line of each scan, and why others have none."""
    from upkeep.engines.scan_tools import scan_command

    commands, missing = {}, {}
    for scan in scans:
        try:
            commands[scan.name] = scan_command(scan)
        except ToolMissing as error:
            log.warning("%s", error)
            missing[scan.name] = cut(f"{error.message}: {error.hint}", LONGEST_TEXT)
    return commands, missing


def _run(scans: Iterable[Scan], commands: Mapping[str, list[str]]) -> tuple[dict[str, Inspection], dict[str, str]]:
    from upkeep.engines.scan_tools import run_scan

    given: dict[str, Inspection] = {}
    failed: dict[str, str] = {}
    for scan in scans:
        if scan.name not in commands:
            continue
        log.info("%s: %s", scan.name, shlex.join(commands[scan.name]))
        one, why = read_sources({scan.name: partial(run_scan, scan)}, limit_s=scan.timeout_s + SPARE_S)
        given |= one
        failed |= why
    return given, failed


def _would(commands: Mapping[str, list[str]], missing: Mapping[str, str]) -> dict[str, Any]:
    summary = f"dry run: {counted(len(commands), 'scan')} would be run"
    if missing:
        summary += f"; {len(missing)} not, for want of their program"
    unread = first(ROOM.unread, list(missing.values()))
    return {"light": "amber" if missing else "green", "summary": summary, "unread": unread, **_commands_run(commands)}


def _commands_run(commands: Mapping[str, list[str]]) -> dict[str, Any]:
    return {"commands": first(COMMANDS_CHARS, [shlex.join(argv) for argv in commands.values()])}
