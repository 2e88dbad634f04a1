"""What the steps of a migration share: what a person wants, the plan, and the sessions it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from upkeep.domain.migration import MigrationPlan, OnFailure, command_text, plan_of
from upkeep.domain.sql_statements import Statement, is_whole
from upkeep.domain.units import first_few
from upkeep.duties.database_copy import CHECK_LIMIT_S, open_restorer
from upkeep.duties.job import Job
from upkeep.duties.restore_place import live_name
from upkeep.duties.same_server import require_same_server
from upkeep.engines.migration_command import environment_of
from upkeep.engines.restore_base import Restorer
from upkeep.errors import MigrationFailed, MigrationLost, MigrationRefused, Stopped
from upkeep.site import Database

if TYPE_CHECKING:
    from upkeep.engines.migration_base import MigrationSession

ROLLBACK_LIMIT_S = 600.0
"""How long one statement of a rollback script may take."""
MOST_TOLD = 5


@dataclass(frozen=True)
class Migration:
    """What a person wants run on database ``target``; ``text`` and ``rollback`` are SQL."""

    target: str
    text: str
    rollback: str = ""
    on_failure: OnFailure = "stop"
    label: str = ""
    """For the site's own command instead of ``text``: which release it is for; the same is not run twice."""
    source: str = ""
    """Where the text is from, for people."""


@dataclass(frozen=True)
class LiveDatabase:
    """The live database: its ``restorer`` logs in, ``mode`` is MySQL's sql_mode there."""

    section: Database
    restorer: Restorer
    name: str
    mode: str

    @contextmanager
    def session(self) -> Iterator[MigrationSession]:
        with open_session(self.section, self.restorer, self.name, self.mode) as session:
            yield session

    def count(self) -> dict[str, int | None]:
        """Rows of each table; None for one that could not be counted in a few seconds."""
        from upkeep.engines.live_rows import count_rows

        with closing(self.restorer.connect(self.name)) as connection:
            counted = count_rows(connection, self.section.engine)
        return {name: rows if exact else None for name, (rows, exact) in counted.items()}

    def catalogue(self) -> dict[str, Any]:
        """Its objects, with a digest of each one's definition."""
        with self.session() as session:
            return session.catalogue(self.name)

    def tables_without_transactions(self) -> list[str]:
        with self.session() as session:
            return session.tables_without_transactions()


def plan_migration(job: Job, migration: Migration) -> MigrationPlan:
    """What would run, and what would stand if it failed half-way; changes nothing and asks no server.

    Errors: ``MigrationRefused``.
    """
    section = section_of(job, migration.target)
    remarks = [f"no statement waits longer than {section.lock_timeout_s} s (lock_timeout_s) for others' locks"]
    if migration.label:
        remarks = ["how long it waits for others' locks is the program's own matter: lock_timeout_s is not its limit"]
    if migration.on_failure == "restore" and section.stop_writes is None:
        raise MigrationRefused(
            f"on failure {migration.target} is to be restored, but the site has no stop_writes for it",
            hint="set stop_writes in the site file, or choose rollback or stop",
        )
    if section.via and not section.migrate_conn_id:
        raise MigrationRefused(
            f"database {migration.target} is reached through a pod, where no migration is run",
            hint="name a connection that reaches its server directly under migrate_conn_id",
        )
    if section.scratch_conn_id is None:
        raise MigrationRefused(
            f"{job.site.name}/{migration.target} has no scratch server, so the migration can't be rehearsed",
            hint="name one under scratch_conn_id in the site file: an empty server that holds nothing else",
        )
    if not section.checks:
        remarks.append("the site has no checks for this database: only row counts are looked at afterwards")
    argv: list[str] = []
    if migration.label:
        if section.migrations is None:
            raise MigrationRefused(
                f"the site has no migrations.command for {migration.target}",
                hint="set it in the site file, or give SQL",
            )
        argv = section.migrations.command
    return plan_of(
        section.engine,
        command_text(argv, migration.label) if argv else migration.text,
        argv=argv,
        rollback=migration.rollback,
        on_failure=migration.on_failure,
        remarks=tuple(remarks),
        source=migration.source,
    )


