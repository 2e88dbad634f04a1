"""Restores a backup the way an operator without Upkeep would: its files, its restore line, stock clients, a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.duties.site_factory import SiteFactory
from tests.servers.mysql import MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from upkeep.domain.manifest import Manifest
from upkeep.engines.mysql_engine import option_file

STOCK = (
    "sh", "bash", "dash", "zsh", "cat", "chmod", "cp", "mkdir", "mv", "rm", "sed", "grep", "jq", "age", "zstd", "tar",
    "mysql", "mysqlbinlog", "mariadb", "mariadb-binlog", "psql", "pg_restore", "createdb", "redis-server", "redis-cli",
    "kubectl", "mktemp",
)  # fmt: skip
"""What a restore line may call."""


@dataclass(frozen=True)
class AgeKey:
    file: Path
    private: str
    public: str


def age_key(folder: Path) -> AgeKey:
    file = folder / "key.txt"
    subprocess.run(["age-keygen", "-o", file], check=True, capture_output=True)
    private = next(line for line in file.read_text().splitlines() if line.startswith("AGE-SECRET-KEY"))
    public = subprocess.run(["age-keygen", "-y", file], check=True, capture_output=True, text=True).stdout.strip()
    return AgeKey(file, private, public)


class Stored:
    """Reads a backup out of its store, as the duty does, with what a test changes of the dump on the way."""

    def __init__(
        self, sites: SiteFactory, manifest: Manifest, change: Callable[[bytes], bytes] = lambda text: text
    ) -> None:
        self._folder, self._change = sites.folder / "store" / manifest.backup.prefix, change
        self._names = {file.stream: file.name for file in manifest.files}

    def __call__(self, stream: str) -> Iterator[bytes]:
        done = subprocess.run(["zstd", "-dc", self._folder / self._names[stream]], check=True, capture_output=True)
        text = self._change(done.stdout) if stream.startswith("dump") else done.stdout
        for place in range(0, len(text), 70_001):
            yield text[place : place + 70_001]


def run_line(line: str, folder: Path, environment: dict[str, str], *, shell: str = "sh") -> str:
    """Run a restore line in the backup's folder; what it printed. A line that fails fails the test."""
    done = try_line(line, folder, environment, shell=shell)
    assert done.returncode == 0, f"{line}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def try_line(
    line: str, folder: Path, environment: dict[str, str], *, shell: str = "sh"
) -> subprocess.CompletedProcess[str]:
    """With nothing on the PATH but programs that any distribution has, so that no line can lean on Upkeep or Python."""
    path = stock_programs(folder.parent / "stock", environment.get("PATH", os.environ["PATH"]))
    return subprocess.run(
        [shell, "-c", line],
        cwd=folder,
        env={"LC_ALL": "C.UTF-8", **environment, "PATH": str(path)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )


def stock_programs(folder: Path, path: str) -> Path:
    """A folder of links to the stock programs that ``path`` has."""
    folder.mkdir(exist_ok=True)
    for name in STOCK:
        link = folder / name
        link.unlink(missing_ok=True)
        if found := shutil.which(name, path=path):
            link.symlink_to(found)
    return folder


def mysql_home(server: MySqlFamilyServer, folder: Path) -> dict[str, str]:
    """An operator's home with a .my.cnf: the stock client takes server and password from there."""
    folder.mkdir(exist_ok=True)
    file = folder / ".my.cnf"
    file.touch(mode=0o600)
    file.write_text(option_file(server.endpoint()), encoding="utf-8")
    path = os.environ["PATH"]
    if isinstance(server, MySqlServer):
        path = f"{server.programs}:{path}"
    return {"HOME": str(folder), "PATH": path}


def postgres_home(server: PostgresServer) -> dict[str, str]:
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
    }
