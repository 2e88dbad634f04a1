"""Which backup is restored by hand, what its copy is called, and what a person has to know before it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from upkeep.domain.backup import taken_at
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.retention import Candidate
from upkeep.domain.units import human_bytes, human_seconds, utc
from upkeep.errors import ObjectMissing, ProofFailed, RestoreRefused

Destination = Literal["beside", "scratch", "tables", "rows", "over"]
DESTINATIONS: tuple[Destination, ...] = ("beside", "scratch", "tables", "rows", "over")
LONGEST_NAME = 63
"""Bytes of a database's name that PostgreSQL keeps; MySQL takes 64 letters."""
MOST_TABLES_TOLD = 40


@dataclass(frozen=True)
class RestoreRequest:
    """What a person wants restored.

    ``backup_id`` or ``before``: which; neither means the newest proven one. ``tables``: whose rows, for ``tables`` all
    by the manifest's names. ``folder``: where a Redis's file goes.
    """

    target: str
    destination: Destination = "beside"
    backup_id: str | None = None
    before: datetime | None = None
    tables: tuple[str, ...] = ()
    folder: str = ""

    def __post_init__(self) -> None:
        """Errors: ``RestoreRefused`` where all is wanted and tables are named, or only tables and none is named."""
        named, alone = ", ".join(self.tables), self.destination in ("tables", "rows")
        if alone and not named:
            raise RestoreRefused(
                f"no table of {self.target} is named, and only tables are to be restored ({self.destination})",
                hint="name the tables whose rows are wanted",
            )
        if named and not alone:
            raise RestoreRefused(
                f"{self.destination} takes all of {self.target}, and tables are named: {named}",
                hint="choose tables (beside, with the rows of these only), or name none",
            )


def moment_of(text: str, zone: str) -> datetime:
    """A moment that a person wrote, in the site's time zone where none is given. Errors: ``RestoreRefused``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RestoreRefused(f"{text!r} is not a time", hint="write it as 2026-11-21T18:30, or with +08:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))


def choose_backup(
    backups: Sequence[Candidate], request: RestoreRequest, *, where: str, counts_from: ProofLevel
) -> Candidate:
    """The one backup that is meant.

    :param where: what holds them, for errors.
    :param counts_from: the rung from which a backup that nobody named counts as proven.
    :raises ObjectMissing: there is none.
    :raises ProofFailed: the one that was named is known to be damaged.
    """
    ordered = sorted(backups, key=lambda backup: (backup.taken_at, backup.backup_id))
    if request.backup_id is not None:
        named = next((backup for backup in ordered if backup.backup_id == request.backup_id), None)
        if named is None:
            raise ObjectMissing(
                f"{where} holds no backup {request.backup_id} of {request.target}",
                hint=_nearest([backup.backup_id for backup in ordered]),
            )
        if named.failed:
            raise ProofFailed(
                f"the backup {request.backup_id} of {request.target} is damaged: a proof of it failed",
                hint="take another one; if this is the only one, restore it by the line in its manifest (upkeep show) "
                "into a server of its own and see how far it gets",
            )
        return named
    before = request.before and utc(request.before, "before")
    early = [backup for backup in ordered if before is None or backup.taken_at <= before]
    proven = [backup for backup in early if is_proven(backup.level, backup.failed, counts_from=counts_from)]
    if proven:
        return proven[-1]
    when = f" before {before:%Y-%m-%d %H:%M:%S}Z" if before else ""
    unproven = [backup.backup_id for backup in early if not backup.failed]
    raise ObjectMissing(
        f"{where} holds no proven backup of {request.target}{when}"
        + (f"; not proven: {', '.join(unproven[-3:])}" if unproven else ""),
        hint="name one by its id to restore it all the same: its hashes and rows are checked on the way"
        if unproven
        else _nearest([backup.backup_id for backup in ordered]),
    )


def restored_name(database: str, backup_id: str) -> str:
    """What the copy is called beside the live database: ``app_restored_20261121_020003_0a1b``."""
    return _tailed(database, f"_restored_{taken_at(backup_id):%Y%m%d_%H%M%S}_{backup_id[-4:]}")


def tables_name(database: str, backup_id: str, mark: str) -> str:
    """What a copy with the rows of some tables only is called; ``mark`` tells one choice of tables from another."""
    return _tailed(database, f"_tables_{taken_at(backup_id):%Y%m%d_%H%M%S}_{backup_id[-4:]}_{mark}")


def replaced_name(database: str, at: datetime) -> str:
    """What the old database is called after a swap at ``at``: ``app_replaced_20261122_031500``."""
    return _tailed(database, f"_replaced_{at.astimezone(UTC):%Y%m%d_%H%M%S}")


def held_name(target: str, backup_id: str) -> str:
    """What a copy by hand is called on a scratch server: Upkeep's own there, but no test restore sweeps it away."""
    return restored_name(f"upkeep_{target}", backup_id)


