"""A migration that is a program of the site's own (Alembic, Flyway, a script): one and the same for copy and live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.sql_statements import Statement
from upkeep.engines.background import ended_after
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.errors import MigrationFailed, ToolFailed

LABEL = "UPKEEP_MIGRATION"
"""What the person called this migration, in the program's environment."""


def environment_of(engine: str, endpoint: Endpoint, database: str) -> dict[str, str]:
    """Where the program finds the database: by its engine's usual names, and as ``DATABASE_URL``. Nothing in argv."""
    port = str(endpoint.port or (3306 if engine == "mysql" else 5432))
    host, user, secret = endpoint.host or "localhost", endpoint.user, endpoint.secret
    scheme = "mysql" if engine == "mysql" else "postgresql"
    url = f"{scheme}://{quote(user, safe='')}:{quote(secret, safe='')}@{host}:{port}/{quote(database, safe='')}"
    if engine == "mysql":
        names = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_USER", "MYSQL_PWD", "MYSQL_DATABASE")
    else:
        names = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
    return {**dict(zip(names, (host, port, user, secret, database), strict=True)), "DATABASE_URL": url}


def run_command(
    statement: Statement, environment: Mapping[str, str], secrets: tuple[str, ...], *, limit_s: float
) -> None:
    """Run it to its end; it inherits no variable of Airflow's. Errors: ``MigrationFailed``."""
    what = f"the command {statement.argv[0]!r}"
    command = Command(statement.argv, env={**environment, LABEL: json.loads(statement.text)["label"]}, foreign=True)
    try:
        with (
            Pipeline([command], secrets=secrets) as pipeline,
            ended_after(limit_s, pipeline.kill, name="ends a migration") as late,
        ):
            for _ in pipeline.output():
                continue
            pipeline.finish()
    except ToolFailed as error:
        if late.is_set():
            raise MigrationFailed(
                f"{what} failed: it was ended after {limit_s:g} s, its limit",
                hint="live is larger or busier than the copy: see what it waited for, and rehearse again",
            ) from error
        raise MigrationFailed(f"{what} failed: {error.message}", hint="fix it, then rehearse it again") from error
