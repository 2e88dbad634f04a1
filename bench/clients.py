"""The manuals' own commands, with the login kept off the command line."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from upkeep.domain.endpoint import Endpoint


def shell(line: str, more_environment: Mapping[str, str] | None = None) -> None:
    """Run a line as the manual's script would. With pipefail, or a failed dump would look fast."""
    done = subprocess.run(
        ["bash", "-c", f"set -eo pipefail; {line}"],
        env={**os.environ, **(more_environment or {})},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{line!r} ended with status {done.returncode}: {done.stderr[-2000:]}")


@contextmanager
def option_file(endpoint: Endpoint, folder: Path) -> Iterator[str]:
    """The flag that logs a MySQL client in."""
    path = folder / "client.cnf"
    path.touch(mode=0o600)
    secret = endpoint.secret.replace("\\", "\\\\").replace('"', '\\"')
    path.write_text(
        f'[client]\nuser={endpoint.user}\npassword="{secret}"\nhost={endpoint.host}\nport={endpoint.port}\n',
        encoding="utf-8",
    )
    try:
        yield shlex.quote(f"--defaults-extra-file={path}")
    finally:
        path.unlink()


def libpq(endpoint: Endpoint) -> dict[str, str]:
    """The environment that logs a PostgreSQL client in."""
    return {
        "PGHOST": endpoint.host,
        "PGPORT": str(endpoint.port),
        "PGUSER": endpoint.user,
        "PGPASSWORD": endpoint.secret,
        "PGDATABASE": endpoint.schema,
    }
