"""Review a site's logs: count the errors since the last run by kind of message, and say which kinds are new.

Nothing in the logs is changed, and every line is counted once, whatever rotation does. Where that can't be known a line
is rather counted twice than not at all.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from upkeep.domain.log_tally import ListedKind
from upkeep.domain.units import counted, cut, human_bytes
from upkeep.duties.job import Job
from upkeep.duties.log_memory import LogMemory
from upkeep.duties.log_review import Review, label_of, read_folder
from upkeep.duties.sources import answer_within
from upkeep.engines.log_reader import Budget
from upkeep.engines.log_search import ErrorSearch
from upkeep.errors import SourceError, UpkeepError
from upkeep.ledger.entry import DETAIL_CHARS
from upkeep.site import LogFolder

log = logging.getLogger(__name__)

LIMIT_S = 900.0
LIMIT_BYTES = 20_000_000_000
GRACE_S = 60.0
"""A folder that takes so much longer than its share lies on a disk that hangs: no limit of its own ends such a read."""

_FILES_SHOWN = 10
_REMARKS_SHOWN = 12
_SHORTER = ((300, 200), (160, 160), (80, 100), (0, 80))
"""Lengths of samples and messages to try until a record's detail fits into the ledger."""


def review_logs(
    job: Job, *, dry_run: bool = False, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES
) -> dict[str, Any]:
    """Review every log folder of the site, each with a record of its own.

    A folder that isn't there or can't be opened is recorded as skipped and doesn't stop the others. What the limits
    left unread is read next time. ``dry_run`` reads and counts, and remembers nothing.

    :param limit_s: seconds for all folders together; ``limit_bytes`` likewise, of unpacked bytes.
    Errors: ``Busy``, ``SiteFileError`` for a pattern that isn't a regular expression, ``StoreError`` when neither store
    nor spool can keep how far the logs were read.
    """
    searches = {label_of(job.site, folder): (folder, ErrorSearch(folder.errors)) for folder in job.site.logs}
    budget = Budget(limit_bytes, limit_s)
    results: dict[str, dict[str, Any]] = {}
    failures: list[Exception] = []
    with job.hold("_state/review_logs"):
        memory = LogMemory(job)
        for done, (label, (folder, search)) in enumerate(searches.items()):
            share = budget.share(len(searches) - done)
            try:
                results[label] = _review(job, label, folder, search, memory, share, dry_run=dry_run)
            except (UpkeepError, OSError) as error:
                log.exception("%s could not be reviewed", label)
                failures.append(error)
            budget.read += share.read
        if memory.lost:
            failures.append(memory.lost)
    if failures:
        raise failures[0]
    return _result(job, results, memory, dry_run=dry_run)


def _review(
    job: Job, label: str, folder: LogFolder, search: ErrorSearch, memory: LogMemory, budget: Budget, *, dry_run: bool
) -> dict[str, Any]:
    past = memory.of(label)
    if dry_run:
        try:
            return _summary(read_folder(folder, past, search, budget, job.now()), memory)
        except SourceError as error:
            return {"skipped": error.message}
    with job.ledger.record(job.act("review_logs", label, command=f"count the errors in {label}")) as entry:
        begun = time.monotonic()
        try:
            limit_s = round(budget.limit_s + GRACE_S, 1)
            review = answer_within(limit_s, label, lambda: read_folder(folder, past, search, budget, job.now()))
        except SourceError as error:
            log.warning("%s", error)
            entry.skip(f"{error.message}; {error.hint}")
            return {"skipped": error.message}
        entry.note(rows=review.tally.lines, bytes=review.read)
        entry.note(**_detail(review, memory, seconds=round(time.monotonic() - begun, 3)))
        _log(label, review, _verdict(review, memory))
    memory.remember(label, review.memory)
    return _summary(review, memory)


