"""Compress and remove the log files that a site's rules let go, with a reason for each, and a list of what is gone.

**Why a kill at any line is safe.** A file is either removed by its rule or it is still there; a compressed one is under
its own name or, unpacked and compared, under ``.zst`` (see ``log_compression``). The next run goes on with what is
left. What is gone is listed in the store after each portion, so a killed run may owe the list of its last one; its act
is in the ledger as died.

``review_logs`` counts no line again: it knows a compressed copy by its content, and goes on in it where it had stopped
in the original.
"""

from __future__ import annotations

import gzip
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from types import TracebackType
from typing import Any

from upkeep.domain.clean_logs import Cleaned, CleaningRule
from upkeep.domain.units import counted, ends, human_bytes
from upkeep.duties.job import Job
from upkeep.duties.log_review import label_of
from upkeep.duties.until import CLOSED, WITHOUT_END, Until
from upkeep.engines.log_cleaning import Gone, clean_folder
from upkeep.errors import SourceError, Stopped, StoreError, UpkeepError
from upkeep.ledger.entry import DETAIL_CHARS
from upkeep.site import LogFolder

log = logging.getLogger(__name__)

LIST_FILES = 50_000
"""Files in one list; some 5 MB, unpacked."""
KEEP_LISTS = timedelta(days=400)


def folders_to_clean(job: Job) -> dict[str, tuple[LogFolder, CleaningRule]]:
    """The log folders of the site that have a rule, by their name in the ledger."""
    return {label_of(job.site, folder): (folder, _rule(folder)) for folder in job.site.logs if folder.is_cleaned}


def _listed(job: Job) -> list[str]:
    """What lies below another of the site's log folders goes by its own rule, or by none."""
    return [folder.path for folder in job.site.logs]


def _rule(folder: LogFolder) -> CleaningRule:
    return CleaningRule(tuple(folder.patterns), folder.keep_days, folder.compress_over_mb, folder.compress_after_days)


def plan_clean_logs(job: Job) -> dict[str, Cleaned | SourceError]:
    """What would be done now, by folder; reads, and changes nothing."""
    plans: dict[str, Cleaned | SourceError] = {}
    for label, (folder, rule) in folders_to_clean(job).items():
        try:
            plans[label] = clean_folder(folder.path, rule, now=job.now(), dry_run=True, others=_listed(job))
        except SourceError as error:
            plans[label] = error
    return plans


def clean_logs(job: Job, *, until: Until = WITHOUT_END, dry_run: bool = False) -> dict[str, Any]:
    """Clean every log folder that has a rule, each with a record of its own, as far as it gets before ``until``.

    A folder that isn't there is recorded as skipped and doesn't stop the others. ``dry_run`` does everything but the
    act itself, and leaves no record.

    Errors: ``Busy``, ``Stopped``, ``StoreError`` when neither store nor spool takes the list
    of what is gone.
    """

    def enough() -> str:
        until.require_going("log files are left")
        return CLOSED if until.is_over(job.now()) else ""

    results: dict[str, dict[str, Any]] = {}
    failures: list[Exception] = []
    with job.hold("_state/clean_logs"):
        for label, (folder, rule) in folders_to_clean(job).items():
            try:
                results[label] = _clean(job, label, folder, rule, enough, dry_run=dry_run)
            except Stopped:
                raise
            except (UpkeepError, OSError) as error:
                log.exception("%s could not be cleaned", label)
                failures.append(error)
        if not dry_run:
            _forget_lists(job)
    if failures:
        raise failures[0]
    return {
        "site": job.site.name,
        "dry_run": dry_run,
        **{name: sum(result.get(name, 0) for result in results.values()) for name in _FIGURES},
        "stopped": next((result["stopped"] for result in results.values() if result.get("stopped")), ""),
        "folders": results,
    }


_FIGURES = ("removed", "compressed", "bytes", "troubles")


