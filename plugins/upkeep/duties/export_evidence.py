"""Export what an auditor asks for: one page of a site and a span, from the ledger alone, and the same as JSON.

The rows are read once: the pass that recomputes every hash is the one that gathers what the page tells. Both files are
written under other names; then the act is recorded, and within it they get theirs. So what was read is from before that
act, and neither a mistyped span nor a full disk leaves a row.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import upkeep
from upkeep.domain.evidence import Span, find_gaps, span_of
from upkeep.domain.units import counted
from upkeep.duties.job import Job
from upkeep.duties.status import openings_of
from upkeep.duties.whole_file import appear, hidden_file, to_disk, writing
from upkeep.errors import EvidenceRefused
from upkeep.ledger import Head, verify
from upkeep.reports.evidence import Evidence
from upkeep.reports.evidence_page import evidence_json, evidence_page, verdict
from upkeep.reports.evidence_reader import EvidenceReader

log = logging.getLogger(__name__)

_AN_OPENING_MORE = timedelta(days=8)
"""Within it a daily rhythm's next opening lies: until then a late backup answers the span's last one."""


def export_evidence(
    job: Job,
    out: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    target: str | None = None,
    noted: Sequence[Head] = (),
) -> dict[str, Any]:
    """Write ``out`` (HTML) and the JSON of the same name beside it, over earlier ones; their SHA-256, and the chain's
    head.

    :param since: the first day, as text; ``until``: the last. Both whole, in the site's time zone.
    :param target: only this one. The chain is read whole all the same.
    :param noted: heads from earlier pages that the chain has to hold.

    Errors: ``EvidenceRefused`` for a span that can't be, a span about which there is nothing to tell, and a file that
    can't be written; ``SiteFileError`` for a target that the site doesn't have and the ledger doesn't know;
    ``LedgerUnavailable``; ``LedgerBroken`` where nothing can be added to the chain.
    """
    beside = _json_beside(out)
    if others := [head.site for head in noted if head.site != job.site.name]:
        raise EvidenceRefused(
            f"the head noted of site {others[0]!r} says nothing of {job.site.name}",
            hint="each site has a chain of its own: give the head that a page or a report of this site printed",
        )
    span = span_of(since, until, ZoneInfo(job.site.timezone), job.now())
    evidence = gather_evidence(job, span, target, noted)
    result = {
        "site": job.site.name, "verdict": verdict(evidence), "whole": evidence.is_whole, "head": evidence.head,
        "problems": [problem.what for problem in (*evidence.guards, *evidence.chain.problems)],
    }  # fmt: skip
    data = evidence_json(evidence).encode()
    page = evidence_page(evidence, json_name=beside.name, json_sha256=_sha256(data)).encode()
    words = f"export the evidence of {span.first} to {span.last}"
    act = job.act("export_evidence", target or "site", command=f"{words} as {out.name}")
    with _hidden(out, page) as page_file, _hidden(beside, data) as json_file, job.ledger.record(act) as entry:
        # The page last: where it is, all of it is.
        for file, path in ((json_file, beside), (page_file, out)):
            with writing(path, EvidenceRefused):
                appear(file, path)
        found = {"sha256": _sha256(page), "json_sha256": _sha256(data)}
        entry.note(
            bytes=len(page),
            checksum=f"sha256:{found['sha256']}",
            json=f"sha256:{found['json_sha256']}",
            head=evidence.head,
            whole=evidence.is_whole,
            light="green" if evidence.is_whole else "red",
            summary=result["verdict"],
        )
    return {**result, **found, "page": str(out), "json": str(beside)}


def gather_evidence(job: Job, span: Span, target: str | None, noted: Sequence[Head] = ()) -> Evidence:
    """What the ledger holds of the span. Errors: as ``export_evidence``."""
    site, now = job.site, job.now()
    names = tuple(one.name for one in site.targets if target in (None, one.name))
    reader = EvidenceReader(span, fingerprint=site.fingerprint, target=target)
    found = verify(job.ledger, site.name, noted=noted, each=reader.take)
    (chain,) = found.chains
    if target and not names and target not in reader.first_seen:
        site.target(target)
    in_care_since = {}
    for name in names:
        traces = [moment for moment in (reader.first_seen.get(name), reader.in_force_since) if moment]
        if traces:
            in_care_since[name] = min(traces)
    daily = site.rhythms.daily
    openings = openings_of(site, daily.at, span.start - timedelta(seconds=1), min(now, span.end + _AN_OPENING_MORE))
    grace = timedelta(hours=daily.length_h)
    due, gaps = find_gaps(openings, reader.answers(), in_care_since, span, grace=grace, now=now)
    evidence = reader.fill(Evidence(
        site=site.name, title=site.title, span=span, target=target, made_at=now, made_by=job.run.actor,
        made_on=job.run.host, version=upkeep.__version__, fingerprint=site.fingerprint,
        schedule=f"{daily.at}, open for {daily.length_h:g} h", chain=chain, guards=found.guards,
        noted=tuple(f"{head.site}:{head.seq}:{head.hash}" for head in noted), begins_at=reader.begins_at,
        targets=names, due=due, gaps=gaps,
    ))  # fmt: skip
    if not reader.acts_within and not gaps and not chain.problems:
        begins = f"its first act is of {reader.begins_at:%Y-%m-%d}" if reader.begins_at else "it has no act at all"
        raise EvidenceRefused(
            f"the ledger {job.ledger.place} tells nothing of {site.name} from {span.first} to {span.last}: {begins}",
            hint="choose other days; or see with upkeep config whether this is the ledger that the workers write",
        )
    log.info("read %s of %s", counted(chain.count, "row"), site.name)
    return evidence


def _json_beside(out: Path) -> Path:
    if out.suffix == ".json" or out.is_dir() or not out.name:
        raise EvidenceRefused(
            f"{out} is not a file name for the page", hint="name a file .html; its JSON is written beside it"
        )
    return out.with_suffix(".json")


@contextmanager
def _hidden(path: Path, content: bytes) -> Iterator[IO[bytes]]:
    """The content beside ``path``, on the disk. It is to be handed on: umask says who may read it."""
    with ExitStack() as stack:
        with writing(path, EvidenceRefused):
            file = stack.enter_context(hidden_file(path, mode=0o666))
            file.write(content)
            to_disk(file)
        yield file


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
