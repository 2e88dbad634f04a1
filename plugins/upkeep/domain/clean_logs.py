"""Which log files are compressed or removed, and why every other one stays. Nothing here reads a clock or a disk.

A file goes by the time it was last written, nothing else. Whatever isn't plainly a closed log file of this folder
stays: deleting a file that is open frees nothing, compressing one loses what is written meanwhile, and a link or a
second name may lead to any file of the machine.
"""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from os import fsencode, stat_result
from typing import Literal, NamedTuple

from upkeep.domain.log_message import plain
from upkeep.domain.units import counted, human_bytes, human_seconds, utc

Action = Literal["keep", "compress", "remove", "sweep"]
"""``sweep``: an unfinished copy that a killed run left."""
Use = Literal["open", "closed", "unknown"]

SUFFIX = ".zst"
PACKED = (".zst", ".gz", ".bz2", ".xz", ".lz4", ".br", ".zip", ".tgz", ".Z")
NAME_BYTES = 255
"""The longest name that Linux's filesystems take."""
CLOCK_NS = 20_000_000
"""The kernel stamps files with a clock that moves on every few milliseconds only."""
EXAMPLES = 3
EXAMPLE_CHARS = 120

_KIND = 0o170000
_UNFINISHED = re.compile(r"\.upkeep-[0-9a-f]{16}\.part")


def unfinished_name(token: str) -> str:
    """What a compressed copy is called until it is whole. Fits no usual pattern, so that nobody reads it as a log."""
    return f".upkeep-{token}.part"


class Verdict(NamedTuple):
    action: Action
    reason: str


@dataclass(frozen=True)
class CleaningRule:
    """See ``site.LogFolder``: ``compress_over_mb`` counts in MB, both ages in days."""

    patterns: tuple[str, ...]
    keep_days: int | None = None
    compress_over_mb: float | None = None
    compress_after_days: float = 1


class Judge:
    """One rule at one moment, applied to one file after the other; a million of them take a second.

    :param now: ages count from here.
    :param scan_began_ns: since 1970, by the machine's clock: what came or was changed later was never looked at by
        whoever approved this.
    :param device: of the folder's filesystem.
    """

    def __init__(self, rule: CleaningRule, *, now: datetime, scan_began_ns: int, device: int) -> None:
        moment = utc(now, "now")
        self._changed_from = scan_began_ns - CLOCK_NS
        self._device = device
        self._remove_before = (
            _ns(moment - timedelta(days=rule.keep_days)) if rule.keep_days is not None else float("-inf")
        )
        self._compress_over = rule.compress_over_mb * 1e6 if rule.compress_over_mb is not None else float("inf")
        self._compress_before = _ns(moment - timedelta(days=rule.compress_after_days))
        forms = [form for pattern in rule.patterns for form in (pattern, pattern + SUFFIX)]
        self.covers: Callable[[str], object] = re.compile("|".join(map(fnmatch.translate, forms))).match
        """Whether the rule speaks of a file of this name, or of the one that it is the compressed copy of."""
        days, idle = rule.keep_days, human_seconds(rule.compress_after_days * 86_400)
        over = human_bytes(int(rule.compress_over_mb * 1e6)) if rule.compress_over_mb is not None else ""
        # Made once: a million files share a dozen verdicts.
        self._remove = Verdict("remove", f"last written more than {days} d ago")
        self._compress = Verdict("compress", f"larger than {over} and not written for {idle}")
        self._early = Verdict("keep", f"larger than {over}, but written within the last {idle}")
        self._young = Verdict("keep", f"written within the last {days} d" if days is not None else "small enough")

    def of(self, name: str, state: stat_result, use: Use) -> Verdict:
        """What to do with one file, from what its own inode says now."""
        written = state.st_mtime_ns
        if state.st_mode & _KIND != stat.S_IFREG:
            return _LINK if stat.S_ISLNK(state.st_mode) else _SPECIAL
        if state.st_dev != self._device:
            return _ELSEWHERE
        if state.st_nlink > 1:
            return _LINKED
        if written >= self._changed_from or state.st_ctime_ns >= self._changed_from:
            return _NEW
        if written < self._remove_before:
            wanted = self._remove
        elif state.st_size <= self._compress_over:
            return self._young
        elif name.endswith(PACKED):
            return _PACKED
        elif written >= self._compress_before:
            return self._early
        elif len(fsencode(name)) + len(SUFFIX) > NAME_BYTES:
            return _LONG
        else:
            wanted = self._compress
        if use == "closed":
            return wanted
        return _OPEN if use == "open" else _UNKNOWN

    def of_unfinished(self, state: stat_result, use: Use) -> Verdict:
        """The same for a file that is named like an unfinished copy: whoever still writes it has it open."""
        if not stat.S_ISREG(state.st_mode) or state.st_dev != self._device:
            return _SPECIAL
        return _SWEEP if use == "closed" else _OPEN if use == "open" else _UNKNOWN


