"""Restoring by hand: beside the live database, into scratch, single tables; and over it, killed at every step."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tests.duties.killing import killed as killed_where
from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import mysql_home, run_line
from tests.servers.data import (
    Fingerprint,
    describe_folder,
    fill_folder,
    fill_hostile_mysql,
    fill_hostile_postgres,
    fill_redis,
    fingerprint_mysql,
    fingerprint_postgres,
    fingerprint_redis,
)
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.kubernetes_cluster import Namespace
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.cli import main
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.restoring import RestoreRequest, restored_name
from upkeep.duties.check_health import check_health
from upkeep.duties.job import Job
from upkeep.duties.prove import prove
from upkeep.duties.report import report_run
from upkeep.duties.restore import plan_restore, restore
from upkeep.duties.restore_copy import load_command, load_copy
from upkeep.duties.restore_over import (
    Waivers,
    bring_beside,
    finish_swap,
    let_write,
    restore_over,
    secure_live,
    stop_writes,
    swap_live,
)
from upkeep.duties.restore_place import place_of
from upkeep.duties.restore_source import find_backup
from upkeep.duties.verify import verify
from upkeep.duties.write_stops import ScaledToZero
from upkeep.engines import folder_live, live_rows, mysql_live, mysql_programs, redis_live, stopping
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.errors import NoFreshBackup, ObjectMissing, ProofFailed, RestoreRefused, RestoreUnavailable, Stopped
from upkeep.ledger import Act, Ledger, default_url, url_of

FLAVOURS = ["mariadb", "mysql", "postgres"]
NAME = "our 库-1; %s--"


def like(database: Database, name: str) -> Database:
    """Another database on the same server."""
    if isinstance(database, MySqlDatabase):
        return MySqlDatabase(database.server, name)
    assert isinstance(database, PostgresDatabase)
    return PostgresDatabase(database.server, name)


def fingerprint(database: Database) -> Fingerprint:
    if isinstance(database, MySqlDatabase):
        return fingerprint_mysql(database.connect(), database.name)
    assert isinstance(database, PostgresDatabase)
    with database.connect() as connection:
        return fingerprint_postgres(connection)


def proven(sites: SiteFactory, run_id: str = "night-1") -> str:
    backup_id = sites.back_up("app", run_id).backup.backup_id
    verify(sites.job(run_id), "app", backup_id)
    return backup_id


@contextmanager
def oddly_named(database: Database) -> Iterator[Database]:
    """Whatever is called like it on the server goes at the end."""
    odd = like(database, NAME)
    try:
        with odd.existing():
            yield odd
    finally:
        for name in databases(database):
            if name.startswith(NAME):
                like(database, name).drop()


@contextmanager
def ordinary_account(database: Database) -> Iterator[Endpoint]:
    """As applications have it: a server that is read only is so for it."""
    name = f"app_{secrets.token_hex(4)}"
    assert isinstance(database, MySqlDatabase)
    database.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'weak but its own'")
    database.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO " + f"{name}@'%'")
    try:
        yield replace(database.endpoint(), user=name, secret="weak but its own")
    finally:
        database.execute(f"DROP USER {name}@'%'")


def session_of(account: Endpoint, database: Database) -> Any:
    return MySqlEngine(account, database.name).connect()


def databases(database: Database) -> list[str]:
    listed = "SHOW DATABASES" if isinstance(database, MySqlDatabase) else "SELECT datname FROM pg_database"
    return [str(row[0]) for row in database.query(listed)]


@pytest.fixture(params=FLAVOURS)
def hostile(request: pytest.FixtureRequest) -> Iterator[Database]:
    plain: Database = request.getfixturevalue(f"{request.param}_database")
    with oddly_named(plain) as database:
        if isinstance(database, PostgresDatabase):
            with database.connect() as connection:
                fill_hostile_postgres(connection, long_row_bytes=100_000)
        else:
            assert isinstance(database, MySqlDatabase)
            fill_hostile_mysql(database.connect(), long_row_bytes=100_000)
        yield database


def test_a_hostile_database_is_restored_beside_and_then_over_live_as_it_was(
    hostile: Database, sites: SiteFactory
) -> None:
    sites.database(hostile, stop_writes="read_only")
    before = fingerprint(hostile)
    backup_id = proven(sites)
    beside = restore(sites.job("evening"), RestoreRequest("app"))
    copy = like(hostile, beside["database"])
    left_out = ["view broken_view is missing"] if isinstance(hostile, MySqlDatabase) else []
    assert before.differences(fingerprint(copy)) == left_out, "no dump has a view whose table is gone"
    texts = "texts" if isinstance(hostile, MySqlDatabase) else "public.texts"
    hostile.execute(f"DELETE FROM {texts}")
    hostile.execute(f"CREATE TABLE {texts}_since (id INT PRIMARY KEY)")
    spoilt = fingerprint(hostile)
    done = restore_over(sites.job("night"), RestoreRequest("app", "over", backup_id), approver="li")
    assert done["found"] is False
    assert before.differences(fingerprint(hostile)) == left_out
    old = like(hostile, done["old"])
    assert fingerprint(old).tables == spoilt.tables
    assert copy.name not in databases(hostile)
    hostile.execute(f"DELETE FROM {texts}")  # nobody is kept from writing any more


# Killed at every step.


@contextmanager
def small_shop(plain: Database) -> Iterator[Database]:
    """Tables that refer to each other, and everything that doesn't move by itself."""
    with oddly_named(plain) as database:
        is_mysql = isinstance(database, MySqlDatabase)
        for statement in MYSQL_SHOP if is_mysql else POSTGRES_SHOP:
            database.execute(statement)
        yield database


COMMON = [
    "CREATE TABLE parents (id INT PRIMARY KEY, name VARCHAR(40), children INT NOT NULL DEFAULT 0)",
    "CREATE TABLE children (id INT PRIMARY KEY, parent INT NOT NULL REFERENCES parents (id), born DATE)",
    "INSERT INTO parents VALUES (1, 'Wáng 王', 0), (2, 'Lǐ 李', 0)",
    "CREATE VIEW a_of_b AS SELECT 1 AS one",
    "CREATE VIEW b AS SELECT p.name, c.born FROM parents p JOIN children c ON c.parent = p.id",
]
MYSQL_SHOP = [
    *COMMON,
    "ALTER TABLE children ADD CONSTRAINT belongs FOREIGN KEY (parent) REFERENCES parents (id)",
    "CREATE OR REPLACE VIEW a_of_b AS SELECT COUNT(*) AS how_many FROM b",
    """CREATE TRIGGER counted AFTER INSERT ON children FOR EACH ROW
       UPDATE parents SET children = children + 1 WHERE id = NEW.parent""",
    "CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
    "CREATE PROCEDURE clear_out() DELETE FROM children WHERE born < '2000-01-01'",
    "CREATE EVENT awake ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' ON COMPLETION PRESERVE ENABLE DO CALL clear_out()",
    "CREATE EVENT asleep ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' ON COMPLETION PRESERVE DISABLE DO DO 0",
    "INSERT INTO children VALUES (1, 1, '2020-05-06'), (2, 2, '2021-07-08')",
]
POSTGRES_SHOP = [
    *COMMON,
    """CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN UPDATE parents SET children = children + 1 WHERE id = NEW.parent; RETURN NEW; END'""",
    "CREATE TRIGGER counted AFTER INSERT ON children FOR EACH ROW EXECUTE FUNCTION count_it()",
    "INSERT INTO children VALUES (1, 1, '2020-05-06'), (2, 2, '2021-07-08')",
    f"ALTER DATABASE \"{NAME}\" SET work_mem = '7MB'",
    f'REVOKE CONNECT ON DATABASE "{NAME}" FROM PUBLIC',
    f"COMMENT ON DATABASE \"{NAME}\" IS 'the shop''s; all of it'",
]
SPOIL = [
    "DROP VIEW a_of_b",
    "DELETE FROM children WHERE id = 1",
    "INSERT INTO parents VALUES (7, 'since', 0)",
    "CREATE TABLE since (id INT PRIMARY KEY)",
]

