"""The servers of one run, filled with about a gigabyte each, once, with the same rows.

Four fifths are the two tables that grow fastest in the kindergarten manual, one fifth is prose. How much a row costs
to dump against how much its bytes cost to compress decides every ratio: rows of many short columns are dear to dump,
prose is dear to compress. With this share gzip leaves 0.37 of the plain dump and zstd -1 0.31, as on the data with
which the targets were set (0.36 to 0.39, and 0.31). ``prose`` moves it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from bench import rows
from bench.measure import tell
from tests.servers.data.bulk import grow_mysql, grow_postgres
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from upkeep.domain.endpoint import Endpoint

LARGE, SMALL = "large", "small"
"""Names of the two databases on each server: the whole size, and a tenth of it."""
PROSE_PCT = 20


@dataclass(frozen=True)
class Source:
    """One filled server. ``path`` is what ``UPKEEP_PATH`` must hold for its client programs to be found."""

    server: MySqlFamilyServer | PostgresServer
    path: str = ""

    def endpoint(self, database: str = LARGE) -> Endpoint:
        return self.server.endpoint(database)


class Sources:
    """Each server is started and filled when it is first asked for; all of them end with the block.

    ``folder`` is for whatever a benchmark writes: on disk, empty at the start, removed at the end.
    """

    def __init__(self, megabytes: int, *, prose_pct: int = PROSE_PCT) -> None:
        self.megabytes = megabytes
        self.prose_pct = prose_pct
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="upkeep-bench-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def mariadb(self) -> Source:
        return Source(self._mysql_family(MariaDbServer()))

    @cached_property
    def mysql(self) -> Source | None:
        """Oracle's server, where ``UPKEEP_TEST_MYSQL_BIN`` says where it is."""
        programs = os.environ.get(MYSQL_BIN)
        return Source(self._mysql_family(MySqlServer()), programs) if programs else None

    @cached_property
    def postgres(self) -> Source:
        server = self._stack.enter_context(PostgresServer())
        for database, megabytes in self._sizes():
            with server.connect() as connection:
                connection.execute(f"CREATE DATABASE {database}".encode())
            with server.connect(database) as connection, _told(server.name, megabytes):
                _fill_postgres(connection, self._shares(megabytes))
        server.restart()
        return Source(server)

    def _mysql_family(self, server: MySqlFamilyServer) -> MySqlFamilyServer:
        self._stack.enter_context(server)
        for database, megabytes in self._sizes():
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
            with server.connect(database) as connection, _told(server.name, megabytes):
                _fill_mysql(connection, self._shares(megabytes))
        server.restart()  # writes what is dirty, so that no benchmark pays for the filling
        return server

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        return (SMALL, max(1, self.megabytes // 10)), (LARGE, self.megabytes)

    def _shares(self, megabytes: int) -> tuple[dict[str, float], float]:
        """Megabytes of each table of the manual, and of prose."""
        prose = megabytes * self.prose_pct / 100
        return {table: (megabytes - prose) / len(rows.COLUMNS) for table in rows.COLUMNS}, prose


def fill_mysql(connection: Connection[Cursor], shares: dict[str, float]) -> None:
    """``shares``: megabytes of each table of the manual."""
    _fill_mysql(connection, (shares, 0))


def fill_postgres(connection: psycopg.Connection[Any], shares: dict[str, float]) -> None:
    """``shares``: megabytes of each table of the manual."""
    _fill_postgres(connection, (shares, 0))


def _fill_mysql(connection: Connection[Cursor], shares: tuple[dict[str, float], float]) -> None:
    tables, prose = shares
    with connection.cursor() as cursor:
        for table, megabytes in tables.items():
            cursor.execute(rows.MYSQL[table])
            for batch in rows.batches(table, megabytes):
                values = ",".join("(" + ",".join(map(_literal, row)) + ")" for row in batch)
                connection.query(f"INSERT INTO {table} ({','.join(rows.COLUMNS[table])}) VALUES {values}")
            cursor.execute(rows.INDEXES[table])
    if prose:
        grow_mysql(connection, prose, tables=1)
    with connection.cursor() as cursor:
        # As VACUUM (ANALYZE) below: a server that is restarted right after the filling may take a full table for empty.
        cursor.execute("SHOW TABLES")
        cursor.execute(f"ANALYZE TABLE {', '.join(name for (name,) in cursor.fetchall())}")


def _fill_postgres(connection: psycopg.Connection[Any], shares: tuple[dict[str, float], float]) -> None:
    tables, prose = shares
    for table, megabytes in tables.items():
        connection.execute(rows.POSTGRES[table].encode())
        statement = f"COPY {table} ({','.join(rows.COLUMNS[table])}) FROM STDIN".encode()
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in rows.batches(table, megabytes):
                copy.write(
                    "".join("\t".join(r"\N" if value is None else value for value in row) + "\n" for row in batch)
                )
        connection.execute(rows.INDEXES[table].encode())
    if prose:
        grow_postgres(connection, prose, tables=1)
    connection.execute("VACUUM (ANALYZE)")


def _literal(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


@contextmanager
def _told(server: str, megabytes: int) -> Iterator[None]:
    tell(f"filling {server} with {megabytes} MB ...")
    begun = time.monotonic()
    yield
    tell(f"  took {time.monotonic() - begun:.0f} s")
