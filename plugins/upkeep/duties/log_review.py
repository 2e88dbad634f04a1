"""One log folder's review: which files to read from where, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upkeep.domain.log_tally import KINDS, ListedKind, Tally, remember, select
from upkeep.domain.units import human_bytes
from upkeep.duties.log_memory import FolderMemory
from upkeep.engines.log_content import Content, Damaged, content_of
from upkeep.engines.log_folder import MAX_FILES, Found, LeftOut, LogFiles, shown
from upkeep.engines.log_positions import Positions
from upkeep.engines.log_reader import Budget, read_new
from upkeep.engines.log_search import ErrorSearch
from upkeep.errors import ToolError, UpkeepError
from upkeep.site import LogFolder, Site

KEEP_DAYS = 8
"""How long files that are gone are remembered: they may come back compressed, or lie on another worker."""
FIRST_HOURS, FIRST_BYTES = 24, 10_000_000
"""A first review reads the files written in these last hours, and of each no more than these last bytes."""
IDLE = timedelta(hours=1)
"""After so long nobody will finish a file's last line any more."""
CLOCK_TOLERANCE = timedelta(hours=1)
"""How far the clocks of the worker and of a file server may differ."""


@dataclass
class Review:
    """What one folder's review found."""

    tally: Tally = field(default_factory=Tally)
    since: datetime | None = None
    """When the folder was last reviewed; None for a first review."""
    files: int = 0
    read: int = 0
    lines: int = 0
    stopped: str = ""
    """``bytes`` or ``time`` when the limit ended it; then ``unread`` bytes of ``unfinished`` files are left."""
    unfinished: int = 0
    unread: int = 0
    told: list[ListedKind] = field(default_factory=list)
    new: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Why errors may stand where nobody looked."""
    remarks: list[str] = field(default_factory=list)
    """All that a person should know, ``unreadable`` first."""
    memory: FolderMemory = field(default_factory=FolderMemory)


def label_of(site: Site, folder: LogFolder) -> str:
    """The folder's name in the ledger: its path, with its patterns where the path stands in the site file twice."""
    alike = [other for other in site.logs if other.path == folder.path]
    return folder.path if len(alike) == 1 else f"{folder.path} ({', '.join(folder.patterns)})"


def read_folder(folder: LogFolder, past: FolderMemory, search: ErrorSearch, budget: Budget, now: datetime) -> Review:
    """Errors: ``SourceError`` when the folder itself can't be read."""
    review, today = Review(since=past.reviewed_at), now.date().isoformat()
    positions, left_out = Positions(past.positions), LeftOut()
    with LogFiles(folder.path) as logs:
        listed = logs.list(folder.patterns, left_out)
        last = past.reviewed_at.date().isoformat() if past.reviewed_at else ""
        if not listed and any(position.seen == last for position in past.positions):
            review.unreadable.append("no file is left of those that the last review read")
        for found in _in_reading_order(logs, listed, positions, left_out, today):
            try:
                with logs.open(found.name) as file:
                    turn = _Turn(content_of(file), shown(found.name), positions, past.reviewed_at, now)
                    turn.take(review, search, budget)
            except FileNotFoundError:
                continue  # rotated away under another name, where it is found next time
            except (OSError, Damaged, ToolError) as error:
                left_out.fail(found.name, _why(error))
                positions.touch(found.inode, seen=today)
    kinds = review.tally.by_count()
    known = past.kinds if review.since else None
    review.told = select(kinds, known)
    review.new = 0 if known is None else sum(kind.key not in known for kind in kinds)
    review.stopped = budget.over if review.unfinished else ""
    review.unreadable += left_out.failures()
    review.remarks = [*review.unreadable, *_remarks(review), *left_out.remarks()]
    since = (now - timedelta(days=KEEP_DAYS)).date().isoformat()
    review.memory = FolderMemory(now, positions.kept(since, 2 * MAX_FILES), remember(kinds, past.kinds, today))
    return review


