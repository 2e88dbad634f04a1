"""Files that accounts of this machine can get at which shouldn't: by their modes, and by those of the folders above.

What lies below a folder that others may not enter is out of their reach, whatever its own mode. ACLs aren't looked at.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upkeep.domain.findings import Inspection
from upkeep.domain.units import counted
from upkeep.engines.degrading import degrading

MOST_ENTRIES = 200_000
MOST_FINDINGS = 200
"""Of one folder; more of them have one cause, and one remedy."""
MOST_SECONDS = 20.0
LARGEST_KEY_BYTES = 64 << 10
_KEY_MARKS = (b"PRIVATE KEY-----", b"AGE-SECRET-KEY-", b"PuTTY-User-Key-File")


def loose_files(paths: Iterable[str | Path]) -> Inspection:
    """Files and folders that anyone can change, and private keys that anyone can read."""
    inspection = Inspection()
    for path in map(Path, paths):
        with degrading(inspection.unread, f"files of {path}", OSError):
            before = len(inspection.findings)
            for found, state in _in_reach(path, inspection):
                private = False
                with degrading(inspection.unread, f"file {found}", OSError):
                    private = _anyone_reads(state) and _is_private_key(found, state)
                if _anyone_changes(state):
                    what = "folder" if stat.S_ISDIR(state.st_mode) else "file"
                    inspection.add(
                        "world-writable",
                        str(found),
                        "high",
                        f"any account of the machine can change the {what} {found}",
                        f"chmod o-w {shlex.quote(str(found))}",
                    )
                if private:
                    inspection.add(
                        "readable-key",
                        str(found),
                        "high",
                        f"any account of the machine can read the private key {found}",
                        f"chmod o-rwx {shlex.quote(str(found))}, and replace the key: nobody knows who has read it",
                    )
                if len(inspection.findings) - before >= MOST_FINDINGS:
                    inspection.unread.append(f"files of {path} (only the first {MOST_FINDINGS} findings are told)")
                    break
    return inspection


def exposed_backups(root: str | Path, what: str) -> Inspection:
    """A local store or spool (``what`` it is called) whose files others can read or change: one finding for each."""
    inspection = Inspection()
    readable, writable = _Exposed(), _Exposed()
    with degrading(inspection.unread, f"files of the {what} {root}", OSError):
        for path, state in _in_reach(Path(root), inspection):
            if _anyone_changes(state):
                writable.take(path)
            if _anyone_reads(state):
                readable.take(path)
    close = f"chmod o-rwx {shlex.quote(str(root))}"
    if readable.count:
        told = f"any account of the machine can read {readable} of the {what} {root}"
        inspection.add("readable-backups", str(root), "high" if readable.plain else "low", told, close)
    if writable.count:
        told = f"any account of the machine can change {writable} of the {what} {root}"
        inspection.add("writable-backups", str(root), "high", told, f"{close}, then verify its backups")
    return inspection


@dataclass
class _Exposed:
    count: int = 0
    plain: bool = False
    """Whether there is more in it than what was encrypted and what describes it."""
    examples: list[str] = field(default_factory=list)

    def take(self, path: Path) -> None:
        self.count += 1
        self.plain = self.plain or path.suffix not in (".age", ".json", ".md", ".html")
        if len(self.examples) < 3:
            self.examples.append(path.name)

    def __str__(self) -> str:
        return f"{counted(self.count, 'file')} or folders ({', '.join(self.examples)})"


def _in_reach(root: Path, inspection: Inspection) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything at and below ``root`` that other accounts can get to by its path, in a steady order.

    Links aren't followed, other filesystems aren't entered. Errors: ``OSError`` when there is no ``root``.
    """
    root = root.resolve(strict=True)
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in root.parents):
        return
    until, device = time.monotonic() + MOST_SECONDS, root.stat().st_dev
    waiting = [root]
    for count in range(MOST_ENTRIES):
        if not waiting:
            return
        if time.monotonic() > until:
            inspection.unread.append(f"files of {root} (not all of them within {MOST_SECONDS:g} s)")
            return
        path = waiting.pop()
        with degrading(inspection.unread, f"files of {path}", OSError):
            state = path.lstat()
            yield path, state
            if stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_IXOTH and state.st_dev == device:
                if count + len(waiting) > MOST_ENTRIES:
                    break
                waiting += sorted((Path(entry.path) for entry in os.scandir(path)), reverse=True)
    if waiting:
        inspection.unread.append(f"files of {root} (only the first {MOST_ENTRIES})")


def _anyone_changes(state: os.stat_result) -> bool:
    """In a folder with the sticky bit others may make files, but not touch those of others."""
    if stat.S_ISDIR(state.st_mode):
        return bool(state.st_mode & stat.S_IWOTH and state.st_mode & stat.S_IXOTH) and not state.st_mode & stat.S_ISVTX
    return stat.S_ISREG(state.st_mode) and bool(state.st_mode & stat.S_IWOTH)


def _anyone_reads(state: os.stat_result) -> bool:
    return stat.S_ISREG(state.st_mode) and bool(state.st_mode & stat.S_IROTH)


def _is_private_key(path: Path, state: os.stat_result) -> bool:
    if state.st_size > LARGEST_KEY_BYTES:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(LARGEST_KEY_BYTES)
    return path.suffix in (".p12", ".pfx") or any(mark in data for mark in _KEY_MARKS)
