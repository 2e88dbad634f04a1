"""What a worker does while a server is silent: for hours at work, or from the first moment on."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from typing import Any

import pytest

from tests.servers.databases import MySqlDatabase
from upkeep.domain.endpoint import Endpoint
from upkeep.engines import mysql_engine
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.errors import SourceError


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_a_silent_connection_is_kept_in_use_and_its_loss_is_noticed_within_minutes(
    flavour: str, request: pytest.FixtureRequest
) -> None:
    database: Any = request.getfixturevalue(f"{flavour}_database")
    restorer: Any = (PostgresRestorer if flavour == "postgres" else MySqlRestorer)(database.endpoint())
    with closing(restorer.connect(database.name)) as connection:
        descriptor = connection.fileno() if flavour == "postgres" else connection._sock.fileno()
        with socket.socket(fileno=os.dup(descriptor)) as wire:
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            asked = [
                wire.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]
    assert asked == [60, 15, 4]


def test_a_login_to_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_engine, "LOGIN_WITHIN_S", 0.5)
    begun = time.monotonic()
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        where = Endpoint(
            "shop_mysql", host="127.0.0.1", port=silent.getsockname()[1], user="upkeep", secret="s3cret-Zq7"
        )
        with pytest.raises(SourceError, match="can't log in to database 'shop'") as raised:
            MySqlEngine(where, "shop").connect()
    assert time.monotonic() - begun < 5
    assert "s3cret-Zq7" not in str(raised.value)


def test_once_logged_in_a_statement_may_be_silent_for_longer(
    any_mysql_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_engine, "LOGIN_WITHIN_S", 0.5)
    engine = MySqlEngine(any_mysql_database.endpoint(), any_mysql_database.name)
    with closing(engine.connect()) as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT SLEEP(1)") == 1