MYSQL_MOMENTS = [
    ("after", "SET GLOBAL read_only = 1"),
    ("after", "CREATE DATABASE `our 库-1; %s--_restored_"),
    ("loading", ""),
    ("after", "CREATE TABLE _upkeep_swap"),
    ("after", "COMMIT"),
    ("after", "DROP TRIGGER IF EXISTS `"),
    ("before", "RENAME TABLE `"),
    ("after", "RENAME TABLE `"),
    ("after", " TRIGGER counted "),
    ("after", " VIEW `a_of_b`"),
    ("before", "DROP DATABASE"),
    ("after", "DROP DATABASE"),
    ("after", "SET GLOBAL read_only = 0"),
]
POSTGRES_MOMENTS = [
    ("after", "SET default_transaction_read_only"),
    ("after", "CREATE DATABASE"),
    ("loading", ""),
    ("loaded", ""),
    ("before", "RENAME TO"),
    ("after", '" RENAME TO "our 库-1; %s--_replaced'),
    ("after", '" RENAME TO "our 库-1; %s--"'),
    ("swapped", ""),
]


def killed(moment: tuple[str, str], work: Callable[[], Any]) -> None:
    killed_where(lambda: arm(*moment), work, str(moment))


def arm(when: str, match: str) -> None:  # pragma: no cover - another process
    import psycopg
    import pymysql.connections

    from upkeep.duties import restore_copy, write_stops
    from upkeep.duties.read_back import Streams
    from upkeep.engines import folder_live, folder_scratch, postgres_live, redis_live

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def text(query: Any) -> str:
        if isinstance(query, psycopg.sql.Composable):
            query = query.as_string(None)
        return query.decode("utf-8", "replace") if isinstance(query, bytes) else str(query)

    def around(plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Any, query: Any, *rest: Any, **more: Any) -> Any:
            if when == "before" and match in text(query):
                die()
            found = plain(self, query, *rest, **more)
            if when == "after" and match in text(query):
                die()
            return found

        return run

    def first_only(plain: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
        def read(self: Any, stream: str) -> Iterator[bytes]:
            yield next(plain(self, stream))
            die()

        return read

    def then_die(plain: Callable[..., Any], only: str = "") -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            found = plain(*arguments)
            if only in str(arguments[-1]):
                die()
            return found

        return run

    changes: dict[str, list[tuple[Any, str, Any]]] = {
        "loading": [(Streams, "read", first_only(Streams.read))],
        "loaded": [(restore_copy, "compare_database", die)],
        "swapped": [(postgres_live, "Swapped", die)],
        "after copy": [(redis_live.RedisLive, "_exchange", die)],
        "scaled": [(write_stops.ScaledToZero, "_scale", then_die(write_stops.ScaledToZero._scale))],
        "staged": [(folder_scratch, "compare", die)],
        "before exchange": [(folder_live, "exchange", die)],
        "after exchange": [(folder_live, "exchange", then_die(folder_live.exchange))],
        "after rename": [(Path, "rename", then_die(Path.rename, ".replaced-"))],
    }
    statements = [(kind, name, around(getattr(kind, name))) for kind, name in (
        (pymysql.connections.Connection, "query"), (psycopg.Connection, "execute"),
    )]  # fmt: skip
    for place, name, value in changes.get(when, statements):
        setattr(place, name, value)


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_a_restore_over_live_killed_at_any_step_leaves_one_of_both_live_and_is_finished_by_the_next_run(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    with small_shop(request.getfixturevalue(f"{flavour}_database")) as live:
        sites.database(live, stop_writes="read_only")
        good, backup_id = fingerprint(live), proven(sites)
        wanted = RestoreRequest("app", "over", backup_id)
        for number, moment in enumerate(MYSQL_MOMENTS if flavour == "mariadb" else POSTGRES_MOMENTS):
            for statement in SPOIL:
                live.execute(statement)
            spoilt = fingerprint(live)
            killed(moment, lambda: restore_over(sites.job(f"night {number}"), wanted, approver="li"))  # noqa: B023
            assert fingerprint(live).tables in (good.tables, spoilt.tables), moment
            done = restore_over(sites.job(f"again {number}"), wanted, approver="li")
            assert good.differences(fingerprint(live)) == [], moment
            left = sorted(name for name in databases(live) if name.startswith(NAME) and name != NAME)
            assert left == [done["old"]], moment
            old = like(live, done["old"])
            assert fingerprint(old).tables == spoilt.tables, moment
            assert fingerprint(old).objects.keys() == spoilt.objects.keys(), moment
            live.execute("INSERT INTO children VALUES (9, 1, '2022-01-01')")
            assert live.query("SELECT children FROM parents WHERE id = 1") == [(2,)], (
                f"{moment}: the trigger fires once"
            )
            live.execute("DELETE FROM children WHERE id = 9")
            live.execute("UPDATE parents SET children = 1 WHERE id = 1")
            old.drop()
        if isinstance(live, MySqlDatabase):
            events = live.query(
                "SELECT event_name, status FROM information_schema.events WHERE event_schema = %s", NAME
            )
            assert sorted(events) == [("asleep", "DISABLED"), ("awake", "ENABLED")]
        else:
            assert live.query("SHOW work_mem") == [("7MB",)]
            described = "SELECT shobj_description(oid, 'pg_database'), datacl::text FROM pg_database WHERE datname = %s"
            ((comment, rights),) = live.query(described, NAME)
            assert comment == "the shop's; all of it"
            assert "=T" in rights


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_whoever_reads_meanwhile_finds_the_old_rows_and_then_the_new_ones_and_at_no_moment_none(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    with small_shop(request.getfixturevalue(f"{flavour}_database")) as live, ExitStack() as stack:
        sites.database(live, stop_writes="read_only")
        wanted = RestoreRequest("app", "over", proven(sites))
        live.execute("DELETE FROM children WHERE id = 1")
        opened: Any = live
        login: Callable[[], Any] = opened.connect
        if flavour == "mariadb":
            login = partial(session_of, stack.enter_context(ordinary_account(live)), live)
        seen: list[int] = []
        lost: list[str] = []
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                try:
                    with login() as connection, connection.cursor() as cursor:
                        while not over.is_set():
                            cursor.execute("SELECT COUNT(*) FROM children")
                            seen.extend(*(row.values() if isinstance(row, dict) else row for row in cursor.fetchall()))
                except Exception as error:
                    lost.append(str(error))

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        restore_over(sites.job("night"), wanted, approver="li")
        over.set()
        for reader in readers:
            reader.join()
        assert set(seen) == {1, 2}
        if flavour == "mariadb":
            assert lost == []
        else:  # sessions are ended when writes are stopped and by the swap; whoever comes back is served
            told = ("terminating connection", "closed the connection", f'database "{NAME}" does not exist')
            assert [line for line in lost if not any(words in line for words in told)] == []
            assert len(lost) <= 4 * len(readers)


def test_a_swap_that_was_begun_is_finished_before_any_other_and_without_the_ledger_that_knows_of_it(
    mariadb_database: Database, sites: SiteFactory, tmp_path: Path
) -> None:
    with small_shop(mariadb_database) as live:
        sites.database(live, stop_writes="read_only")
        good, first, second = fingerprint(live), proven(sites), proven(sites, "night-2")
        live.execute("DROP VIEW a_of_b")
        wanted = RestoreRequest("app", "over", first)
        killed(("after", "RENAME TABLE `"), lambda: restore_over(sites.job("killed"), wanted, approver="li"))
        with pytest.raises(RestoreRefused, match="has to be finished"):
            bring_beside(sites.job("other"), RestoreRequest("app", "over", second))
        with pytest.raises(RestoreRefused, match="writes stay stopped"):
            let_write(sites.job("given up"), "app")
        elsewhere = sites.job("by hand", ledger=Ledger(default_url(tmp_path / "laptop")))
        (tmp_path / "laptop").mkdir()
        store = sites.folder / "store"
        store.rename(store.with_name("away"))  # all that it takes is on the server
        bring_beside(elsewhere, wanted)
        swap_live(elsewhere, wanted, approver="li")
        store.with_name("away").rename(store)
        assert good.differences(fingerprint(live)) == []
        let_write(sites.job("night"), "app")
        live.execute("INSERT INTO parents VALUES (8, 'writes', 0)")


def test_a_swap_that_was_begun_is_finished_while_the_store_is_away_and_by_the_approval_it_was_begun_with(
    mariadb_database: Database, sites: SiteFactory
) -> None:
    with small_shop(mariadb_database) as live:
        sites.database(live, stop_writes="read_only", lock_timeout_s=1)
        good, wanted = fingerprint(live), RestoreRequest("app", "over", proven(sites))
        live.execute("DROP VIEW a_of_b")

        def nobody() -> str:
            raise AssertionError("it was approved already")

        with pytest.raises(RestoreRefused, match="knows of no swap"):
            finish_swap(sites.job("too early"), "app", approver=nobody)
        killed(("after", "RENAME TABLE `"), lambda: restore_over(sites.job("killed"), wanted, approver="li"))
        store = sites.folder / "store"
        store.rename(store.with_name("away"))
        with ordinary_account(live) as account, session_of(account, live) as reader:
            reader.autocommit(False)
            with reader.cursor() as cursor:
                cursor.execute("SELECT * FROM children")
            with pytest.raises(RestoreUnavailable, match=r"can't make trigger 'counted' .* Lock wait timeout"):
                finish_swap(sites.job("too busy"), "app", approver=nobody)  # nobody waits for long behind it
        finish_swap(sites.job("by hand"), "app", approver=nobody)
        assert good.differences(fingerprint(live)) == []
        live.execute("INSERT INTO parents VALUES (8, 'writes', 0)")
        (swap,) = sites.job().ledger.acts("kindergarten", duty="swap", limit=1, newest_first=True)
        assert (swap.state, swap.started.approver) == ("done", "li")


def test_a_swap_that_the_server_refuses_gives_everything_back_and_lets_writes_go_on(
    mariadb_database: Database, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_shop(mariadb_database) as live:
        assert isinstance(live, MySqlDatabase)
        sites.database(live, stop_writes="read_only", lock_timeout_s=1)
        good, wanted = fingerprint(live), RestoreRequest("app", "over", proven(sites))
        live.execute("RENAME TABLE parents TO people")  # a migration that went wrong: a view where the table was
        live.execute("CREATE VIEW parents AS SELECT * FROM people")
        spoilt = fingerprint(live)
        monkeypatch.setattr(mysql_live, "TRIES", 2)
        monkeypatch.setattr(mysql_live, "PAUSE_S", 0.01)
        with ordinary_account(live) as account, session_of(account, live) as reader:
            reader.autocommit(False)
            with reader.cursor() as cursor:
                cursor.execute("SELECT * FROM children")
            with pytest.raises(RestoreUnavailable, match="the old database is live as it was"):
                restore_over(sites.job("night"), wanted, approver="li")
        assert fingerprint(live) == spoilt, "with its triggers and views, and the events that were awake"
        live.execute("UPDATE children SET born = born")
        assert [name for name in databases(live) if "_replaced_" in name] == []
        done = restore_over(sites.job("again"), wanted, approver="li")
        assert good.differences(fingerprint(live)) == []
        assert fingerprint(like(live, done["old"])).tables == spoilt.tables


def test_a_table_that_an_application_makes_in_an_empty_place_is_not_taken_for_the_restored_one(
    mariadb_database: Database, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_shop(mariadb_database) as live:
        sites.database(live, stop_writes="read_only")
        good, wanted = fingerprint(live), RestoreRequest("app", "over", proven(sites))
        live.drop()
        plain = mysql_programs.drop_triggers

        def meanwhile(connection: Any, names: Any) -> None:
            plain(connection, names)
            live.execute("CREATE TABLE IF NOT EXISTS children (id INT PRIMARY KEY)")

        monkeypatch.setattr(mysql_live, "drop_triggers", meanwhile)
        with pytest.raises(RestoreUnavailable, match="already exists"):
            restore_over(sites.job("night"), wanted, approver="li")
        monkeypatch.undo()
        done = restore_over(sites.job("night"), wanted, approver="li")
        assert good.differences(fingerprint(live)) == []
        assert like(live, done["old"]).query("SELECT COUNT(*) FROM children") == [(0,)]


def test_triggers_that_name_their_database_stay_with_their_tables_and_reach_into_no_other(
    mariadb_database: Database, sites: SiteFactory
) -> None:
    with small_shop(mariadb_database) as live:
        sites.database(live, stop_writes="read_only")
        live.execute(
            f"CREATE TRIGGER `{NAME}`.`named in full`\n BEFORE UPDATE\n ON `{NAME}` . parents FOR EACH ROW\n"
            f"SET NEW.name = CONCAT(NEW.name, (SELECT COUNT(*) FROM `{NAME}`.children))"
        )
        good, wanted = fingerprint(live), RestoreRequest("app", "over", proven(sites))
        copy = like(live, restore(sites.job("evening"), RestoreRequest("app"))["database"])
        assert fingerprint(live) == good, "what is beside leaves the live one as it is"
        triggers = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s ORDER BY 1"
        assert copy.query(triggers, copy.name) == [("counted",), ("named in full",)]
        live.execute("DROP TRIGGER `named in full`")
        live.execute(f"CREATE TRIGGER `{NAME}`.since BEFORE INSERT ON `{NAME}`.parents FOR EACH ROW SET NEW.id = 0")
        done = restore_over(sites.job("night"), wanted, approver="li")
        assert good.differences(fingerprint(live)) == [], "the old one's triggers are not made on it"
        assert like(live, done["old"]).query(triggers, done["old"]) == [("counted",), ("since",)]


SEQUENCES = [
    "CREATE SEQUENCE numbers START WITH 100 INCREMENT BY 5 CACHE 10",
    "CREATE SEQUENCE `z``'s; %s` START WITH -3 INCREMENT BY -1 NOCACHE",
    "CREATE SEQUENCE used_up MAXVALUE 2 CACHE 10",
    """CREATE TABLE orders (
        id BIGINT PRIMARY KEY DEFAULT NEXT VALUE FOR numbers, twin BIGINT DEFAULT (1 + NEXT VALUE FOR `z``'s; %s`),
        note VARCHAR(99) DEFAULT 'nextval(`our`.`n`)' COMMENT 'it''s nextval(`our 库-1; %s--`.`n`)', KEY (note)
    ) WITH SYSTEM VERSIONING""",
    "INSERT INTO orders (note) VALUES ('a'), ('b'), ('c')",
    "DO NEXTVAL(used_up), NEXTVAL(used_up)",
    "CREATE VIEW drawn AS SELECT NEXT VALUE FOR numbers AS n",
    "CREATE VIEW stand AS SELECT next_not_cached_value AS n FROM numbers",
]


def test_tables_that_draw_from_sequences_are_restored_by_hand_in_scratch_beside_and_over_and_go_on_counting(
    mariadb_database: Database, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path
) -> None:
    with oddly_named(mariadb_database) as live:
        for statement in SEQUENCES:
            live.execute(statement)
        sites.database(live, stop_writes="read_only", scratch_conn_id=sites.scratch(mariadb_scratch))
        good, manifest = fingerprint(live), sites.back_up()
        verify(sites.job(), "app", manifest.backup.backup_id)

        def goes_on(copy: Database) -> None:
            copy.execute("INSERT INTO orders (note) VALUES ('d')")
            rows = copy.query("SELECT id, twin FROM orders ORDER BY id")
            assert rows == [(100, -2), (105, -3), (110, -4), (150, -5)], "behind what was handed out, by its own step"
            assert copy.query("SELECT n FROM drawn") == [(155,)]
            with pytest.raises(pymysql.MySQLError, match="has run out"):
                copy.query("SELECT NEXTVAL(used_up)")
            copy.execute("DELETE FROM orders WHERE note = 'd'")

        by_hand = MySqlDatabase(mariadb_scratch, NAME)
        home = mysql_home(mariadb_scratch, tmp_path / "home")
        run_line(manifest.restore, sites.fetch(manifest, tmp_path / "restore"), home)
        assert good.differences(fingerprint(by_hand)) == []
        goes_on(by_hand)
        by_hand.drop()
        assert list(prove(sites.job("week"), "app")["restored"]) == [manifest.backup.backup_id]
        beside = like(live, restore(sites.job("evening"), RestoreRequest("app"))["database"])
        assert good.differences(fingerprint(beside)) == []
        goes_on(beside)
        assert live.query("SELECT n FROM stand") == [(150,)], "the live sequence was not touched"
        beside.drop()

        live.execute("DELETE FROM orders")
        live.execute("CREATE OR REPLACE SEQUENCE numbers START WITH 1")
        live.execute("DROP TABLE orders")
        live.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY DEFAULT NEXT VALUE FOR numbers)")
        wanted = RestoreRequest("app", "over", manifest.backup.backup_id)
        killed(("before", "ALTER TABLE"), lambda: restore_over(sites.job("killed"), wanted, approver="li"))
        done = restore_over(sites.job("night"), wanted, approver="li")
        assert good.differences(fingerprint(live)) == []
        goes_on(live)
        old = like(live, done["old"])
        old.execute("INSERT INTO orders VALUES (DEFAULT)")
        assert old.query("SELECT id FROM orders") == [(1,)], "the old one draws from its own, as before"


# What is refused, and what is said before.


@pytest.fixture(params=["mariadb", "postgres"])
def shop(request: pytest.FixtureRequest, sites: SiteFactory) -> Iterator[Database]:
    with small_shop(request.getfixturevalue(f"{request.param}_database")) as database:
        sites.database(
            database, stop_writes="read_only", purge=[{"table": "children", "column": "born", "keep_days": 0}]
        )
        yield database


def table_of(database: Database, name: str) -> str:
    return name if isinstance(database, MySqlDatabase) else f"public.{name}"


def test_the_plan_says_what_would_be_lost_and_changes_nothing(shop: Database, sites: SiteFactory) -> None:
    backup_id = proven(sites)
    for statement in SPOIL:
        shop.execute(statement)
    before, acts = fingerprint(shop), len(sites.job().ledger.rows())
    plan = plan_restore(sites.job(), RestoreRequest("app", "over"))
    text = "\n".join(plan.lines())
    assert plan.backup_id == backup_id
    assert f"{table_of(shop, 'parents')}: 2 rows in the backup, 3 rows live" in text
    assert f"{table_of(shop, 'children')}: 2 rows in the backup, 1 rows live" in text
    assert f"{table_of(shop, 'since')}: none in the backup, 0 rows live; made since" in text
    assert "not known: none was measured yet" in text
    assert f"{NAME} stays as {NAME}_replaced_<time>" in text
    assert fingerprint(shop) == before
    assert len(sites.job().ledger.rows()) == acts


def test_the_same_restore_twice_finds_the_first_copy_and_one_made_by_somebody_else_is_never_touched(
    shop: Database, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven(sites)
    first = restore(sites.job("evening"), RestoreRequest("app"))
    copy = like(shop, first["database"])
    copy.execute("INSERT INTO parents VALUES (50, 'somebody works with it', 0)")
    assert restore(sites.job("later"), RestoreRequest("app"))["found"] is True
    assert copy.query("SELECT COUNT(*) FROM parents") == [(3,)]
    copy.drop()
    assert restore(sites.job("later"), RestoreRequest("app"))["found"] is False
    taken = sites.back_up("app", "night-2").backup.backup_id
    name = copy.name.replace(copy.name[-20:], f"{taken[:8]}_{taken[9:15]}_{taken[-4:]}")
    theirs = like(shop, name)
    with theirs.existing():
        with pytest.raises(RestoreRefused, match="knows of no restore"):
            restore(sites.job("later"), RestoreRequest("app", backup_id=taken))
        for restorer in (MySqlRestorer, PostgresRestorer):  # some account, or spelling, that doesn't see it there
            monkeypatch.setattr(restorer, "databases", lambda self: [])
        with pytest.raises(RestoreUnavailable, match="already a database"):
            restore(sites.job("later"), RestoreRequest("app", backup_id=taken))
        assert theirs.name in databases(shop)


def test_what_was_changed_in_the_copy_keeps_it_from_going_live_and_writes_are_let_again(
    shop: Database, sites: SiteFactory
) -> None:
    wanted = RestoreRequest("app", "over", proven(sites))
    copy = like(shop, bring_beside(sites.job("evening"), wanted)["database"])
    copy.execute("DELETE FROM children WHERE id = 1")
    before = fingerprint(shop)
    with pytest.raises(ProofFailed, match="children has 1 rows"):
        restore_over(sites.job("night"), wanted, approver="li")
    assert fingerprint(shop) == before
    shop.execute("DELETE FROM children WHERE id = 1")


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_who_may_write_although_the_server_is_read_only_is_named_and_keeps_the_restore_from_beginning_and_from_swapping(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    server: Database = request.getfixturevalue(f"{flavour}_database")
    right = "READ_ONLY ADMIN" if flavour == "mariadb" else "CONNECTION_ADMIN"
    with small_shop(server) as live, ordinary_account(live) as plain, ordinary_account(live) as boss:
        role = f"role_{boss.user}"
        live.execute(f"CREATE ROLE {role}")
        live.execute(f"GRANT {right.replace('_O', ' O')} ON *.* TO {role}")
        live.execute(f"GRANT {role} TO {boss.user}@'%'")
        sites.database(live, stop_writes="read_only")
        before, wanted = fingerprint(live), RestoreRequest("app", "over", proven(sites))
        with session_of(plain, live), session_of(boss, live):
            text = "\n".join(plan_restore(sites.job(), wanted).lines())
            assert re.search(rf"may write although the server is read only: .*{boss.user}@%", text)
            assert plain.user not in text
            with pytest.raises(RestoreRefused, match=rf"^1 sessions on .*: {boss.user} from .* \(session \d+\)"):
                restore_over(sites.job("night"), wanted, approver="li")
            live.execute("UPDATE parents SET name = name")  # nobody was stopped
        with session_of(plain, live):
            stop_writes(sites.job("night"), wanted, approver="li")
            bring_beside(sites.job("night"), wanted)
            with session_of(boss, live), pytest.raises(RestoreRefused, match=f"{boss.user} from"):
                swap_live(sites.job("night"), wanted, approver="li")
            assert fingerprint(live) == before
            swap_live(sites.job("night"), wanted, approver="li")
        let_write(sites.job("night"), "app")
        live.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_an_account_that_can_not_see_other_sessions_is_not_told_that_there_are_none(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    server: Database = request.getfixturevalue(f"{flavour}_database")
    with small_shop(server) as live, ordinary_account(live) as blind:
        assert isinstance(live, MySqlDatabase)
        live.execute(f"GRANT CREATE, DROP, ALTER, SUPER ON *.* TO {blind.user}@'%'")
        sites.database(
            live,
            stop_writes="read_only",
            restore_conn_id=sites.scratch(live.server, user=blind.user, secret=blind.secret),
        )
        wanted = RestoreRequest("app", "over", proven(sites))
        text = "\n".join(plan_restore(sites.job(), wanted).lines())
        assert re.search("in the way: nobody can see who could go on writing: .*PROCESS", text)
        with pytest.raises(RestoreUnavailable, match="PROCESS"):
            stop_writes(sites.job("night"), wanted, approver="li")
        live.execute("UPDATE parents SET name = name")  # nobody was stopped


def test_the_database_in_which_the_ledger_lies_is_not_replaced(postgres_database: Database, sites: SiteFactory) -> None:
    sites.database(postgres_database, stop_writes="read_only")
    wanted = RestoreRequest("app", "over", proven(sites))
    inside = sites.job("night", ledger=Ledger(url_of(postgres_database.endpoint())))
    for begin in (plan_restore, secure_live):
        with pytest.raises(RestoreRefused, match=r"the ledger of Upkeep lies in .* itself") as refused:
            begin(inside, wanted)
        assert "HINT: let the connection upkeep_ledger lead to a database of its own" in str(refused.value)
    assert postgres_database.query("SHOW transaction_read_only") == [("off",)]


def test_a_restore_that_was_given_up_with_writes_stopped_is_told_every_night_until_somebody_undoes_it(
    shop: Database, sites: SiteFactory
) -> None:
    sites.settings["databases"][0]["latency_ms"] = 60_000
    wanted = RestoreRequest("app", "over", proven(sites))
    stop_writes(sites.job("evening"), wanted, approver="li")
    assert check_health(sites.job("night"), "database/app")["light"] == "amber", "it may still be under way"
    sites.settings["databases"][0].pop("stop_writes")  # even where nobody would stop them today
    later = sites.job("night", now=lambda: datetime.now(UTC) + timedelta(hours=9))
    found = check_health(later, "database/app")
    assert found["light"] == "red"
    assert re.search(
        r"since 20.*Z, for 9 h \(read_only, by li in evening .*`upkeep restore resume kindergarten app`",
        found["summary"],
    )
    assert found["summary"] in report_run(later, "daily")["text"]
    let_write(sites.job("morning"), "app")
    assert check_health(sites.job("night"), "database/app")["light"] == "green"
    shop.execute("DELETE FROM children")


def test_over_live_needs_an_approval_a_hook_or_a_waiver_and_a_fresh_backup(shop: Database, sites: SiteFactory) -> None:
    sites.settings["databases"][0].pop("stop_writes")
    wanted = RestoreRequest("app", "over", proven(sites))
    later = sites.job("night", now=lambda: datetime.now(UTC) + timedelta(hours=2))
    with pytest.raises(RestoreRefused, match=r"nothing keeps applications from writing.*\n.*--waive-stop"):
        stop_writes(later, wanted, approver="li")
    bring_beside(later, wanted)
    waivers = Waivers(writes="all pods are scaled down by hand")
    with pytest.raises(RestoreRefused, match=r"may write.*\n.*--waive-stop"):
        swap_live(later, wanted, approver="li")
    with pytest.raises(NoFreshBackup, match="--waive-backup"):
        swap_live(later, wanted, approver="li", waivers=waivers)
    made = secure_live(later, wanted)
    assert made["backup_id"] != wanted.backup_id
    approved_late = sites.job("night", now=lambda: datetime.now(UTC) + timedelta(hours=5))
    with pytest.raises(NoFreshBackup, match=r"its newest, \S+, is structure and was finished 3 h ago"):
        swap_live(approved_late, wanted, approver="li", waivers=waivers)
    assert secure_live(approved_late, wanted)["backup_id"] != made["backup_id"], "this run's own is too old by now"
    plan = plan_restore(later, RestoreRequest("app"))
    assert plan.backup_id == wanted.backup_id, "nobody who asks for the newest means what had to be replaced"
    assert f"{made['backup_id']} is passed over" in "\n".join(plan.lines())
    with pytest.raises(RestoreRefused, match="nobody approved"):
        swap_live(later, wanted, approver="", waivers=waivers)
    stop_writes(later, wanted, waived=waivers.writes, approver="li")
    swap_live(later, wanted, approver="li", waivers=waivers)
    (swap,) = later.ledger.acts("kindergarten", duty="swap")
    assert (swap.started.approver, swap.detail["waived"]) == ("li", {"writes": "all pods are scaled down by hand"})


def test_a_database_that_is_gone_altogether_comes_back(shop: Database, sites: SiteFactory) -> None:
    good, wanted = fingerprint(shop), RestoreRequest("app", "over", proven(sites))
    shop.drop()
    assert "there is no database" in "\n".join(plan_restore(sites.job(), wanted).lines())
    done = restore_over(sites.job("night"), wanted, approver="li")
    assert done["old"] == ""
    assert good.differences(fingerprint(shop)) == []
    shop.execute("INSERT INTO parents VALUES (70, 'written since', 0)")
    again = restore_over(sites.job("night"), wanted, approver="li")
    assert again["found"] is True, "the same run again, as when a task is cleared"
    assert shop.query("SELECT COUNT(*) FROM parents WHERE id = 70") == [(1,)]


def test_killed_behind_the_swap_of_a_database_that_was_gone_it_is_found_live_and_not_restored_twice(
    shop: Database, sites: SiteFactory
) -> None:
    sites.settings["databases"][0].pop("stop_writes")  # nobody has to be stopped where nobody is
    good, wanted = fingerprint(shop), RestoreRequest("app", "over", proven(sites))
    shop.drop()
    moment = ("after", "DROP DATABASE") if isinstance(shop, MySqlDatabase) else ("swapped", "")
    killed(moment, lambda: restore_over(sites.job("killed"), wanted, approver="li"))
    assert good.differences(fingerprint(shop)) == []
    shop.execute("INSERT INTO parents VALUES (70, 'written since', 0)")
    done = restore_over(sites.job("again"), wanted, approver="li")
    assert done["old"] == ""
    assert shop.query("SELECT COUNT(*) FROM parents WHERE id = 70") == [(1,)]
    assert [name for name in databases(shop) if name.startswith(f"{NAME}_")] == []


def test_killed_while_writes_are_stopped_the_next_run_leaves_no_session_that_can_still_write(
    postgres_database: Database, sites: SiteFactory
) -> None:
    with small_shop(postgres_database) as live:
        assert isinstance(live, PostgresDatabase)
        sites.database(live, stop_writes="read_only")
        wanted = RestoreRequest("app", "over", proven(sites))
        with live.connect() as pooled:
            moment = ("after", "SET default_transaction_read_only")
            killed(moment, lambda: stop_writes(sites.job("killed"), wanted, approver="li"))
            stop_writes(sites.job("again"), wanted, approver="li")
            with pytest.raises(psycopg.OperationalError, match="terminating connection"):
                pooled.execute("DELETE FROM children")
        assert stop_writes(sites.job("again"), wanted, approver="li")["how"] == "stopped already"
        let_write(sites.job("again"), "app")


def test_killed_while_writes_are_let_again_the_next_run_leaves_no_session_that_can_only_read(
    postgres_database: Database, sites: SiteFactory
) -> None:
    with small_shop(postgres_database) as live:
        assert isinstance(live, PostgresDatabase)
        sites.database(live, stop_writes="read_only")
        stop_writes(sites.job("night"), RestoreRequest("app", "over", proven(sites)), approver="li")
        with live.connect() as pooled:
            killed(("after", "RESET default_transaction_read_only"), lambda: let_write(sites.job("killed"), "app"))
            let_write(sites.job("again"), "app")
            with pytest.raises(psycopg.OperationalError, match="terminating connection"):
                pooled.execute("DELETE FROM children")
        live.execute("DELETE FROM children")


def test_single_tables_come_with_their_rows_and_all_others_empty(shop: Database, sites: SiteFactory) -> None:
    proven(sites)
    with pytest.raises(RestoreRefused, match="no table nobody"):
        restore(sites.job("night"), RestoreRequest("app", "tables", tables=("nobody",)))
    done = restore(sites.job("night"), RestoreRequest("app", "tables", tables=("children",)))
    copy = like(shop, done["database"])
    assert copy.query("SELECT COUNT(*) FROM children") == [(2,)]
    assert copy.query("SELECT COUNT(*) FROM parents") == [(0,)]
    assert "_tables_" in copy.name


def test_a_missing_a_damaged_and_an_unproven_backup_are_refused_and_one_in_the_spool_is_found(
    shop: Database, sites: SiteFactory
) -> None:
    with pytest.raises(ObjectMissing, match="no proven backup"):
        plan_restore(sites.job(), RestoreRequest("app"))
    first = proven(sites)
    with pytest.raises(ObjectMissing, match="holds no backup 20200101T000000Z-0000") as missing:
        plan_restore(sites.job(), RestoreRequest("app", backup_id="20200101T000000Z-0000"))
    assert first in str(missing.value), "says what there is"
    second = sites.back_up("app", "night-2").backup.backup_id
    assert plan_restore(sites.job(), RestoreRequest("app")).backup_id == first, "only proven ones are chosen unasked"
    folder = sites.folder / "store" / "kindergarten" / "app" / second
    (sites.folder / "spool" / "kindergarten" / "app").mkdir(parents=True)
    folder.rename(sites.folder / "spool" / "kindergarten" / "app" / second)
    found = restore(sites.job("night"), RestoreRequest("app", backup_id=second))
    assert found["rows"] == 4
    stored = next((sites.folder / "store" / "kindergarten" / "app" / first).glob("*dump*"))
    content = bytearray(stored.read_bytes())
    content[-20] ^= 1
    stored.write_bytes(content)
    there = databases(shop)
    with pytest.raises(ProofFailed):
        restore(sites.job("night"), RestoreRequest("app", backup_id=first))
    assert databases(shop) == there, "nothing half-loaded stays"
    with pytest.raises(ProofFailed, match="is damaged"):
        plan_restore(sites.job(), RestoreRequest("app", backup_id=first))


def test_a_damage_that_can_not_be_written_down_is_said_with_the_error_and_on_the_command_line_too(
    postgres_database: Database, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    postgres_database.execute("CREATE TABLE t AS SELECT generate_series(1, 5) n")
    sites.database(postgres_database)
    backup_id = sites.back_up("app").backup.backup_id
    folder = sites.folder / "store" / "kindergarten" / "app" / backup_id
    stored = next(folder.glob("dump*"))
    content = bytearray(stored.read_bytes())
    content[-20] ^= 1
    stored.write_bytes(content)
    (folder / "proofs").symlink_to("/proc/nothing")  # no folder can be made there
    monkeypatch.setattr("upkeep.commands.restore.job_of", lambda site: sites.job("night"))
    assert main(["restore", "backup", "kindergarten", "app", "--backup", backup_id, "--yes"]) == 2
    said = capsys.readouterr().err
    assert f"NOTE: that {backup_id} is damaged could not be written beside it" in said
    (failed,) = sites.job().ledger.acts("kindergarten", duty="restore")
    assert failed.finished and "could not be written beside it" in str(failed.finished.error)


def test_a_disk_without_room_is_refused_before_anything_is_made(
    shop: Database, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven(sites)
    there = databases(shop)
    for module in ("mysql_restore", "postgres_restore"):
        monkeypatch.setattr(f"upkeep.engines.{module}.free_bytes_of", lambda folder: 1000)
    with pytest.raises(RestoreUnavailable, match=r"1\.0 kB of free disk"):
        restore(sites.job("night"), RestoreRequest("app"))
    assert databases(shop) == there


def test_a_foreign_key_from_another_database_is_named_and_refused(
    mariadb_database: Database, sites: SiteFactory
) -> None:
    with small_shop(mariadb_database) as live:
        sites.database(live, stop_writes="read_only")
        wanted = RestoreRequest("app", "over", proven(sites))
        mariadb_database.execute(
            f"CREATE TABLE abroad (p INT, CONSTRAINT led FOREIGN KEY (p) REFERENCES `{NAME}`.parents (id))"
        )
        with pytest.raises(RestoreRefused, match="foreign key led"):
            restore_over(sites.job("night"), wanted, approver="li")
        mariadb_database.execute("DROP TABLE abroad")


def test_an_account_for_restores_has_to_be_one_on_the_same_server(
    postgres_database: Database, postgres_scratch: PostgresServer, sites: SiteFactory
) -> None:
    sites.database(postgres_database, restore_conn_id=sites.scratch(postgres_scratch))
    proven(sites)
    with pytest.raises(RestoreRefused, match="lead to two servers"):
        plan_restore(sites.job(), RestoreRequest("app"))
    conn_id = sites.settings["databases"][0]["conn_id"]
    sites.endpoints[conn_id] = replace(sites.endpoints[conn_id], port=1)
    with pytest.raises(RestoreRefused, match="nobody knows whether"):
        plan_restore(sites.job(), RestoreRequest("app", "over"))


def test_into_scratch_it_stays_there_and_the_next_proof_leaves_it_alone(
    postgres_database: Database, postgres_scratch: PostgresServer, sites: SiteFactory
) -> None:
    postgres_database.execute("CREATE TABLE t AS SELECT generate_series(1, 5) n")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))
    proven(sites)
    done = restore(sites.job("night"), RestoreRequest("app", "scratch"))
    prove(sites.job("week"), "app")
    assert "time: about" in "\n".join(plan_restore(sites.job(), RestoreRequest("app")).lines()), "by that proof"
    copy = PostgresDatabase(postgres_scratch, done["database"])
    assert copy.query("SELECT count(*) FROM t") == [(5,)]


def test_only_the_plan_counts_the_rows_of_the_live_database(
    postgres_database: PostgresDatabase, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large one that takes a minute of load."""
    postgres_database.execute("CREATE TABLE t AS SELECT generate_series(1, 5) n")
    sites.database(postgres_database)
    wanted = RestoreRequest("app", backup_id=proven(sites))
    count_rows, asked = live_rows.count_rows, []

    def counted(*given: Any) -> Any:
        asked.append(given)
        return count_rows(*given)

    monkeypatch.setattr(live_rows, "count_rows", counted)
    plan = plan_restore(sites.job("night"), wanted)
    assert (plan.losses[0].live, len(asked)) == (5, 1)
    done = restore(sites.job("night"), plan.request)
    assert (done["rows"], len(asked)) == (5, 1)
    like(postgres_database, done["database"]).drop()


@pytest.mark.parametrize("destination", ["scratch", "tables"])
def test_what_no_backup_of_folders_can_be_restored_to_is_refused_without_a_plan_too(
    sites: SiteFactory, tmp_path: Path, destination: Any
) -> None:
    (tmp_path / "data").mkdir()
    sites.paths(tmp_path / "data")
    tables = ("t",) if destination == "tables" else ()
    wanted = RestoreRequest("config", destination, sites.back_up("config").backup.backup_id, tables=tables)
    there = sorted(tmp_path.iterdir())
    for begin in (plan_restore, restore):
        with pytest.raises(RestoreRefused, match=f"config can't be restored to {destination}"):
            begin(sites.job("night"), wanted)
    assert sorted(tmp_path.iterdir()) == there


def test_the_scratch_server_is_looked_at_again_when_the_copy_is_made(
    postgres_database: PostgresDatabase, postgres_scratch: PostgresServer, sites: SiteFactory
) -> None:
    """Between the plan and a person's yes, hours may go by."""
    postgres_database.execute("CREATE TABLE t AS SELECT generate_series(1, 5) n")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))
    job, wanted = sites.job("night"), RestoreRequest("app", "scratch", proven(sites))
    section, found = sites.job().site.databases[0], find_backup(job, wanted)
    place = place_of(job, section, found, wanted)
    foreign = PostgresDatabase(postgres_scratch, "somebodys_own")
    with foreign.existing(), pytest.raises(RestoreUnavailable, match="holds databases that Upkeep did not make"):
        load_copy(job, section, found, place, ())
    conn_id = sites.settings["databases"][0]["conn_id"]
    sites.endpoints[conn_id] = replace(sites.endpoints[conn_id], port=1)
    done = load_copy(job, section, found, place, ())
    assert "the source could not be asked who it is now" in done["notes"][0]
    place.restorer.drop(place.name)


def test_a_half_loaded_copy_is_not_dropped_where_scratch_has_become_the_source(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    postgres_database.execute("CREATE TABLE t AS SELECT generate_series(1, 5) n")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_database.server, host="localhost"))
    job, wanted = sites.job("night"), RestoreRequest("app", "scratch", proven(sites))
    section, found = sites.job().site.databases[0], find_backup(job, wanted)
    place = place_of(job, section, found, wanted)
    act = job.act("restore", "app", command=load_command(found.backup_id, place.name))
    with suppress(KeyError), job.ledger.record(act):
        raise KeyError("it was killed, on the scratch server of that time")
    with like(postgres_database, place.name).existing():
        with pytest.raises(RestoreUnavailable, match="is the very server"):
            load_copy(job, section, found, place, ())
        assert place.name in postgres_database.server.databases()


# A Redis and folders.


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
def test_a_redis_that_has_no_memory_for_both_keeps_every_live_key_and_takes_writes(
    policy: str, sites: SiteFactory
) -> None:
    with RedisServer() as server, server.connect() as client:
        for number in range(3000):
            client.set(f"key {number}", "x" * 1000)
        sites.cache(server)
        backup_id = sites.back_up("sessions").backup.backup_id
        verify(sites.job(), "sessions", backup_id)
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.5))
        client.config_set("maxmemory-policy", policy)
        wanted, waivers = RestoreRequest("sessions", "over", backup_id), Waivers(writes="stopped by hand")
        assert f"are in use, policy {policy}" in "\n".join(plan_restore(sites.job(), wanted).lines())
        with pytest.raises(RestoreRefused, match="of its maxmemory") as caught:
            restore_over(sites.job("night"), wanted, approver="li", waivers=waivers)
        assert "CONFIG SET maxmemory" in caught.value.hint
        with pytest.MonkeyPatch.context() as patched:  # it may still run out while keys are copied
            patched.setattr(redis_live, "ROOM", 0)
            with pytest.raises(RestoreUnavailable, match=r"evicted|maxmemory|arrived") as caught_late:
                restore_over(sites.job("night"), wanted, approver="li", waivers=waivers)
        assert "RESTORE" not in str(caught_late.value) and "key " not in str(caught_late.value)
        client.set("since", "then")
        assert [int(client.info("keyspace").get(f"db{number}", {}).get("keys", 0)) for number in range(1, 16)] == [
            0
        ] * 15
        if policy == "noeviction":
            assert client.dbsize() == 3001


def test_a_redis_and_folders_are_asked_again_right_before_the_swap(sites: SiteFactory, tmp_path: Path) -> None:
    """Hours may have gone by since the backup that the first step makes."""
    sites.paths("/etc/hostname")
    backup_id = sites.back_up("config").backup.backup_id
    verify(sites.job(), "config", backup_id)
    wanted = RestoreRequest("config", "over", backup_id)
    with pytest.raises(RestoreRefused, match="nothing keeps applications from writing"):
        swap_live(sites.job("night"), wanted, approver="li")
    later = replace(sites.job("night"), now=lambda: datetime.now(UTC) + timedelta(hours=20))
    with pytest.raises(NoFreshBackup, match="kindergarten/config has no proven backup"):
        swap_live(later, wanted, approver="li", waivers=Waivers(writes="nothing runs"))


def test_a_role_whose_own_setting_lets_it_write_keeps_a_restore_from_beginning(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    postgres_database.execute("CREATE TABLE t (id int); CREATE ROLE stubborn LOGIN PASSWORD 'secret'")
    try:
        postgres_database.execute("ALTER ROLE stubborn SET default_transaction_read_only = off")
        sites.database(postgres_database, stop_writes="read_only")
        wanted = RestoreRequest("app", "over", proven(sites))
        assert "may write although the server is read only: stubborn" in "\n".join(
            plan_restore(sites.job(), wanted).lines()
        )
        server = postgres_database.server
        with (
            server.connect(postgres_database.name, user="stubborn", password="secret"),
            pytest.raises(RestoreRefused, match=r"1 sessions on .* could write .*stubborn from 127"),
        ):
            stop_writes(sites.job("night"), wanted, approver="li")
        assert postgres_database.query("SHOW transaction_read_only") == [("off",)]
    finally:
        postgres_database.execute("DROP ROLE stubborn")


def test_a_redis_is_written_as_a_file_beside_and_swapped_in_over_live_with_the_old_keys_kept(
    sites: SiteFactory, tmp_path: Path
) -> None:
    with RedisServer() as server:
        with server.connect() as client:
            fill_redis(client)
            before = fingerprint_redis(client)
        sites.cache(server)
        backup_id = sites.back_up("sessions").backup.backup_id
        verify(sites.job(), "sessions", backup_id)
        beside = restore(sites.job("night"), RestoreRequest("sessions", folder=str(tmp_path / "out")))
        assert Path(beside["file"]).read_bytes().startswith(b"REDIS")
        assert restore(sites.job("later"), RestoreRequest("sessions", folder=str(tmp_path / "out")))["found"] is True
        with server.connect() as client:
            client.flushall()
            client.set("since", "then")
            client.set("session:1", "of then")
        wanted = RestoreRequest("sessions", "over", backup_id)
        assert "db0" in "\n".join(plan_restore(sites.job(), wanted).lines())
        with pytest.raises(RestoreRefused, match="nothing keeps applications from writing"):
            restore_over(sites.job("night"), wanted, approver="li")
        waivers = Waivers(writes="stopped by hand")
        killed(("after copy", ""), lambda: restore_over(sites.job("killed"), wanted, approver="li", waivers=waivers))
        with server.connect() as client:
            assert (client.get("since"), client.dbsize()) == (b"then", 2), "what was live is live, and nothing else"
        done = restore_over(sites.job("night"), wanted, approver="li", waivers=waivers)
        with server.connect() as client:
            assert client.get("since") is None
            client.set("since", "once more")
        killed(("after copy", ""), lambda: restore_over(sites.job("killed 2"), wanted, approver="li", waivers=waivers))
        again = restore_over(sites.job("night 2"), wanted, approver="li", waivers=waivers)
        assert again["found"] is False, "what the first restore kept doesn't make the second one done"
        with server.connect() as client:
            assert client.get("since") is None
            for now in [*done["old"].values(), *again["old"].values()]:
                client.execute_command("SELECT", int(now.removeprefix("db")))
                client.flushdb()
        with server.connect() as client:
            assert fingerprint_redis(client) == before


def test_a_redis_file_follows_no_link_and_what_killed_runs_left_goes(sites: SiteFactory, tmp_path: Path) -> None:
    with RedisServer() as server:
        with server.connect() as client:
            client.set("one", "1")
        sites.cache(server)
        backup_id = sites.back_up("sessions").backup.backup_id
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("somebody's")
    name = restored_name("sessions", backup_id)
    (out / f"{name}.part").symlink_to(victim)
    (out / f".{name}.rdb.0123456789abcdef").write_text("of a run that was killed")
    (out / f".{name}.rdb.swp").write_text("an editor's")
    wanted = RestoreRequest("sessions", backup_id=backup_id, folder=str(out))
    assert restore(sites.job("night"), wanted)["found"] is False
    assert victim.read_text() == "somebody's"
    assert sorted(path.name for path in out.iterdir()) == [f".{name}.rdb.swp", f"{name}.part", f"{name}.rdb"]
    with pytest.raises(RestoreUnavailable, match="can't be written: File exists") as caught:
        restore(sites.job("later"), replace(wanted, folder=str(victim)))
    assert "a file stands where a folder is needed" in caught.value.hint


@pytest.mark.parametrize("moment", ["before exchange", "after exchange", "after rename", "staged"])
def test_folders_are_exchanged_in_one_step_each_and_a_killed_exchange_is_finished(
    sites: SiteFactory, tmp_path: Path, moment: str
) -> None:
    paths = [tmp_path / "etc of 店", tmp_path / "data"]
    for path in paths:
        path.mkdir()
        fill_folder(path / "in")
    before = [describe_folder(path) for path in paths]
    sites.paths(*paths)
    backup_id = sites.back_up("config").backup.backup_id
    verify(sites.job(), "config", backup_id)
    for path in paths:
        shutil.rmtree(path / "in")
        (path / "since").write_text("then")
    wanted, waivers = RestoreRequest("config", "over", backup_id), Waivers(writes="nothing runs")
    assert "files written after the backup, " in "\n".join(plan_restore(sites.job(), wanted).lines())
    killed((moment, ""), lambda: restore_over(sites.job("killed"), wanted, approver="li", waivers=waivers))
    assert all(path.is_dir() for path in paths)
    restore_over(sites.job("again"), wanted, approver="li", waivers=waivers)
    assert [describe_folder(path) for path in paths] == before
    replaced = sorted(tmp_path.glob("*.replaced-*"))
    assert [(path / "since").read_text() for path in replaced] == ["then", "then"]
    acts = [act for act in sites.job().ledger.acts("kindergarten", duty="swap") if act.detail.get("hint")]
    removals = [shlex.split(act.detail["hint"].partition(": ")[2]) for act in acts]
    assert {path for _, _, path in removals} <= {str(path) for path in replaced}, "rm -r can be typed as it stands"
    assert not [path for path in tmp_path.iterdir() if "restor" in path.name and path.name != "store"]


@pytest.mark.parametrize("how", ["the kernel refuses", "killed"])
def test_an_exchange_that_broke_off_between_two_paths_is_gone_on_with(
    how: str, sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a new run too: what people have written into the first path since stays."""
    paths, waivers = [tmp_path / "one", tmp_path / "two"], Waivers(writes="nothing runs")
    for path in paths:
        path.mkdir()
        (path / "which").write_text("backup")
    sites.paths(*paths)
    backup_id = sites.back_up("config").backup.backup_id
    verify(sites.job(), "config", backup_id)
    for path in paths:
        (path / "which").write_text("live")
    wanted = RestoreRequest("config", "over", backup_id)
    act, exchange = Job.act, folder_live.exchange

    def refuse(one: Path, other: Path) -> None:
        if other == paths[1]:
            raise RestoreUnavailable("can't swap", hint="wait")
        exchange(one, other)

    def die(job: Job, duty: str, target: str, **more: str) -> Act:
        if duty == "swap" and more["command"].endswith(f" for {paths[1]}"):
            raise KeyboardInterrupt
        return act(job, duty, target, **more)

    for run in ("night", "night 2"):  # it breaks off twice
        with monkeypatch.context() as patched, pytest.raises((RestoreUnavailable, KeyboardInterrupt)):
            if how == "killed":
                patched.setattr(Job, "act", die)
            else:
                patched.setattr(folder_live, "exchange", refuse)
            restore_over(sites.job(run), wanted, approver="li", waivers=waivers)
    assert [(path / "which").read_text() for path in paths] == ["backup", "live"]
    (paths[0] / "since").write_text("then")
    done = restore_over(sites.job("later"), wanted, approver="li", waivers=waivers)
    assert [(path / "which").read_text() for path in paths] == ["backup", "backup"]
    assert (paths[0] / "since").read_text() == "then"
    assert [(Path(done["old"][str(path)]) / "which").read_text() for path in paths] == ["live", "live"]
    assert len(list(tmp_path.glob("*.replaced-*"))) == 2
    assert not [path for path in tmp_path.iterdir() if "restor" in path.name and path.name != "store"]
    (paths[0] / "which").write_text("live once more")
    restore_over(sites.job("another"), wanted, approver="li", waivers=waivers)
    assert (paths[0] / "which").read_text() == "backup", "once it was done, it is another restore"


def test_a_copy_that_somebody_has_taken_files_out_of_does_not_go_live(sites: SiteFactory, tmp_path: Path) -> None:
    path, waivers = tmp_path / "data", Waivers(writes="nothing runs")
    path.mkdir()
    (path / "which").write_text("backup")
    sites.paths(path)
    backup_id = sites.back_up("config").backup.backup_id
    verify(sites.job(), "config", backup_id)
    copy = Path(restore(sites.job("night"), RestoreRequest("config", backup_id=backup_id))["paths"][0])
    assert restore(sites.job("night"), RestoreRequest("config", backup_id=backup_id))["found"] is True
    (copy / "which").rename(path / "which")
    with pytest.raises(ProofFailed, match=r"is no longer what was unpacked of .*which") as caught:
        restore_over(sites.job("over"), RestoreRequest("config", "over", backup_id), approver="li", waivers=waivers)
    assert f"mv {copy} ..." in caught.value.hint
    assert copy.is_dir() and path.is_dir()


def test_an_exchange_that_the_kernel_refused_does_not_keep_another_backup_from_taking_its_place(
    sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, waivers = tmp_path / "data", Waivers(writes="nothing runs")
    path.mkdir()
    sites.paths(path)
    taken = []
    for number in range(2):
        (path / "which").write_text(str(number))
        taken.append(sites.back_up("config", f"night-{number}").backup.backup_id)
        verify(sites.job(), "config", taken[-1])
    (path / "which").write_text("live")

    def refuse(*_: Path) -> None:
        raise RestoreUnavailable("can't swap", hint="wait")

    with monkeypatch.context() as patched, pytest.raises(RestoreUnavailable, match="can't swap"):
        patched.setattr(folder_live, "exchange", refuse)
        restore_over(sites.job("night"), RestoreRequest("config", "over", taken[1]), approver="li", waivers=waivers)
    done = restore_over(sites.job("later"), RestoreRequest("config", "over", taken[0]), approver="li", waivers=waivers)
    assert (path / "which").read_text() == "0"
    assert (Path(done["old"][str(path)]) / "which").read_text() == "live"


def test_deployments_that_write_are_scaled_to_zero_and_back_to_what_they_had(
    mariadb_database: Database, namespace: Namespace, sites: SiteFactory
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    namespace.deploy("api", "reg/api:1", progressDeadlineSeconds=60)
    namespace.wait_until_available("api")
    namespace.apps.patch_namespaced_deployment_scale("api", namespace.name, {"spec": {"replicas": 2}})
    sites.settings["cluster"] = {"conn_id": "k8s", "namespace": namespace.name, "deployments": [{"name": "api"}]}
    sites.endpoints["k8s"] = namespace.endpoint
    sites.database(mariadb_database, stop_writes={"scale_to_zero": ["api"]})
    wanted = RestoreRequest("app", "over", proven(sites))

    def replicas() -> int:
        return int(namespace.apps.read_namespaced_deployment("api", namespace.name).spec.replicas)

    killed(("scaled", ""), lambda: restore_over(sites.job("killed"), wanted, approver="li"))
    assert replicas() == 0
    assert stop_writes(sites.job("again"), wanted, approver="li")["how"] in ("stopped already", "scale to zero api=2")
    restore_over(sites.job("again"), wanted, approver="li")
    assert replicas() == 2
    for name in databases(mariadb_database):
        if name.startswith(f"{mariadb_database.name}_"):
            like(mariadb_database, name).drop()


def test_the_wait_for_pods_that_do_not_end_is_over_when_the_task_is_told_to_stop(
    namespace: Namespace, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_told", False)  # put back after the test
    monkeypatch.setattr("upkeep.duties.write_stops.PODS_GONE_S", 20)
    namespace.deploy("api", "reg/api:1")
    namespace.wait_until_available("api")
    (pod,) = namespace.core.list_namespaced_pod(namespace.name).items

    def hold(*finalizers: str) -> None:
        body = {"metadata": {"finalizers": list(finalizers)}}
        namespace.core.patch_namespaced_pod(pod.metadata.name, namespace.name, body)

    sites.settings["cluster"] = {"conn_id": "k8s", "namespace": namespace.name, "deployments": [{"name": "api"}]}
    sites.endpoints["k8s"] = namespace.endpoint
    hold("upkeep.test/stays")
    threading.Timer(2, stopping.tell_to_stop).start()
    try:
        with pytest.raises(Stopped, match="told to stop: pods of api still run"):
            ScaledToZero(sites.job(), ["api"]).stop()
    finally:
        hold()