def _detail(review: Review, memory: LogMemory, *, seconds: float) -> dict[str, Any]:
    """What the ledger keeps beside its columns rows (error lines) and bytes (read, unpacked), cut to fit there.

    ``since``: when the folder was last reviewed, empty for a first review, to which nothing is new; ``top``: at most
    ten kinds of messages, new ones first; ``error_files``: the files with most error lines; ``remarks``: what a person
    should know; ``stopped``: ``bytes`` or ``time`` when a limit was reached, and ``unread`` how many bytes it left.
    """
    detail: dict[str, Any] = {
        **_verdict(review, memory),
        "since": review.since.isoformat() if review.since else "",
        "files": review.files,
        "lines": review.lines,
        "errors": review.tally.lines,
        "kinds": len(review.tally.kinds),
        "new": review.new,
        "stopped": review.stopped,
        "unread": review.unread,
        "seconds": seconds,
        "error_files": dict(review.tally.files.most_common(_FILES_SHOWN)),
        "remarks": [cut(text, 300) for text in [*memory.remarks, *review.remarks][:_REMARKS_SHOWN]],
    }
    for sample_chars, message_chars in _SHORTER:
        detail["top"] = [_top(told, sample_chars, message_chars) for told in review.told]
        if len(json.dumps(detail, ensure_ascii=False)) <= DETAIL_CHARS:
            return detail
    return {**detail, "error_files": {}, "remarks": detail["remarks"][:3]}


def _verdict(review: Review, memory: LogMemory) -> dict[str, str]:
    """``light``, ``summary`` and ``hint``, as the report reads them. Errors that were there before are no news: amber
    is for new kinds, and for what makes the count less than it seems.
    """
    kinds = counted(len(review.tally.kinds), "kind") + (f" ({review.new} new)" if review.new else "")
    errors = f"{counted(review.tally.lines, 'error line')} of {kinds}" if review.tally.lines else "no errors"
    summary, hint = f"{errors} in {counted(review.lines, 'line')}", ""
    if review.new:
        first = next(told.kind for told in review.told if told.new)
        summary += f"; first among the new: {cut(first.text, 160)}"
        hint = f"look at {first.file} in this folder; if it is harmless, it won't be new tomorrow"
    if review.stopped:
        summary += f"; the limit on {review.stopped} left {human_bytes(review.unread)} unread until next time"
        hint = hint or "if it happens every night, leave the largest files out of this folder's patterns"
    if review.unreadable:
        hint = hint or "see that the folder's path and patterns still fit, and that this account may read its files"
    summary = "; ".join([summary, *(cut(remark, 160) for remark in [*review.unreadable[:1], *memory.remarks])])
    amber = review.new or review.stopped or review.unreadable or memory.remarks
    return {"light": "amber" if amber else "green", "summary": summary, "hint": hint}


def _top(told: ListedKind, sample_chars: int, message_chars: int) -> dict[str, Any]:
    kind = told.kind
    return {
        "message": cut(kind.text, message_chars),
        "count": kind.count,
        "new": told.new,
        "file": kind.file,
        "sample": cut(kind.sample, sample_chars),
    }


def _summary(review: Review, memory: LogMemory) -> dict[str, Any]:
    """One folder's part of the result: small, for XCom."""
    return {
        **_verdict(review, memory),
        "errors": review.tally.lines,
        "lines": review.lines,
        "files": review.files,
        "bytes": review.read,
        "kinds": len(review.tally.kinds),
        "new": review.new,
        "stopped": review.stopped,
        "top": [_top(told, 0, 160) for told in review.told[:3]],
        "remarks": [cut(text, 200) for text in [*memory.remarks, *review.remarks][:5]],
    }


def _result(job: Job, results: Mapping[str, dict[str, Any]], memory: LogMemory, *, dry_run: bool) -> dict[str, Any]:
    return {
        "site": job.site.name,
        "dry_run": dry_run,
        "errors": sum(result.get("errors", 0) for result in results.values()),
        "new": sum(result.get("new", 0) for result in results.values()),
        "stopped": any(result.get("stopped") for result in results.values()),
        "waits_in": memory.waits_in,
        "folders": dict(results),
    }


def _log(label: str, review: Review, verdict: Mapping[str, str]) -> None:
    log.info("%s: %s of %s files, %s", label, verdict["summary"], review.files, human_bytes(review.read))
    for told in review.told:
        log.info("%s %6d  %s", "new" if told.new else "   ", told.kind.count, told.kind.text)
    for remark in review.remarks:
        log.warning("%s: %s", label, remark)
