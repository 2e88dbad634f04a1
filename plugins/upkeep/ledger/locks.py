"""Exclusive locks across processes and machines that vanish with the process that holds them.

On PostgreSQL a session advisory lock, on SQLite ``flock`` on a file in ``<database file>.locks/``. Both end with the
process even on SIGKILL, for the kernel closes its sockets and files; a child that was forked (not a program that was
started) while the lock was held keeps it until it ends too. When a whole machine vanishes, PostgreSQL notices after
about a minute and a half.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from upkeep.errors import Busy, LedgerUnavailable
from upkeep.ledger.database import Database

POLL_S = 0.2

T = TypeVar("T")


class Hold:
    """A lock in our hands."""

    def __init__(self, still_held: Callable[[], bool]) -> None:
        self._still_held = still_held

    def still_held(self) -> bool:
        """Whether it is ours even now: a cut connection or a removed lock file takes it away without a sound.

        Ask before the step that must not be done by two at once.
        """
        return self._still_held()


class Locks(Protocol):
    def hold(self, name: str, *, label: str = "", wait_s: float = 0) -> AbstractContextManager[Hold]:
        """Hold the lock ``name`` for the block.

        :param label: what people call it, in the error.
        :param wait_s: how long to try, in seconds.
        :raises Busy: somebody else has it; says who where that is known.
        :raises LedgerUnavailable: locks can't be had at all.
        """

    def held(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that somebody holds."""


def lock_key(name: str) -> int:
    """A signed 64-bit number for a name, PostgreSQL's key for it and on SQLite the name of its file."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()[:8], "big", signed=True)


class FileLocks:
    """Locks among the processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str, *, label: str = "", wait_s: float = 0) -> Iterator[Hold]:
        path = self._path(name)
        with self._told():
            self._folder.mkdir(exist_ok=True)
            handle = _until(lambda: _locked(path), wait_s)
        if handle is None:
            raise _busy(label or name, _read(path))
        try:
            with suppress(OSError):  # a full disk costs only the name of the holder
                os.truncate(handle, 0)
                os.write(handle, _me().encode())
            yield Hold(lambda: _is_at(handle, path))
        finally:
            with suppress(OSError):  # a file that stays is harmless, an error here would hide how the block ended
                if _is_at(handle, path):
                    path.unlink()
            os.close(handle)

    def held(self, names: Iterable[str]) -> set[str]:
        with self._told():
            return {name for name in names if _is_locked(self._path(name))}

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerUnavailable(
                f"the ledger's locks in {self._folder} can't be used: {error.strerror or error}",
                hint=f"let the account that runs Upkeep write to {self._folder}",
            ) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{lock_key(name) % 2**64:016x}.lock"


def _locked(path: Path) -> int | None:
    """A handle to ``path`` with the lock on it, or None if somebody else has that."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        # Its last holder removed the file between our open and our lock: what we locked is not what others will see.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask must not see each other
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _me() -> str:
    """Who holds a lock, for people. The machine comes last: PostgreSQL cuts an application name after 63 bytes."""
    return f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} on {socket.gethostname()}"


def _busy(name: str, holder: str) -> Busy:
    return Busy(
        f"{name} is held by {holder or 'another process'}",
        hint="wait until it has finished, or find out what keeps it and stop it there",
    )


def _until(take: Callable[[], T | None], wait_s: float) -> T | None:
    """Try until it is had or the time is up; at least once."""
    deadline = time.monotonic() + wait_s
    while (had := take()) is None and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(POLL_S, left))
    return had


_TRY = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock_all()")
_CALL_ME = text("SELECT set_config('application_name', :me, false)")
_LOCKS = text("""
    SELECT (classid::bigint << 32) | objid::bigint AS key,  -- PostgreSQL shows a 64-bit key as two halves
           coalesce(application_name, '') AS holder,        -- hidden when it is another role's session
           pid = pg_backend_pid() AS ours
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
_KEEP_ALIVE = text("""
    SELECT set_config(name, value, false)
    FROM (VALUES ('idle_session_timeout', '0'), ('tcp_keepalives_idle', '60'), ('tcp_keepalives_interval', '10'),
                 ('tcp_keepalives_count', '3')) AS wanted (name, value)
    JOIN pg_settings USING (name)  -- for releases that lack one of them
""")


class PostgresLocks:
    """Locks among all who use one database. Each costs a connection for as long as it is held."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def hold(self, name: str, *, label: str = "", wait_s: float = 0) -> Iterator[Hold]:
        key = lock_key(name)
        session = self._database.session()
        try:
            with self._database.told("reached"):
                session.execute(_KEEP_ALIVE)
                had = _until(lambda: session.scalar(_TRY, {"key": key}) or None, wait_s)
                if had:
                    session.execute(_CALL_ME, {"me": _me()})
                holder = next((row.holder for row in session.execute(_LOCKS) if row.key == key), "")
            if not had:
                raise _busy(label or name, holder)
            yield Hold(lambda: _owns(session, key))
        finally:
            _end(session)

    def held(self, names: Iterable[str]) -> set[str]:
        keys = {lock_key(name): name for name in names}
        with self._database.snapshot() as connection:
            return {keys[key] for key in connection.scalars(_LOCKS) if key in keys}


def _owns(session: Connection, key: int) -> bool:
    try:
        return any(row.ours and row.key == key for row in session.execute(_LOCKS))
    except SQLAlchemyError:
        return False


def _end(session: Connection) -> None:
    """Close a session; its locks are free when this returns, not whenever the server has noticed the close."""
    try:
        session.execute(_UNLOCK)
    except SQLAlchemyError:
        session.invalidate()  # the connection is gone, and the locks with it
    finally:
        session.close()
