"""Finds and opens log files below one folder without being led anywhere else.

Whoever may write logs may put a link to ``/etc/shadow``, a FIFO or a mount beside them, or swap a folder for a link
between the look and the open. So every step is taken from the descriptor of the folder before it, without following
links or leaving the filesystem, and what was opened is judged, not what was listed.
"""

from __future__ import annotations

import errno
import fnmatch
import heapq
import os
import socket
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from upkeep.domain.log_message import plain
from upkeep.errors import SourceError

MAX_FILES = 2000
"""At most so many files of one folder are looked at, those written last."""
MAX_DEPTH = 12
NAMES_SHOWN = 3
NAME_CHARS = 120

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True)
class Found:
    """A regular file as the listing saw it. ``name`` is relative to the folder; ``modified`` is seconds since 1970."""

    name: str
    inode: int
    size: int
    modified: float


@dataclass(frozen=True)
class OpenFile(Found):
    """A file that was opened: these are its own figures, whatever the listing said."""

    descriptor: int


class LeftOut:
    """What wasn't read, by reason: a few names of each, and how many there are."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._failures: set[str] = set()

    def fail(self, name: str, why: str) -> None:
        """What should have been read and could not be."""
        self._failures.add(why)
        self.add(name, why)

    def add(self, name: str, why: str) -> None:
        self._counts[why] += 1
        if len(names := self._names.setdefault(why, [])) < NAMES_SHOWN:
            names.append(shown(name))

    def remarks(self) -> list[str]:
        """``a.log, b.log and 3 more: it is a symbolic link``, one line for each reason."""
        return [self._remark(why) for why in self._names if why not in self._failures]

    def failures(self) -> list[str]:
        """The same of what could not be read."""
        return [self._remark(why) for why in self._names if why in self._failures]

    def _remark(self, why: str) -> str:
        names = self._names[why]
        more = self._counts[why] - len(names)
        return f"{', '.join(names)}{f' and {more} more' if more else ''}: {why}"


def shown(name: str) -> str:
    """A file's name as it can be shown: what isn't UTF-8 becomes an escape, what can't be seen a space."""
    return plain(os.fsencode(name).decode("utf-8", "backslashreplace"))[-NAME_CHARS:]


class LogFiles:
    """One log folder, held open. Errors of every method: ``OSError`` for one file, ``SourceError`` for the folder."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = -1
        self._device = -1

    def __enter__(self) -> LogFiles:
        try:
            self._root = os.open(self.path, _FOLDER)
        except OSError as error:
            raise self._refused(error) from error
        self._device = os.fstat(self._root).st_dev
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)
        self._root = -1

    @property
    def root(self) -> int:
        """The folder's own descriptor, valid within the block."""
        return self._root

    @property
    def device(self) -> int:
        return self._device

    def list(self, patterns: Sequence[str], left_out: LeftOut) -> list[Found]:
        """The regular files below the folder whose own name fits one of ``patterns``, newest first."""
        walk = self._walk("", self._root, patterns, left_out, MAX_DEPTH)
        files = heapq.nlargest(MAX_FILES + 1, walk, key=lambda file: file.modified)
        for file in files[MAX_FILES:]:
            left_out.add(file.name, f"there are more than {MAX_FILES} files, and this isn't one of those written last")
        return files[:MAX_FILES]

    @contextmanager
    def open(self, name: str) -> Iterator[OpenFile]:
        """One file for reading. Errors: ``OSError``; ``PermissionError`` also for what isn't a plain file here."""
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise PermissionError(errno.EPERM, "it lies outside of the folder", name)
        folders = [self._root]
        try:
            for part in parts[:-1]:
                folders.append(os.open(part, _FOLDER, dir_fd=folders[-1]))
            descriptor = os.open(parts[-1], _FILE, dir_fd=folders[-1])
        finally:
            for folder in folders[1:]:
                os.close(folder)
        try:
            state = os.fstat(descriptor)
            if why := self._why_not(state):
                raise PermissionError(errno.EPERM, why, name)
            yield OpenFile(name, state.st_ino, state.st_size, state.st_mtime, descriptor)
        finally:
            os.close(descriptor)

    def _walk(self, above: str, folder: int, patterns: Sequence[str], left_out: LeftOut, depth: int) -> Iterator[Found]:
        with os.scandir(folder) as entries:
            for entry in entries:
                name, is_folder = f"{above}{entry.name}", False
                try:
                    state = entry.stat(follow_symlinks=False)
                    if is_folder := stat.S_ISDIR(state.st_mode):
                        yield from self._below(name, entry.name, folder, patterns, left_out, depth)
                    elif not any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                        continue
                    elif why := self._why_not(state):
                        left_out.add(name, why)
                    else:
                        yield Found(name, state.st_ino, state.st_size, state.st_mtime)
                except FileNotFoundError:
                    continue  # rotated away while we looked
                except OSError as error:
                    # A folder that may not be entered, such as lost+found, needn't hold any of the files asked for.
                    (left_out.add if is_folder else left_out.fail)(name, str(error.strerror))

    def _below(
        self, name: str, own_name: str, folder: int, patterns: Sequence[str], left_out: LeftOut, depth: int
    ) -> Iterator[Found]:
        if depth == 0:
            left_out.add(name, f"more than {MAX_DEPTH} folders deep")
            return
        inner = os.open(own_name, _FOLDER, dir_fd=folder)
        try:
            if os.fstat(inner).st_dev != self._device:
                left_out.add(name, "it is on another filesystem")
                return
            yield from self._walk(f"{name}/", inner, patterns, left_out, depth - 1)
        finally:
            os.close(inner)

    def _why_not(self, state: os.stat_result) -> str:
        """Why something isn't read; empty for a plain file of this folder."""
        if stat.S_ISLNK(state.st_mode):
            return "it is a symbolic link"
        if not stat.S_ISREG(state.st_mode):
            return "it isn't a regular file"
        if state.st_dev != self._device:
            return "it is on another filesystem"
        if state.st_nlink > 1:
            return f"it has {state.st_nlink} hard links, and may be any file of this machine"
        return ""

    def _refused(self, error: OSError) -> SourceError:
        where = f"the log folder {self.path}"
        if isinstance(error, FileNotFoundError):
            return SourceError(
                f"{where} does not exist on {socket.gethostname()}",
                hint="fix it in the site file, or run this task on the machine that has it",
            )
        if Path(self.path).is_symlink():
            return SourceError(
                f"{where} is a symbolic link to {Path(self.path).readlink()}",
                hint=f"name the real path in the site file: {os.path.realpath(self.path)}",
            )
        return SourceError(
            f"{where} can't be opened: {error.strerror}",
            hint=f"let the account that this worker runs as (user id {os.geteuid()}) read it, or fix the site file",
        )
