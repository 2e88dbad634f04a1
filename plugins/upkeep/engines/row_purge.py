"""What an engine can do for a purge: describe a table, find old rows, read them exactly, delete exactly those.

Each method is one step of duties/purge_rows.py, which decides what to do next; nothing here does. A key is the tuple of
a row's primary key in the engine's own values, opaque to callers; a row is a ``Row``, as archives hold it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upkeep.domain.load import Pressure
from upkeep.domain.purge import Estimate, Rule
from upkeep.domain.row_archive import Row, fingerprint, key_text, line_of
from upkeep.domain.tables import Column, Table
from upkeep.errors import SourceError

Key = tuple[Any, ...]

STATEMENT_LIMIT_S = 120
"""Seconds that any one statement may take, so that none outlives a worker that vanished by much. A batch is over in a
second; this leaves room for the first look at an index that is cold."""


class LockedOut(Exception):
    """Another session has the rows: a lock timeout or a deadlock. Nothing of the batch was done; try again."""


@dataclass(frozen=True)
class Place:
    """Where a walk along the index has come to: the date and the key of the last row it saw."""

    date: str
    key: Key


@dataclass(frozen=True)
class Found:
    """Old rows, in the order of date and key, and where the last of them stands."""

    keys: list[Key]
    last: Place


@dataclass(frozen=True)
class Deleted:
    """``left``: rows that are there, but no longer what was archived or no longer old; keys as archives write them."""

    rows: int
    left: tuple[tuple[str | None, ...], ...] = ()


class OldRows(ABC):
    """The rows of one table that are older than a rule's cut-off."""

    _session: RowPurge

    def __init__(self, table: Table, date: str) -> None:
        """``date``: the column that the rule names."""
        self._table, self._date = table, date

    @abstractmethod
    def next(self, after: Place | None, limit: int) -> Found | None:
        """The next rows after ``after``, at most ``limit``; None at the end. Changes nothing."""

    def read(self, keys: Sequence[Key]) -> list[tuple[Key, Row]]:
        """The rows of ``keys`` that are old even now, exactly, in the order of ``keys``."""
        with self._session.engine.told("read old rows of"):
            found = self._fetch(keys, "list_rows")
        return [(key, found[key][0]) for key in keys if key in found and found[key][1]]

    def delete(self, keys: Sequence[Key]) -> Deleted:
        """Delete the rows of ``keys`` that are old even now, and commit. Errors: ``LockedOut``."""
        with self._session.changing(self._table):
            return Deleted(self._delete(keys))

    def delete_unchanged(self, archived: Mapping[Key, bytes]) -> Deleted:
        """Of rows whose fingerprints were archived delete those that are still the same and old, and commit.

        The rows are read again under lock: what is deleted is, to the letter, what the archive holds.
        Errors: ``LockedOut``, ``SourceError`` when the server keeps some of them.
        """
        with self._session.changing(self._table):
            found = self._fetch(list(archived), "lock_rows")
            same = [key for key, (row, old) in found.items() if old and fingerprint(line_of(row)) == archived[key]]
            going = set(same)
            left = tuple(key_text(row, self._table.primary_key) for key, (row, _) in found.items() if key not in going)
            deleted = self._delete(same)
            if deleted < len(same):  # they are locked, so they were there: each night would archive them again
                raise SourceError(
                    f"{len(same) - deleted} of {len(same)} archived rows of {self._table.label} were not deleted: a "
                    "trigger, a rule or a row-level policy of the server keeps them",
                    hint="let it delete them, or take the purge rule for this table out of the site file",
                )
            return Deleted(deleted, left)

    @abstractmethod
    def rehearse(self, keys: Sequence[Key]) -> None:
        """Have the server plan a delete without doing it; it says whether the account may. Errors: ``SourceError``."""

    @abstractmethod
    def estimate(self) -> Estimate: ...

    def key_of(self, row: Row) -> Key:
        return self._session.key_of(self._table, row)

    def place_of(self, row: Row) -> Place:
        return Place(str(row[self._date]), self.key_of(row))

    @abstractmethod
    def _fetch(self, keys: Sequence[Key], statement: str) -> dict[Key, tuple[Row, bool]]:
        """Rows by key, each with whether it is old. ``statement``: ``list_rows``, or ``lock_rows`` to keep them so."""

    @abstractmethod
    def _delete(self, keys: Sequence[Key]) -> int: ...


class ServerLoad(ABC):
    """What the care of tables asks as well. Errors of the server come as ``SourceError``."""

    @abstractmethod
    def read_only(self) -> str:
        """Why this server takes no changes, or an empty string."""

    @abstractmethod
    def pressure(self) -> Pressure: ...

    @property
    @abstractmethod
    def blind_spots(self) -> tuple[str, ...]:
        """What ``pressure`` can't see, and the grant that fixes it."""


class RowPurge(ServerLoad):
    """One session of an account that may read and delete."""

    engine: Any
    """The database's: its ``told`` says what the server refuses."""
    server: str
    """Flavour and version, for a manifest."""

    @abstractmethod
    def look(self, table: str) -> Table | None: ...

    @abstractmethod
    def bound(self, column: Column, cut: datetime) -> str:
        """The cut-off as the column is compared with it."""

    @abstractmethod
    def old_rows(self, table: Table, rule: Rule, before: str) -> OldRows: ...

    @abstractmethod
    def changing(self, table: Table) -> AbstractContextManager[None]:
        """One transaction. Errors: ``LockedOut`` after a rollback, ``SourceError``."""

    @abstractmethod
    def present(self, table: Table, keys: Sequence[Key]) -> set[Key]:
        """Which of ``keys`` the table has."""

    @abstractmethod
    def key_of(self, table: Table, row: Row) -> Key: ...

    @abstractmethod
    def insert(self, table: Table, columns: Sequence[Column], rows: Sequence[Row]) -> int:
        """Put archived rows back and commit; returns how many came back differing, because a trigger changed them."""

    @abstractmethod
    def restore_line(self, table: Table, columns: Sequence[Column], unpacked: str) -> str:
        """The shell line that puts an archive's rows back with stock tools; ``unpacked`` prints its lines."""


def open_row_purge(engine: Any) -> AbstractContextManager[RowPurge]:
    """The purging side of a database's engine; logs in when entered. Errors: ``SourceError``."""
    # Imported here, since each brings its driver.
    from upkeep.engines.mysql_engine import MySqlEngine

    if isinstance(engine, MySqlEngine):
        from upkeep.engines.mysql_row_purge import MySqlRowPurge

        return MySqlRowPurge(engine)
    from upkeep.engines.postgres_row_purge import PostgresRowPurge

    return PostgresRowPurge(engine)
