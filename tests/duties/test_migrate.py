"""Migrating by hand: rehearsed on a copy, run behind a fresh backup, and taken back as it was chosen beforehand."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql.connections
import pytest

from tests.duties.killing import killed
from tests.duties.site_factory import SiteFactory
from tests.servers.base import Server
from tests.servers.databases import Database, PostgresDatabase
from tests.servers.mysql import MYSQL_BIN
from upkeep.domain.sql_statements import Statement, read_statements
from upkeep.duties.job import Job
from upkeep.duties.migrate import migrate, refuse_begun, run_migration, secure_migration
from upkeep.duties.migration_plan import Migration, plan_migration, section_of, sql_mode
from upkeep.duties.migration_recovery import recover
from upkeep.duties.migration_run import Progress
from upkeep.duties.rehearse_migration import rehearse_migration
from upkeep.duties.report import report_run
from upkeep.duties.verify import verify
from upkeep.engines import stopping
from upkeep.engines.migration_command import environment_of
from upkeep.engines.mysql_migration import MySqlMigration
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.postgres_migration import PostgresMigration
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.errors import Busy, MigrationFailed, MigrationRefused, NoFreshBackup, RestoreUnavailable, Stopped
from upkeep.resources import sql


@pytest.fixture
def scratches(request: pytest.FixtureRequest) -> Callable[[str], Server]:
    """Scratch servers by flavour, each started when it is first asked for."""
    return lambda flavour: request.getfixturevalue(f"{flavour}_scratch")


class Shop:
    """A database with students, backed up last night, whose site has a scratch server and one check."""

    def __init__(self, flavour: str, database: Database, sites: SiteFactory) -> None:
        self.flavour, self.database, self.sites = flavour, database, sites

    @property
    def is_mysql(self) -> bool:
        return self.flavour != "postgres"

    def job(self, run_id: str = "by-hand") -> Job:
        return self.sites.job(run_id)

    def rehearsed(self, migration: Migration) -> dict[str, Any]:
        return rehearse_migration(self.job(), migration)

    def columns(self) -> list[str]:
        schema = "DATABASE()" if self.is_mysql else "current_schema()"
        found = self.database.query(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'students' AND table_schema = "
            f"{schema} ORDER BY ordinal_position"
        )
        return [str(name) for (name,) in found]

    def count(self) -> int:
        return int(self.database.query("SELECT COUNT(*) FROM students")[0][0])


def open_shop(
    flavour: str, database: Database, sites: SiteFactory, scratches: Callable[[str], Server], **settings: Any
) -> Shop:
    database.execute("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(40))")
    database.execute("INSERT INTO students VALUES (1, '王小明'), (2, '李雷'), (3, 'Zoë; --')")
    sites.database(
        database,
        scratch_conn_id=sites.scratch(scratches(flavour)),
        stop_writes="read_only",
        checks=[{"sql": "SELECT COUNT(*) FROM students", "at_least": 3}],
        **{"lock_timeout_s": 1, **settings},
    )
    verify(sites.job(), "app", sites.back_up("app").backup.backup_id)
    return Shop(flavour, database, sites)


@pytest.fixture(params=["mariadb", "mysql", "postgres"])
def shop(request: pytest.FixtureRequest, sites: SiteFactory, scratches: Callable[[str], Server]) -> Iterator[Shop]:
    flavour = str(request.param)
    if flavour == "mysql" and not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set")
    database: Any = request.getfixturevalue(f"{flavour}_database")
    yield open_shop(flavour, database, sites, scratches)
    # What a restore over live has put aside.
    for (name,) in database.query("SHOW DATABASES" if flavour != "postgres" else "SELECT datname FROM pg_database"):
        if str(name).startswith(f"{database.name}_"):
            type(database)(database.server, str(name)).drop()


GOOD = """
-- a class for everybody; first nobody has one
ALTER TABLE students ADD COLUMN class VARCHAR(10);
UPDATE students SET class = 'A;1' WHERE id < 3;
CREATE TABLE classes (name VARCHAR(10) PRIMARY KEY);
INSERT INTO classes VALUES ('A;1');
"""
BACK = "DROP TABLE IF EXISTS classes; ALTER TABLE students DROP COLUMN class;"


def test_a_good_migration_is_rehearsed_run_and_recorded_and_never_run_twice(shop: Shop) -> None:
    migration = Migration("app", GOOD, BACK, on_failure="stop")
    rehearsal = shop.rehearsed(migration)
    assert shop.columns() == ["id", "name"], "nothing live is touched by a rehearsal"
    assert len(shop.job().ledger.acts(duty="rehearse_migration")) == 1
    told = "\n".join(rehearsal["rehearsal"])
    table = "classes" if shop.is_mysql else "public.classes"
    assert f"table {table}: none before, 1 rows after" in told
    assert ("INSTANT" if shop.is_mysql else "AccessExclusiveLock: reads and writes wait") in told
    done = migrate(shop.job(), migration, approver="li")
    assert done["outcome"] == "migrated"
    assert shop.columns() == ["id", "name", "class"]
    assert shop.database.query("SELECT class FROM students ORDER BY id") == [("A;1",), ("A;1",), (None,)]
    (act,) = shop.job().ledger.acts(duty="migrate")
    assert act.state == "done" and act.started.approver == "li" and rehearsal["sha256"] in act.started.command
    with pytest.raises(MigrationRefused, match="was done on"):
        migrate(shop.job("again"), migration, approver="li")
    assert shop.columns() == ["id", "name", "class"]


def test_a_backup_that_took_hours_counts_from_its_end_and_one_that_is_too_old_is_made_anew(
    mariadb_database: Database, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    shop = open_shop("mariadb", mariadb_database, sites, scratches)
    migration = Migration("app", GOOD, BACK, on_failure="stop")
    shop.rehearsed(migration)
    slow = shop.job("slow")
    slow.now = lambda: datetime.now(UTC) - timedelta(hours=3)
    first = secure_migration(slow, migration)["backup_id"]
    assert secure_migration(shop.job("slow"), migration)["reason"] == "young enough and proven"
    late = shop.job("slow")
    late.now = lambda: datetime.now(UTC) + timedelta(hours=2)
    with pytest.raises(NoFreshBackup, match=r"its newest, \S+, is structure and was finished 2 h ago"):
        run_migration(late, migration, approver="li")
    assert secure_migration(late, migration)["backup_id"] != first
    assert run_migration(late, migration, approver="li")["outcome"] == "migrated"


# One that fails on live, where somebody has taken a number since the rehearsal.

CLASH = """
ALTER TABLE students ADD COLUMN class VARCHAR(10);
INSERT INTO students (id, name, class) VALUES (9, 'new', 'B');
CREATE TABLE classes (name VARCHAR(10) PRIMARY KEY);
"""
CLASH_BACK = """
DROP TABLE IF EXISTS classes;
DELETE FROM students WHERE id = 9 AND class = 'B';
ALTER TABLE students DROP COLUMN class;
"""


def clash(shop: Shop, on_failure: Any) -> Migration:
    """On PostgreSQL with a statement for which it allows no transaction."""
    alone = "" if shop.is_mysql else "CREATE INDEX CONCURRENTLY by_name ON students (name);"
    back = "" if shop.is_mysql else "DROP INDEX IF EXISTS by_name;"
    return Migration("app", CLASH + alone, CLASH_BACK + back, on_failure)


def take_the_number(shop: Shop) -> None:
    shop.database.execute("INSERT INTO students (id, name) VALUES (9, 'since')")


@pytest.mark.parametrize("on_failure", ["rollback", "restore", "stop"])
def test_a_failure_half_way_is_taken_back_or_left_as_it_was_chosen(
    shop: Shop, on_failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_the_night_knocking(*arguments: Any) -> str:
        with pytest.raises(Busy), shop.job("night").hold("app"):
            pass
        return recover(*arguments)

    monkeypatch.setattr("upkeep.duties.migrate.recover", with_the_night_knocking)
    migration = clash(shop, on_failure)
    shop.rehearsed(migration)
    take_the_number(shop)
    before = shop.database.query("SELECT id, name FROM students ORDER BY id")
    outcome = {
        "rollback": "failed, rolled back by the rehearsed script",
        "restore": "failed, restored: .* is live",
        "stop": "failed, left as it is: statement 1 of . ran, statement 2 did not",
    }[on_failure]
    with pytest.raises(MigrationFailed, match=f"(?s){outcome}.*statement 2 failed"):
        migrate(shop.job("failing"), migration, approver="li")
    columns = ["id", "name", "class"] if on_failure == "stop" else ["id", "name"]
    assert shop.columns() == columns
    assert shop.database.query("SELECT id, name FROM students ORDER BY id") == before
    section = report_run(shop.job("failing"), "migrate")["text"]
    assert re.search(outcome, section), "whoever is woken reads it there first"
    shop.database.execute("INSERT INTO students (id, name) VALUES (10, 'after')")  # nobody is kept from writing
    if on_failure == "stop":
        with pytest.raises(MigrationRefused, match=r"statement 1 of . ran, statement 2 was refused") as refused:
            migrate(shop.job("again"), migration, approver="li")
        assert "start at 2" in refused.value.hint
        shop.database.execute("DELETE FROM students WHERE id = 9")
        assert migrate(shop.job("on"), migration, approver="li", start_at=2)["outcome"] == "migrated"
        assert shop.database.query("SELECT class FROM students WHERE id = 9") == [("B",)]


def test_on_postgres_a_failure_takes_back_all_of_it_and_a_second_try_is_free(
    postgres_database: PostgresDatabase, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    shop = open_shop("postgres", postgres_database, sites, scratches)
    migration = Migration("app", CLASH, CLASH_BACK, "restore")
    shop.rehearsed(migration)
    take_the_number(shop)
    with pytest.raises(MigrationFailed, match="failed, rolled back by its transaction: nothing of it stands"):
        migrate(shop.job("failing"), migration, approver="li")
    assert shop.columns() == ["id", "name"]
    shop.database.execute("DELETE FROM students WHERE id = 9")
    assert migrate(shop.job("again"), migration, approver="li")["outcome"] == "migrated"


def test_nobody_waits_for_long_behind_a_migration_that_does_not_get_its_lock(shop: Shop) -> None:
    migration = Migration("app", GOOD, BACK)
    shop.rehearsed(migration)
    secure_migration(shop.job(), migration)
    database: Any = shop.database
    with closing(database.connect()) as other:
        other.cursor().execute("BEGIN")
        other.cursor().execute("SELECT * FROM students")
        with pytest.raises(MigrationFailed, match="another session uses what it has to lock") as failed:
            run_migration(shop.job("blocked"), migration, approver="li")
        assert "nothing of it stands" in failed.value.message
    assert shop.columns() == ["id", "name"]
    assert run_migration(shop.job("quiet"), migration, approver="li")["outcome"] == "migrated"


def test_a_migration_that_fails_in_its_rehearsal_never_gets_to_the_live_database(shop: Shop) -> None:
    wrong = Migration("app", GOOD.replace("students SET", "pupils SET"), BACK)
    with pytest.raises(MigrationFailed, match=r"in the rehearsal statement 2 failed: .*pupils"):
        shop.rehearsed(wrong)
    emptying = Migration("app", "DELETE FROM students WHERE id > 1")
    with pytest.raises(MigrationFailed, match=r"after the rehearsal the site's checks don't hold: .* gives 1"):
        shop.rehearsed(emptying)
    losing = Migration("app", GOOD, "DROP TABLE classes;", on_failure="rollback")
    with pytest.raises(MigrationFailed, match=r"does not bring back what was: table (public\.)?students differs"):
        shop.rehearsed(losing)
    for migration in (wrong, emptying, losing):
        with pytest.raises(MigrationRefused, match="was not rehearsed well"):
            migrate(shop.job(), migration, approver="li")
    assert shop.columns() == ["id", "name"]
    assert shop.count() == 3
    assert not shop.job().ledger.acts(duty="migrate")


# Killed half-way.


def dies(when: str, match: str) -> Callable[[], None]:
    """Kills the process before or after it sends a statement."""

    def arm() -> None:  # pragma: no cover - another process
        for kind, name in ((pymysql.connections.Connection, "query"), (psycopg.Connection, "execute")):
            setattr(kind, name, around(getattr(kind, name), when, match))

    return arm


def around(plain: Callable[..., Any], when: str, match: str) -> Callable[..., Any]:  # pragma: no cover
    def run(self: Any, query: Any, *rest: Any, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if when == "before" and match in text:
            os.kill(os.getpid(), signal.SIGKILL)
        found = plain(self, query, *rest, **more)
        if when == "after" and match in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return run


@pytest.mark.parametrize(
    ("flavour", "when", "match", "told", "start_at", "columns"),
    [
        ("mariadb", "before", "UPDATE students", "statement 1 of 4 ran, statement 2 was begun", 2, 3),
        ("mariadb", "after", "ALTER TABLE students", "nothing of it stands, statement 1 was begun", 2, 3),
        ("postgres", "after", "CREATE TABLE classes", "killed before its commit: the server took all of it back", 1, 2),
        ("postgres", "before", "COMMIT", "its commit was taken back: nothing of it stands", 1, 2),
        ("postgres", "after", "COMMIT", "killed after its commit: all of it stands", None, 3),
    ],
)
def test_a_killed_migration_goes_on_only_where_a_person_says(
    flavour: str, when: str, match: str, told: str, start_at: int | None, columns: int,
    request: pytest.FixtureRequest, sites: SiteFactory, scratches: Callable[[str], Server],
) -> None:  # fmt: skip
    shop = open_shop(flavour, request.getfixturevalue(f"{flavour}_database"), sites, scratches)
    migration = Migration("app", GOOD, BACK)
    shop.rehearsed(migration)
    secure_migration(shop.job(), migration)
    killed(dies(when, match), lambda: run_migration(shop.job("killed"), migration, approver="li"), f"{when} {match}")
    assert len(shop.columns()) == columns
    with pytest.raises(MigrationRefused) as refused:
        run_migration(shop.job("again"), migration, approver="li")
    assert told in refused.value.message
    if start_at:
        assert f"at {start_at}" in refused.value.hint
        done = migrate(shop.job("on"), migration, approver="li", start_at=start_at)
        assert done["outcome"] == "migrated"
    assert shop.database.query("SELECT class FROM students ORDER BY id") == [("A;1",), ("A;1",), (None,)]
    assert shop.database.query("SELECT name FROM classes") == [("A;1",)]


# A program of the site's own.


def test_the_sites_own_command_is_rehearsed_on_the_copy_and_run_once_for_a_release(
    postgres_database: PostgresDatabase, sites: SiteFactory, scratches: Callable[[str], Server], tmp_path: Path
) -> None:
    script = tmp_path / "migrate.sh"
    script.write_text(
        f'env > {tmp_path}/env.$PGDATABASE\npsql -v ON_ERROR_STOP=1 -c "ALTER TABLE students ADD COLUMN class text"\n'
        f"test ! -e {tmp_path}/fail.$PGDATABASE || {{ echo it broke >&2; exit 3; }}\n"
    )
    command = {"migrations": {"command": ["sh", str(script)]}}
    shop = open_shop("postgres", postgres_database, sites, scratches, **command)
    live, plain = (
        environment_of("postgres", shop.database.endpoint(), shop.database.name)["DATABASE_URL"],
        script.read_text(),
    )
    script.write_text(f"psql '{live}' -c 'CREATE TABLE astray (a int)'")
    with pytest.raises(MigrationFailed, match="the live database of app changed while the program was rehearsed"):
        shop.rehearsed(Migration("app", "", label="astray"))
    shop.database.execute("DROP TABLE astray")
    script.write_text(plain)
    migration = Migration("app", "", on_failure="restore", label="2.4.1")
    shop.rehearsed(migration)
    assert shop.columns() == ["id", "name"]
    (tmp_path / f"fail.{shop.database.name}").touch()
    with pytest.raises(MigrationFailed, match=r"failed, restored: .* is live.*it broke"):
        migrate(shop.job("failing"), migration, approver="li")
    assert shop.columns() == ["id", "name"]
    (tmp_path / f"fail.{shop.database.name}").unlink()
    assert migrate(shop.job("again"), migration, approver="li")["outcome"] == "migrated"
    assert shop.columns() == ["id", "name", "class"]
    told = (tmp_path / f"env.{shop.database.name}").read_text()
    assert "UPKEEP_MIGRATION=2.4.1" in told and "AIRFLOW" not in told
    with pytest.raises(MigrationRefused, match="was done on"):
        migrate(shop.job("twice"), migration, approver="li")


# What is ended has to end on the server too.


def session_in(flavour: str, database: Any) -> Any:
    """A session of a migration, as a duty opens it."""
    restorer: Any = (PostgresRestorer if flavour == "postgres" else MySqlRestorer)(database.endpoint())
    connect = partial(restorer.connect, database.name)
    engine = "postgres" if flavour == "postgres" else "mysql"
    settings: dict[str, Any] = {
        "lock_timeout_s": 1,
        "environment": environment_of(engine, restorer.endpoint, database.name),
        "secrets": restorer.secrets,
    }
    if flavour == "postgres":
        return PostgresMigration(connect(), connect, **settings)
    return MySqlMigration(connect(), connect, sql_mode="STRICT_ALL_TABLES", **settings)


def asleep(database: Any, flavour: str) -> int:
    """How many sessions sleep in ``database``."""
    if flavour == "postgres":
        found = database.query(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(%' "
            f"AND datname = '{database.name}' AND pid <> pg_backend_pid()"
        )
    else:
        found = database.query(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Query' AND INFO LIKE '%SLEEP(%' "
            f"AND DB = '{database.name}' AND ID <> CONNECTION_ID()"
        )
    return int(found[0][0])


SLEEP = {
    "postgres": ("SELECT pg_sleep(30)", "psql -c 'SELECT pg_sleep(30)'"),
    "mariadb": (
        "UPDATE slow SET a = a + SLEEP(3)",
        'mariadb -h"$MYSQL_HOST" -u"$MYSQL_USER" "$MYSQL_DATABASE" -e "UPDATE slow SET a = a + SLEEP(3)"',
    ),
}


@pytest.mark.parametrize("is_command", [False, True])
@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_what_takes_too_long_is_ended_on_the_server_too(
    flavour: str, is_command: bool, request: pytest.FixtureRequest
) -> None:
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE slow (a INT)")
    database.execute("INSERT INTO slow VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9)")
    text, script = SLEEP[flavour]
    statement = Statement(1, text, text, False)
    if is_command:
        statement = Statement(1, '{"label": "1"}', "", True, ("sh", "-c", script))
    begun = time.monotonic()
    with pytest.raises(MigrationFailed, match=r"longer than its limit|ended after 1 s"):
        session_in(flavour, database).run(statement, limit_s=1)
    assert time.monotonic() - begun < 10
    assert asleep(database, flavour) == 0


def test_what_a_program_leaves_is_looked_for_on_its_own_machine_alone(mariadb_database: Any) -> None:
    mariadb_database.execute("CREATE TABLE sessions (ID INT, USER CHAR(9), HOST CHAR(60), DB CHAR(60))")
    for number, host in enumerate(("2001:db8::5:4001", "2001:db8::6:4001", "10.0.0.1:4001", "localhost"), start=2):
        mariadb_database.execute(f"INSERT INTO sessions VALUES ({number}, 'li', '{host}', DATABASE())")
    statement = sql("mysql", "list_later_sessions").replace("information_schema.PROCESSLIST", "sessions")
    for place, found in (("2001:db8::5:", (2,)), ("10.0.0.1:", (4,)), ("", (5,))):
        assert mariadb_database.query(statement, 1, "li", place) == [found]
    session = session_in("mariadb", mariadb_database)
    other = mariadb_database.connect()
    assert session._end_later() == [other.thread_id()]


@pytest.mark.parametrize("how", ["told to stop", "interrupted"])
@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_a_task_that_is_ended_leaves_nothing_running_and_takes_back_nothing_by_itself(
    flavour: str, how: str, request: pytest.FixtureRequest, sites: SiteFactory,
    scratches: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE naps (seconds INT)")
    database.execute("INSERT INTO naps VALUES (0)")
    shop = open_shop(flavour, database, sites, scratches)
    sleep = "pg_sleep" if flavour == "postgres" else "SLEEP"
    text = f"UPDATE students SET name = 'x'; SELECT {sleep}(seconds) FROM naps; UPDATE students SET name = 'y'"
    migration = Migration("app", text, on_failure="restore")
    shop.rehearsed(migration)
    secure_migration(shop.job(), migration)
    database.execute("UPDATE naps SET seconds = 30")
    begun = time.monotonic()
    # A run in the background of a shell ignores Ctrl-C.
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(partial(signal.signal, signal.SIGINT, was))
    monkeypatch.setattr(stopping, "_told", False)
    end = stopping.tell_to_stop if how == "told to stop" else partial(os.kill, os.getpid(), signal.SIGINT)

    def when_asleep() -> None:
        while not asleep(database, flavour):
            time.sleep(0.1)
        end()

    ender = threading.Thread(target=when_asleep)
    ender.start()
    with pytest.raises(Stopped if how == "told to stop" else KeyboardInterrupt):
        run_migration(shop.job("ended"), migration, approver="li")
    ender.join()
    assert time.monotonic() - begun < 15
    assert asleep(database, flavour) == 0
    assert shop.database.query("SELECT COUNT(*) FROM students WHERE name IN ('x', 'y')") == [(0,)]
    assert not shop.job().ledger.acts(duty="end_migration")
    if flavour == "mariadb" and how == "interrupted":
        with pytest.raises(MigrationRefused, match="before its commit: the server took all of it back"):
            refuse_begun(shop.job("again"), migration)
    else:
        refuse_begun(shop.job("again"), migration)


# Tables without transactions.


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_what_fails_half_way_on_a_table_without_transactions_is_neither_called_taken_back_nor_run_again(
    flavour: str, request: pytest.FixtureRequest, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    if flavour == "mysql" and not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set")
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE points (id INT PRIMARY KEY, n INT UNIQUE) ENGINE=MyISAM")
    database.execute("INSERT INTO points VALUES (1, 1), (2, 2), (3, 3)")
    shop = open_shop(flavour, database, sites, scratches)
    more = "UPDATE points SET n = n + 10 ORDER BY id"
    whole = Migration("app", more)
    rehearsal = shop.rehearsed(whole)["rehearsal"]
    assert any("tables without transactions: points (MyISAM)" in line for line in rehearsal)
    alone = Migration(
        "app", f"ALTER TABLE students ADD COLUMN class INT; {more}",
        "UPDATE points SET n = n - 10 WHERE n > 10 ORDER BY id; ALTER TABLE students DROP COLUMN class", "rollback",
    )  # fmt: skip
    shop.rehearsed(alone)
    database.execute("INSERT INTO points VALUES (4, 12)")
    secure_migration(shop.job(), whole)

    def points() -> list[tuple[Any, ...]]:
        return list(database.query("SELECT n FROM points ORDER BY id"))

    with pytest.raises(MigrationFailed, match="left as it is: its transaction was taken back, but tables without tr"):
        run_migration(shop.job("whole"), whole, approver="li")
    assert points() == [(11,), (2,), (3,), (12,)]
    with pytest.raises(MigrationRefused, match="without transactions keep a part of what statement 1") as refused:
        run_migration(shop.job("again"), whole, approver="li")
    assert "best restore the backup" in refused.value.hint and "start at 1" in refused.value.hint
    database.execute("UPDATE points SET n = 1 WHERE id = 1")
    with pytest.raises(MigrationFailed, match=r"left as it is: statement 1 of 2 ran, but tables .* can't tell which"):
        migrate(shop.job("alone"), alone, approver="li")
    assert points() == [(11,), (2,), (3,), (12,)]
    with pytest.raises(MigrationRefused, match="keep a part of what statement 2") as refused:
        run_migration(shop.job("again"), alone, approver="li")
    assert "start at 2" in refused.value.hint


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_a_migration_that_is_whole_but_fails_the_checks_is_taken_back_by_the_script(
    flavour: str, request: pytest.FixtureRequest, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    shop = open_shop(flavour, request.getfixturevalue(f"{flavour}_database"), sites, scratches)
    # On live alone, where row 2 has been renamed since, it takes a row too many.
    text = "CREATE TABLE gone (id INT PRIMARY KEY); DELETE FROM students WHERE name = 'twin';"
    migration = Migration("app", text, "DROP TABLE IF EXISTS gone;", on_failure="rollback")
    shop.rehearsed(migration)
    shop.database.execute("UPDATE students SET name = 'twin' WHERE id = 2")
    with pytest.raises(
        MigrationFailed, match=r"rolled back by the rehearsed script: all statements ran, but .* gives 2"
    ):
        migrate(shop.job("failing"), migration, approver="li")
    assert "gone" not in {row[0] for row in shop.database.query("SELECT table_name FROM information_schema.tables")}
    shop.database.execute("DELETE FROM students WHERE id = 1")
    with pytest.raises(MigrationRefused, match="before it begins the site's checks don't hold"):
        migrate(shop.job("again"), migration, approver="li")
    assert len(shop.job().ledger.acts(duty="migrate")) == 1


def test_a_rehearsal_reaches_no_other_server_from_the_copy(
    postgres_database: PostgresDatabase, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    live, there = postgres_database, postgres_database.endpoint()
    live.execute("CREATE TABLE real_one (a int)")
    live.execute("INSERT INTO real_one VALUES (1)")
    live.execute("CREATE EXTENSION postgres_fdw")
    live.execute(
        f"CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{there.host}', port '{there.port}', "
        f"dbname '{live.name}')"
    )
    secret = there.secret.replace("'", "''")
    live.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER back OPTIONS (user '{there.user}', password '{secret}')")
    live.execute("CREATE USER MAPPING FOR PUBLIC SERVER back OPTIONS (user 'nobody')")
    live.execute("CREATE FOREIGN TABLE far (a int) SERVER back OPTIONS (table_name 'real_one')")
    shop = open_shop("postgres", live, sites, scratches)
    with pytest.raises(MigrationFailed, match=r"user mapping not found.*can be reached from the copy: back"):
        shop.rehearsed(Migration("app", "UPDATE far SET a = 99"))
    assert live.query("SELECT a FROM real_one") == [(1,)], "nothing live is touched by a rehearsal"
    back = Migration("app", "ALTER TABLE students ADD c int", "ALTER TABLE students DROP c", "rollback")
    assert any("none was: back" in line for line in shop.rehearsed(back)["rehearsal"])


def test_dblink_reaches_no_other_server_from_the_copy(
    postgres_database: PostgresDatabase, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    live, there = postgres_database, postgres_database.endpoint()
    live.execute("CREATE TABLE real_one (a int)")
    live.execute("INSERT INTO real_one VALUES (1)")
    live.execute('CREATE SCHEMA "far Away"')
    live.execute('CREATE EXTENSION dblink SCHEMA "far Away"')
    where = psycopg.conninfo.make_conninfo(
        host=there.host, port=there.port, dbname=live.name, user=there.user, password=there.secret
    ).replace("'", "''")
    live.execute(
        "CREATE FUNCTION touch() RETURNS text LANGUAGE sql AS "
        f"$$SELECT \"far Away\".dblink_exec('{where}', 'UPDATE public.real_one SET a = 99')$$"
    )
    shop = open_shop("postgres", live, sites, scratches)
    with pytest.raises(MigrationFailed, match=r"dblink reaches no server.*can be reached from the copy: dblink"):
        shop.rehearsed(Migration("app", "ALTER TABLE students ADD c int; SELECT touch()"))
    assert live.query("SELECT a FROM real_one") == [(1,)], "nothing live is touched by a rehearsal"
    assert live.query("SELECT touch()") == [("UPDATE 1",)], "live itself goes on as before"
    shop.rehearsed(Migration("app", "ALTER TABLE students ADD c int"))


@pytest.fixture
def federated(mariadb_server: Any, mariadb_scratch: Any) -> Iterator[None]:
    """Both servers know the engine; from Debian's package of the server."""
    servers = (mariadb_server, mariadb_scratch)
    for server in servers:
        with closing(server.connect()) as connection:
            connection.query("INSTALL SONAME 'ha_federatedx'")
    yield
    for server in servers:
        with closing(server.connect()) as connection:
            connection.query("UNINSTALL SONAME 'ha_federatedx'")


