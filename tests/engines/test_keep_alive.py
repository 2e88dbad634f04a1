"""What a worker does while a server is silent for hours."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Any

import pytest

from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.postgres_restore import PostgresRestorer


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
