"""A login to one PostgreSQL database that a duty keeps for many statements."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import psycopg

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.names import quoted
from upkeep.engines.postgres_engine import PostgresEngine


class PostgresSession:
    """Use as a context manager; entering logs in, and finds out what the server is."""

    def __init__(self, engine: PostgresEngine) -> None:
        self.engine = engine
        self._stack = ExitStack()
        self._facts: dict[str, Any] = {}
        self._connection: psycopg.Connection[Any]

    def __exit__(self, *_: object) -> None:
        with suppress(psycopg.Error):  # a connection that is gone needs no farewell
            self._stack.close()


def why_read_only(facts: Mapping[str, Any], endpoint: Endpoint) -> str:
    """Empty where the server takes changes. ``facts``: a row of ``list_purge_server``."""
    if not facts["in_recovery"] and not facts["read_only"]:
        return ""
    why = "a standby" if facts["in_recovery"] else "set to read-only transactions"
    return f"the server {endpoint.address(5432)} is {why}"


def percent(text: str) -> str:
    """In a statement that takes values a lone percent sign would be read as a place for one."""
    return text.replace("%", "%%")


def identifier(*names: str) -> str:
    """A quoted name for a statement that takes values."""
    return percent(quoted("postgres", *names))
