"""A fresh database on a running server, for one test."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql as pg_sql
from pymysql import OperationalError
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from upkeep.domain.endpoint import Endpoint


class Database(ABC):
    """One database with a name nobody else uses."""

    def __init__(self, name: str = "") -> None:
        self.name = name or f"upkeep_{secrets.token_hex(4)}"

    @abstractmethod
    def endpoint(self) -> Endpoint: ...

    @abstractmethod
    def execute(self, sql: str, *values: Any) -> int:
        """Run one statement in a session of its own; how many rows it touched."""

    @abstractmethod
    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def create(self) -> None: ...

    @abstractmethod
    def drop(self) -> None:
        """Drop it, whoever is still connected."""

    @contextmanager
    def existing(self) -> Iterator[None]:
        self.create()
        try:
            yield
        finally:
            self.drop()


class MySqlDatabase(Database):
    def __init__(self, server: MySqlFamilyServer, name: str = "") -> None:
        super().__init__(name)
        self.server = server

    @property
    def quoted(self) -> str:
        return "`" + self.name.replace("`", "``") + "`"

    def endpoint(self) -> Endpoint:
        return self.server.endpoint(self.name)

    def connect(self) -> Connection[Cursor]:
        return self.server.connect(self.name)

    def execute(self, sql: str, *values: Any) -> int:
        return _run(self.connect(), sql, values)[0]

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return _run(self.connect(), sql, values)[1]

    def create(self) -> None:
        _run(self.server.connect(), f"CREATE DATABASE {self.quoted} CHARACTER SET utf8mb4", ())

    def drop(self) -> None:
        if not self.server.running:
            return
        self._end_sessions("db = %s", self.name)
        try:
            self._drop()
        except OperationalError as error:
            if error.args[0] != ER.LOCK_WAIT_TIMEOUT:
                raise
            # What failed may have left a lock of the whole server behind, in a session that uses no database.
            self._end_sessions("user <> 'system user' AND command <> 'Daemon' AND id <> CONNECTION_ID()")
            self._drop()

    def _end_sessions(self, which: str, *values: str) -> None:
        found = _run(self.server.connect(), f"SELECT id FROM information_schema.processlist WHERE {which}", values)[1]
        for (session,) in found:
            _run(self.server.connect(), f"KILL {session}", (), missing_ok=True)

    def _drop(self) -> None:
        """It would wait for a day by default."""
        connection = self.server.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION lock_wait_timeout = 5")
        _run(connection, f"DROP DATABASE IF EXISTS {self.quoted}", ())


class PostgresDatabase(Database):
    def __init__(self, server: PostgresServer, name: str = "") -> None:
        super().__init__(name)
        self.server = server

    def endpoint(self) -> Endpoint:
        return self.server.endpoint(self.name)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self.server.connect(self.name)

    def execute(self, sql: str, *values: Any) -> int:
        with self.connect() as connection:
            return connection.execute(sql.encode(), values or None).rowcount

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(sql.encode(), values or None).fetchall()

    def create(self) -> None:
        with self.server.connect() as connection:
            connection.execute(pg_sql.SQL("CREATE DATABASE {}").format(pg_sql.Identifier(self.name)))

    def drop(self) -> None:
        if not self.server.running:
            return
        statement = pg_sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(pg_sql.Identifier(self.name))
        with self.server.connect() as connection:
            connection.execute("SET lock_timeout = '30s'")
            connection.execute(statement)


AnyDatabase = MySqlDatabase | PostgresDatabase


def is_mysql(database: AnyDatabase) -> bool:
    return isinstance(database, MySqlDatabase)


def _run(
    connection: Connection[Cursor], sql: str, values: Sequence[Any], *, missing_ok: bool = False
) -> tuple[int, list[tuple[Any, ...]]]:
    no_such_thread = 1094
    try:
        with connection.cursor() as cursor:
            try:
                touched = cursor.execute(sql, values or None)
            except Exception as error:
                if missing_ok and error.args[:1] == (no_such_thread,):
                    return 0, []
                raise
            return touched, list(cursor.fetchall())
    finally:
        connection.close()