def _in_reading_order(
    logs: LogFiles, listed: list[Found], positions: Positions, left_out: LeftOut, today: str
) -> list[Found]:
    """Plain files before compressed ones, which may be their copies; those with little to read first, so that
    no huge one can use up the limit and keep the others from being read.
    """
    order: list[tuple[bool, int, Found]] = []
    for found in listed:
        try:
            with logs.open(found.name) as file:
                content = content_of(file)
                order.append((content.packed, file.size - positions.claim(content), found))
        except FileNotFoundError:
            continue
        except OSError as error:
            left_out.fail(found.name, _why(error))
            positions.touch(found.inode, seen=today)
    return [found for _, _, found in sorted(order, key=lambda one: one[:2])]


@dataclass
class _Turn:
    """One open file's turn to be read."""

    content: Content
    name: str
    positions: Positions
    reviewed_at: datetime | None
    now: datetime

    def take(self, review: Review, search: ErrorSearch, budget: Budget) -> None:
        """Errors: ``OSError``, ``Damaged``, ``ToolError``."""
        content, file, today = self.content, self.content.file, self.now.date().isoformat()
        review.files += 1
        if self.positions.is_done(content):
            self.positions.touch(file.inode, seen=today)
            return
        if budget.over:
            self._leave(review)
            return
        start = self._start()
        if content.packed and start is None:
            self.positions.add_done(content, seen=today)
            return
        start = file.size if start is None else start
        reading = read_new(
            content, start, search, lambda line: review.tally.add(line, self.name), budget,
            take_last=content.packed or file.modified < (self.now - IDLE).timestamp(),
        )  # fmt: skip
        review.read += reading.read
        review.lines += reading.lines
        if reading.long_lines:
            review.remarks.append(
                f"{self.name}: of {reading.long_lines} very long lines only the beginning was searched"
            )
        if reading.damaged:
            review.unreadable.append(f"{self.name} can't be unpacked any further: {reading.damaged}")
        if reading.binary:
            review.remarks.append(f"{self.name} isn't text and was left out")
        elif not reading.finished and not reading.damaged:
            self._count_unfinished(review, reading.end)
        end = file.size if reading.binary and not content.packed else reading.end
        self.positions.add(content, end, finished=reading.finished or reading.binary, seen=today)

    def _start(self) -> int | None:
        """The offset to read from; None when there is nothing to read in a file that nobody has seen before."""
        file = self.content.file
        known = self.positions.knows(file.inode)
        if position := self.positions.find(self.content):
            return position.offset
        if known:
            return 0  # truncated, or another file in its place
        if self.reviewed_at is None:
            if self.content.packed or file.modified < (self.now - timedelta(hours=FIRST_HOURS)).timestamp():
                return None
            return max(0, file.size - FIRST_BYTES)
        # Not written since the last review: whatever it is, it holds nothing new.
        return None if file.modified < (self.reviewed_at - CLOCK_TOLERANCE).timestamp() else 0

    def _leave(self, review: Review) -> None:
        """The limit is used up: remember where to begin next time."""
        file, today = self.content.file, self.now.date().isoformat()
        if self.content.packed:
            self.positions.touch(file.inode, seen=today)
            self._count_unfinished(review, file.size)
            return
        start = self._start()
        start = file.size if start is None else start
        self.positions.add(self.content, start, finished=start == file.size, seen=today)
        self._count_unfinished(review, start)

    def _count_unfinished(self, review: Review, end: int) -> None:
        left = max(0, self.content.file.size - end)
        if left or self.content.packed:
            review.unfinished += 1
            review.unread += left


def _remarks(review: Review) -> list[str]:
    remarks = list(review.remarks)
    if review.since is None:
        remarks.append(
            f"a first review: only the last {FIRST_HOURS} hours, at most {human_bytes(FIRST_BYTES)} of each file, "
            "compressed files not at all; nothing counts as new yet"
        )
    if review.stopped:
        remarks.append(
            f"the limit on {review.stopped} was reached; left for next time: {human_bytes(review.unread)} in "
            f"{review.unfinished} of {review.files} files"
        )
    if review.tally.beyond:
        remarks.append(f"more than {KINDS} kinds of messages: {review.tally.beyond} lines were only counted")
    return remarks


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return error.message if isinstance(error, UpkeepError) else f"it can't be unpacked: {error}"
