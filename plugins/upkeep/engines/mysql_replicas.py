"""How far the replicas of a MySQL or MariaDB server are behind: each is asked itself, as its primary doesn't know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from upkeep.domain.load import Replica
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.errors import SourceError
from upkeep.resources import sql

ANSWER_WITHIN_S = 10
DUMPING = {"Binlog Dump", "Binlog Dump GTID"}


class MySqlReplicas:
    """The replicas that are registered at a server when this is made.

    ``unseen`` names those that can't be asked, and why. One that could be asked at first and no longer can counts as
    stopped.
    """

    def __init__(
        self,
        engine: MySqlEngine,
        flavour: str,
        version: Sequence[int],
        ask: Callable[..., list[dict[str, Any]]],
    ) -> None:
        self._engine = engine
        self._status = status_statement(flavour, version)
        self._connections: dict[str, Connection[DictCursor] | None] = {}
        unseen: list[str] = []
        try:
            self._find(ask, unseen)
        except pymysql.MySQLError as error:
            unseen.append(f"the account may not see the server's replicas ({error.args[-1]}): grant REPLICATION SLAVE")
        self.unseen = tuple(unseen)

    def lags(self) -> tuple[Replica, ...]:
        return tuple(Replica(name, self._lag(name)) for name in self._connections)

    def close(self) -> None:
        for connection in self._connections.values():
            if connection is not None:
                with suppress(pymysql.MySQLError, OSError):
                    connection.close()

    def _find(self, ask: Callable[..., list[dict[str, Any]]], unseen: list[str]) -> None:
        registered = ask(sql("mysql", "list_replicas" if self._status == "list_replica_status" else "list_slave_hosts"))
        dumping = [
            str(session["Host"] or "").rpartition(":")[0]
            for session in ask(sql("mysql", "list_sessions"))
            if session["Command"] in DUMPING
        ]
        for replica in registered:
            server_id, port = str(replica["Server_id"]), int(replica["Port"] or 3306)
            hosts = [str(replica["Host"])] if replica["Host"] else list(dict.fromkeys(dumping))
            connection = next(filter(None, (self._try(host, port, server_id) for host in hosts)), None)
            if connection is None:
                unseen.append(
                    f"replica {server_id} ({', '.join(hosts) or 'no address'}, port {port}) can't be asked how far it "
                    "is behind: set report_host there, and let this account log in with REPLICATION CLIENT"
                )
                continue
            self._connections[f"{connection.host}:{port}"] = connection
        missing = len(dumping) - len(registered)
        if missing > 0:
            unseen.append(f"{missing} more sessions read the binary log; they are not registered as replicas")

    def _try(self, host: str, port: int, server_id: str) -> Connection[DictCursor] | None:
        try:
            connection = self._log_in(host, port)
        except SourceError:
            return None
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql("mysql", "list_server_id"))
                if str((cursor.fetchone() or {})["server_id"]) == server_id:
                    _worst(connection, self._status)
                    return connection
        except pymysql.MySQLError:
            pass
        connection.close()
        return None

    def _log_in(self, host: str, port: int) -> Connection[DictCursor]:
        extra = {key: value for key, value in self._engine.endpoint.extra.items() if key != "unix_socket"}
        there = replace(self._engine.endpoint, host=host, port=port, extra=extra)
        connection = MySqlEngine(there, self._engine.database).connect()
        connection._read_timeout = ANSWER_WITHIN_S  # type: ignore[attr-defined]  # connect() has no word for it
        return connection

    def _lag(self, name: str) -> float | None:
        connection = self._connections[name]
        try:
            if connection is None:
                host, _, port = name.rpartition(":")
                connection = self._connections[name] = self._log_in(host, int(port))
            return _worst(connection, self._status)
        except (pymysql.MySQLError, SourceError, OSError):
            self._connections[name] = None
            return None


def status_statement(flavour: str, version: Sequence[int]) -> str:
    """What a replica is asked how far it is behind: the name of a statement that answers with a row for each primary.

    Only MySQL has the new names everywhere; MariaDB keeps the old ones beside them.
    """
    if flavour == "mariadb":
        return "list_all_slaves_status"
    return "list_replica_status" if tuple(version) >= (8, 0, 22) else "list_slave_status"


def _worst(connection: Connection[DictCursor], status: str) -> float | None:
    """Seconds behind the primary that is furthest ahead; None when replication from any of them has stopped."""
    with connection.cursor() as cursor:
        cursor.execute(sql("mysql", status))
        lags = [_seconds(channel) for channel in cursor.fetchall()]
    return None if None in lags else max((lag for lag in lags if lag is not None), default=None)


def _seconds(channel: Mapping[str, Any]) -> float | None:
    value = next((channel[name] for name in channel if name.startswith("Seconds_Behind_")), None)
    return None if value is None else float(value)
