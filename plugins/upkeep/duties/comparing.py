"""What every review shares: what was open last time, what is new since, and room for both in one ledger row."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

from upkeep.domain.findings import SEVERITIES, Comparison, Finding, Inspection, compare
from upkeep.domain.units import cut
from upkeep.duties.job import Job
from upkeep.duties.sources import read_sources
from upkeep.errors import StoreError
from upkeep.ledger import Entry, Record

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_TEXT = 300
LAST_RECORDS = 20


@dataclass(frozen=True)
class Room:
    """Characters of a ledger row for each part of a review. Larger findings are kept beside the backups; of the others
    the first are told.
    """

    findings: int
    new: int
    gone: int
    unread: int


@dataclass(frozen=True)
class Review:
    """The reviews of one site by one duty.

    :param name: what the findings are called, in the report and in the store.
    :param alarming: whether a grave finding is red when it appears. A review that only advises never is red, and amber
        while there is something new or grave.
    """

    job: Job
    duty: str
    name: str
    room: Room
    alarming: bool = True

    @cached_property
    def last(self) -> Record | None:
        """The last one that was finished."""
        return self.job.last_act(
            self.duty, fits=lambda record: record.state == "done" and "at" in record.detail, among=LAST_RECORDS
        )

    def carry_out(
        self,
        entry: Entry,
        sources: Mapping[str, Callable[[], Inspection]],
        *,
        at: datetime,
        besides: Callable[[Mapping[str, Inspection]], Mapping[str, Any]] = lambda given: {},
    ) -> tuple[Comparison, dict[str, Any]]:
        """Read every source, compare with the last review, and note it all; gives what is open, and what was told.

        :param besides: further figures to note, from what the sources gave.
        :raises StoreError: there are too many findings for the ledger, and neither the store nor the spool takes them.
        """
        problems: list[str] = []
        previous = self.previous(problems)
        given, failed = read_sources(sources)
        current = [replace(one, source=name) for name, inspection in given.items() for one in inspection.findings]
        partly = [name for name, inspection in given.items() if inspection.unread]
        compared = compare(previous, current, at=at, unread={*failed, *partly})
        problems += [f"{name}: {why}" for name, why in failed.items()]
        problems += [why for inspection in given.values() for why in inspection.unread]
        found = {**self.tell(compared, problems), **besides(given)}
        entry.note(
            at=at.isoformat(),
            **found,
            figures={name: value for inspection in given.values() for name, value in inspection.figures.items()},
            **self.moved(),
            **self.keep(compared),
        )
        return compared, found

    def previous(self, problems: list[str]) -> list[Finding]:
        """What was open at the end of the last review; nothing, and a problem, where that can't be read any more."""
        last = self.last
        if last is None:
            return []
        try:
            kept = last.detail.get("findings")
            if kept is None:
                store = self.job.spool if last.detail["kept_in"] == "spool" else self.job.store
                kept = json.loads(store.get(self._key))
            findings = [Finding.from_dict(one) for one in kept]
        except (StoreError, ValueError, LookupError, TypeError) as error:
            said = error.message if isinstance(error, StoreError) else type(error).__name__
            problems.append(f"the findings of the last review ({said}): all of today's count as new")
            return []
        # A review that was killed after it had kept its findings was never told: what was new in it still is.
        return [one for one in findings if one.first_seen <= last.detail["at"]]

    def keep(self, compared: Comparison) -> dict[str, Any]:
        """What to note so that the next review finds what is open: the findings themselves, or where they are. Then the
        first of the standing ones are noted beside: the report reads nothing but the ledger.
        """
        content = [one.as_dict() for one in compared.open]
        text = json.dumps(content, ensure_ascii=False)
        if len(text) <= self.room.findings:
            return {"findings": content}
        standing = {"standing": first(self.room.findings, [_short(finding) for finding in compared.standing])}
        try:
            self.job.store.put(self._key, text.encode("utf-8", "backslashreplace"))
        except StoreError as error:
            log.warning("the findings could not be kept in %s: %s", self.job.store.url, error.message)
            self.job.spool.put(self._key, text.encode("utf-8", "backslashreplace"))
            return {"kept_in": "spool", **standing}
        return {"kept_in": "store", **standing}

    @property
    def _key(self) -> str:
        return f"{self.job.site.name}/_state/{self.name}.json"

    def moved(self) -> dict[str, Any]:
        """The last review's worker, if it was another one: what is read on a worker may differ for that alone."""
        last = self.last
        return {"other_host_before": last.started.host} if last and last.started.host != self.job.run.host else {}

    def tell(self, compared: Comparison, problems: Sequence[str]) -> dict[str, Any]:
        """Red, which fails the run, is only what is grave and new since the last review: a finding that stands would
        otherwise make every night red, and hide the night in which a backup fails.
        """
        grave = [finding for finding in compared.new if finding.severity == "high"]
        urgent = grave if self.alarming else compared.new
        grave_and_new = self.alarming and bool(grave) and self.last is not None
        light = "red" if grave_and_new else "amber" if self._is_worrying(compared) or problems else "green"
        counts = {name: len(findings) for name, findings in compared._asdict().items()}
        by_severity = {one: sum(finding.severity == one for finding in compared.open) for one in SEVERITIES}
        summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing found"
        if any(by_severity.values()):
            summary += f" ({', '.join(f'{count} {severity}' for severity, count in by_severity.items() if count)})"
        if problems:
            summary += f"; {len(problems)} not looked at"
        return {
            "name": self.name,
            "kind": self.name,
            "light": light,
            "summary": summary,
            "hint": cut(f"{urgent[0].what}: {urgent[0].remedy}", LONGEST_TEXT) if urgent else "",
            "counts": {**counts, **by_severity},
            "new": first(self.room.new, [_short(finding) for finding in compared.new]),
            "gone": first(self.room.gone, [cut(finding.what, LONGEST_TEXT) for finding in compared.gone]),
            "unread": first(self.room.unread, [cut(problem, LONGEST_TEXT) for problem in problems]),
        }

    def _is_worrying(self, compared: Comparison) -> bool:
        """Advice that stands has been told; whoever doesn't take it is not to be told each time."""
        if self.alarming:
            return compared.light != "green"
        return any(one.severity != "low" for one in compared.new) or any(
            one.severity == "high" for one in compared.open
        )


def first(chars: int, items: Sequence[T]) -> list[T]:
    """As many as fit into so many characters of JSON; ``counts`` says how many there are."""
    sizes = accumulate(len(json.dumps(item, ensure_ascii=False)) + 1 for item in items)
    return [item for item, size in zip(items, sizes, strict=True) if size <= chars]


def _short(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity,
        "what": cut(finding.what, LONGEST_TEXT),
        "remedy": cut(finding.remedy, LONGEST_TEXT),
    }