def _clean(
    job: Job, label: str, folder: LogFolder, rule: CleaningRule, enough: Callable[[], str], *, dry_run: bool
) -> dict[str, Any]:
    if dry_run:
        try:
            plan = clean_folder(folder.path, rule, now=job.now(), dry_run=True, enough=enough, others=_listed(job))
        except SourceError as error:
            return _skipped(error)
        _log(label, plan)
        return _summary(plan, dry_run=True)
    with job.ledger.record(job.act("clean_logs", label, command=f"clean {label}: {_in_words(rule)}")) as entry:
        cleaned, began = Cleaned(), time.monotonic()
        lists, unreached = GoneLists(job, label), None
        try:
            with lists:
                clean_folder(
                    folder.path, rule, now=job.now(), enough=enough, on_gone=lists.add, cleaned=cleaned,
                    others=_listed(job),
                )  # fmt: skip
        except SourceError as error:
            unreached = error
        finally:
            entry.note(rows=_touched(cleaned), bytes=_given_back(cleaned), checksum=lists.checksum)
            entry.note(**_detail(cleaned, lists, seconds=round(time.monotonic() - began, 1)))
        if unreached:
            log.warning("%s", unreached)
            skipped = _skipped(unreached)
            entry.note(light="amber", summary=skipped["summary"], hint=unreached.hint)
            entry.skip(f"{unreached.message}; {unreached.hint}")
            return skipped
    _log(label, cleaned)
    return _summary(cleaned, dry_run=False)


def _skipped(error: SourceError) -> dict[str, Any]:
    return {"light": "amber", "summary": f"not cleaned: {error.message}", "hint": error.hint, "skipped": error.message}


def _in_words(rule: CleaningRule) -> str:
    words = []
    if rule.keep_days is not None:
        words.append(f"keep {rule.keep_days} d")
    if rule.compress_over_mb is not None:
        words.append(f"compress over {rule.compress_over_mb:g} MB after {rule.compress_after_days:g} d")
    return ", ".join(words)


def _detail(cleaned: Cleaned, lists: GoneLists, *, seconds: float) -> dict[str, Any]:
    """What the ledger keeps beside rows (files gone), bytes (given back) and checksum (of the lists), cut to fit."""
    detail: dict[str, Any] = {
        **_verdict(cleaned),
        "removed": cleaned.count("remove"),
        "compressed": cleaned.count("compress"),
        "swept": cleaned.count("sweep"),
        "kept": cleaned.count("keep"),
        "stopped": cleaned.stopped,
        "seconds": seconds,
        "free_before": cleaned.free_before,
        "free_after": cleaned.free_after,
        "lists": ends(lists.keys, 3),
        "lists_wait_in": lists.waits_in,
    }
    for examples in (3, 1, 0):
        detail["reasons"] = [{**reason, "examples": _some(reason, examples)} for reason in cleaned.reasons()]
        detail["troubles"] = [
            {"why": why, "files": tally.count, "examples": tally.examples[:examples]}
            for why, tally in list(cleaned.troubles.items())[:10]
        ]
        if len(json.dumps(detail, ensure_ascii=False)) <= DETAIL_CHARS:
            break
    return detail


def _some(reason: Mapping[str, object], count: int) -> list[str]:
    examples = reason["examples"]
    return examples[:count] if isinstance(examples, list) else []


def _verdict(cleaned: Cleaned, *, dry_run: bool = False) -> dict[str, str]:
    """``light``, ``summary`` and ``hint``, as the report reads them."""
    done = [
        f"{counted(count, 'file')} {'would be ' if dry_run else ''}{word}"
        for word, count in (("removed", cleaned.count("remove")), ("compressed", cleaned.count("compress")))
        if count
    ]
    size = human_bytes(_given_back(cleaned))
    summary = f"{' and '.join(done)}, {size} {'on disk' if dry_run else 'given back'}" if done else "nothing to clean"
    kept = cleaned.count("keep")
    summary += f"; {counted(kept, 'file')} stay{'s' if kept == 1 else ''}"
    hints = []
    if cleaned.troubles:
        why, tally = max(cleaned.troubles.items(), key=lambda item: item[1].count)
        summary += f"; {counted(sum(t.count for t in cleaned.troubles.values()), 'file')} could not be: {why}"
        hints.append(f"look at {tally.examples[0]}: does the worker's account own that folder, and may it write there?")
    unknown = sum(t.count for verdict, t in cleaned.tallies.items() if "only root can see" in verdict.reason)
    if unknown:
        summary += f"; of {counted(unknown, 'file')} it can't be known whether they are open"
        hints.append("run this worker as the account that writes these logs, or as root")
    if cleaned.stopped:
        summary += f"; {cleaned.stopped}, the rest is for next time"
        hints.append("if it happens every week, lengthen the weekly window")
    light = "amber" if cleaned.troubles or unknown or cleaned.stopped else "green"
    return {"light": light, "summary": summary, "hint": "; ".join(hints)}


