"""Folders: one tar archive with owners, modes and links; links are stored, never followed."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upkeep.engines.archive_check import PipedCheck
from upkeep.engines.background import in_background
from upkeep.engines.base import Engine, Facts, Snapshot, Stream, StructureCheck
from upkeep.engines.pipeline import Command, Ended
from upkeep.engines.tools import describe, require
from upkeep.errors import ProofFailed, SourceError

CHANGED_WHILE_READ = 1
"""GNU tar's exit status for a file that changed or vanished while it was read: a warning, not a broken archive."""
LISTED = ("--verbose", "--verbose", "--full-time", "--utc")
"""A line for each entry with all that a restored copy must have: type, mode, owner, size, time, name, link target."""


class FilesEngine(Engine):
    def __init__(self, paths: Sequence[str], optional_paths: Sequence[str] = (), *, never: Sequence[str] = ()) -> None:
        """``never``: folders that must not be inside ``paths``, such as the store itself."""
        self.paths, self.optional_paths, self.never = tuple(paths), tuple(optional_paths), tuple(never)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        present = [*self.paths, *(path for path in self.optional_paths if os.path.lexists(path))]
        for path in present:
            self._require_plain(path)
        snapshot = _FilesSnapshot(self, present)
        try:
            yield snapshot
        finally:
            snapshot.end()

    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        """tar takes an archive that was cut between two entries for a whole one, so when unpacking fails it is fed two
        blocks that it refuses.
        """
        # Without the include tar would leave out attributes outside of user.*, such as capabilities.
        return (
            f"mkdir -p restored && ({files['files.tar']} || printf '%1024s' '!the archive is damaged!') | "
            "tar --extract --preserve-permissions --xattrs --xattrs-include='*' --acls --directory=restored"
        )

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        return TarCheck(entries=int(manifest["contents"]["entries"]))

    def _require_plain(self, path: str) -> None:
        if not os.path.lexists(path):
            raise SourceError(
                f"the path {path} does not exist on {socket.gethostname()}",
                hint="fix it in the site file, or list it under optional_paths",
            )
        if Path(path).is_symlink():
            raise SourceError(
                f"the path {path} is a symbolic link to {Path(path).readlink()}: its archive would hold only the link",
                hint=f"name the real path in the site file: {os.path.realpath(path)}",
            )
        real = os.path.realpath(path)
        for folder in self.never:
            if Path(os.path.realpath(folder)).is_relative_to(real):
                raise SourceError(
                    f"the path {path} contains the store {folder}: the backup would back up itself",
                    hint="keep the store outside the folders that are backed up",
                )


class _FilesSnapshot(Snapshot):
    def __init__(self, engine: FilesEngine, paths: Sequence[str]) -> None:
        self._engine, self._paths = engine, paths
        self._listing = Listing()
        self._reader, self._writer = os.pipe()
        self._counted: Future[None] | None = None
        tar = require("tar", package="tar")
        self._tool = describe(tar).label
        self.streams = (
            Stream(
                "files.tar",
                Command(
                    [tar, "--create", "--file=-", "--directory=/", "--xattrs", "--acls", "--sparse", "--sort=name",
                     *LISTED, f"--index-file=/dev/fd/{self._writer}", "--", *(_below_root(path) for path in paths)],
                    ok_statuses=frozenset({0, CHANGED_WHILE_READ}),
                    pass_fds=(self._writer,),
                    env={"LC_ALL": "C.UTF-8"},
                ),
                started=self._started,
            ),
        )  # fmt: skip

    def _started(self, _: int) -> None:
        os.close(self._writer)  # only tar may hold it now, or its end would never be seen
        self._writer = -1
        self._counted = in_background(self._count, name="tar index")

    def _count(self) -> None:
        with os.fdopen(self._reader, "rb") as index:
            while chunk := index.read1(1 << 20):
                self._listing.add(chunk)

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        if self._counted:
            self._counted.result()
        tar = ended["files.tar"][0]
        skipped = sorted(set(self._engine.optional_paths) - set(self._paths))
        return Facts(
            source={"host": socket.gethostname(), "flavour": "files", "paths": list(self._paths)},
            tools={"dump": self._tool},
            contents={"entries": self._listing.entries, "listing": self._listing.digest(), "absent": skipped},
            rows_are="exact",
            warnings=tar.lines,
        )

    def end(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
        if self._counted:
            self._counted.exception()  # waits
        else:
            os.close(self._reader)


class Listing:
    """What tar says of its entries, as a count and one digest: the same for whoever makes or lists an archive.

    tar escapes newlines in names, so that one line is one entry. How far it indents a column depends on what it is
    doing, and on the lines before.
    """

    def __init__(self) -> None:
        self.entries = 0
        self._sha256 = hashlib.sha256()
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.entries += 1
            self._sha256.update(re.sub(b" +", b" ", line) + b"\n")

    def digest(self) -> str:
        return self._sha256.hexdigest()


class TarCheck(PipedCheck):
    """``tar --list`` reads the whole archive and must find as many entries as went in."""

    def __init__(self, entries: int) -> None:
        self._wanted, self._found = entries, 0
        super().__init__(Command([require("tar", package="tar"), "--list", "--file=-"], env={"LC_ALL": "C.UTF-8"}))

    def take(self, output: bytes) -> None:
        self._found += output.count(b"\n")

    def judge(self) -> dict[str, Any]:
        if self._found != self._wanted:
            raise ProofFailed(
                f"the archive holds {self._found} entries, {self._wanted} went in",
                hint="back up again; the file is not whole",
            )
        return {"entries": self._found}


def _below_root(path: str) -> str:
    return path.lstrip("/") or "."
