"""Log files for tests, and the eye that reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from upkeep.engines.log_content import Content, content_of
from upkeep.engines.log_folder import Found, LeftOut, LogFiles
from upkeep.engines.log_reader import Budget, Reading, read_new
from upkeep.engines.log_search import ErrorSearch

ROOT = Path(__file__).resolve().parents[2]
ERRORS = [r"\b(ERROR|FATAL)\b"]
PLENTY = 1 << 40
NOBODY = 65534


def lines(first: int, last: int, level: str = "ERROR") -> str:
    """Numbered lines from ``first`` to ``last``, both included."""
    return "".join(
        f"2026-11-21 02:00:03 {level} message {number:06d} of this log\n" for number in range(first, last + 1)
    )


def numbers(texts: list[str]) -> list[int]:
    """Which of those lines these are."""
    return [int(text.split("message ")[1].split()[0]) for text in texts]


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    with LogFiles(str(path.parent)) as logs, logs.open(path.name) as file:
        yield content_of(file)


@dataclass
class Seen:
    errors: list[str]
    reading: Reading


def read(
    path: Path, start: int = 0, *, errors: list[str] | None = None, limit: int = PLENTY, take_last: bool = False
) -> Seen:
    found: list[str] = []
    with opened(path) as content:
        budget = Budget(limit, 3600)
        reading = read_new(content, start, ErrorSearch(errors or ERRORS), found.append, budget, take_last=take_last)
    return Seen(found, reading)


def listed(folder: Path, *patterns: str) -> tuple[list[Found], list[str]]:
    left_out = LeftOut()
    with LogFiles(str(folder)) as logs:
        found = logs.list(patterns or ("*.log", "*.log.*"), left_out)
    return found, [*left_out.failures(), *left_out.remarks()]


def names(folder: Path, *patterns: str) -> list[str]:
    return sorted(found.name for found in listed(folder, *patterns)[0])


def age(path: Path, hours: float) -> None:
    """Let a file look as if it had last been written so long ago."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, int(state.st_mtime_ns - hours * 3600e9)))


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of one's own, and for the block no right to read what belongs to root."""
    with TemporaryDirectory(prefix="upkeep-logs-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
