"""Compresses and removes the files of one log folder that a rule lets go, in constant memory.

Every step is taken from the descriptor of the folder before it, so nobody can lead us elsewhere by putting a link where
a folder was. The names of a portion are listed first; each one is then judged by what stands under it at that moment,
and dealt with before anything else happens. What was put there after the scan began is left (see ``Judge``), so
nothing is removed that wasn't there when it was allowed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upkeep.domain.clean_logs import EXAMPLES, Cleaned, CleaningRule, Judge, Use, Verdict, is_unfinished
from upkeep.engines.log_compression import READ, LeftAlone, compress
from upkeep.engines.log_folder import LogFiles
from upkeep.engines.open_files import OpenFiles, ask_kernel
from upkeep.errors import ToolError

PORTION = 50_000
"""Names listed at a time, some 8 MB. They are worked off by inode number, as ``find -delete`` does: on ext4 that is the
order on the disk, where the listing's own is that of the names' hashes."""
MAX_DEPTH = 200
"""Each folder on the way down holds a descriptor."""
ASK_EVERY = 1000
LOOK_EVERY_S = 1.0
"""How old a look at the open files may be when a portion is begun."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_DEEP = Verdict("keep", f"it lies more than {MAX_DEPTH} folders deep")
_MOUNT = Verdict("keep", "another filesystem, or another part of this one, is mounted there")
_LISTED = Verdict("keep", "the site file lists this folder by itself")


@dataclass
class Gone:
    """The names of what is gone from one folder, which is named relative to the log folder, with a slash at its end."""

    folder: str
    removed: list[str] = field(default_factory=list)
    compressed: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        return len(self.removed) + len(self.compressed) + len(self.swept)


def clean_folder(
    path: str,
    rule: CleaningRule,
    *,
    now: datetime,
    dry_run: bool = False,
    enough: Callable[[], str] = lambda: "",
    on_gone: Callable[[Gone], None] = lambda _: None,
    cleaned: Cleaned | None = None,
    others: Collection[str] = (),
) -> Cleaned:
    """Work through all that lies below ``path``.

    :param enough: asked now and then; a reason to stop here, or nothing. May raise.
    :param on_gone: told what is gone, after each portion and whatever ended it.
    :param cleaned: where to count; what was done is in there even if this ends by an error.
    :param others: folders that are left where they lie below ``path``: the site file says by itself what they are for.
    Errors: ``SourceError`` when the folder itself can't be opened, ``Stopped``. What can't be
    done to one file is counted among the troubles; a missing zstd is one of them.
    """
    cleaned = Cleaned() if cleaned is None else cleaned
    with LogFiles(path) as logs:
        cleaned.free_before = _free_bytes(logs.root)
        try:
            work = _Work(path, logs.device, rule, now, cleaned, others, dry_run=dry_run, enough=enough, on_gone=on_gone)
            work.folder("", logs.root, 0)
        finally:
            cleaned.free_after = _free_bytes(logs.root)
    return cleaned


