"""The servers of one run, filled with about a gigabyte of documents each, once."""

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
from typing import Self

from bench.measure import tell
from tests.servers.data.bulk import grow_mysql, grow_postgres
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from upkeep.domain.endpoint import Endpoint

LARGE, SMALL = "large", "small"
"""Names of the two databases on each server: the whole size, and a tenth of it."""


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

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
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
                grow_postgres(connection, megabytes)
                connection.execute("VACUUM (ANALYZE)")
        server.restart()
        return Source(server)

    def _mysql_family(self, server: MySqlFamilyServer) -> MySqlFamilyServer:
        self._stack.enter_context(server)
        for database, megabytes in self._sizes():
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
            with server.connect(database) as connection, _told(server.name, megabytes):
                grow_mysql(connection, megabytes)
        server.restart()  # writes what is dirty, so that no benchmark pays for the filling
        return server

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        return (SMALL, max(1, self.megabytes // 10)), (LARGE, self.megabytes)


@contextmanager
def _told(server: str, megabytes: int) -> Iterator[None]:
    tell(f"filling {server} with {megabytes} MB ...")
    begun = time.monotonic()
    yield
    tell(f"  took {time.monotonic() - begun:.0f} s")
