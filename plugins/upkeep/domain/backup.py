"""What a backup is called and where it lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from upkeep.domain.units import utc

_BACKUP_ID = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z-[0-9a-f]{4}")
_NAME = re.compile(r"[^\s/\\.][^\s/\\]*")


def new_backup_id(now: datetime) -> str:
    """``20261121T020003Z-<4 hex>``: the second in UTC, and which 65,536th of it, so that ids sort as their backups do.

    With random digits the older of two backups of one second could pass for the newer, and retention removed the newer.
    """
    moment = utc(now, "the time of a backup")
    return f"{moment:%Y%m%dT%H%M%SZ}-{moment.microsecond * 65_536 // 1_000_000:04x}"


def taken_at(backup_id: str) -> datetime:
    """When the backup began, in UTC, to the second."""
    parts = _BACKUP_ID.fullmatch(backup_id)
    if parts is None:
        raise ValueError(f"{backup_id!r} is not a backup id such as 20261121T020003Z-0a1b")
    year, month, day, hour, minute, second = map(int, parts.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{backup_id!r} is not a backup id: {error}") from error


def is_backup_id(text: str) -> bool:
    try:
        taken_at(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, order=True)
class BackupRef:
    """One backup of one target: the small reference that passes between tasks."""

    site: str
    target: str
    backup_id: str

    def __post_init__(self) -> None:
        for field, name in (("site", self.site), ("target", self.target)):
            if not _NAME.fullmatch(name) or not name.isprintable():
                raise ValueError(f"{field} {name!r} can't be one folder's name")
        taken_at(self.backup_id)

    @property
    def prefix(self) -> str:
        """The backup's folder in its store. It ends with a slash, so ``app`` never takes ``app-test`` along."""
        return f"{self.site}/{self.target}/{self.backup_id}/"

    def to_dict(self) -> dict[str, str]:
        return {"site": self.site, "target": self.target, "backup_id": self.backup_id}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> BackupRef:
        match dict(fields):
            case {"site": str(site), "target": str(target), "backup_id": str(backup_id), **rest} if not rest:
                return cls(site, target, backup_id)
            case other:
                raise ValueError(f"{other!r} is not a reference to a backup: it needs site, target and backup_id only")
