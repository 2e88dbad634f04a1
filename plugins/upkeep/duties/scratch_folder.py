"""Where a backup of folders is restored to prove it: below the worker's folder for temporary files."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from upkeep.domain.manifest import Manifest
from upkeep.duties.read_back import Streams
from upkeep.duties.scratch import Restored, Scratch, require_disk
from upkeep.errors import NameTaken, RestoreUnavailable

FOLDER_FACTOR = 1.1
"""Bytes of disk for each byte of an archive: files take whole blocks, and names take room too."""


class FolderScratch(Scratch):
    """The copy lies below the worker's folder for temporary files, readable by its account alone, and is removed.

    The content is compared with what the archive recorded: the archive's own SHA-256 is in the manifest, and the
    ledger knows that of the manifest.
    """

    @property
    def place(self) -> str:
        return f"{tempfile.gettempdir()} of this worker"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        require_disk(tempfile.gettempdir(), int((plain_bytes + beside) * FOLDER_FACTOR), manifest)
        return []

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        from upkeep.engines.folder_scratch import as_root, compare, extract

        name, contents = self._name(manifest), manifest.contents
        folder = Path(tempfile.gettempdir()) / name
        with self._taken_away(name, restored):
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError as error:
                raise NameTaken(
                    f"there is already a {folder} on this worker",
                    hint="see who made it: anybody may put something there; then remove it, or set TMPDIR",
                ) from error
            except OSError as error:
                raise RestoreUnavailable(
                    f"can't make the folder {folder}: {error.strerror}", hint="see who owns it, or set TMPDIR"
                ) from error
            with restored.timed("load"), closing(streams.read("files.tar")) as chunks:
                extract(chunks, folder)
            restored.share_out(streams)
            with restored.timed("verify"), closing(streams.read("files.tar")) as chunks:
                restored.differences += compare(
                    chunks, folder, entries=int(contents["entries"]), listing=str(contents.get("listing", ""))
                )
            if not as_root():
                restored.notes.append("owners and modes are not compared: only root can give files to their owners")
            if "listing" not in contents:
                restored.notes.append(
                    "names and attributes are compared with the archive's only: the manifest lists none"
                )
            restored.figures = {"entries": int(contents["entries"])}
            yield

    def _names(self) -> list[str]:
        return [path.name for path in Path(tempfile.gettempdir()).iterdir() if _is_ours(path)]

    def _take_away(self, name: str) -> None:
        from upkeep.engines.folder_scratch import remove_tree

        folder = Path(tempfile.gettempdir()) / name
        if not _is_ours(folder):
            return
        try:
            remove_tree(folder)
        except OSError as error:
            raise RestoreUnavailable(f"{folder} can't be removed: {error}", hint="remove it by hand") from error


def _is_ours(folder: Path) -> bool:
    """Whether this account made it: where everybody may write, others can put a link of that name to any folder."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
