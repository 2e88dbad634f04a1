"""Rows that were purged, kept as a file of JSON lines: what the file is called, what a line looks like, what its
manifest says. The manifest is the commit point: without one there is no archive.

A line is one row, an object of column names in the table's order, without spaces. A value is null or a string: the very
text in which the server writes it, so that no number, date or JSON document is rounded on its way through a parser.
Columns whose ``form`` is ``base64`` hold bytes, ``number`` the integer value of a bit field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from urllib.parse import quote

from upkeep.domain.backup import taken_at
from upkeep.domain.manifest import Stored, StoredFile
from upkeep.domain.sealed import FORMAT, broken, seal, unseal

ENDED = "ended.json"
"""Beside a manifest: its rows have been dealt with, and this says which of them were left in the table."""
FOLDER_CHARS = 120

Row = dict[str, str | None]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def archives_folder(site: str, database: str, table: str) -> str:
    """Where the archives of one table lie. The table's true name is in each manifest.

    Anything but plain letters is escaped as in a URL, so that no table's name can lead out of the folder or be taken
    for another's; a name too long for a file system ends in a hash of all of it.
    """
    name = quote(table, safe="")
    if len(name) > FOLDER_CHARS:
        name = f"{name[:FOLDER_CHARS]}~{hashlib.sha256(table.encode()).hexdigest()[:8]}"
    return f"{site}/{database}/rows-{name}/"


def line_of(row: Row) -> bytes:
    """One row as it stands in the file, with its line end."""
    return _ENCODER.encode(row).encode("utf-8", "surrogatepass") + b"\n"


def row_of(line: bytes) -> Row:
    row: Row = json.loads(line)
    return row


def fingerprint(line: bytes) -> bytes:
    """Stands for an archived row in memory; 16 bytes are beyond any accident."""
    return hashlib.blake2b(line, digest_size=16).digest()


@dataclass(frozen=True)
class RowArchive(Stored):
    """The manifest of one archive.

    :param columns: name, type and form of each column, in the order of the lines.
    :param key: the primary key's columns.
    :param first: the key of the first row in the order of the file, ``last`` of the last.
    :param oldest: the purge column of the first row, ``newest`` of the last.
    :param archive_id: of two archives that hold a row the one with the later id is right.
    :param restore: the shell line that restores it with stock tools, run in a folder that holds its file.
    """

    site: str
    database: str
    table: str
    archive_id: str
    engine: str
    rule: Mapping[str, Any]
    columns: tuple[Mapping[str, Any], ...]
    key: tuple[str, ...]
    rows: int
    first: tuple[str | None, ...]
    last: tuple[str | None, ...]
    oldest: str
    newest: str
    bytes_of_lines: int
    files: tuple[StoredFile, ...]
    source: Mapping[str, Any]
    tools: Mapping[str, str]
    run: Mapping[str, Any]
    made_at: str
    restore: str
    upkeep: str = ""
    kind: str = "rows"
    format: int = field(default=FORMAT)

    @property
    def prefix(self) -> str:
        return f"{archives_folder(self.site, self.database, self.table)}{self.archive_id}/"

    @property
    def column_names(self) -> list[str]:
        return [str(column["name"]) for column in self.columns]

    def to_bytes(self) -> bytes:
        """The sealed file; see ``upkeep.domain.sealed``."""
        return seal(asdict(self), first=("format", "kind", "upkeep"))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> RowArchive:
        """Read and check a manifest. Errors: ``ManifestBroken`` naming ``where`` and what is wrong."""
        body = unseal(data, where, what="the manifest of archived rows", kind="rows")
        known = {item.name for item in fields(cls)}
        try:
            values = {key: value for key, value in body.items() if key in known}
            values["files"] = tuple(StoredFile(**file) for file in values["files"])
            for name in ("columns", "key", "first", "last"):
                values[name] = tuple(values[name])
            taken_at(values["archive_id"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise broken(where, f"a field is missing or wrong: {error}") from error


@dataclass(frozen=True)
class Ending:
    """What became of an archive's rows in the table.

    :param gone: how many are no longer there.
    :param left: keys of archived rows that were not deleted, because they had changed or had become younger meanwhile.
        Restoring passes over them: the table, or a later archive, has them as they really are.
    :param why_unknown: why nobody can say, where the archive couldn't be read back after its run was killed.
    """

    gone: int
    left: tuple[tuple[str | None, ...], ...] = ()
    at: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    why_unknown: str = ""

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Ending:
        """Errors: ``ManifestBroken``."""
        try:
            values = json.loads(data)
            values["left"] = tuple(tuple(key) for key in values["left"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise broken(where, f"it can't be read: {error}") from error


def key_text(row: Row, key: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(row[name] for name in key)
