"""A throwaway PostgreSQL server from the Debian package."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.base import Server, ServerFailed


class PostgresServer(Server):
    """``upkeep`` is its superuser.

    :param settings: further settings, by name.
    """

    name = "postgres"
    kind = "postgres"
    account = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: sessions are cut, not waited for

    def __init__(self, *, wal_level: str = "replica", settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.wal_level = wal_level
        self.settings = dict(settings or {})

    def prepare(self) -> None:
        secret = self.place.write("password", f"{self.password}\n")
        self.run(
            str(programs() / "initdb"),
            "--no-sync",
            "--auth=scram-sha-256",
            f"--username={self.user}",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            f"--pgdata={self.folder / 'data'}",
        )
        secret.unlink()

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "wal_level": self.wal_level,
            # A test server may lose everything with the power: no write waits for the disk.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_wal_size": "4GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        config = self.place.write("postgresql.conf", "\n".join([*lines, ""]))
        return [
            str(programs() / "postgres"),
            "-D",
            str(self.folder / "data"),
            "-c",
            f"config_file={config}",
            "-c",
            f"hba_file={self.folder / 'data' / 'pg_hba.conf'}",
            "-c",
            f"ident_file={self.folder / 'data' / 'pg_ident.conf'}",
        ]

    def connect(
        self, database: str = "", *, user: str = "", password: str | None = None
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommitting connection."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=self.password if password is None else password,
            dbname=database or "postgres",
            autocommit=True,
            connect_timeout=10,
        )

    def check(self) -> None:
        self.connect().close()

    def databases(self) -> set[str]:
        """All but the server's own."""
        with self.connect() as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")
            return {str(name) for (name,) in found} - {"postgres"}


@cache
def programs() -> Path:
    """Where initdb and postgres are: Debian keeps them off PATH, in a folder for each release."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(os.path.realpath(on_path)).parent
    raise ServerFailed("initdb isn't installed: apt-get install postgresql")
