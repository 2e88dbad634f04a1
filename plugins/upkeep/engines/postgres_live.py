"""PostgreSQL: a restored database takes the place of the live one, by renaming both in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.background import meanwhile
from upkeep.engines.live_base import LiveServer, State, Swapped
from upkeep.engines.postgres_restore import MAINTENANCE, PostgresRestorer
from upkeep.engines.restore_refusals import unavailable
from upkeep.errors import RestoreRefused, RestoreUnavailable
from upkeep.resources import sql

END_EVERY_S = 0.05
RENAME_LIMIT_S = 60


class PostgresLive(LiveServer):
    """Between two databases of one server; everything works from the maintenance database ``postgres``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._restorer = PostgresRestorer(endpoint, live=True)
        self.secrets = self._restorer.secrets
        self._where = endpoint.address(5432)

    def exists(self, database: str) -> bool:
        with self._connected() as connection:
            return _exists(connection, database)

    def obstacles(self, database: str) -> list[str]:
        if database == MAINTENANCE:
            return [f"database {MAINTENANCE!r} can't be renamed: everything here works from it"]
        return self._answers("list_swap_obstacles", database)

    def remarks(self, database: str) -> list[str]:
        return self._answers("list_swap_remarks", database)

    def writes_are_stopped(self, database: str) -> bool:
        with self._connected() as connection:
            return bool(connection.execute(sql("postgres", "list_read_only").encode(), [database]).fetchall())

    def exempt(self) -> list[str]:
        with self._connected() as connection:
            return [str(row["role"]) for row in connection.execute(sql("postgres", "list_exempt_roles").encode())]

    def writers(self, database: str) -> list[str]:
        with self._connected() as connection:
            rows = connection.execute(sql("postgres", "list_exempt_sessions").encode(), [database]).fetchall()
        return [f"{row['user']} from {row['host']} (session {row['pid']})" for row in rows]

    def stop_writes(self, database: str) -> None:
        with self._connected() as connection:
            connection.execute(
                SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(Identifier(database))
            )
            # Sessions read the setting when they begin, so those that are there have to begin anew.
            connection.execute(sql("postgres", "end_sessions").encode(), [[database]])

    def let_write(self, database: str) -> None:
        with self._connected() as connection:
            if not self.writes_are_stopped(database):
                return
            with connection.transaction():  # killed in it, the database is still marked, and all of it is done again
                connection.execute(
                    SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(Identifier(database))
                )
                connection.execute(sql("postgres", "end_sessions").encode(), [[database]])
            connection.execute(sql("postgres", "end_sessions").encode(), [[database]])  # who came back before its end

    def swap_state(self, live: str, new: str, old: str) -> State:
        with self._connected() as connection:
            there = {name for name in (live, new, old) if _exists(connection, name)}
        return "done" if there == {live, old} - {""} else "before"

    def swap(self, live: str, new: str, old: str) -> Swapped:
        """Renaming takes the lock that every new session waits for, then waits some seconds for those that are there:
        meanwhile another session of ours ends them. Whoever waited is told that its database is gone, and comes back to
        the new one.
        """
        with self._connected() as connection:
            there = {name for name in (live, new, old) if _exists(connection, name)}
            if there == {live, old} - {""}:
                return Swapped(old)
            if new not in there or old in there or (live in there and not old):
                raise RestoreRefused(
                    f"can't swap {new!r} over {live!r} on {self._where}: there {_are(there)}",
                    hint="somebody renamed or dropped one of them meanwhile: look at them, then restore again",
                )
            with self._sessions_ended(live, new):
                try:
                    with connection.transaction():
                        connection.execute(f"SET LOCAL statement_timeout = '{RENAME_LIMIT_S}s'".encode())
                        if live in there:
                            connection.execute(_rename(live, old))
                        connection.execute(_rename(new, live))
                except psycopg.errors.ObjectInUse as error:
                    raise RestoreUnavailable(
                        f"can't rename {live!r} on {self._where}: {str(error).strip()}",
                        hint="the account has to be allowed to end others' sessions (pg_signal_backend; a superuser's "
                        "only by a superuser); prepared transactions are committed or rolled back by hand",
                    ) from error
        return Swapped(old if live in there else "")

    def _answers(self, name: str, database: str) -> list[str]:
        with self._connected() as connection:
            return [str(row["told"]) for row in connection.execute(sql("postgres", name).encode(), {"name": database})]

    def _sessions_ended(self, *databases: str) -> AbstractContextManager[None]:
        def end_them(over: threading.Event) -> None:
            with suppress(psycopg.Error, RestoreUnavailable), closing(self._restorer.connect(MAINTENANCE)) as other:
                while not over.is_set():
                    other.execute(sql("postgres", "end_sessions").encode(), [list(databases)])
                    over.wait(END_EVERY_S)

        return meanwhile(end_them, name="ends sessions")

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[DictRow]]:
        with closing(self._restorer.connect(MAINTENANCE)) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                raise unavailable(self._restorer.said(error, "work").message) from error


def _exists(connection: psycopg.Connection[DictRow], database: str) -> bool:
    return bool(connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchall())


def _rename(before: str, after: str) -> psycopg.sql.Composed:
    return SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(before), Identifier(after))


def _are(names: set[str]) -> str:
    return f"are only {', '.join(sorted(map(repr, names)))}" if names else "is none of them"
