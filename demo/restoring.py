"""Restoring the kindergarten's database into a server of its own, by the line in its manifest and nothing else."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from demo.estate import Estate, new_mysql
from demo.processes import run
from tests.servers.data import fingerprint_mysql
from tests.servers.data.fingerprint import Fingerprint
from tests.servers.mysql import MYSQL_BIN
from tests.servers.mysql_family import MySqlFamilyServer

RESTORED_WITHIN_S = 120


class RestoreFailed(RuntimeError):
    """The line in the manifest did not work; the message is what it printed."""


@dataclass(frozen=True)
class Restored:
    """The restored copy, beside what was counted while it was dumped and what had been put into the source."""

    line: str
    dumped: dict[str, int]
    source: Fingerprint
    copy: Fingerprint

    @property
    def exact(self) -> bool:
        """Whether the copy has the source's very rows, and as many as were counted while they were dumped."""
        same_count = self.dumped == {table: rows for table, (rows, _) in self.copy.tables.items()}
        return same_count and self.source.tables == self.copy.tables

    def table(self) -> str:
        lines = [f"{'table':<22}{'in source':>11}{'dumped':>10}{'restored':>10}  content"]
        for name in sorted({*self.source.tables, *self.copy.tables}):
            (rows, checksum), (restored, copied) = (
                found.tables.get(name, (0, "")) for found in (self.source, self.copy)
            )
            verdict = "same" if checksum == copied else "DIFFERS"
            lines.append(f"{name:<22}{rows:>11,}{self.dumped.get(name, 0):>10,}{restored:>10,}  {verdict}")
        return "\n".join(lines)


def restore(estate: Estate, place: Path) -> Restored:
    """Do what an operator does on a bad day: fetch the newest backup's files, run the manifest's line.

    Errors: ``RestoreFailed``.
    """
    newest = max((estate.place / "store" / "kindergarten" / "app").glob("*/manifest.json"))
    manifest = json.loads(newest.read_text(encoding="utf-8"))
    fetched = place / "restore"
    shutil.copytree(newest.parent, fetched)
    scratch = new_mysql()
    scratch.password = secrets.token_hex(12)  # one that needs no quoting in an option file
    with scratch:
        _run_line(manifest["restore"], fetched, _home_of_operator(place, scratch))
        with scratch.connect() as connection:
            copy = fingerprint_mysql(connection, estate.kindergarten.name)
    dumped = {table: facts["rows"] for table, facts in manifest["contents"]["tables"].items()}
    return Restored(manifest["restore"], dumped, estate.filled, copy)


def _run_line(line: str, folder: Path, home: Path) -> None:
    path = os.pathsep.join(filter(None, [os.environ.get(MYSQL_BIN), os.environ["PATH"]]))
    done = run(["bash", "-c", line], seconds=RESTORED_WITHIN_S, folder=folder, env={"HOME": str(home), "PATH": path})
    if done.returncode != 0:
        raise RestoreFailed(f"status {done.returncode}: {done.stdout}")


def _home_of_operator(place: Path, server: MySqlFamilyServer) -> Path:
    """A home whose ``.my.cnf`` leads to the server: the line itself says nothing about where it restores to."""
    home = place / "operator"
    home.mkdir()
    options = home / ".my.cnf"
    options.touch(mode=0o600)
    options.write_text(
        f"[client]\nprotocol=tcp\nhost={server.host}\nport={server.port}\nuser={server.user}\npassword={server.password}\n"
    )
    return home
