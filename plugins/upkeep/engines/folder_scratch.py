"""A folder's archive unpacked by stock tar, and the copy compared with it byte by byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from upkeep.engines.feeding import FedPipeline
from upkeep.engines.files_engine import LISTED, Listing
from upkeep.engines.pipeline import Command
from upkeep.engines.tools import require
from upkeep.errors import ProofFailed, RestoreUnavailable, ToolFailed, ToolMissing

DIFFERENCES_FOUND = 1
"""GNU tar's exit status when it compared to the end and something differs."""
_ONLY_FOR_ROOT = ("Uid differs", "Gid differs", "Mode differs")


def extract(chunks: Iterable[bytes], folder: Path, members: Sequence[str] = ()) -> None:
    """Unpack below ``folder`` as the manifest's own line does; ``members``: only these and what is below them.

    Errors: ``ProofFailed`` when tar can't, ``RestoreUnavailable`` when that isn't the archive's fault.
    """
    attributes = ["--xattrs", "--xattrs-include=*", "--acls"] if as_root() else []
    command = Command(
        [_tar(), "--extract", "--preserve-permissions", *attributes, f"--directory={folder}", "--", *members],
        env={"LC_ALL": "C.UTF-8"},
    )
    unpacking = FedPipeline([command], lambda chunk: None)
    try:
        for chunk in chunks:  # to the end, even when tar has seen enough: the last bytes are hashed too
            unpacking.feed(chunk)
        _close(unpacking, "unpack")
    finally:
        unpacking.abandon()


def compare(
    chunks: Iterable[bytes], folder: Path, *, entries: int, listing: str, members: Sequence[str] = ()
) -> list[str]:
    """Differences between archive and copy: names, types, owners, modes, sizes, times, link targets, contents.

    :param members: only these are compared; the listing is that of the whole archive all the same.
    :param listing: the digest of what tar listed when it made the archive; empty for backups without one.
    """
    listed, said = Listing(), bytearray()
    comparing = Command(
        [_tar(), "--compare", "--file=-", f"--directory={folder}", "--", *members],
        env={"LC_ALL": "C.UTF-8"},
        ok_statuses=frozenset({0, DIFFERENCES_FOUND}),
    )
    listing_all = Command([_tar(), "--list", *LISTED, "--file=-"], env={"LC_ALL": "C.UTF-8", "TZ": "UTC"})
    compared = FedPipeline([comparing], said.extend)
    lister = FedPipeline([listing_all], listed.add)
    try:
        for chunk in chunks:
            compared.feed(chunk)
            lister.feed(chunk)
        notes = _close(compared, "compare")
        _close(lister, "compare")
    finally:
        compared.abandon()
        lister.abandon()
    lines = said.decode("utf-8", "replace").splitlines() + notes
    differences = [line for line in lines if as_root() or not line.endswith(_ONLY_FOR_ROOT)]
    if listed.entries != entries:
        differences.append(f"the archive holds {listed.entries} entries, {entries} went in")
    elif listing and listed.digest() != listing:
        differences.append("the archive lists other names, types, owners, modes, sizes, times or links than went in")
    return differences


def as_root() -> bool:
    """Only root can give files to their owners."""
    return os.geteuid() == 0


def _close(program: FedPipeline, what: str) -> list[str]:
    """What it said on standard error."""
    try:
        return [line for ended in program.close() for line in ended.lines]
    except ToolFailed as error:
        raise _blame(error, what) from error


def remove_tree(folder: Path) -> None:
    """Remove an unpacked copy; one that isn't there is no error. Errors: ``OSError``."""
    if not folder.exists():
        return
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)  # folders that nobody may write to hold their files fast
    shutil.rmtree(folder)


def _blame(error: ToolFailed, what: str) -> ProofFailed | RestoreUnavailable:
    not_its_fault = (
        "No space left",
        "Disk quota",
        "Operation not permitted",
        "Permission denied",
        "Read-only file system",
    )
    if error.was_killed or any(words in error.stderr for words in not_its_fault):
        return RestoreUnavailable(f"tar could not {what} the archive: {error.message}", hint=error.hint)
    return ProofFailed(
        f"tar can't {what} the archive: {error.message}", hint="don't rely on this backup: back up again"
    )


def _tar() -> str:
    try:
        return require("tar", package="tar")
    except ToolMissing as error:
        raise RestoreUnavailable(error.message, hint=error.hint) from error
