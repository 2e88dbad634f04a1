"""Replicas of throwaway servers: a MariaDB that follows by GTID, a PostgreSQL standby that streams, a Redis replica."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.servers.base import ServerFailed
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer, programs
from tests.servers.redis_server import RedisServer, quoted

CATCH_UP_WITHIN_S = 60


class MariaDbReplica(MariaDbServer):
    """Follows ``primary`` from its first transaction on, and reports its address there.

    It logs in with the primary's own account, whose password it shares, since that account's making is replicated.
    """

    def __init__(self, primary: MariaDbServer) -> None:
        super().__init__(server_id=primary.server_id + 1)
        self.primary = primary
        self.password = primary.password

    def flavour_options(self) -> dict[str, str | None]:
        return {**super().flavour_options(), "report-host": self.host, "report-port": str(self.port), "read-only": "1"}

    def follow(self, channel: str = "") -> None:
        """``channel``: a name for this primary, as a replica of several has one for each."""
        name = f" '{channel}'" if channel else ""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CHANGE MASTER{name} TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD=%s, "
                "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
                (self.primary.host, self.primary.port, self.primary.user, self.primary.password),
            )
            cursor.execute(f"START SLAVE{name}")
        within(lambda: self.status(name)["Slave_IO_Running"] == "Yes", "the replica did not connect")
        within(self._is_registered, "the replica did not register")

    def stop_replay(self) -> None:
        self.do("STOP SLAVE SQL_THREAD")

    def start_replay(self) -> None:
        self.do("START SLAVE SQL_THREAD")

    def do(self, statement: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def status(self, name: str = "") -> dict[str, object]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW SLAVE{name} STATUS")
            row = cursor.fetchone()
            return dict(zip([column[0] for column in cursor.description], row or (), strict=False))

    def _is_registered(self) -> bool:
        with self.primary.connect() as connection, connection.cursor() as cursor:
            return bool(cursor.execute("SHOW SLAVE HOSTS"))


class PostgresStandby(PostgresServer):
    """Streams from ``primary`` through a slot of its own."""

    SLOT = "standby"

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self.primary = primary
        self.password = primary.password

    def prepare(self) -> None:
        passwords = self.place.write("pgpass", f"*:*:*:*:{self._escaped(self.primary.password)}\n")
        where = f"host={self.primary.host} port={self.primary.port} user={self.primary.user} passfile={passwords}"
        self.run(
            str(programs() / "pg_basebackup"), f"--dbname={where}", "--checkpoint=fast", "--write-recovery-conf",
            "--create-slot", f"--slot={self.SLOT}", f"--pgdata={self.folder / 'data'}",
        )  # fmt: skip

    def pause_replay(self) -> None:
        self._do("SELECT pg_wal_replay_pause()")

    def resume_replay(self) -> None:
        self._do("SELECT pg_wal_replay_resume()")

    def _do(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement.encode())

    @staticmethod
    def _escaped(secret: str) -> str:
        return secret.replace("\\", "\\\\").replace(":", "\\:")


class RedisReplica(RedisServer):
    def __init__(self, primary: RedisServer) -> None:
        login = {"masterauth": quoted(primary.password)} if primary.password else {}
        super().__init__(settings={"replicaof": f"{primary.host} {primary.port}", **login})


def within(question: Callable[[], bool], problem: str, seconds: float = CATCH_UP_WITHIN_S) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise ServerFailed(problem)
        time.sleep(0.1)
