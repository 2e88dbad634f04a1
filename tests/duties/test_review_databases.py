"""The weekly review on real servers: what it finds, what it can't see, and that it changes nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from upkeep.domain import review_indexes, review_statements
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.check_security import Machine
from upkeep.duties.review_databases import review_databases
from upkeep.engines.review_host import kernel_settings
from upkeep.ledger import verify
from upkeep.ledger.entry import DETAIL_CHARS

WEEK = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


class Reviewing:
    def __init__(self, sites: SiteFactory, folder: Path, *databases: Database, **settings: Any) -> None:
        self.sites, self.machine = sites, Machine(root=folder, apt="no-such-apt")
        for number, database in enumerate(databases):
            sites.database(database, f"app{number or ''}", **settings)

    def week(self, number: int = 0) -> dict[str, Any]:
        at = WEEK + timedelta(weeks=number)
        return review_databases(self.sites.job(f"week-{number}", now=lambda: at), machine=self.machine)

    def open(self) -> dict[str, dict[str, Any]]:
        """All open findings by kind and the thing they are about, servers left out."""
        (record,) = self.sites.job().ledger.acts("kindergarten", duty="review_databases", limit=1, newest_first=True)
        kept = record.detail.get("findings")
        if kept is None:
            kept = json.loads((self.sites.folder / "store/kindergarten/_state/review.json").read_text())
        return {f"{one['kind']}: {one['where'].partition(' on ')[0]}": one for one in kept}


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics as if a week old: no test server is."""
    monkeypatch.setattr(review_indexes, "MEASURED", timedelta(0))


@pytest.fixture(scope="module")
def measuring_mariadb() -> Iterator[MariaDbServer]:
    with MariaDbServer(
        options={
            "performance-schema": "ON",
            "performance-schema-consumer-global-instrumentation": "ON",
            "performance-schema-instrument": "wait/lock/metadata/sql/mdl=ON",
        }
    ) as server:
        yield server


