"""The manifest: what a backup is, and the commit point. Without one there is no backup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from upkeep.domain.backup import BackupRef
from upkeep.domain.sealed import FORMAT, broken, seal, unseal

NAME = "manifest.json"


@dataclass(frozen=True)
class StoredFile:
    """One file of a backup as it lies in the store: ``size`` in bytes and ``sha256`` are of those very bytes."""

    name: str
    stream: str
    size: int
    sha256: str


class Stored:
    """What holds for every manifest of files in the store."""

    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes in the store, without the manifest."""
        return sum(file.size for file in self.files)

    @property
    def encrypted(self) -> bool:
        return any(file.name.endswith(".age") for file in self.files)


@dataclass(frozen=True)
class Manifest(Stored):
    """Everything known about one backup.

    ``timings_s`` are seconds. ``restore`` comes last in the file: the shell line that restores the backup with stock
    tools, run in a folder that holds its files.
    """

    backup: BackupRef
    engine: str
    run: Mapping[str, Any]
    started_at: str
    finished_at: str
    source: Mapping[str, Any]
    tools: Mapping[str, str]
    position: Mapping[str, Any]
    contents: Mapping[str, Any]
    rows_are: str
    warnings: tuple[str, ...]
    files: tuple[StoredFile, ...]
    timings_s: Mapping[str, float]
    restore: str
    upkeep: str = ""
    format: int = field(default=FORMAT)

    def to_bytes(self) -> bytes:
        """The sealed file; see ``upkeep.domain.sealed``."""
        return seal(asdict(self), first=("format", "upkeep"))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Read and check a manifest. Errors: ``ManifestBroken`` naming ``where`` and what is wrong."""
        body = unseal(data, where, what="a manifest of Upkeep")
        known = {item.name for item in fields(cls)}
        try:
            values = {key: value for key, value in body.items() if key in known}
            values["backup"] = BackupRef.from_dict(values["backup"])
            values["files"] = tuple(StoredFile(**file) for file in values["files"])
            values["warnings"] = tuple(values["warnings"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise broken(where, f"a field is missing or wrong: {error}") from error
