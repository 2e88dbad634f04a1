"""A throwaway Oracle MySQL server, from a folder that ``UPKEEP_TEST_MYSQL_BIN`` names.

The folder holds mysqld, mysql, mysqldump and mysqladmin: programs, or the wrapper scripts of a tree unpacked beside the
system. A wrapped mysqld is told where its own tree is, since it was built to look for it below ``/usr``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.servers.base import ServerFailed
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.places import reachable_by_all

MYSQL_BIN = "UPKEEP_TEST_MYSQL_BIN"


class MySqlServer(MySqlFamilyServer):
    name = "mysql"

    def __init__(
        self, *, log_bin: bool = True, server_id: int = 1, options: dict[str, str | None] | None = None
    ) -> None:
        super().__init__(log_bin=log_bin, server_id=server_id, options=options)
        if not os.environ.get(MYSQL_BIN):
            raise ServerFailed(f"{MYSQL_BIN} isn't set: it names a folder with Oracle MySQL's programs")
        self.programs = Path(os.environ[MYSQL_BIN])
        self.tree = _tree(self.programs / "mysqld")
        # A tree unpacked under /root is closed to the account mysql; then the server stays root.
        if not (reachable_by_all(self.programs / "mysqld") and reachable_by_all(self.tree / "usr")):
            self.run_account = "root"

    def prepare(self) -> None:
        self.run(str(self.programs / "mysqld"), f"--defaults-file={self.write_option_file()}", "--initialize-insecure")

    def command(self) -> list[str]:
        return [str(self.programs / "mysqld"), f"--defaults-file={self.write_option_file()}"]

    def flavour_options(self) -> dict[str, str | None]:
        options: dict[str, str | None] = {
            "mysqlx": "0",
            "innodb-redo-log-capacity": "64M",
            **({"gtid-mode": "ON", "enforce-gtid-consistency": "ON"} if self.log_bin else {}),
            **({"user": "root"} if self.run_account == "root" and os.geteuid() == 0 else {}),
        }
        if self.tree != Path("/"):
            share = self.tree / "usr/share/mysql"
            options["lc-messages-dir"] = str(share)
            options["character-sets-dir"] = str(share / "charsets")
            options["plugin-dir"] = str(self.tree / "usr/lib/mysql/plugin")
        return options

    def account_sql(self) -> str:
        who = f"'{self.user}'@'%'"
        secret = self.password.replace("\\", "\\\\").replace("'", "''")
        return (
            "SET NAMES utf8mb4;\n"
            f"CREATE USER IF NOT EXISTS {who};\n"
            f"ALTER USER {who} IDENTIFIED WITH caching_sha2_password BY '{secret}';\n"
            f"GRANT ALL ON *.* TO {who} WITH GRANT OPTION;\n"
            "DROP USER IF EXISTS root@localhost;\n"
        )


def _tree(mysqld: Path) -> Path:
    """The root of the tree a wrapper script runs its program in; ``/`` when mysqld is the program itself."""
    with mysqld.open("rb") as file:
        head = file.read(4096)
    found = re.search(rb"--argv0 (\S+) (\S+)\1 ", head) if head.startswith(b"#!") else None
    return Path(os.fsdecode(found[2])) if found else Path("/")
