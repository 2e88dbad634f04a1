"""A throwaway Redis server from the Debian package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.base import Server


class RedisServer(Server):
    """Everyone logs in as the default user.

    :param requirepass: whether a password is asked for.
    :param maxmemory: as in redis.conf, ``100mb``; empty for no limit.
    :param settings: further lines of redis.conf, by name.
    """

    name = "redis"
    kind = "redis"
    account = "redis"
    user = ""

    def __init__(
        self, *, requirepass: bool = True, maxmemory: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        if not requirepass:
            self.password = ""
        self.maxmemory = maxmemory
        self.settings = dict(settings or {})

    def prepare(self) -> None:
        self.place.make("data")

    def command(self) -> list[str]:
        settings = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.folder / "data"),
            "save": '""',  # no snapshots of its own while it runs ...
            "shutdown-on-sigterm": "save",  # ... and one when it is stopped, so that a restart finds the keys
            "repl-diskless-sync-delay": "0",  # by default it waits 5 s before it sends an RDB
            "enable-debug-command": "local",
            **({"requirepass": quoted(self.password)} if self.password else {}),
            **({"maxmemory": self.maxmemory} if self.maxmemory else {}),
            **self.settings,
        }
        config = self.place.write("redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
        return ["redis-server", str(config)]

    def connect(self, database: str = "", *, password: str | None = None) -> redis.Redis:
        """A client whose answers are bytes and which fails at once. A database of Redis is a number."""
        secret = self.password if password is None else password
        return redis.Redis(
            host=self.host,
            port=self.port,
            password=secret or None,
            db=int(database or 0),
            retry=Retry(NoBackoff(), 0),  # by default it tries for four seconds before it says that a login failed
        )

    def connection_extra(self, database: str) -> dict[str, Any]:
        return {"db": int(database)} if database else {}

    def check(self) -> None:
        client = self.connect()
        try:
            client.ping()
            # Without a password anybody's server would answer: ask for the process id.
            if not self.password and client.info("server")["process_id"] != self.pid:
                raise ConnectionError("another server answers on this port")
        finally:
            client.close()


def quoted(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'
