"""What an engine can do with a migration: run its statements one by one, with limits, and say what they lock.

``mysql_migration.MySqlMigration(connection, ...)`` and ``postgres_migration.PostgresMigration(connection, ...)``
implement it, on a session of their own that nobody else uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from upkeep.domain.migration import Statement
from upkeep.engines.migration_command import run_command

REHEARSAL_LIMIT_S = 4 * 3600


class MigrationSession(ABC):
    """Errors of every method: ``MigrationFailed`` with what the server said.

    :param environment: what a command is told of the database; ``secrets`` are masked in what it says.
    """

    def __init__(
        self, connection: Any, *, lock_timeout_s: int, environment: Mapping[str, str], secrets: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self._lock_timeout_s = lock_timeout_s
        self._environment, self._secrets = environment, secrets

    def run(self, statement: Statement, *, limit_s: float) -> int:
        """Run it; how many rows it touched, or -1. SQL waits ``lock_timeout_s`` for others' locks at most."""
        if statement.argv:
            run_command(statement, self._environment, self._secrets, limit_s=limit_s)
            return -1
        return self._run_sql(statement, limit_s)

    def rehearse(self, statement: Statement, *, whole: bool) -> tuple[int, str]:
        """Run it on a copy, as ``run`` would; rows, and in words what it locks.

        :param whole: whether a transaction is open around it.
        """
        if statement.argv:
            return self.run(statement, limit_s=REHEARSAL_LIMIT_S), "locks: not seen, for it is a program"
        return self._rehearse_sql(statement, whole)

    @abstractmethod
    def _run_sql(self, statement: Statement, limit_s: float) -> int: ...

    @abstractmethod
    def _rehearse_sql(self, statement: Statement, whole: bool) -> tuple[int, str]: ...

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
