"""What an engine can do about partitions: describe a table's, measure old ones, and carry out one step of a plan.

duties/tend_partitions.py decides; nothing here does. Each step is one statement or one transaction, so a step that is
killed happened wholly or not at all; the exception, a concurrent detach, is seen and ended by the next run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from upkeep.domain.partitions import Layout, Measured, Rule, Step

LOOK_LIMIT_S = 60
"""Seconds that looking into a table may take."""


class Partitioning(ABC):
    """A session with one database; lock waits are limited to its ``lock_timeout_s``."""

    server = ""

    @abstractmethod
    def read_only(self) -> str:
        """Why the server takes no changes; empty where it does."""

    @abstractmethod
    def look(self, rule: Rule, timezone: str) -> Layout | None:
        """The table and its partitions, as they are now; None when there is no such table. Errors: ``SourceError``."""

    @abstractmethod
    def measure(self, layout: Layout, rule: Rule, partition: str) -> Measured:
        """What an old partition holds. Errors: ``SourceError``."""

    @abstractmethod
    def statement(self, layout: Layout, rule: Rule, step: Step) -> str:
        """What ``apply`` will run, for the record."""

    @abstractmethod
    def apply(self, layout: Layout, rule: Rule, step: Step) -> None:
        """Errors: ``LockedOut`` when another session has the table and nothing was done, ``SourceError``."""


def open_partitioning(engine: Any) -> AbstractContextManager[Partitioning]:
    """The partition side of a database's engine; logs in when entered. Errors: ``SourceError``."""
    # Imported here, since each brings its driver.
    from upkeep.engines.mysql_engine import MySqlEngine

    if isinstance(engine, MySqlEngine):
        from upkeep.engines.mysql_partitions import MySqlPartitioning

        return MySqlPartitioning(engine)
    from upkeep.engines.postgres_partitions import PostgresPartitioning

    return PostgresPartitioning(engine)
