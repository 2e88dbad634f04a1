"""The manifest: what a backup is, and the commit point. Without one there is no backup."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from upkeep.domain.backup import BackupRef
from upkeep.errors import ManifestBroken

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class StoredFile:
    """One file of a backup as it lies in the store: ``size`` in bytes and ``sha256`` are of those very bytes."""

    name: str
    stream: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
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

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def encrypted(self) -> bool:
        return any(file.name.endswith(".age") for file in self.files)

    def to_bytes(self) -> bytes:
        """The sealed file. ``seal`` is the SHA-256 of everything else, so that a slip of an editor or a flipped bit is
        noticed even without the ledger, which holds the hash of the whole file and notices forgery.
        """
        content = asdict(self)
        restore = content.pop("restore")
        head = {key: content.pop(key) for key in ("format", "upkeep")}
        body = {**head, **content, "restore": restore}
        body["seal"] = _seal(body)
        body["restore"] = body.pop("restore")  # stays last
        return (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Read and check a manifest. Errors: ``ManifestBroken`` naming ``where`` and what is wrong."""
        try:
            body = json.loads(data)
        except ValueError as error:
            raise _broken(where, f"it is not JSON: {error}") from error
        if not isinstance(body, dict) or not isinstance(body.get("format"), int):
            raise _broken(where, "it is not a manifest of Upkeep")
        if body["format"] > FORMAT:
            raise _broken(where, f"its format {body['format']} is newer than this Upkeep knows ({FORMAT})")
        seal = body.pop("seal", None)
        if seal != _seal(body):
            raise _broken(where, "its content doesn't match its seal: it was edited or damaged after it was written")
        known = {item.name for item in fields(cls)}
        try:
            values = {key: value for key, value in body.items() if key in known}
            values["backup"] = BackupRef.from_dict(values["backup"])
            values["files"] = tuple(StoredFile(**file) for file in values["files"])
            values["warnings"] = tuple(values["warnings"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(where, f"a field is missing or wrong: {error}") from error


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(body: Mapping[str, Any]) -> str:
    unsealed = {key: value for key, value in body.items() if key != "seal"}
    return digest(json.dumps(unsealed, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def _broken(where: str, why: str) -> ManifestBroken:
    return ManifestBroken(
        f"the manifest {where} can't be trusted: {why}",
        hint="don't restore from it without looking; its files may still be whole, so compare them with the ledger's "
        "checksums (upkeep ledger show)",
    )