def _summary(cleaned: Cleaned, *, dry_run: bool) -> dict[str, Any]:
    """One folder's part of the result: small, for XCom."""
    return {
        **_verdict(cleaned, dry_run=dry_run),
        "removed": cleaned.count("remove"),
        "compressed": cleaned.count("compress"),
        "swept": cleaned.count("sweep"),
        "kept": cleaned.count("keep"),
        "troubles": sum(tally.count for tally in cleaned.troubles.values()),
        "bytes": _given_back(cleaned),
        "stopped": cleaned.stopped,
    }


def _touched(cleaned: Cleaned) -> int:
    return cleaned.count("remove") + cleaned.count("compress") + cleaned.count("sweep")


def _given_back(cleaned: Cleaned) -> int:
    return cleaned.bytes("remove", "compress", "sweep")


def _log(label: str, cleaned: Cleaned) -> None:
    for line in cleaned.lines():
        log.info("%s: %s", label, line)


class GoneLists:
    """Lists of what is gone, as objects in the site's store: gzipped JSON lines, one for each portion of a folder, with
    the names of the files that were removed, compressed or swept. They hold no content, and aren't encrypted.

    They are packed and stored in a thread of their own, while the next portion is worked on. ``checksum`` is the
    SHA-256 of all of them, unpacked, one after the other: ``zcat *.jsonl.gz | sha256sum``.
    """

    def __init__(self, job: Job, label: str) -> None:
        self._job, self._label = job, label
        self._prefix = f"{_lists_of(job)}{job.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._digest = sha256()
        self._waiting: list[Gone] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="list of what is gone")
        self._storing: Future[None] | None = None
        self.keys: list[str] = []
        self.waits_in = ""
        """Where lists were put that the store didn't take."""

    def __enter__(self) -> GoneLists:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._store()
            self._settle()
        except StoreError as lost:
            if error is None:
                raise
            error.add_note(str(lost))
        finally:
            self._thread.shutdown()

    def add(self, gone: Gone) -> None:
        self._waiting.append(gone)
        if sum(portion.files for portion in self._waiting) >= LIST_FILES:
            self._store()

    @property
    def checksum(self) -> str | None:
        return self._digest.hexdigest() if self.keys else None

    def _store(self) -> None:
        if not self._waiting:
            return
        self._settle()  # one at a time: memory stays bounded when the store is slower than the disk
        key = f"{self._prefix}-{len(self.keys) + 1:04d}.jsonl.gz"
        self.keys.append(key)
        self._storing = self._thread.submit(self._pack, key, self._waiting)
        self._waiting = []

    def _settle(self) -> None:
        if self._storing:
            storing, self._storing = self._storing, None
            storing.result()

    def _pack(self, key: str, gone: Iterable[Gone]) -> None:
        lines = "".join([f"{json.dumps(vars(portion))}\n" for portion in gone]).encode()
        self._digest.update(lines)
        data = gzip.compress(lines, compresslevel=1, mtime=0)
        try:
            self._job.store.put(key, data)
        except StoreError as error:
            log.warning("the list %s can't be kept in the store: %s", key, error.message)
            self._job.spool.put(key, data)
            self.waits_in = self._job.spool.url


def _lists_of(job: Job) -> str:
    return f"{job.site.name}/_cleaned/"


def _forget_lists(job: Job) -> None:
    """Remove lists that nobody asks for any more; a store that is away is no reason to fail."""
    oldest = job.now() - KEEP_LISTS
    try:
        old = [stored.key for stored in job.store.list(_lists_of(job)) if stored.modified < oldest]
        if not old:
            return
        with job.ledger.record(job.act("clean_logs", "_cleaned", command="remove old lists of what is gone")) as entry:
            for key in old:
                job.store.delete(key)
                entry.note(rows=1)
            entry.note(
                light="green",
                summary=f"{counted(len(old), 'list')} older than {KEEP_LISTS.days} d removed",
                hint="",
            )
    except StoreError as error:
        log.warning("old lists of what is gone stay: %s", error.message)
