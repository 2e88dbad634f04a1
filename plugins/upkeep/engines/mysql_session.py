"""A login to one MySQL or MariaDB database that a duty keeps for many statements."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.mysql_engine import MySqlEngine


class MySqlSession:
    """Use as a context manager; entering logs in, and finds out what the server is."""

    def __init__(self, engine: MySqlEngine) -> None:
        self.engine = engine
        self.flavour = ""
        self.version: tuple[int, ...] = ()
        self._stack = ExitStack()
        self._facts: dict[str, Any] = {}
        self._connection: Connection[DictCursor]

    def __exit__(self, *_: object) -> None:
        with suppress(pymysql.MySQLError, OSError):  # a connection that is gone needs no farewell
            self._stack.close()

    def dicts(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """The rows. A percent sign in the statement is written twice, whether or not it takes values."""
        with self._connection.cursor(DictCursor) as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


def why_read_only(facts: Mapping[str, Any], endpoint: Endpoint) -> str:
    """Empty where the server takes changes. ``facts``: a row of ``list_purge_server``."""
    off = {"0", "OFF", ""}
    if str(facts["read_only"]).upper() in off and str(facts["innodb_read_only"]).upper() in off:
        return ""
    return f"the server {endpoint.address(3306)} is read-only, as replicas are"