def _tailed(name: str, tail: str) -> str:
    """A name that is too long in bytes is cut; a hash keeps two that begin alike apart."""
    if len((name + tail).encode()) <= LONGEST_NAME:
        return name + tail
    mark = f"_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    room = LONGEST_NAME - len((mark + tail).encode())
    return name.encode()[:room].decode(errors="ignore") + mark + tail


@dataclass(frozen=True)
class TableLoss:
    """One table: rows in the backup, rows live now (None: there is none, or nobody could count), and how new."""

    name: str
    kept: int | None
    live: int | None
    newest: str = ""
    """When the newest live row was written, by ``column``; ``is_newer``: after the backup."""
    column: str = ""
    is_newer: bool = False
    exact: bool = True
    note: str = ""

    @property
    def matters(self) -> bool:
        """Whether going back to the backup changes it, as far as counts say."""
        return self.kept != self.live or self.is_newer or bool(self.note)

    def __str__(self) -> str:
        about = "" if self.exact else "about "
        parts = [f"{_count(self.kept)} in the backup, {about}{_count(self.live)} live"]
        if self.kept is None:
            parts.append("made since: not in the backup")
        elif self.live is None and not self.note:
            parts.append("gone from the live database")
        if self.newest:
            parts.append(f"newest {self.column} {self.newest}{', after the backup' if self.is_newer else ''}")
        if self.note:
            parts.append(self.note)
        return f"{self.name}: {'; '.join(parts)}"


@dataclass(frozen=True)
class RestorePlan:
    """What would happen, before anything does. ``lines`` are for people."""

    request: RestoreRequest
    backup_id: str
    taken_at: datetime
    standing: str
    size: int
    plain_bytes: int
    source: str
    """Where it would be restored from, and ``into`` where to."""
    into: str
    estimate_s: float | None
    now: datetime
    losses: tuple[TableLoss, ...] = ()
    remarks: tuple[str, ...] = ()
    steps: tuple[str, ...] = field(default=())

    @property
    def age_s(self) -> float:
        return (self.now - self.taken_at).total_seconds()

    def lines(self) -> Iterator[str]:
        yield (
            f"{self.request.target}: backup {self.backup_id} of {self.taken_at:%Y-%m-%d %H:%M:%S}Z, "
            f"{human_seconds(max(0, self.age_s))} old, {self.standing}, {human_bytes(self.size)} stored, about "
            f"{human_bytes(self.plain_bytes)} plain; from {self.source}"
        )
        yield f"into: {self.into}"
        took = f"about {human_seconds(self.estimate_s)}" if self.estimate_s else "not known: none was measured yet"
        yield f"time: {took}"
        changed = [loss for loss in self.losses if loss.matters]
        if self.losses:
            alike = len(self.losses) - len(changed)
            what = (
                "would be lost or changed by going back"
                if self.request.destination == "over"
                else "differ from the backup"
            )
            yield f"tables that {what}: {len(changed)} of {len(self.losses)}" + (
                "" if changed else " (counts are equal; values may differ)"
            )
            for loss in changed[:MOST_TABLES_TOLD]:
                yield f"  {loss}"
            if len(changed) > MOST_TABLES_TOLD:
                yield f"  and {len(changed) - MOST_TABLES_TOLD} more"
            if alike and changed:
                yield f"  {alike} more have as many rows as the backup"
        for remark in self.remarks:
            yield f"note: {remark}"
        for number, step in enumerate(self.steps, start=1):
            yield f"{number}. {step}"


def _count(rows: int | None) -> str:
    return "none" if rows is None else f"{rows:,} rows"


def _nearest(ids: Sequence[str]) -> str:
    return f"it holds: {', '.join(ids[-5:])}" if ids else "it holds none at all: see `upkeep backups` and the spool"
