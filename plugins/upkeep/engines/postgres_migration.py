"""PostgreSQL: the statements of a migration, in one transaction wherever the server allows one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg

from upkeep.domain.sql_statements import Statement, without_strings
from upkeep.engines import postgres_catalogue
from upkeep.engines.migration_base import REHEARSAL_LIMIT_S, MigrationSession
from upkeep.engines.stopping import told_to_stop
from upkeep.errors import MigrationFailed, MigrationLost, Stopped
from upkeep.resources import sql

_MEANING = {
    "AccessShareLock": "",  # what every SELECT takes
    "RowExclusiveLock": "",  # what every UPDATE takes; waits only for changes of the table itself
    "RowShareLock": "",
    "ShareUpdateExclusiveLock": "reads and writes go on",
    "ShareLock": "writes wait",
    "ShareRowExclusiveLock": "writes wait",
    "ExclusiveLock": "writes wait",
    "AccessExclusiveLock": "reads and writes wait",
}
"""What others feel of a lock on a table, by the server's name for it."""
_VALUE = re.compile('".*"', re.DOTALL)
_LOOKS_FOR_ITS_CLIENT = 140000
"""From this release on a server can notice that its client is gone while a statement runs."""


class PostgresMigration(MigrationSession):
    _locked: frozenset[tuple[str, str]] = frozenset()

    def __init__(self, connection: Any, beside: Callable[[], Any], **settings: Any) -> None:
        super().__init__(connection, beside, **settings)
        with self._told("the beginning"):
            self._own = connection.execute(sql("postgres", "list_own_session").encode()).fetchone()
            if connection.info.server_version >= _LOOKS_FOR_ITS_CLIENT:
                with suppress(psycopg.errors.InvalidParameterValue):  # not on every system
                    connection.execute("SET client_connection_check_interval = '2s'")

    def _run_sql(self, statement: Statement, limit_s: float) -> int:
        # The server keeps the limit; looked after all the same, for it knows nothing of a task that has to stop.
        with self._told(f"statement {statement.number}", statement), self._looked_after(math.inf):
            # Before each: the migration may have set them itself.
            self._connection.execute(f"SET lock_timeout = '{self._lock_timeout_s}s'".encode())
            self._connection.execute(f"SET statement_timeout = {int(limit_s * 1000)}".encode())
            # The text is sent as UTF-8 whatever the database's own encoding is.
            self._connection.execute(b"SET client_encoding = 'UTF8'")
            # binary: the protocol in which the server refuses a second statement behind the first.
            return int(self._connection.execute(statement.text.encode(), binary=True).rowcount)

    def _rehearse_sql(self, statement: Statement, whole: bool) -> tuple[int, str]:
        if not whole and not statement.by_itself:
            self.begin()
            rows = self.run(statement, limit_s=REHEARSAL_LIMIT_S)
            locks = self._locks()
            self.commit()
            return rows, locks
        rows = self.run(statement, limit_s=REHEARSAL_LIMIT_S)
        if not whole:
            return rows, "locks: not seen, for it runs outside of a transaction"
        return rows, self._locks()

    def begin(self) -> str:
        self._locked = frozenset()
        with self._told("the beginning of the transaction"):
            self._connection.execute("BEGIN")
            # Asking gives it a number at once, before anything is changed.
            return str(self._connection.execute("SELECT txid_current() AS number").fetchone()["number"])

    def commit(self) -> None:
        with self._told("the commit"):
            self._connection.execute("COMMIT")

    def roll_back(self) -> bool:
        with self._told("the end of the transaction"):
            self._connection.execute("ROLLBACK")
        return True

    def was_committed(self, number: str) -> bool | None:
        with self._told("the question what became of its transaction"):
            found = self._connection.execute("SELECT txid_status(%s::bigint) AS status", [number]).fetchone()
        return {"committed": True, "aborted": False}.get(str(found["status"]))

    def catalogue(self, database: str) -> dict[str, Any]:
        with self._told("a look at the catalogue"), self._connection.transaction():
            postgres_catalogue.prepare(self._connection)
            return postgres_catalogue.catalogue(self._connection)

    def tables_without_transactions(self) -> list[str]:
        return []

    def cut_off(self) -> list[str]:
        with self._told("the cutting off of other servers"):
            ways = self._connection.execute(sql("postgres", "list_ways_out").encode()).fetchall()
            for way in ways:
                self._connection.execute(str(way["statement"]).encode())
        return sorted({str(way["server"]) for way in ways})

    def _end_statement(self) -> None:
        with suppress(psycopg.Error):
            self._connection.cancel_safe()

    def _end_self(self) -> list[int]:
        return self._end_by("end_session", self._own["id"], self._own["begun"])

    def _end_later(self) -> list[int]:
        return self._end_by("end_later_sessions", self._own["begun"])

    def _end_by(self, statement: str, *values: object) -> list[int]:
        with self._told("the end of its sessions"), closing(self._beside()) as beside:
            return [int(row["id"]) for row in beside.execute(sql("postgres", statement).encode(), values).fetchall()]

    def _locks(self) -> str:
        """What the transaction has locked since this was asked last, and what others feel of it."""
        rows = self._connection.execute(sql("postgres", "list_own_locks").encode()).fetchall()
        held = frozenset((str(row["name"]), str(row["mode"])) for row in rows)
        new, self._locked = held - self._locked, held
        felt: dict[str, list[str]] = {}
        for name, mode in sorted(new):
            if meaning := _MEANING.get(mode, mode):
                felt.setdefault(f"{mode}: {meaning} until the commit", []).append(name)
        return "; ".join(f"{', '.join(names)} {what}" for what, names in felt.items()) or "locks: none that others feel"

    @contextmanager
    def _told(self, what: str, statement: Statement | None = None) -> Iterator[None]:
        try:
            yield
        # From none: the driver's errors quote the line of the statement.
        except psycopg.errors.LockNotAvailable:
            raise MigrationFailed(
                f"{what} failed: another session uses what it has to lock, and did not let go within "
                f"{self._lock_timeout_s} s (lock_timeout_s)",
                hint="see who it is (pg_stat_activity, pg_blocking_pids); try again when it is quiet",
            ) from None
        except psycopg.errors.QueryCanceled as error:
            if told_to_stop():
                raise Stopped(
                    f"{what} was ended on the server, for the task was told to stop",
                    hint="start it again: it says how to go on",
                ) from None
            raise MigrationFailed(
                f"{what} failed: it took longer than its limit: {_words(error, statement)}",
                hint="live is larger or busier than the copy: see what it waited for, and rehearse again",
            ) from None
        except psycopg.Error as error:
            if self._connection.broken:
                raise MigrationLost(
                    f"{what}: the connection was lost: {_words(error, statement)}",
                    hint="see the server's log and its sessions",
                ) from None
            raise MigrationFailed(
                f"{what} failed: {_words(error, statement)}", hint="fix the migration, then rehearse it again"
            ) from None


def _words(error: psycopg.Error, statement: Statement | None) -> str:
    """Without the line of the statement, and without values of rows, which are nobody's business: those that break a
    constraint (class 23), and those that are no numbers or times (class 22).
    """
    kind = (error.sqlstate or "")[:2]
    primary = error.diag.message_primary
    if primary and kind == "22":
        primary = _VALUE.sub('"..."', primary)
    detail = None if kind in ("22", "23") else error.diag.message_detail
    told = (primary, detail, error.diag.message_hint)
    words = "; ".join(part for part in told if part) or " ".join(str(error).split())
    return without_strings(words, statement) if statement else words
