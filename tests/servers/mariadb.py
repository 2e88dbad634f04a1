"""A throwaway MariaDB server from the Debian package."""

from __future__ import annotations

from hashlib import sha1

from tests.servers.mysql_family import MySqlFamilyServer


class MariaDbServer(MySqlFamilyServer):
    name = "mariadb"

    def prepare(self) -> None:
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.tmp}",
        )

    def command(self) -> list[str]:
        return ["mariadbd", f"--defaults-file={self.write_option_file()}"]

    def flavour_options(self) -> dict[str, str | None]:
        return {}

    def account_sql(self) -> str:
        """The password as its hash: an init file is read in an encoding that can't be told beforehand."""
        stored = sha1(sha1(self.password.encode(), usedforsecurity=False).digest(), usedforsecurity=False).hexdigest()
        who = f"'{self.user}'@'%'"
        return (
            f"CREATE OR REPLACE USER {who} IDENTIFIED VIA mysql_native_password USING '*{stored.upper()}';\n"
            f"GRANT ALL ON *.* TO {who} WITH GRANT OPTION;\n"
            "DELETE FROM mysql.global_priv WHERE User IN ('', 'root');\n"
            "FLUSH PRIVILEGES;\n"
        )