@pytest.fixture(scope="module")
def measuring_postgres() -> Iterator[PostgresServer]:
    with PostgresServer(settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        yield server


@pytest.fixture(params=["mariadb", "mysql"])
def measuring(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    """A server that counts: MySQL's default, MariaDB's not."""
    server = request.getfixturevalue("measuring_mariadb" if request.param == "mariadb" else "mysql_server")
    database = MySqlDatabase(server)
    with database.existing():
        yield database


def indexed(database: MySqlDatabase) -> None:
    database.execute(
        "CREATE TABLE students (id INT PRIMARY KEY, class_id INT, name VARCHAR(40), born DATE, "
        "KEY by_name (name), KEY by_name_too (name), KEY by_class (class_id), KEY by_class_born (class_id, born), "
        "UNIQUE KEY one_birth (born, name), KEY by_born (born), KEY by_start (name(3)))"
    )
    database.execute("INSERT INTO students VALUES (1, 1, 'a', '2020-01-01'), (2, 1, 'b', '2020-01-02')")


# Indexes.


def test_duplicate_redundant_and_unused_indexes_of_mysql(
    sites: SiteFactory, measuring: MySqlDatabase, tmp_path: Path, no_waiting: None
) -> None:
    indexed(measuring)
    measuring.query("SELECT id FROM students FORCE INDEX (by_class_born) WHERE class_id = 1 AND born > '2020-01-01'")
    reviewing = Reviewing(sites, tmp_path, measuring)
    found = reviewing.week()
    assert not found["unread"]
    kinds = {name: one for name, one in reviewing.open().items() if "index" in name}
    assert "duplicate-index: students.by_name" in kinds
    assert kinds["redundant-index: students.by_class"]["remedy"].startswith(
        "ALTER TABLE `students` DROP INDEX `by_class`"
    )
    assert "redundant-index: students.by_born" in kinds, "the unique index begins with it"
    assert not any("one_birth" in name or "PRIMARY" in name for name in kinds)
    assert "redundant-index: students.by_start" not in kinds, "a prefix of a column is another key"
    assert "unused-index: students.by_start" in kinds
    assert "unused-index: students.by_class_born" not in kinds
    assert ("INVISIBLE" in kinds["unused-index: students.by_start"]["remedy"]) or (
        "IGNORED" in kinds["unused-index: students.by_start"]["remedy"]
    )


def test_what_was_measured_for_less_than_a_week_is_never_called_unused(
    sites: SiteFactory, measuring: MySqlDatabase, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    indexed(measuring)
    postgres_database.execute("CREATE TABLE t (a int)")
    postgres_database.execute("CREATE INDEX never_used ON t (a)")
    reviewing = Reviewing(sites, tmp_path, measuring, postgres_database)
    reviewing.week()
    assert not any(name.startswith("unused-index") for name in reviewing.open())
    young = [one["what"] for name, one in reviewing.open().items() if name == "young-statistics: the use of indexes"]
    assert young and all("none is called unused" in what for what in young)


def test_a_server_that_counts_nothing_says_how_to_make_it_count(
    sites: SiteFactory, mariadb_database: MySqlDatabase, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    indexed(mariadb_database)
    reviewing = Reviewing(sites, tmp_path, mariadb_database, postgres_database)
    reviewing.week()
    remedies = [one["remedy"] for one in reviewing.open().values() if one["kind"] == "not-measured"]
    assert any("performance_schema=ON" in remedy for remedy in remedies)
    assert any("CREATE EXTENSION pg_stat_statements" in remedy for remedy in remedies)
    assert not any(one["kind"] == "unused-index" for one in reviewing.open().values())


def test_userstat_that_was_switched_on_by_hand_proves_nothing_about_a_week(
    sites: SiteFactory, mariadb_database: MySqlDatabase, tmp_path: Path, no_waiting: None
) -> None:
    indexed(mariadb_database)
    reviewing = Reviewing(sites, tmp_path, mariadb_database)
    mariadb_database.execute("SET GLOBAL userstat = 1")
    try:
        reviewing.week()
    finally:
        mariadb_database.execute("SET GLOBAL userstat = 0")
    kinds = {one["kind"] for one in reviewing.open().values()}
    assert "unused-index" not in kinds
    assert "nobody knows since when" in reviewing.open()["young-statistics: the use of indexes"]["what"]


def test_indexes_and_bare_foreign_keys_of_postgres(
    sites: SiteFactory, postgres_database: PostgresDatabase, tmp_path: Path, no_waiting: None
) -> None:
    for statement in (
        "CREATE TABLE classes (id int PRIMARY KEY)",
        "CREATE TABLE students (id int PRIMARY KEY, class_id int REFERENCES classes, name text, email text UNIQUE)",
        "ALTER TABLE students ADD friend int REFERENCES students",
        "CREATE INDEX by_class ON students (class_id)",
        "CREATE INDEX by_name ON students (name)",
        "CREATE INDEX by_name_pattern ON students (name text_pattern_ops)",
        'CREATE INDEX by_name_c ON students (name COLLATE "C")',
        "CREATE INDEX by_name_living ON students (name) WHERE class_id IS NOT NULL",
        "CREATE INDEX by_name_down ON students (name DESC)",
        "CREATE INDEX by_name_mail ON students (name, email)",
        "CREATE INDEX by_email ON students (email)",
    ):
        postgres_database.execute(statement)
    reviewing = Reviewing(sites, tmp_path, postgres_database)
    assert not reviewing.week()["unread"]
    found = reviewing.open()
    redundant = {name for name in found if name.startswith(("duplicate", "redundant"))}
    assert redundant == {"duplicate-index: public.students.by_email", "redundant-index: public.students.by_name"}
    bare = [name for name in found if name.startswith("bare-foreign-key")]
    assert bare == ["bare-foreign-key: public.students.students_friend_fkey"]
    assert found[bare[0]]["remedy"] == 'CREATE INDEX CONCURRENTLY ON "public"."students" ("friend")'
    unused = {name.rpartition(".")[2] for name in found if name.startswith("unused-index")}
    names = ("pattern", "c", "living", "down", "mail")
    assert unused == {"by_class", "by_name", "by_email", *(f"by_name_{name}" for name in names)}


# Statements and locks.


def test_top_statements_hold_no_values(
    sites: SiteFactory,
    measuring: MySqlDatabase,
    measuring_postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(review_statements, "SLOW_S", 0.1)
    postgres = PostgresDatabase(measuring_postgres)
    with postgres.existing():
        postgres.execute("CREATE EXTENSION pg_stat_statements")
        postgres.execute("CREATE ROLE held PASSWORD 'S3cret-role'")
        for _ in range(2):
            postgres.query("SELECT pg_sleep(0.15), 'S3cret-name'")
        measuring.execute("CREATE TABLE people (name VARCHAR(40))")
        for _ in range(2):
            measuring.query("SELECT SLEEP(0.15) FROM (SELECT 1) x WHERE 'S3cret-name' <> ''")
        reviewing = Reviewing(sites, tmp_path, measuring, postgres)
        found = reviewing.week()
        postgres.execute("DROP ROLE held")
    texts = [one["text"] for one in found["statements"]]
    assert any("pg_sleep" in text for text in texts)
    assert any("SLEEP" in text.upper() and "x" in text for text in texts)
    slow = [one for one in reviewing.open().values() if one["kind"] == "slow-statement"]
    assert len(slow) == 2
    kept = (sites.folder / "store").rglob("*.json")
    (record,) = sites.job().ledger.acts("kindergarten", duty="review_databases")
    assert record.finished and record.finished.detail
    written = [record.finished.detail, *(path.read_text() for path in kept)]
    assert "S3cret" not in "".join(written)


def test_without_a_performance_schema_the_slow_query_log_is_read_where_it_is_a_table(
    sites: SiteFactory, mariadb_database: MySqlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_statements, "SLOW_S", 0.05)
    before = mariadb_database.query("SELECT @@log_output, @@slow_query_log, @@long_query_time")[0]
    mariadb_database.execute("SET GLOBAL log_output = 'TABLE', slow_query_log = 1, long_query_time = 0.05")
    try:
        for name in ("a", "b"):
            mariadb_database.query(f"SELECT SLEEP(0.1), 'S3cret-{name}', \"S3cret-too\"")
        reviewing = Reviewing(sites, tmp_path, mariadb_database)
        found = reviewing.week()
    finally:
        mariadb_database.execute("SET GLOBAL log_output = %s, slow_query_log = %s, long_query_time = %s", *before)
    (statement,) = found["statements"]
    assert (statement["text"], statement["calls"]) == ("SELECT SLEEP(?), ?, ?", 2)
    assert any(one["kind"] == "slow-statement" for one in reviewing.open().values())


def blocked(database: Database, *, table: str) -> Iterator[None]:
    """One session waits for a row that another one holds."""
    holder, waiter = database.connect(), database.connect()  # type: ignore[attr-defined]
    thread: threading.Thread

    def wait() -> None:
        with suppress(psycopg.Error, pymysql.MySQLError), waiter.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET n = 3 WHERE id = 1")

    with closing(holder), closing(waiter):
        with holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table} SET n = 2 WHERE id = 1")
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(1.2)
        yield
        holder.rollback()
        thread.join(10)


@pytest.mark.parametrize("kind", ["any_mysql", "postgres"])
def test_who_waits_for_whom_is_said_without_values(
    sites: SiteFactory, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    names = ["mariadb_database", "mysql_database"] if kind == "any_mysql" else ["postgres_database"]
    databases = [request.getfixturevalue(name) for name in names]
    reviewing = Reviewing(sites, tmp_path, *databases, lock_timeout_s=1)
    waits = []
    for database in databases:
        database.execute("CREATE TABLE held (id INT PRIMARY KEY, n INT)")
        database.execute("INSERT INTO held VALUES (1, 1)")
        waits.append(blocked(database, table="held"))
    for wait in waits:
        next(wait)
    reviewing.week()
    for wait in waits:
        next(wait, None)
    (record,) = reviewing.sites.job().ledger.acts("kindergarten", duty="review_databases")
    found = [one for one in reviewing.open().values() if one["kind"] == "lock-wait"]
    assert found
    for one in found:
        assert one["severity"] == "medium"
        assert "held" in one["where"]
        assert "UPDATE held SET n = ? WHERE id = ?" in one["what"]
        assert "KILL" in one["remedy"] or "pg_terminate_backend" in one["remedy"]
    assert record.detail["light"] == "amber"


@contextmanager
def definition_held(database: MySqlDatabase) -> Iterator[tuple[int, int]]:
    """One session only reads a table, in a transaction; another wants to change it. Who waits, and for whom."""
    holder, waiter = database.connect(), database.connect()

    def alter() -> None:
        with suppress(pymysql.MySQLError), waiter.cursor() as cursor:
            cursor.execute("ALTER TABLE held ADD COLUMN secret VARCHAR(20) DEFAULT 'S3cret'")

    with closing(holder), closing(waiter):
        with holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM held")
        thread = threading.Thread(target=alter)
        thread.start()
        time.sleep(2.1)
        yield waiter.thread_id(), holder.thread_id()  # type: ignore[no-untyped-call]
        holder.rollback()
        thread.join(10)


@pytest.mark.parametrize("counted_by", ["mysql", "performance schema", "plugin", "nobody"])
def test_who_waits_for_a_tables_definition_is_said_as_far_as_the_server_knows(
    sites: SiteFactory, request: pytest.FixtureRequest, tmp_path: Path, counted_by: str
) -> None:
    fixture = {"mysql": "mysql_server", "performance schema": "measuring_mariadb"}.get(counted_by, "mariadb_server")
    server = request.getfixturevalue(fixture)
    database = MySqlDatabase(server)
    with database.existing():
        database.execute("CREATE TABLE held (id INT PRIMARY KEY)")
        reviewing = Reviewing(sites, tmp_path, database, lock_timeout_s=1)
        if counted_by == "plugin":
            database.execute("INSTALL SONAME 'metadata_lock_info'")
        try:
            with definition_held(database) as (waiting, blocking):
                reviewing.week()
        finally:
            if counted_by == "plugin":
                database.execute("UNINSTALL SONAME 'metadata_lock_info'")
    (found,) = (one for one in reviewing.open().values() if one["kind"] == "lock-wait")
    assert found["severity"] == "medium"
    assert f"session {waiting} has waited" in found["what"]
    assert found["what"].endswith("ALTER TABLE held ADD COLUMN secret VARCHAR(?) DEFAULT ?")
    if counted_by == "nobody":
        assert "the definition of a table" in found["what"]
        assert "metadata_lock_info" in found["remedy"]
    else:
        assert (
            f"the definition of held on {server.host}:{server.port}/{database.name}, which session {blocking} holds"
            in found["what"]
        )
        assert f"KILL {blocking} ends it" in found["remedy"]


# Settings, the kernel, packages.


def test_settings_are_compared_with_the_manuals(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    reviewing = Reviewing(sites, tmp_path, any_mysql_database, postgres_database)
    before = postgres_database.query(
        "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'transaction%' ORDER BY 1"
    )
    found = reviewing.week()
    settings = {name.partition(": ")[2]: one for name, one in reviewing.open().items() if name.startswith("setting")}
    assert settings["slow_query_log"]["what"].endswith("OFF; advised: on: the manual's way to find slow statements")
    assert "SET GLOBAL slow_query_log = on" in settings["slow_query_log"]["remedy"]
    assert settings["fsync"]["severity"] == "high"
    assert "1.1" in settings["random_page_cost"]["what"]
    remedy = settings["random_page_cost"]["remedy"]
    assert remedy == "ALTER SYSTEM SET random_page_cost = '1.1', then SELECT pg_reload_conf()"
    assert settings["log_min_duration_statement"]["what"].count("is off; advised: at most 1 s") == 1
    assert "autovacuum" not in settings
    assert found["light"] == "amber", "it advises, and never fails a run"
    after = postgres_database.query(
        "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'transaction%' ORDER BY 1"
    )
    assert before == after


def test_the_kernels_settings_and_the_servers_limits(tmp_path: Path) -> None:
    for name, value in {"vm/swappiness": "60", "net/core/somaxconn": "128", "fs/nr_open": "1073741816"}.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/comm").write_text("postgres\n")
    (tmp_path / "7/limits").write_text(
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max processes             unlimited            unlimited            processes\n"
        "Max open files            1024                 1048576              files\n"
    )
    inspection = kernel_settings("db1", pid=7, proc=tmp_path)
    assert [one.id for one in inspection.findings] == [
        "setting:net.core.somaxconn on db1", "setting:vm.swappiness on db1", "setting:nofile on db1"
    ]  # fmt: skip
    assert inspection.findings[0].remedy.startswith("sysctl -w net.core.somaxconn=65535")
    assert "LimitNOFILE=65535 in" in inspection.findings[2].remedy
    (tmp_path / "7/comm").write_text("some-other-program\n")
    assert len(kernel_settings("db1", pid=7, proc=tmp_path).findings) == 2


def test_waiting_packages_are_one_finding_that_counts_them(sites: SiteFactory, tmp_path: Path) -> None:
    lines = [f"Inst package{number} [1] (2 Debian:12/stable [amd64])" for number in range(30)]
    lines.append("Inst openssl [1] (2 Debian-Security:12/stable-security [amd64])")
    (tmp_path / "answer").write_text("\n".join(lines))
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    apt.chmod(0o755)
    reviewing = Reviewing(sites, tmp_path)
    sites.paths(tmp_path)
    reviewing.machine = Machine(root=tmp_path, apt=str(apt))
    reviewing.week()
    (found,) = reviewing.open().values()
    assert found["what"].startswith("31 package updates wait, 1 of them for security: openssl 1 -> 2, package0 1 -> 2")
    assert found["what"].endswith("and 21 more")


# What it can't see, and from week to week.


def test_a_grant_that_is_missing_is_named_and_the_rest_is_read(
    sites: SiteFactory, measuring: MySqlDatabase, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    indexed(measuring)
    measuring.execute("CREATE USER narrow@'%' IDENTIFIED BY 'poor-Zq7!'")
    measuring.execute(f"GRANT SELECT ON `{measuring.name}`.* TO narrow@'%'")
    postgres_database.execute("CREATE ROLE narrow LOGIN PASSWORD 'poor-Zq7!'")
    try:
        reviewing = Reviewing(sites, tmp_path)
        for name, database in (("app", measuring), ("shop", postgres_database)):
            own = database.endpoint()
            sites.database(database, name, endpoint=Endpoint(**{**vars(own), "user": "narrow", "secret": "poor-Zq7!"}))
        found = reviewing.week()
    finally:
        measuring.execute("DROP USER narrow@'%'")
        postgres_database.execute("DROP ROLE narrow")
    assert any("GRANT SELECT ON performance_schema.* to it" in said for said in found["unread"])
    assert any("lock waits" in said and "GRANT PROCESS ON *.*" in said for said in found["unread"])
    assert any("GRANT pg_read_all_stats to it" in said for said in found["unread"])
    assert "redundant-index: students.by_class" in reviewing.open()
    assert "poor-Zq7!" not in json.dumps(found)


def test_a_finding_is_new_once_stands_and_goes_and_a_server_that_is_away_ends_none(
    sites: SiteFactory, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    postgres_database.execute("CREATE TABLE t (a int, b int)")
    postgres_database.execute("CREATE INDEX one ON t (a)")
    postgres_database.execute("CREATE INDEX two ON t (a, b)")
    reviewing = Reviewing(sites, tmp_path, postgres_database)
    first = reviewing.week(0)
    second = reviewing.week(1)
    redundant = "redundant-index: public.t.one"
    assert (second["counts"]["new"], second["counts"]["standing"]) == (0, first["counts"]["new"])
    seen = reviewing.open()[redundant]["first_seen"]
    assert seen == WEEK.isoformat()
    conn_id = sites.settings["databases"][0]["conn_id"]
    there = sites.endpoints[conn_id]
    sites.endpoints[conn_id] = Endpoint(**{**vars(there), "port": 1})
    third = reviewing.week(2)
    assert third["light"] == "amber"
    assert third["counts"]["gone"] == 0
    assert redundant in reviewing.open()
    sites.endpoints[conn_id] = there
    postgres_database.execute("DROP INDEX one")
    assert any("index one of public.t" in what for what in reviewing.week(3)["gone"])
    for record in sites.job().ledger.acts("kindergarten", duty="review_databases"):
        assert record.finished and record.finished.detail and len(record.finished.detail) < DETAIL_CHARS
        assert record.detail["counts"]
    assert verify(sites.job().ledger).clean
