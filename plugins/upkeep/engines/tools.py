"""Finds the client programs that engines run, and reads their versions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from upkeep.errors import ToolMissing, ToolUnfit
from upkeep.settings import program_folders

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
"""Debian keeps every release's clients here, beside a wrapper in /usr/bin that picks one by local cluster."""


@dataclass(frozen=True)
class Tool:
    """One client program: ``flavour`` is mysql, mariadb, postgres or its own name; ``version`` as numbers."""

    path: str
    flavour: str
    version: tuple[int, ...]

    @property
    def label(self) -> str:
        return f"{Path(self.path).name} {'.'.join(map(str, self.version))} ({self.flavour})"


def find_all(names: Sequence[str]) -> list[str]:
    """Every program of these names on the search path, in its order, once each."""
    found: list[str] = []
    for folder in program_folders():
        for name in names:
            path = shutil.which(name, path=folder)
            if path and path not in found:
                found.append(path)
    return found


def require(name: str, *, package: str) -> str:
    """The path of a program that any release of will do. Errors: ``ToolMissing``."""
    found = find_all([name])
    if not found:
        raise ToolMissing(
            f"the program {name} is not installed on this worker",
            hint=f"apt-get install {package}, or put its folder into UPKEEP_PATH",
        )
    return found[0]


_VERSIONS = (
    r"Distrib (\d+(?:\.\d+)+)",  # mysqldump of MariaDB 10 and MySQL 5.7: Ver 10.19 Distrib 10.11.4-MariaDB
    r"from (\d+(?:\.\d+)+)",  # mariadb-dump of MariaDB 11: mariadb-dump from 11.4.2-MariaDB, client 10.19
    r"\(PostgreSQL\) (\d+(?:\.\d+)*)",  # pg_dump (PostgreSQL) 18beta1
    r"(\d+(?:\.\d+)+)",
)


@cache
def describe(path: str) -> Tool:
    """Flavour and version of a program, from what it says of itself. Errors: ``ToolUnfit`` when it says nothing."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolUnfit(f"{path} --version does not run: {error}", hint="install the program anew") from error
    return tool_from(path, done.stdout or done.stderr)


def tool_from(path: str, said: str) -> Tool:
    """Flavour and version out of what a program says to ``--version``. Errors: ``ToolUnfit`` when it says none."""
    version = next((found for pattern in _VERSIONS if (found := re.search(pattern, said))), None)
    if not version:
        raise ToolUnfit(f"{path} --version says no version: {said.strip()!r}", hint="install the program anew")
    flavour = "mariadb" if "mariadb" in said.lower() else "postgres" if "PostgreSQL" in said else Path(path).name
    if flavour in ("mysqldump", "mysql"):
        flavour = "mysql"
    return Tool(path, flavour, numbers(version[1]))


def _describe_all(paths: Sequence[str]) -> list[Tool]:
    """Those that say what they are; one that doesn't is only an error when there is no other."""
    tools: list[Tool] = []
    unfit: ToolUnfit | None = None
    for path in paths:
        try:
            tools.append(describe(path))
        except ToolUnfit as error:
            unfit = unfit or error
    if unfit and not tools:
        raise unfit
    return tools


def numbers(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: ``8.0.35-27`` -> ``(8, 0, 35)``."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def mysql_dump(flavour: str, server_version: tuple[int, ...]) -> Tool:
    """The dump program of the server's own flavour.

    They aren't interchangeable: MariaDB's output begins with a sandbox line that MySQL's client refuses, and MySQL's
    program can't log in to MariaDB accounts from 9.0 on. Errors: ``ToolMissing``, ``ToolUnfit``.
    """
    best = _mysql_tool(mysql_dump_names(flavour), flavour)
    if best.version[0] < server_version[0]:
        raise ToolUnfit(
            f"{best.label} is older than the server's {'.'.join(map(str, server_version))} and would leave things out",
            hint=f"install {_MYSQL_PACKAGES[flavour]} of the server's release or newer",
        )
    return best


def mysql_dump_names(flavour: str) -> list[str]:
    """What the dump program is called: MariaDB's has had both names."""
    return ["mariadb-dump", "mysqldump"] if flavour == "mariadb" else ["mysqldump"]


def mysql_client(flavour: str) -> Tool:
    """The client of the server's own flavour, which runs dumps. Errors: ``ToolMissing``, ``ToolUnfit``."""
    return _mysql_tool(["mariadb", "mysql"] if flavour == "mariadb" else ["mysql"], flavour)


_MYSQL_PACKAGES = {
    "mariadb": "mariadb-client",
    "mysql": "mysql-client (from Oracle's or Debian unstable's packages)",
}


def _mysql_tool(names: Sequence[str], flavour: str) -> Tool:
    """The newest program of these names that is of this flavour."""
    package = _MYSQL_PACKAGES[flavour]
    candidates = _describe_all(find_all(names))
    if not candidates:
        raise ToolMissing(
            f"no {' or '.join(names)} is installed on this worker",
            hint=f"apt-get install {package}, or put its folder into UPKEEP_PATH",
        )
    fitting = [tool for tool in candidates if tool.flavour == flavour]
    if not fitting:
        raise ToolUnfit(
            f"the server is {flavour}, but this worker only has {', '.join(tool.label for tool in candidates)}",
            hint=f"install {package}, or put the folder of the right program first into UPKEEP_PATH",
        )
    return max(fitting, key=lambda tool: tool.version)


def postgres_tool(name: str, server_major: int) -> Tool:
    """``pg_dump`` and its kin in the server's major release, else the oldest newer one.

    pg_dump refuses a server newer than itself; a much newer one writes archives that the site's own pg_restore may not
    read, so the nearest release wins. Errors: ``ToolMissing``, ``ToolUnfit``.
    """
    paths = find_all([name])
    paths += [str(path) for path in sorted(DEBIAN_POSTGRES.glob(f"*/bin/{name}")) if str(path) not in paths]
    # Debian's /usr/bin/pg_dump is a wrapper (pg_wrapper) whose release depends on which clusters the machine has.
    candidates = _describe_all([path for path in paths if Path(path).resolve().name != "pg_wrapper"])
    if not candidates:
        raise ToolMissing(
            f"the program {name} is not installed on this worker",
            hint=f"apt-get install postgresql-client-{server_major}, or put its folder into UPKEEP_PATH",
        )
    fitting = [tool for tool in candidates if tool.version[0] >= server_major]
    if not fitting:
        raise ToolUnfit(
            f"the server is PostgreSQL {server_major}, but this worker only has "
            f"{', '.join(tool.label for tool in candidates)}",
            hint=f"apt-get install postgresql-client-{server_major} (PostgreSQL's own packages have every release)",
        )
    return min(fitting, key=lambda tool: tool.version[0])
