"""What an engine can do for the care of tables: measure them, say what stands in the way, carry out one action.

Each method is one step of duties/tend_tables.py; what needs doing is decided in domain/table_care.py.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from upkeep.domain.table_care import Item, Server, TableFacts
from upkeep.engines.background import meanwhile

LOOK_EVERY_S = 0.25
"""Between two looks whether a statement has to end."""
STATEMENT_LIMIT_S = 120
"""Seconds that a statement may take that only reads."""

WhyStop = Callable[[], str]
"""Asked from another thread while a statement runs: why it has to end now, or an empty string."""


class NotNow(Exception):
    """Nothing was done, and nothing is wrong: a lock that was not had, a server that isn't quiet. Says which."""


class Ended(Exception):
    """The statement was ended because ``WhyStop`` gave a reason, which is the message; what it had begun is undone."""


class TableCareSession(ABC):
    """Use as a context manager; entering logs in. Errors of the server come as ``SourceError``."""

    server: Server
    notes: tuple[str, ...] = ()
    """What this account can't see, and the grant that fixes it."""

    @abstractmethod
    def measure(self, table: str | None = None) -> list[TableFacts]:
        """Every table of the database, or the one of that label; and what ``server`` says of free disk, anew. Reads no
        rows, but for what pgstattuple measures.
        """

    @abstractmethod
    def oldest_transaction_s(self) -> float:
        """Seconds since the oldest transaction of others began. Errors: ``NotNow`` where that can't be seen."""

    @abstractmethod
    def require_quiet(self, action: Item, why_stop: WhyStop) -> None:
        """Wait for a moment in which ``action`` would make no transaction fail. Errors: ``NotNow``, ``Ended``."""

    @abstractmethod
    def apply(self, action: Item, why_stop: WhyStop, seconds: float | None) -> Sequence[str]:
        """Carry out one action, for at most so many seconds. Returns what the server warned of, though it did the work.

        Errors: ``NotNow`` when a lock was not had, ``Ended``, ``SourceError`` for whatever else the server says.
        """

    @abstractmethod
    def size(self, action: Item) -> int:
        """Bytes of what an action works on; 0 when it is gone."""


def open_table_care(engine: Any) -> AbstractContextManager[TableCareSession]:
    """The tending side of a database's engine; logs in when entered. Errors: ``SourceError``."""
    # Imported here, since each brings its driver.
    from upkeep.engines.mysql_engine import MySqlEngine

    if isinstance(engine, MySqlEngine):
        from upkeep.engines.mysql_table_care import MySqlTableCare

        return MySqlTableCare(engine)
    from upkeep.engines.postgres_table_care import PostgresTableCare

    return PostgresTableCare(engine)


@contextmanager
def watched(why_stop: WhyStop, end: Callable[[], object]) -> Iterator[Sequence[str]]:
    """Ask ``why_stop`` while the block runs, and call ``end`` from a thread once it gives a reason, until the block is
    over: a call may come before the statement has begun. Yields a list that then holds the reason.
    """
    reasons: list[str] = []

    def watch(over: threading.Event) -> None:
        while not over.wait(LOOK_EVERY_S):
            if reason := reasons[0] if reasons else why_stop():
                reasons[:] = [reason]
                end()

    with meanwhile(watch, name="table care watchdog"):
        yield reasons
