"""What an engine can do with a migration: run its statements one by one, with limits, and say what they lock.

``mysql_migration.MySqlMigration`` and ``postgres_migration.PostgresMigration`` implement it, on a session of their own
that nobody else uses.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from upkeep.domain.sql_statements import Statement
from upkeep.engines.background import meanwhile
from upkeep.engines.migration_command import run_command
from upkeep.engines.stopping import told_to_stop
from upkeep.errors import MigrationFailed, MigrationLost, Stopped, UpkeepError

log = logging.getLogger(__name__)

REHEARSAL_LIMIT_S = 4 * 3600
LOOK_S, AGAIN_S = 0.2, 2.0
"""How often a running statement is looked after; and, once it is told to end, how often it is told so again."""
GONE_WITHIN_S = 60.0
"""How long a session that was ended may take to go: the server takes back what it had begun."""


class MigrationSession(ABC):
    """Errors of every method: ``MigrationFailed`` with what the server said; ``MigrationLost`` when its answer is not
    known; ``Stopped``. None has an error of the driver for its cause: those quote statements, with all they hold.

    :param beside: another session in the same database.
    :param environment: what a command is told of the database; ``secrets`` are masked in what it says.
    """

    in_part = False
    """Whether tables without transactions keep a part of what was taken back."""

    def __init__(
        self,
        connection: Any,
        beside: Callable[[], Any],
        *,
        lock_timeout_s: int,
        environment: Mapping[str, str],
        secrets: tuple[str, ...],
    ) -> None:
        self._connection, self._beside = connection, beside
        self._lock_timeout_s = lock_timeout_s
        self._environment, self._secrets = environment, secrets

    def run(self, statement: Statement, *, limit_s: float) -> int:
        """Run it; how many rows it touched, or -1. SQL waits ``lock_timeout_s`` for others' locks at most."""
        self._refuse_stopped(f"statement {statement.number}")
        if not statement.argv:
            return self._run_sql(statement, limit_s)
        try:
            run_command(statement, self._environment, self._secrets, limit_s=limit_s)
        except BaseException as error:
            # The program is gone, but a server goes on with what it was asked for last.
            self._end_strays(statement, error)
            raise
        return -1

    def run_alone(self, statement: Statement, *, limit_s: float) -> int:
        """``run`` in a transaction of its own, where there can be one."""
        if statement.by_itself:
            return self.run(statement, limit_s=limit_s)
        self.begin()
        with self.taken_back():
            rows = self.run(statement, limit_s=limit_s)
            self.commit()
        return rows

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """When the block fails its transaction is taken back, and ``in_part`` is set; where the server answers."""
        try:
            yield
        except MigrationLost:
            raise
        except (MigrationFailed, Stopped):
            self.in_part = not self.roll_back()
            raise

    def rehearse(self, statement: Statement, *, whole: bool) -> tuple[int, str]:
        """Run it on a copy, as ``run`` would; rows, and in words what it locks.

        :param whole: whether a transaction is open around it.
        """
        if statement.argv:
            return self.run(statement, limit_s=REHEARSAL_LIMIT_S), "locks: not seen, for it is a program"
        self._refuse_stopped(f"statement {statement.number}")
        return self._rehearse_sql(statement, whole)

    def end(self) -> bool:
        """End the session on the server, whatever it is at; whether it was seen gone."""
        return not self._seen_off(self._end_self)

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
    def roll_back(self) -> bool:
        """Take back the open transaction; whether all of it was: tables without transactions keep what was done."""

    @abstractmethod
    def was_committed(self, number: str) -> bool | None:
        """What became of a transaction that ``begin`` opened in another session; None when the server can't tell."""

    @abstractmethod
    def catalogue(self, database: str) -> dict[str, Any]:
        """Each object of ``database`` by kind and name, with a digest of its definition."""

    @abstractmethod
    def tables_without_transactions(self) -> list[str]: ...

    @abstractmethod
    def cut_off(self) -> list[str]:
        """Take from a copy what logs in to other servers, or a rehearsal would change those; returns the names.

        Errors: ``MigrationRefused`` where nothing can be taken away.
        """

    @abstractmethod
    def _end_statement(self) -> None:
        """Tell the server, from beside, to end what this session is at."""

    @abstractmethod
    def _end_self(self) -> list[int]:
        """Tell the server, from beside, to end this session; its number as long as it is there."""

    @abstractmethod
    def _end_later(self) -> list[int]:
        """As ``_end_self``, for those that this account opened in this database, from this machine, after this one."""

    @contextmanager
    def _looked_after(self, limit_s: float) -> Iterator[threading.Event]:
        """End the block's statement on the server when its time is up, the event is set then, or the task has to stop.
        Repeated: the first KILL may arrive before the statement.
        """
        late = threading.Event()
        until = time.monotonic() + limit_s

        def look_after(over: threading.Event) -> None:
            pause_s = LOOK_S
            while not over.wait(pause_s):
                if time.monotonic() > until:
                    late.set()
                if late.is_set() or told_to_stop():
                    self._end_statement()
                    pause_s = AGAIN_S

        with meanwhile(look_after, name="ends a statement"):  # no longer: it must not end the next statement
            yield late

    def _refuse_stopped(self, what: str) -> None:
        if told_to_stop():
            raise Stopped(f"{what} was not begun, for the task was told to stop", hint="start it again: it says how")

    def _end_strays(self, statement: Statement, error: BaseException) -> None:
        """Errors: ``MigrationLost`` where some stay."""
        if left := self._seen_off(self._end_later):
            raise MigrationLost(
                f"the command {statement.argv[0]!r} ended, but on the server it goes on in {left}",
                hint="wait until that is over, or end it there",
            ) from (error if isinstance(error, MigrationFailed) else None)

    def _seen_off(self, end: Callable[[], list[int]]) -> str:
        """Call it until nobody is left, or it takes too long; who stays, in words."""
        until, pause_s = time.monotonic() + GONE_WITHIN_S, 0.1
        while True:
            try:
                sessions = end()
                left = f"session {', '.join(map(str, sessions))}" if sessions else ""
            except UpkeepError as error:
                log.warning("sessions of a migration can't be looked for: %s", error.message)
                left = "sessions that nobody can look for"
            if not left or time.monotonic() > until:
                return left
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S)