class _Work:
    def __init__(
        self,
        path: str,
        device: int,
        rule: CleaningRule,
        now: datetime,
        cleaned: Cleaned,
        others: Collection[str],
        *,
        dry_run: bool,
        enough: Callable[[], str],
        on_gone: Callable[[Gone], None],
    ) -> None:
        self._device, self._cleaned, self._dry_run = device, cleaned, dry_run
        self._enough, self._on_gone = enough, on_gone
        self._judge = Judge(rule, now=now, scan_began_ns=time.time_ns(), device=device)
        self._mounts = _mounts_below(path)
        self._others = frozenset(_identities(others))
        self._looked_at = float("-inf")
        self._open_files: OpenFiles

    def folder(self, above: str, folder: int, depth: int) -> None:
        """``above``: the folder's name relative to the log folder, with a slash; empty for the log folder itself."""
        for name in self._files(above, folder):
            if self._stop():
                return
            self._enter(above, name, folder, depth + 1)

    def _files(self, above: str, folder: int) -> list[str]:
        """Deal with the files of one folder; returns the names of the folders in it. Entering those is left to the
        caller, so that a hundred levels down none of the portions above is still in memory.
        """
        inner: list[str] = []
        unfinished: list[str] = []
        for portion in self._portions(above, folder, inner, unfinished):
            gone = Gone(above)
            try:
                self._take(above, folder, portion, gone)
            finally:
                if gone.files:
                    self._on_gone(gone)
            if self._stop():
                return []
        if unfinished:
            gone = Gone(above)
            for name in unfinished:
                try:
                    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    self._take_with_care(above, folder, name, state, self._look(), gone)
                except (OSError, LeftAlone) as error:
                    self._failed(error, above + name)
            if gone.files:
                self._on_gone(gone)
        return inner

    def _enter(self, above: str, name: str, folder: int, depth: int) -> None:
        full = f"{above}{name}"
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:  # a link or a file in its place, or no right to read it
            self._cleaned.add_trouble(f"the folder can't be opened: {error.strerror}", full)
            return
        try:
            state = os.fstat(descriptor)
            if state.st_dev != self._device or full in self._mounts:
                self._cleaned.add(_MOUNT, full, 0)
            elif (state.st_dev, state.st_ino) in self._others:
                self._cleaned.add(_LISTED, full, 0)
            elif depth > MAX_DEPTH:
                self._cleaned.add(_DEEP, full, 0)
            else:
                self.folder(f"{full}/", descriptor, depth)
        finally:
            os.close(descriptor)

    def _portions(
        self, above: str, folder: int, inner: list[str], unfinished: list[str]
    ) -> Iterator[list[tuple[int, str]]]:
        covers, portion = self._judge.covers, []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(name)
                    elif covers(name):
                        portion.append((entry.inode(), name))
                        if len(portion) >= PORTION:
                            portion.sort()
                            yield portion
                            portion = []
                    elif is_unfinished(name):
                        unfinished.append(name)
        except OSError as error:
            self._cleaned.add_trouble(f"the folder can't be listed: {error.strerror}", above or ".")
        if portion:
            portion.sort()
            yield portion

    def _take(self, above: str, folder: int, portion: Sequence[tuple[int, str]], gone: Gone) -> None:
        open_files = self._look()
        plain = open_files.complete and not self._mounts
        found, otherwise, dry_run = open_files.found, open_files.otherwise, self._dry_run
        of, tallies, removed = self._judge.of, self._cleaned.tallies, gone.removed
        for start in range(0, len(portion), ASK_EVERY):
            if self._stop():
                return
            for _, name in portion[start : start + ASK_EVERY]:  # seven millionths of a second each: see bench/clean.py
                try:
                    # Not the listing's own stat, which may have been taken when the portion was listed.
                    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    verdict = of(name, state, "open" if (state.st_dev, state.st_ino) in found else otherwise)
                    if not plain or verdict.action == "compress":
                        try:
                            self._take_with_care(above, folder, name, state, open_files, gone)
                        finally:
                            if verdict.action == "compress":  # minutes, in which others may have been opened
                                open_files = self._look()
                                plain = open_files.complete and not self._mounts
                                found, otherwise = open_files.found, open_files.otherwise
                        if self._cleaned.stopped:
                            return
                        continue
                    if verdict.action == "remove" and not dry_run:
                        os.unlink(name, dir_fd=folder)
                        removed.append(name)
                    tally = tallies.get(verdict)
                    if tally and tally.count >= EXAMPLES:  # what add() does, without the cost of two calls
                        tally.count += 1
                        tally.bytes += state.st_blocks * 512
                    else:
                        self._cleaned.add(verdict, above + name, state.st_blocks * 512)
                except (OSError, LeftAlone, ToolError) as error:
                    self._failed(error, above + name)

    def _take_with_care(
        self, above: str, folder: int, name: str, state: os.stat_result, open_files: OpenFiles, gone: Gone
    ) -> None:
        """All but the plain case of a million old files. Errors: as ``compress``."""
        full, use = above + name, open_files.use_of(state)
        verdict = self._verdict(name, state, use)
        if use == "unknown" and self._verdict(name, state, "closed").action != "keep":
            verdict = self._verdict(name, state, _ask(folder, name, state))
        if full in self._mounts:
            verdict = _MOUNT
        size = state.st_blocks * 512
        if verdict.action == "compress":
            if self._stop():
                return
            given_back = compress(folder, name, state, open_files, dry_run=self._dry_run)
            size = size if self._dry_run else given_back
        elif verdict.action in ("remove", "sweep") and not self._dry_run:
            os.unlink(name, dir_fd=folder)
        self._cleaned.add(verdict, full, size)
        if verdict.action != "keep" and not self._dry_run:
            {"remove": gone.removed, "compress": gone.compressed, "sweep": gone.swept}[verdict.action].append(name)

    def _failed(self, error: Exception, full: str) -> None:
        if isinstance(error, FileNotFoundError):
            return  # rotated or removed meanwhile
        if isinstance(error, LeftAlone):
            self._cleaned.add(Verdict("keep", str(error)), full, 0)
        else:
            said = error.message if isinstance(error, ToolError) else getattr(error, "strerror", None)
            self._cleaned.add_trouble(said or str(error), full)

    def _look(self) -> OpenFiles:
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._open_files = OpenFiles()
            # One that hangs would hang again; without it the kernel is asked about each file.
            self._looked_at = float("inf") if self._open_files.hangs else time.monotonic()
        return self._open_files

    def _verdict(self, name: str, state: os.stat_result, use: Use) -> Verdict:
        return self._judge.of_unfinished(state, use) if is_unfinished(name) else self._judge.of(name, state, use)

    def _stop(self) -> bool:
        if not self._cleaned.stopped:
            self._cleaned.stopped = self._enough()
        return bool(self._cleaned.stopped)


def _ask(folder: int, name: str, state: os.stat_result) -> Use:
    """Ask the kernel who has a file open. Errors: ``LeftAlone`` when another stands there by now, ``OSError``."""
    descriptor = os.open(name, READ, dir_fd=folder)
    try:
        now = os.fstat(descriptor)
        if (now.st_ino, now.st_dev, now.st_size, now.st_mtime_ns) != (
            state.st_ino, state.st_dev, state.st_size, state.st_mtime_ns,
        ):  # fmt: skip
            raise LeftAlone("it changed meanwhile")
        return ask_kernel(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(folder: int) -> int:
    place = os.fstatvfs(folder)
    return place.f_bavail * place.f_frsize


def _identities(folders: Collection[str]) -> Iterator[tuple[int, int]]:
    """Device and inode of each that is there, whatever names lead to it."""
    for folder in folders:
        with suppress(OSError):
            state = Path(folder).stat()
            yield state.st_dev, state.st_ino


def _mounts_below(path: str) -> frozenset[str]:
    """What is mounted below a folder, relative to it: a bind mount of the same filesystem has the same device."""
    found = set()
    prefix = os.path.realpath(path).rstrip("/") + "/"
    with suppress(FileNotFoundError):
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            place = os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1"))
            if place.startswith(prefix):
                found.add(place.removeprefix(prefix))
    return frozenset(found)