def test_no_migration_is_rehearsed_on_a_copy_whose_tables_lie_on_other_servers(
    federated: None, mariadb_database: Any, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    live, there = mariadb_database, mariadb_database.endpoint()
    live.execute("CREATE TABLE real_one (a INT)")
    live.execute("INSERT INTO real_one VALUES (1)")
    live.execute("CREATE USER far IDENTIFIED BY 'far'")
    live.execute(f"GRANT ALL ON {live.quoted}.* TO far")
    try:
        address = f"mysql://far:far@{there.host}:{there.port}/{live.name}/real_one"
        live.execute(f"CREATE TABLE far (a INT) ENGINE=FEDERATED CONNECTION='{address}'")
        shop = open_shop("mariadb", live, sites, scratches)
        with pytest.raises(MigrationRefused, match=r"lie on other servers.*: far \(FEDERATED\)"):
            shop.rehearsed(Migration("app", "UPDATE far SET a = 99"))
        assert live.query("SELECT a FROM real_one") == [(1,)], "nothing live is touched by a rehearsal"
    finally:
        live.execute("DROP TABLE IF EXISTS far")
        live.execute("DROP USER far")


# What the ledger says of earlier attempts.


class History:
    """Attempts at a migration behind backup ``b2``, as a run leaves them in the ledger."""

    def __init__(self, shop: Shop, migration: Migration) -> None:
        self.shop, self.migration = shop, migration
        self.digest = plan_migration(shop.job(), migration).digest

    def attempt(self, *, stands: int, fails: bool = True, digest: str = "", first: int = 1) -> None:
        digest = digest or self.digest
        with self.act(
            "migrate", f"migrate {digest} from statement {first} of 3, behind b2", fails=fails, stands=stands
        ):
            for number in range(first, stands + 2 if fails else stands + 1):
                with self.act("migrate_statement", f"{digest} {number}/3: DROP", fails=number > stands):
                    pass

    @contextmanager
    def act(self, duty: str, command: str, *, fails: bool = False, **noted: Any) -> Iterator[None]:
        with suppress(ZeroDivisionError):
            job = self.shop.job()
            with job.ledger.record(job.act(duty, "app", command=command)) as entry:
                yield
                entry.note(**noted)
                if fails:
                    raise ZeroDivisionError

    def refused(self, start_at: int | None = None) -> str:
        with pytest.raises(MigrationRefused) as refused:
            refuse_begun(self.shop.job(), self.migration, start_at=start_at)
        return f"{refused.value.message}; {refused.value.hint}"


@pytest.fixture
def history(mariadb_database: Database, sites: SiteFactory, scratches: Callable[[str], Server]) -> History:
    shop = open_shop("mariadb", mariadb_database, sites, scratches)
    return History(shop, Migration("app", "ALTER TABLE a ADD b INT; UPDATE a SET b = 1; DROP TABLE c", "DROP TABLE b"))


def test_a_half_stays_known_whatever_is_migrated_and_tried_since(history: History) -> None:
    assert "was not begun, or was taken back; start at 1" in history.refused(start_at=2)
    history.attempt(stands=2)
    history.attempt(stands=3, fails=False, digest="f" * 64)
    half = "statements 1 to 2 of 3 ran, statement 3 was refused; say start at 3"
    assert half in history.refused()
    history.attempt(stands=0)
    assert half in history.refused(), "a further attempt left nothing, and took nothing back"
    with history.act("undo_migration", f"undo {history.digest}: half", fails=True):
        pass
    refuse_begun(history.shop.job(), history.migration, start_at=3)
    with history.act("swap", "swap", backup_id="b3"):
        pass
    assert half in history.refused(), "that backup is from after it, and holds it"
    with history.act("swap", "swap", backup_id="b1"):
        pass
    refuse_begun(history.shop.job(), history.migration)


def test_a_rollback_that_broke_off_is_told_and_what_was_done_goes_on_nowhere(history: History) -> None:
    history.attempt(stands=1)
    with history.act("undo_migration", f"undo {history.digest}: half", fails=True):
        pass
    assert "so did its rollback script on the way: nobody knows what stands" in history.refused()
    with history.act("undo_migration", f"undo {history.digest}: half"):
        pass
    refuse_begun(history.shop.job(), history.migration)
    history.attempt(stands=3, fails=False)
    history.attempt(stands=0)
    assert "was done on" in history.refused()
    assert "was done to its end; start at 1" in history.refused(start_at=2)


def test_a_rollback_after_going_on_half_way_takes_back_what_the_attempts_before_did_too(history: History) -> None:
    history.attempt(stands=1)
    history.attempt(stands=2, first=2)
    with history.act("undo_migration", f"undo {history.digest}: half"):
        pass
    refuse_begun(history.shop.job(), history.migration)
    assert "was not begun, or was taken back; start at 1" in history.refused(start_at=3)
    history.attempt(stands=1)
    history.attempt(stands=2)
    with history.act("undo_migration", f"undo {history.digest}: half"):
        pass
    half = "statement 1 of 3 ran, statement 2 was refused"
    assert half in history.refused(), "one that began anew took back what it did itself, by the ledger no more"


def test_what_goes_on_half_way_does_not_go_on_with_what_only_its_first_session_knew(history: History) -> None:
    text = "SELECT MAX(b) INTO @m FROM a; ALTER TABLE a ADD c INT; UPDATE a SET c = 1 WHERE b <= @m"
    asking = History(history.shop, Migration("app", text))
    asking.attempt(stands=2)
    assert "needs of @m was known to a session that is gone" in asking.refused(start_at=3)
    refuse_begun(history.shop.job(), asking.migration, start_at=1)
    job, lost = history.shop.job(), MigrationFailed("the beginning failed", hint="")
    told = recover(job, plan_migration(job, asking.migration), "app", "b2", "li", Progress(2), lost)
    assert told == "failed, left as it is: statements 1 to 2 of 3 ran, and no other was begun"


def test_what_goes_on_half_way_has_its_settings_and_no_restore_of_long_ago(
    mariadb_database: Database, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    shop = open_shop("mariadb", mariadb_database, sites, scratches)
    text = "SET @who = 'new';" + CLASH.replace("'new'", "@who")
    migration = Migration("app", text, on_failure="restore")
    shop.rehearsed(migration)
    shop.rehearsed(stopping := Migration("app", text))
    take_the_number(shop)
    with pytest.raises(MigrationFailed, match="statements 1 to 2 of 4 ran, statement 3 did not"):
        migrate(shop.job("failing"), stopping, approver="li")
    shop.database.execute("DELETE FROM students WHERE id = 9")
    later = shop.job("later")
    later.now = lambda: datetime.now(UTC) + timedelta(hours=25)
    with pytest.raises(MigrationRefused, match="a restore of it would lose what was written since"):
        migrate(later, migration, approver="li", start_at=3)
    assert migrate(later, stopping, approver="li", start_at=3)["outcome"] == "migrated"
    assert shop.database.query("SELECT name FROM students WHERE id = 9") == [("new",)]


def test_the_sql_mode_of_an_older_server_is_one_that_its_newer_scratch_server_takes(
    mariadb_database: Any, sites: SiteFactory
) -> None:
    sites.database(mariadb_database)
    ((before,),) = mariadb_database.query("SELECT @@GLOBAL.sql_mode")
    mariadb_database.execute("SET GLOBAL sql_mode = 'NO_AUTO_CREATE_USER,STRICT_ALL_TABLES'")
    try:
        job = sites.job()
        assert sql_mode(job, section_of(job, "app")) == "STRICT_ALL_TABLES"
    finally:
        mariadb_database.execute("SET GLOBAL sql_mode = %s", before)


def test_a_statement_whose_connection_is_lost_is_not_called_refused(
    mariadb_database: Any, sites: SiteFactory, scratches: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop("mariadb", mariadb_database, sites, scratches)
    migration = Migration("app", GOOD, BACK, on_failure="rollback")
    shop.rehearsed(migration)
    secure_migration(shop.job(), migration)
    plain = pymysql.connections.Connection.query

    def cut(self: Any, query: Any, *rest: Any) -> Any:
        plain(self, query, *rest)
        if "ALTER TABLE students" in str(query):  # the server did it, and its answer got lost
            raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")

    with monkeypatch.context() as patch:
        patch.setattr(pymysql.connections.Connection, "query", cut)
        with pytest.raises(MigrationFailed, match=r"whether statement 1 took.*its session was ended there"):
            run_migration(shop.job("cut"), migration, approver="li")
    assert shop.columns() == ["id", "name", "class"]
    with pytest.raises(MigrationRefused, match="lost its connection, or was stopped: nothing of it stands, state"):
        refuse_begun(shop.job("again"), migration)


def test_postgres_takes_one_statement_at_a_time_in_the_files_encoding_and_tells_no_rows(
    postgres_database: PostgresDatabase,
) -> None:
    latin = PostgresDatabase(postgres_database.server)
    with postgres_database.server.connect() as connection:
        connection.execute(
            f"CREATE DATABASE {latin.name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
        )
    settings: Any = {"lock_timeout_s": 1, "environment": {}, "secrets": ()}
    try:
        with closing(PostgresRestorer(latin.endpoint()).connect(latin.name)) as own:
            beside = partial(PostgresRestorer(latin.endpoint()).connect, latin.name)
            session = PostgresMigration(own, beside, **settings)

            def run(text: str) -> None:
                session.run(Statement(1, text, text, False), limit_s=9)

            run("CREATE TABLE a (name text UNIQUE)")
            run("INSERT INTO a VALUES ('Zoë')")
            with pytest.raises(MigrationFailed, match="cannot insert multiple commands"):
                run("INSERT INTO a VALUES ('x'); COMMIT")
            with pytest.raises(MigrationFailed, match="duplicate key") as failed:
                run("INSERT INTO a VALUES ('Zoë')")
            assert "Zoë" not in failed.value.message
        assert latin.query("SELECT name, length(name) FROM a") == [("Zoë", 3)]
    finally:
        latin.drop()


@pytest.mark.parametrize(
    ("flavour", "text"),
    [
        ("mariadb", "CREATE USER li@localhost IDENTIFIED BY 'hunter2-lately' ACCOUNT NONSENSE"),
        ("mariadb", "CREATE USER li@localhost NONSENSE 'hunter2-lately'"),
        ("mariadb", "INSERT INTO numbers VALUES ('hunter2-lately')"),
        ("postgres", "CREATE USER li PASSWORD 'hunter2-lately' NONSENSE"),
        ("postgres", "INSERT INTO numbers VALUES ('hunter2-lately')"),
    ],
)
def test_what_a_server_refuses_is_told_without_the_strings_of_the_statement(
    flavour: str, text: str, request: pytest.FixtureRequest
) -> None:
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE numbers (n INT)")
    # As a plan cuts it, but for what it refuses beforehand.
    (statement,) = read_statements("mysql" if flavour == "mariadb" else "postgres", f"SELECT 1, {text[6:]}", "it")
    session = session_in(flavour, database)
    with pytest.raises(MigrationFailed) as failed:
        session.run(replace(statement, text=text), limit_s=9)
    told = "".join(traceback.format_exception(failed.value))
    assert "hunter2" not in told
    still_told = "syntax error|[Ii]n(correct|valid)|unrecognized role option"
    assert re.search(still_told, failed.value.message)


VALUES = {
    "mysql": [
        "UPDATE people SET n = CAST(mail AS SIGNED)",
        "UPDATE people SET n = mail + 1",
        "UPDATE people SET n = mail",
        "ALTER TABLE people ADD UNIQUE (same)",
    ],
    "postgres": [
        "ALTER TABLE people ALTER mail TYPE int USING mail::int",
        "UPDATE people SET n = to_char(to_date(mail, 'YYYY'), 'DD')::int",
        "SELECT mail::jsonb FROM people",
        "SELECT mail::text[] FROM people",
        "CREATE UNIQUE INDEX ON people (same)",
    ],
}


@pytest.mark.parametrize("flavour", ["mariadb", "mysql", "postgres"])
def test_what_a_server_refuses_is_told_without_the_values_of_rows(flavour: str, request: pytest.FixtureRequest) -> None:
    if flavour == "mysql" and not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set")
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE people (id INT PRIMARY KEY, mail VARCHAR(40), same VARCHAR(40), n INT)")
    database.execute("INSERT INTO people VALUES (1, 'wang''s@example', 'wang', 1), (2, 'wang\"2', 'wang', 2)")
    session, engine = session_in(flavour, database), "postgres" if flavour == "postgres" else "mysql"
    for text in VALUES[engine]:
        (statement,) = read_statements(engine, text, "it")
        with pytest.raises(MigrationFailed, match=r"nvalid|ncorrect|malformed|uplicate|unique") as failed:
            session.run(statement, limit_s=9)
        assert "wang" not in failed.value.message


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_what_a_procedure_begins_and_does_not_end_is_kept_with_its_statement(
    flavour: str, request: pytest.FixtureRequest
) -> None:
    if flavour == "mysql" and not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set")
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE a (b INT)")
    database.execute("CREATE PROCEDURE p() BEGIN START TRANSACTION; INSERT INTO a VALUES (1); END")
    (call,) = read_statements("mysql", "CALL p()", "it")
    session_in(flavour, database).run_alone(call, limit_s=9)
    assert database.query("SELECT b FROM a") == [(1,)]


def test_a_commit_whose_answer_is_lost_is_asked_for_until_the_server_answers(
    postgres_database: PostgresDatabase, sites: SiteFactory, scratches: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shop = open_shop("postgres", postgres_database, sites, scratches)
    migration = Migration("app", GOOD, BACK, on_failure="rollback")
    shop.rehearsed(migration)
    secure_migration(shop.job(), migration)
    plain, asked = PostgresMigration.commit, PostgresMigration.was_committed
    answers = iter([RestoreUnavailable("it is starting up", hint="wait"), None])

    def commit(self: PostgresMigration) -> None:
        plain(self)
        backend = self._connection.info.backend_pid
        shop.database.query(f"SELECT pg_terminate_backend({backend})")
        plain(self)

    def was_committed(self: PostgresMigration, number: str) -> bool | None:
        if error := next(answers, None):
            raise error
        return asked(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresMigration, "commit", commit)
        patch.setattr(PostgresMigration, "was_committed", was_committed)
        with pytest.raises(MigrationFailed, match="all of it stands: it was committed, and only the answer was lost"):
            run_migration(shop.job("cut"), migration, approver="li")
    assert shop.columns() == ["id", "name", "class"]
    with pytest.raises(MigrationRefused, match="after its commit: all of it stands"):
        refuse_begun(shop.job("again"), migration)


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_what_comes_out_otherwise_than_rehearsed_is_told(
    flavour: str, request: pytest.FixtureRequest, sites: SiteFactory, scratches: Callable[[str], Server]
) -> None:
    shop = open_shop(flavour, request.getfixturevalue(f"{flavour}_database"), sites, scratches)
    migration = Migration("app", GOOD.replace("CREATE TABLE classes", "CREATE TABLE IF NOT EXISTS classes"), BACK)
    shop.rehearsed(migration)
    shop.database.execute("CREATE TABLE classes (name VARCHAR(40) PRIMARY KEY)")
    done = migrate(shop.job(), migration, approver="li")
    table = "classes" if shop.is_mysql else "public.classes"
    assert done["unlike"] == [f"table {table}"]
    (act,) = shop.job().ledger.acts(duty="migrate")
    assert act.state == "done" and act.detail["light"] == "amber"