_LINK = Verdict("keep", "it is a symbolic link")
_SPECIAL = Verdict("keep", "it isn't a regular file")
_ELSEWHERE = Verdict("keep", "it is on another filesystem")
_LINKED = Verdict("keep", "it has several hard links, and may be any file of this machine")
_NEW = Verdict("keep", "it came or was changed after the scan had begun")
_OPEN = Verdict("keep", "a process has it open")
_UNKNOWN = Verdict("keep", "another account's process may have it open, which only root can see")
_PACKED = Verdict("keep", "already compressed, and not old enough to be removed")
_LONG = Verdict("keep", f"its name is too long for another {SUFFIX}")
_SWEEP = Verdict("sweep", "an unfinished copy of a run that was killed")


def is_unfinished(name: str) -> bool:
    return _UNFINISHED.fullmatch(name) is not None


@dataclass
class Tally:
    """The files of one verdict: how many, how much room they took or gave back, and a few of them."""

    count: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)


class Cleaned:
    """What one folder's cleaning came to, by verdict; small, however many files there are.

    ``keep`` and the folders that were left out count what stays; ``bytes`` of the others is what they gave back, on
    the disk. In a dry run it is what they take up, for nothing was given back.
    """

    def __init__(self) -> None:
        self.tallies: dict[Verdict, Tally] = {}
        self.troubles: dict[str, Tally] = {}
        """What was planned and could not be done, by reason."""
        self.stopped = ""
        """Why it ended before its end."""
        self.free_before = self.free_after = 0
        """Bytes free on the folder's disk: what others wrote and removed meanwhile counts as well."""

    def add(self, verdict: Verdict, name: str, size: int) -> None:
        tally = self.tallies.get(verdict)
        if tally is None:
            tally = self.tallies[verdict] = Tally()
        _count(tally, name, size)

    def add_trouble(self, why: str, name: str) -> None:
        _count(self.troubles.setdefault(why, Tally()), name, 0)

    def count(self, action: Action) -> int:
        return sum(tally.count for verdict, tally in self.tallies.items() if verdict.action == action)

    def bytes(self, *actions: Action) -> int:
        return sum(tally.bytes for verdict, tally in self.tallies.items() if verdict.action in actions)

    def lines(self) -> Iterator[str]:
        """The plan for a person: one line for each verdict, the largest first."""
        for verdict, tally in self._ordered():
            size = human_bytes(tally.bytes)
            named = ", ".join(tally.examples)
            more = f" and {tally.count - len(tally.examples)} more" if tally.count > len(tally.examples) else ""
            yield f"{verdict.action} {counted(tally.count, 'file')}, {size}: {verdict.reason}: {named}{more}"
        for why, tally in self.troubles.items():
            yield f"could not: {counted(tally.count, 'file')}: {why}: {', '.join(tally.examples)}"

    def reasons(self) -> list[dict[str, object]]:
        """The same for the ledger."""
        return [
            {"action": verdict.action, "why": verdict.reason, "files": tally.count, "bytes": tally.bytes,
             "examples": tally.examples}
            for verdict, tally in self._ordered()
        ]  # fmt: skip

    def _ordered(self) -> Sequence[tuple[Verdict, Tally]]:
        rank = {"remove": 0, "compress": 1, "sweep": 2, "keep": 3}
        return sorted(self.tallies.items(), key=lambda item: (rank[item[0].action], -item[1].count))


def shown(name: str) -> str:
    """A file's name as it can be shown: what isn't UTF-8 becomes an escape, what can't be seen a space."""
    return plain(fsencode(name).decode("utf-8", "backslashreplace"))[-EXAMPLE_CHARS:]


def _count(tally: Tally, name: str, size: int) -> None:
    tally.count += 1
    tally.bytes += size
    if tally.count <= EXAMPLES:
        tally.examples.append(shown(name))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000
