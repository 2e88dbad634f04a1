"""What an engine can do with a migration: run its statements one by one, with limits, and say what they lock.

``mysql_migration.MySqlMigration(connection, ...)`` and ``postgres_migration.PostgresMigration(connection, ...)``
implement it, on a session of their own that nobody else uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from upkeep.domain.migration import Statement


class MigrationSession(ABC):
    """Errors of every method: ``MigrationFailed`` with what the server said."""

    def __init__(self, connection: Any, *, lock_timeout_s: int) -> None:
        self._connection = connection
        self._lock_timeout_s = lock_timeout_s

    @abstractmethod
    def run(self, statement: Statement, *, limit_s: float) -> int:
        """Run it; how many rows it touched, or -1. It waits ``lock_timeout_s`` for others' locks at most."""

    @abstractmethod
    def rehearse(self, statement: Statement, *, whole: bool) -> tuple[int, str]:
        """Run it on a copy, as ``run`` would; rows, and in words what it locks.

        :param whole: whether a transaction is open around it.
        """

    @abstractmethod
    def begin(self) -> str:
        """Open a transaction; its number, where the server can later say by it whether it was committed."""

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def roll_back(self) -> None: ...

    @abstractmethod
    def was_committed(self, number: str) -> bool | None:
        """What became of a transaction that ``begin`` opened in another session; None when the server can't tell."""

    @abstractmethod
    def catalogue(self, database: str) -> dict[str, Any]:
        """Each object of ``database`` by kind and name, with a digest of its definition."""
