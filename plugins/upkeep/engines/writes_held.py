"""Holds the writes of a MySQL or MariaDB server for the moment in which two snapshots are opened.

A global read lock (``FLUSH TABLES WITH READ LOCK``) is the one lock that does it without making anybody else's
transaction fail: ``LOCK TABLES ... READ`` takes part in deadlocks, and there the server always sacrifices the other
side. What the global lock does to others in return is bounded here.

- MySQL waits for every running SELECT too, and after giving up still lets nobody open the tables that such a SELECT
  reads until it ends. So there it is only tried while no statement has been running for a second.
- On MySQL the statement that gave up still holds the lock. So it lives in a session of its own, and the end of that
  session releases it, whatever happened.
- While it waits for one statement it holds up all others, among them the one that would let the first go on (a row
  lock's owner): nobody sees that deadlock. So each try is short, and between two tries the jam dissolves.
- ``lock_wait_timeout`` counts whole seconds, anew in each of several places. So a watchdog ends a try.
- If this worker vanishes from the network, the server would go on waiting for it. So the session has a short
  ``wait_timeout``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from upkeep.engines.background import ended_after
from upkeep.resources import sql

NO_PRIVILEGE = {
    ER.ACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
}
GAVE_UP = {ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED}
LONG_S = 1
"""From how many seconds on a running statement keeps the lock from being tried; servers count whole seconds."""
LOOK_EVERY_S = 0.2
TRY_S = 0.5
"""How long one try may hold up others."""
PAUSE_S = 0.3
IDLE = {"Sleep", "Daemon", "Binlog Dump", "Binlog Dump GTID"}
OWN_THREADS = {"system user", "event_scheduler"}


class NotHeld(Exception):
    """Writes could not be held, for the reason in the message."""


@contextmanager
def writes_held(
    connect: Callable[[], Connection[DictCursor]], beside: Connection[DictCursor], *, flavour: str, limit_s: int
) -> Iterator[None]:
    """Hold all writes for the length of the block, or raise ``NotHeld`` without having run it.

    ``NotHeld`` also comes at the block's end, when the lock turns out to have been lost within it. ``connect`` opens
    the session that holds the lock; ``beside`` is another one of the same account, idle meanwhile.
    """
    with connect() as holder, holder.cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = %s, SESSION wait_timeout = %s", (limit_s, 2 * limit_s + 5))
        waited_s = 0.0
        while not _try_once(cursor, _id_of(holder), beside, flavour, limit_s, waited_s):
            waited_s += TRY_S
            time.sleep(PAUSE_S)
        yield
        try:
            cursor.execute("UNLOCK TABLES")
        except pymysql.MySQLError as error:
            raise NotHeld("the session that held writes was lost meanwhile") from error


def _try_once(
    cursor: DictCursor, holder: int, beside: Connection[DictCursor], flavour: str, limit_s: int, waited_s: float
) -> bool:
    """Whether the lock was had. Raises ``NotHeld`` when there is no use in another try."""
    if flavour == "mysql":
        _wait_for_a_quiet_moment(beside, holder, limit_s)
    try:
        with ended_after(TRY_S, partial(_end_statement, holder, beside), name="ends a try to hold writes"):
            cursor.execute(sql("mysql", "lock_all"))
        return True
    except pymysql.MySQLError as error:
        if error.args[0] in NO_PRIVILEGE:
            raise NotHeld("the account may not hold writes for a moment: grant RELOAD") from error
        if error.args[0] not in GAVE_UP:
            raise
        cursor.execute("UNLOCK TABLES")
        if waited_s + TRY_S >= limit_s:
            raise NotHeld(f"others kept the read lock away for lock_timeout_s ({limit_s} s)") from error
        return False


def _end_statement(session: int, beside: Connection[DictCursor]) -> None:
    with suppress(pymysql.MySQLError), beside.cursor() as cursor:  # it may have ended by itself this moment
        cursor.execute("KILL QUERY %s", (session,))


def _wait_for_a_quiet_moment(session: Connection[DictCursor], holder: int, limit_s: int) -> None:
    deadline = time.monotonic() + limit_s
    with session.cursor() as cursor:
        try:
            cursor.execute(sql("mysql", "list_transactions"))
        except pymysql.MySQLError as error:
            if error.args[0] not in NO_PRIVILEGE:
                raise
            raise NotHeld(
                "the account may not see whether a long statement is running, behind which the read lock would make "
                "everybody wait: grant PROCESS and RELOAD"
            ) from error
        while True:
            cursor.execute(sql("mysql", "list_sessions"))
            busy = [
                other
                for other in cursor.fetchall()
                if other["Command"] not in IDLE
                and other["User"] not in OWN_THREADS
                and int(other["Time"] or 0) >= LONG_S
                and other["Id"] not in (_id_of(session), holder)
            ]
            if not busy:
                return
            if time.monotonic() >= deadline:
                longest = max(busy, key=lambda other: int(other["Time"]))
                raise NotHeld(
                    f"a statement of {longest['User']} (session {longest['Id']}) has been running for "
                    f"{longest['Time']} s, and the read lock would make everybody wait behind it"
                )
            time.sleep(LOOK_EVERY_S)


def _id_of(session: Connection[DictCursor]) -> int:
    return int(session.thread_id())  # type: ignore[no-untyped-call]  # the stubs leave it out
