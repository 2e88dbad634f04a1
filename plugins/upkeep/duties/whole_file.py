"""A file that gets its name when it is whole: until then it lies beside it under a hidden one that nobody can guess."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from upkeep.errors import UpkeepError
from upkeep.stores.local_store import fsync_folder

LONGEST_NAME = 255
"""Bytes, on the usual filesystems."""


@contextmanager
def hidden_file(path: Path, *, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A new file beside ``path``; gone at the end of the block unless ``appear`` was called. A kill leaves it as
    ``.<name>.<16 hex>``.
    """
    hidden = path.with_name(f"{_beginning(path)}{secrets.token_hex(8)}")
    file = open(hidden, "x+b", opener=partial(os.open, mode=mode))  # noqa: SIM115 - an error of closing hides no other
    try:
        yield file
    finally:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()


def remove_left(path: Path) -> None:
    """Take away what killed runs left beside ``path``."""
    of_ours = re.compile(re.escape(_beginning(path)) + "[0-9a-f]{16}")
    with suppress(PermissionError):  # a folder that may be written to, but not listed
        for left in path.parent.iterdir():
            if of_ours.fullmatch(left.name):
                left.unlink()


def to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def appear(file: IO[bytes], path: Path) -> None:
    """Let it stand as ``path``, in the place of what has that name now. A power cut takes neither back."""
    to_disk(file)
    Path(file.name).replace(path)
    with suppress(PermissionError):  # as above
        fsync_folder(path.parent)


def _beginning(path: Path) -> str:
    """Of the hidden names: as much of the name as leaves room for the rest."""
    return f".{path.name.encode()[: LONGEST_NAME - 18].decode(errors='ignore')}."


@contextmanager
def writing(path: Path, kind: type[UpkeepError]) -> Iterator[None]:
    """Errors: ``kind``, for what the system says of ``path``."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} can't be written: {error.strerror or error}", hint=hint_for(error)) from error


def hint_for(error: OSError) -> str:
    """What to do about a file or folder that could not be written."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "make room on that disk, for this account too where it has a quota"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"let this account (user id {os.geteuid()}) write there, or name another place"
        case errno.ENOENT:
            return "make its folder first, or name another place"
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return "see what is there: a file stands where a folder is needed, or a folder where a file is"
    return "see what is amiss with that disk (mount, dmesg), or name another place"
