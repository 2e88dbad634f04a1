"""Putting a restored folder in the place of the live one, in one step of the kernel's."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from upkeep.errors import RestoreUnavailable

AT_FDCWD = -100
RENAME_EXCHANGE = 2
MOST_LOOKED_AT = 200_000
"""Files that are looked at for what is newer than a backup."""


def identity(path: Path) -> str:
    """Tells one folder from another whatever it is called; empty where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def exchange(one: Path, other: Path) -> None:
    """Swap the names of two paths of one filesystem at once: there is no moment without either.

    Errors: ``RestoreUnavailable`` where the kernel, the filesystem or the rights don't let it happen.
    """
    rename = ctypes.CDLL(None, use_errno=True).renameat2
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    hints = {
        errno.EINVAL: "this filesystem can't exchange two names: swap them by hand, with the applications stopped",
        errno.EBUSY: "one of them is a mount point: put its content there by hand",
        errno.EXDEV: "they lie on different filesystems: name the folder itself in the site file, not a link to it",
    }
    raise RestoreUnavailable(
        f"can't swap {one} and {other}: {os.strerror(code)}", hint=hints.get(code, "see who owns them; run it again")
    )


def newer_than(path: Path, moment: datetime) -> tuple[int, str, bool]:
    """Files below ``path`` that were written after ``moment``, the newest of them, and whether all were looked at."""
    count, seen, newest, name = 0, 0, 0.0, ""
    for folder, _, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        for file in files:
            seen += 1
            if seen > MOST_LOOKED_AT:
                return count, name, False
            try:
                found = os.lstat(os.path.join(folder, file))  # noqa: PTH118 - a name may hold any bytes
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_mtime > moment.timestamp():
                count += 1
                if found.st_mtime > newest:
                    newest = found.st_mtime
                    at = datetime.fromtimestamp(newest, UTC)
                    name = f"{os.path.join(folder, file)} at {at:%Y-%m-%d %H:%M:%S}Z"  # noqa: PTH118
    return count, name, True
