"""What MariaDB and MySQL servers share: the wire protocol, the option file, the account."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from tests.servers.base import Server

OWN_DATABASES = {"mysql", "information_schema", "performance_schema", "sys"}


class MySqlFamilyServer(Server):
    """A server that PyMySQL can talk to.

    :param log_bin: whether it writes a binary log, so that a dump can record a position.
    :param server_id: different for each member of a replication setup.
    :param options: further lines of the option file, by name; None for an option without a value.
    """

    kind = "mysql"
    account = "mysql"

    def __init__(
        self, *, log_bin: bool = True, server_id: int = 1, options: Mapping[str, str | None] | None = None
    ) -> None:
        super().__init__()
        self.log_bin = log_bin
        self.server_id = server_id
        self.options = dict(options or {})

    def connect(self, database: str = "", *, user: str = "", password: str | None = None) -> Connection[Cursor]:
        """An autocommitting connection. PyMySQL encodes a text password as Latin-1, so it gets bytes."""
        secret = self.password if password is None else password
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=secret.encode(),
            database=database or None,
            charset="utf8mb4",
            autocommit=True,
            local_infile=True,
            connect_timeout=10,
        )

    def check(self) -> None:
        self.connect().close()

    def databases(self) -> set[str]:
        """All but the server's own."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            return {str(name) for (name,) in cursor.fetchall()} - OWN_DATABASES

    @property
    def tmp(self) -> Path:
        """A server that starts removes what it takes for its own leftovers from tmpdir, other servers' files too."""
        path = self.folder / "tmp"
        return path if path.is_dir() else self.place.make("tmp")

    @property
    def socket(self) -> Path:
        return self.folder / "sock"

    @abstractmethod
    def flavour_options(self) -> dict[str, str | None]:
        """Options only this flavour knows."""

    def write_option_file(self) -> Path:
        options: dict[str, str | None] = {
            "datadir": str(self.folder / "data"),
            "tmpdir": str(self.tmp),
            "socket": str(self.socket),
            "pid-file": str(self.folder / "pid"),
            "init-file": str(self.place.write("init.sql", self.account_sql())),
            "port": str(self.port),
            "bind-address": self.host,
            "skip-name-resolve": None,
            "server-id": str(self.server_id),
            "local-infile": "1",
            "secure-file-priv": "",
            # A test server may lose everything with the power: no write waits for the disk.
            "innodb-flush-log-at-trx-commit": "0",
            "sync-binlog": "0",
            "innodb-flush-method": "O_DIRECT_NO_FSYNC",
            "innodb-buffer-pool-size": "128M",
            "innodb-use-native-aio": "0",
            **({"log-bin": "bin"} if self.log_bin else {"skip-log-bin": None}),
            **self.flavour_options(),
            **self.options,
        }
        lines = [name if value is None else f"{name}={value}" for name, value in options.items()]
        return self.place.write("my.cnf", "\n".join(["[mysqld]", *lines, ""]))

    @abstractmethod
    def account_sql(self) -> str:
        """Statements, one a line, that make ``user`` the only one who can log in. They run at every start."""