def section_of(job: Job, target: str) -> Database:
    section = job.site.section(target)
    if not isinstance(section, Database):
        raise MigrationRefused(f"{job.site.name}/{target} is not a database", hint="migrations are for databases only")
    return section


@contextmanager
def server_of(job: Job, section: Database) -> Iterator[LiveDatabase]:
    conn_id = section.migrate_conn_id or section.conn_id
    restorer = open_restorer(job, section.engine, conn_id, live=True)
    require_same_server(job, section, "migrate_conn_id", restorer, MigrationRefused)
    yield LiveDatabase(section, restorer, live_name(job, section), sql_mode(job, section))


def sql_mode(job: Job, section: Database) -> str:
    """MySQL: what applications get there, so that the rehearsal judges values as the live server does."""
    if section.engine != "mysql":
        return ""
    conn_id = section.migrate_conn_id or section.conn_id
    restorer = open_restorer(job, section.engine, conn_id, live=True)
    with closing(restorer.connect(live_name(job, section))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.sql_mode AS mode")
        mode = str(cursor.fetchone()["mode"])
    if "NO_BACKSLASH_ESCAPES" in mode:
        raise MigrationRefused(
            f"the server of {section.name} has sql_mode NO_BACKSLASH_ESCAPES, in which strings end otherwise",
            hint="run the migration by hand with the server's own client",
        )
    # MySQL 5.7 has it by default, for GRANT alone; MySQL 8, its scratch server say, knows it no more.
    return ",".join(one for one in mode.split(",") if one != "NO_AUTO_CREATE_USER")


@contextmanager
def open_session(section: Database, restorer: Restorer, name: str, mode: str) -> Iterator[MigrationSession]:
    """A session of its own; whatever its transaction has not committed when the block ends is taken back. Where the
    server has not said itself how it ended, the session is ended there too.
    """
    connect = partial(restorer.connect, name)
    settings: dict[str, Any] = {
        "lock_timeout_s": section.lock_timeout_s,
        "environment": environment_of(section.engine, restorer.endpoint, name),
        "secrets": restorer.secrets,
    }
    with closing(connect()) as connection:
        session: MigrationSession
        if section.engine == "mysql":
            from upkeep.engines.mysql_migration import MySqlMigration

            session = MySqlMigration(connection, connect, sql_mode=mode, **settings)
        else:
            from upkeep.engines.postgres_migration import PostgresMigration

            session = PostgresMigration(connection, connect, **settings)
        try:
            yield session
        except MigrationLost as lost:
            left = "its session was ended there" if session.end() else "its session may run on there"
            raise MigrationLost(f"{lost.message}; {left}", hint=lost.hint) from None
        except (MigrationFailed, MigrationRefused, Stopped):
            raise
        except BaseException:
            session.end()
            raise


def run_rollback(session: MigrationSession, statements: tuple[Statement, ...]) -> None:
    """In one transaction where that can be."""
    whole = is_whole(statements)
    if whole:
        session.begin()
    for statement in statements:
        session.run(statement, limit_s=ROLLBACK_LIMIT_S)
    if whole:
        session.commit()


def checks_missed(section: Database, restorer: Restorer, name: str) -> list[str]:
    """The site's checks that don't hold in database ``name``, those that can't be run any more included."""
    from upkeep.engines.copies import run_checks

    with closing(restorer.connect(name)) as connection:
        # Not ok: a check that can't be run is no trouble of the server's here, the migration took what it asks for.
        return run_checks(connection, section.engine, section.checks, CHECK_LIMIT_S, ok=False)


def rehearse_command(plan: MigrationPlan, backup_id: str) -> str:
    rollback = f" with rollback {plan.rollback_digest}" if plan.rollback else ""
    return f"rehearse migration {plan.digest}{rollback}, on {backup_id}"


def some(lines: list[str]) -> str:
    return first_few(lines, MOST_TOLD, joint="; ")
