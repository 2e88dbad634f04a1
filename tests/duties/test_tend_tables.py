"""Tending tables on real servers: what is done and recorded, what is left, and that nobody is in its way."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

import upkeep.duties.tend_tables as duty
import upkeep.engines.mysql_table_care as mysql_care
import upkeep.engines.postgres_table_care as postgres_care
from tests.duties.purging import CONN, NOW, Purging
from tests.servers.databases import AnyDatabase, MySqlDatabase, PostgresDatabase, is_mysql
from upkeep.cli import main
from upkeep.domain.load import Limits
from upkeep.duties.tend_tables import plan_tables, read_past, tend_tables
from upkeep.duties.until import Until
from upkeep.errors import Busy, NoFreshBackup, TableCareFailed
from upkeep.ledger import Record
from upkeep.site import Site

LOCK_TIMEOUT_S = 1
SLACK_S = 1.0
"""Two cores run the server, the load and the care; a queue of four also takes a moment to dissolve."""


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "PATIENCE_S", 1.0)
    monkeypatch.setattr(mysql_care, "QUIET_PATIENCE_S", 1.0)
    monkeypatch.setattr(mysql_care, "QUIET_S", 0.3)


class Tending(Purging):
    """One site ``shop`` with one database ``app`` whose tables are tended from little waste on."""

    def __init__(
        self, folder: Path, database: AnyDatabase, *, lock_timeout_s: int = LOCK_TIMEOUT_S, **care: Any
    ) -> None:
        super().__init__(folder, database)
        self.care = {"bloat_mb": 0, **care}
        self.lock_timeout_s = lock_timeout_s
        self.moved = timedelta()
        self.backed_up()

    def site(self) -> Site:
        plain = super().site()
        section = plain.databases[0].model_dump()
        section |= {"upkeep": self.care, "lock_timeout_s": self.lock_timeout_s}
        return Site.model_validate({**plain.model_dump(), "databases": [section]})

    def tend(self, **options: Any) -> dict[str, Any]:
        return tend_tables(self.job(now=self.now), "app", **options)

    def now(self) -> datetime:
        return NOW + self.moved

    def lines(self, table: str = "") -> list[str]:  # type: ignore[override]  # nothing is archived here
        return list(plan_tables(self.job(), "app").lines())

    def done(self) -> dict[str, Record]:
        """The last act by what it worked on."""
        return {record.started.target: record for record in self.acts("tend_table")}


def make_bloated(database: AnyDatabase, *names: str, rows: int = 40_000) -> None:
    """Tables of which 70 % of the rows were deleted, here and there."""
    for name in names or ("orders",):
        create = f"CREATE TABLE {name} (id int PRIMARY KEY, n int, body varchar(400))"
        if isinstance(database, PostgresDatabase):
            database.execute(f"{create} WITH (autovacuum_enabled = off)")
            database.execute(
                f"INSERT INTO {name} SELECT n, 0, repeat(md5(n::text), 12) FROM generate_series(1, {rows}) n"
            )
            database.execute(f"ANALYZE {name}")
        else:
            database.execute(create)
            ones = "WITH RECURSIVE one AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM one WHERE n < 199)"
            values = "a.n * 200 + b.n + 1, 0, REPEAT(SHA2(b.n, 256), 6)"
            database.execute(f"INSERT INTO {name} {ones} SELECT {values} FROM one a JOIN one b ORDER BY 1")
        database.execute(f"DELETE FROM {name} WHERE MOD(id, 10) < 7")
    if isinstance(database, MySqlDatabase):
        # InnoDB gives pages back a little later, in the background.
        for name in names or ("orders",):
            within(partial(is_purged, database, name), "InnoDB did not purge the deleted rows")


def is_purged(database: MySqlDatabase, name: str) -> bool:
    return leaves(database, name) < 450


def leaves(database: MySqlDatabase, name: str) -> int:
    database.execute(f"ANALYZE LOCAL TABLE {name}")
    where = "database_name = DATABASE() AND table_name = %s AND stat_name = 'n_leaf_pages' AND index_name = 'PRIMARY'"
    return int(database.query(f"SELECT stat_value FROM mysql.innodb_index_stats WHERE {where}", name)[0][0])


def within(true: Callable[[], bool], otherwise: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


def rebuilt(database: AnyDatabase, table: str = "orders") -> str:
    """What is rebuilt of a bloated table, as the ledger calls it."""
    return f"app/{table}" if is_mysql(database) else f"app/public.{table}_pkey"


def binary_log(database: AnyDatabase) -> list[tuple[Any, ...]]:
    if not isinstance(database, MySqlDatabase):
        return []
    return database.query(f"SHOW {'MASTER' if database.server.name == 'mariadb' else 'BINARY LOG'} STATUS")


@contextmanager
def held(database: AnyDatabase, table: str = "orders") -> Iterator[None]:
    """Somebody holds what the care of a table waits for, without a transaction that could be seen beforehand."""
    with database.connect() as connection, connection.cursor() as cursor:
        if is_mysql(database):
            cursor.execute(f"LOCK TABLES {table} READ")
        else:
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        yield


# What is done


def test_a_bloated_table_is_rebuilt_and_the_ledger_tells_what_that_gained(
    tmp_path: Path, database: AnyDatabase
) -> None:
    make_bloated(database)
    tending = Tending(tmp_path, database)
    logged = binary_log(database)
    result = tending.tend()
    assert binary_log(database) == logged, "replicas would rebuild the table as well"
    assert result["light"] == "green", result
    record = tending.done()[rebuilt(database)]
    detail = record.detail
    assert record.started.command == (
        "OPTIMIZE LOCAL TABLE `orders`" if is_mysql(database) else 'REINDEX INDEX CONCURRENTLY "public"."orders_pkey"'
    )
    assert detail["after"] < detail["before"] * 0.6
    assert detail["before"] - detail["after"] >= detail["promised"] * 0.7, "the estimate promised too much"
    assert "is waste" in detail["why"]
    assert detail["seconds"] > 0
    assert result["freed_bytes"] >= detail["before"] - detail["after"]
    again = tending.tend()
    assert (again["tended"], again["light"]) == ([], "green")
    tending.require_clean_ledger()


def test_a_rehearsal_names_the_statements_and_changes_and_records_nothing(
    tmp_path: Path, one_of_each: AnyDatabase
) -> None:
    make_bloated(one_of_each)
    tending = Tending(tmp_path, one_of_each)
    before = tending.lines()
    result = tending.tend(dry_run=True)
    statement = "OPTIMIZE LOCAL TABLE `orders`" if is_mysql(one_of_each) else 'VACUUM (ANALYZE) "public"."orders"'
    assert result["would_run"] == [statement]
    assert tending.lines() == before
    assert tending.acts("tend_table") + tending.acts("tend_tables") == []


def test_nothing_is_tended_without_a_proven_fresh_backup(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    tending = Tending(tmp_path, postgres_database)
    tending.moved = timedelta(days=2)
    for dry_run in (True, False):
        with pytest.raises(NoFreshBackup, match="no table of shop/app is tended"):
            tending.tend(dry_run=dry_run)


def test_a_named_table_is_rewritten_under_lock_and_its_room_given_back(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    make_bloated(postgres_database)
    size = "SELECT pg_relation_size('orders')"
    before = postgres_database.query(size)[0][0]
    assert Tending(tmp_path, postgres_database).tend()["light"] == "green"
    assert postgres_database.query(size)[0][0] == before
    postgres_database.execute("UPDATE orders SET n = 1")
    result = Tending(tmp_path, postgres_database, vacuum_full=["orders"]).tend()
    assert result["tended"] == ["vacuum public.orders", "vacuum full public.orders"]
    assert postgres_database.query(size)[0][0] < before * 0.4


def test_what_is_measured_with_pgstattuple_agrees_with_the_estimate(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    make_bloated(postgres_database, rows=500_000)
    postgres_database.execute("VACUUM ANALYZE orders")
    estimated = plan_tables(Tending(tmp_path, postgres_database).job(), "app").actions[0]
    postgres_database.execute("CREATE EXTENSION pgstattuple SCHEMA public")
    measured = plan_tables(Tending(tmp_path, postgres_database).job(), "app").actions[0]
    assert estimated.key == measured.key == ("reindex", "public.orders_pkey")
    assert measured.reason == estimated.reason.removeprefix("about ") or "about" not in measured.reason
    assert measured.waste == pytest.approx(estimated.waste, rel=0.1)


def test_an_account_that_may_not_vacuum_is_told_and_the_plan_is_shown_by_the_command_line(
    tmp_path: Path,
    postgres_database: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_bloated(postgres_database)
    tending = Tending(tmp_path, postgres_database)
    who = f"clerk_{postgres_database.name}"
    postgres_database.execute(f"CREATE ROLE {who} LOGIN PASSWORD 'secret'")
    try:
        endpoint = json.loads(os.environ[CONN])
        monkeypatch.setenv(CONN, json.dumps({**endpoint, "login": who, "password": "secret"}))
        with pytest.raises(TableCareFailed, match=r"vacuum of public\.orders failed.*permission denied"):
            tending.tend()
    finally:
        postgres_database.execute(f"DROP ROLE {who}")
    monkeypatch.setenv(CONN, json.dumps(endpoint))
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path))
    (tmp_path / "shop.yaml").write_text(json.dumps(tending.site().model_dump(mode="json", exclude_none=True)))
    assert main(["plan", "tables", "shop"]) == 0
    assert "app: public.orders: vacuum (about" in capsys.readouterr().out


def test_what_the_server_warns_of_while_it_does_the_work_is_an_amber_note(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    make_bloated(postgres_database)
    postgres_database.execute(
        "CREATE FUNCTION warned(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE WARNING 'an odd row' USING HINT = 'look at it'; RETURN $1; END $$"
    )
    postgres_database.execute("CREATE INDEX by_warning ON orders (warned(n))")
    tending = Tending(tmp_path, postgres_database, analyze=["orders"])
    result = tending.tend()
    assert "vacuum public.orders" in result["tended"], result
    note = "vacuum public.orders: the server warned: an odd row. look at it"
    assert (result["light"], note in result["notes"], note in result["summary"]) == ("amber", True, True), result
    assert result["hint"] == "the work was done: see to what the server warned of"
    detail = tending.done()["app/public.orders"].detail
    assert (detail["light"], detail["warned"]) == ("amber", ["an odd row. look at it"])
    assert "permission denied" not in str(result)


# What stands in the way


def test_an_account_that_sees_too_little_plans_with_what_it_sees_and_risks_nothing(
    tmp_path: Path, mariadb_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bloated(mariadb_database)
    tending = Tending(tmp_path, mariadb_database, bloat_pct=5, analyze=["orders"])
    who = f"'clerk_{mariadb_database.name}'@'%'"
    mariadb_database.execute(f"CREATE USER {who} IDENTIFIED BY 'secret'")
    try:
        mariadb_database.execute(f"GRANT SELECT, INSERT ON {mariadb_database.name}.* TO {who}")
        login = {**json.loads(os.environ[CONN]), "login": who.split("'")[1], "password": "secret"}
        monkeypatch.setenv(CONN, json.dumps(login))
        result = tending.tend()
    finally:
        mariadb_database.execute(f"DROP USER {who}")
    assert {note.rpartition("grant ")[2] for note in result["notes"] if "this account may not see" in note} >= {
        "SELECT on mysql.innodb_table_stats",
        "PROCESS",
    }
    assert result["tended"] == []
    assert "grant PROCESS" in tending.done()["app/orders"].detail["reason"]


def test_a_table_in_use_is_left_and_said_and_the_others_are_tended(tmp_path: Path, database: AnyDatabase) -> None:
    make_bloated(database, "orders", "quiet")
    tending = Tending(tmp_path, database)
    with held(database), readers(database) as waits:
        result = tending.tend()
    assert tending.done()["app/quiet" if is_mysql(database) else "app/public.quiet"].state == "done"
    label = "orders" if is_mysql(database) else "public.orders"
    record = tending.done()[f"app/{label}"]
    assert record.state == "skipped"
    assert f"did not let go of it within lock_timeout_s ({LOCK_TIMEOUT_S} s)" in record.detail["reason"]
    assert result["light"] == "amber"
    assert label in result["summary"]
    assert max(waits) < LOCK_TIMEOUT_S + SLACK_S


def test_what_somebody_else_has_seen_to_meanwhile_is_no_trouble(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    make_bloated(postgres_database)
    tending = Tending(tmp_path, postgres_database)
    planned = iter([True])

    def overtaken() -> bool:
        if next(planned, False):
            postgres_database.execute("VACUUM (ANALYZE) orders")
        return False

    result = tending.tend(until=Until(told_to_stop=overtaken))
    record = tending.done()["app/public.orders"]
    assert record.state == "done"
    assert record.detail["summary"].startswith("it is no longer needed")
    assert (result["light"], result["skipped"]) == ("green", [])
    assert result["tended"] == ["reindex public.orders_pkey"], "what could only be judged after it is still done"


def test_an_open_transaction_is_waited_for_and_then_not_made_to_fail(
    tmp_path: Path, any_mysql_database: MySqlDatabase
) -> None:
    make_bloated(any_mysql_database)
    tending = Tending(tmp_path, any_mysql_database)
    with any_mysql_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT COUNT(*) FROM orders")
        tending.tend()
        cursor.execute("UPDATE orders SET n = 1 WHERE id = 7")  # the server would sacrifice this one
        cursor.execute("COMMIT")
    record = tending.done()["app/orders"]
    assert record.state == "skipped"
    assert "transaction" in record.detail["reason"]
    assert tending.tend()["tended"] == ["optimize orders"]


@pytest.mark.parametrize("where", ["this database", "another"])
def test_a_rebuild_that_lets_others_wait_longer_than_the_lock_timeout_is_ended(
    tmp_path: Path, any_mysql_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    make_bloated(any_mysql_database)
    # Its wait for a transaction stands in for what can't be had at will: a long end of the rebuild under load.
    tending = Tending(tmp_path, any_mysql_database, lock_timeout_s=60)
    plain = mysql_care._Queue
    monkeypatch.setattr(mysql_care, "_Queue", lambda beside, table, own, _: plain(beside, table, own, LOCK_TIMEOUT_S))
    monkeypatch.setattr(mysql_care.MySqlTableCare, "require_quiet", lambda *_: None)
    monkeypatch.setattr(duty._Tending, "_why_transactions", lambda *_: "")
    with any_mysql_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT COUNT(*) FROM orders")
        with readers(any_mysql_database, elsewhere=where == "another") as waits:
            result = tending.tend()
    assert max(waits) < LOCK_TIMEOUT_S + SLACK_S
    assert result["postponed"] == [["optimize", "orders"]]
    assert "others had been waiting for a table" in tending.done()["app/orders"].detail["reason"]


def test_a_table_that_is_written_faster_than_its_rebuild_can_note_is_left_and_said(
    tmp_path: Path, any_mysql_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bloated(any_mysql_database)
    # So that the rebuild takes longer than it takes to write a megabyte.
    any_mysql_database.execute("INSERT INTO orders SELECT id + 100000, n, body FROM orders")
    tending = Tending(tmp_path, any_mysql_database, lock_timeout_s=60, bloat_pct=5)
    monkeypatch.setattr(mysql_care.MySqlTableCare, "require_quiet", lambda *_: None)
    monkeypatch.setattr(duty._Tending, "_why_transactions", lambda *_: "")
    ((usual,),) = any_mysql_database.query("SELECT @@innodb_online_alter_log_max_size")
    any_mysql_database.execute("SET GLOBAL innodb_online_alter_log_max_size = 65536")
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            any_mysql_database.execute("UPDATE orders SET n = n + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = tending.tend()
    finally:
        over.set()
        writer.join()
        any_mysql_database.execute(f"SET GLOBAL innodb_online_alter_log_max_size = {usual}")
    assert result["light"] == "amber"
    assert "innodb_online_alter_log_max_size" in tending.done()["app/orders"].detail["reason"]


@pytest.mark.parametrize(("version", "allowed"), [(110_022, False), (130_000, True), (140_003, False), (140_004, True)])
def test_no_index_is_rebuilt_by_a_release_that_would_leave_rows_out_of_it(version: int, allowed: bool) -> None:
    assert (postgres_care._why_no_rebuilds(version) == "") is allowed


def test_a_backup_under_way_is_not_broken_off_by_a_rebuild(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_bloated(mariadb_database)
    tending = Tending(tmp_path, mariadb_database)
    with tending.job().hold("app"):
        assert tending.tend()["tended"] == []
    assert tending.done()["app/orders"].state == "skipped"
    with tending.job().ledger.hold("shop/app/tables"), pytest.raises(Busy):
        tending.tend()


def test_the_leftover_of_a_broken_reindex_is_swept_and_ours_leaves_none(
    tmp_path: Path, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bloated(postgres_database)
    postgres_database.execute("VACUUM ANALYZE orders")
    tending = Tending(tmp_path, postgres_database)
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    with postgres_database.connect() as writer, postgres_database.connect() as theirs:
        writer.execute("BEGIN")
        writer.execute("UPDATE orders SET n = 1 WHERE id = 7")
        theirs.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            theirs.execute("REINDEX INDEX CONCURRENTLY orders_pkey")
        assert postgres_database.query(invalid) == [("orders_pkey_ccnew",)]
        monkeypatch.setattr(duty._Tending, "_why_transactions", lambda *_: "")  # as if it had begun just now
        tending.tend()
        # DROP INDEX CONCURRENTLY waits for the same transaction: so long nothing can be swept.
        assert tending.done()["app/public.orders_pkey"].state == "skipped"
        writer.execute("COMMIT")
    result = tending.tend()
    assert result["light"] == "green"
    assert any("drop leftover" in done for done in result["tended"])
    assert postgres_database.query(invalid) == []


def test_a_rebuild_for_which_the_disk_has_filled_up_since_it_was_planned_is_left(
    tmp_path: Path, one_of_each: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bloated(one_of_each)
    if not is_mysql(one_of_each):
        one_of_each.execute("VACUUM ANALYZE orders")
    session: Any = mysql_care.MySqlTableCare if is_mysql(one_of_each) else postgres_care.PostgresTableCare
    free, looks = session._free, iter(range(100))
    monkeypatch.setattr(session, "_free", lambda own: (1, "") if next(looks) else free(own))
    Tending(tmp_path, one_of_each).tend()
    record = Tending(tmp_path, one_of_each).done()[rebuilt(one_of_each)]
    assert record.state == "skipped"
    assert "of free disk, and there are 1 B" in record.detail["reason"]


def test_nothing_is_begun_on_a_server_that_has_enough_to_do(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    make_bloated(postgres_database)
    tending = Tending(tmp_path, postgres_database)
    assert tending.tend(limits=Limits(running=-1))["tended"] == []
    assert "sessions are at work, the limit is -1" in tending.done()["app/public.orders"].detail["reason"]


# The window, and broken work


def test_what_the_window_has_no_time_for_comes_first_the_next_time(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_bloated(one_of_each, "first", "second")
    if not is_mysql(one_of_each):
        one_of_each.execute("VACUUM ANALYZE first, second")
    tending = Tending(tmp_path, one_of_each)

    def an_hour_for_each() -> datetime:
        return NOW + timedelta(hours=len([record for record in tending.acts("tend_table") if record.state == "done"]))

    job = tending.job(now=an_hour_for_each)
    result = tend_tables(job, "app", until=Until(NOW + timedelta(hours=1)))
    assert result["light"] == "amber"
    assert len(result["tended"]) == len(result["postponed"]) == 1
    assert "1 left for the next window" in result["summary"]
    (put_off,) = result["postponed"]
    assert read_past(tending.job(), "app").postponed == {tuple(put_off)}
    assert "an earlier window had no time for it" in tending.lines()[0]
    assert tending.tend()["tended"] == [" ".join(put_off)]


def test_the_end_of_the_window_ends_what_is_under_way(tmp_path: Path, database: AnyDatabase) -> None:
    make_bloated(database)
    tending = Tending(tmp_path, database, lock_timeout_s=60)
    begun = time.monotonic()
    with held(database), threading_timer(1.2, lambda: setattr(tending, "moved", timedelta(hours=2))):
        result = tending.tend(until=Until(NOW + timedelta(hours=1)))
    assert 1 < time.monotonic() - begun < 8
    assert len(result["postponed"]) == 1
    (record,) = tending.done().values()
    assert record.detail["reason"] == "the window closed; what it had begun is undone"


def test_what_somebody_ends_is_told_as_failed_and_the_rest_is_tended(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_bloated(one_of_each, "orders", "quiet")
    tending = Tending(tmp_path, one_of_each, lock_timeout_s=60)
    with (
        held(one_of_each),
        threading_timer(1.2, lambda: end_care(one_of_each)),
        pytest.raises(TableCareFailed, match="orders"),
    ):
        tending.tend()
    states = {record.state for name, record in tending.done().items() if "orders" in name}
    assert "failed" in states
    assert tending.done()[rebuilt(one_of_each, "quiet")].state == "done"
    (whole,) = tending.acts("tend_tables")
    assert (whole.state, whole.detail["light"]) == ("failed", "red")


# Under load


@pytest.mark.parametrize("kind", ["single statements", "transactions"])
def test_no_statement_of_a_load_fails_or_waits_longer_than_the_lock_timeout(
    tmp_path: Path, database: AnyDatabase, kind: str
) -> None:
    make_bloated(database, rows=100_000)
    tending = Tending(tmp_path, database)
    with writers(database, in_transactions=kind == "transactions") as load:
        time.sleep(0.5)
        result = tending.tend()
        time.sleep(0.5)
    assert load.errors == []
    assert load.longest_s < LOCK_TIMEOUT_S + SLACK_S
    assert load.count > 200
    if is_mysql(database) and kind == "transactions":
        # They read and then write: InnoDB would make them fail.
        assert "transactions of several statements are under way" in tending.done()["app/orders"].detail["reason"]
    else:
        assert tending.done()[rebuilt(database)].state == "done", result


class Load:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.longest_s = 0.0
        self.count = 0
        self.over = threading.Event()


@contextmanager
def writers(database: AnyDatabase, *, in_transactions: bool) -> Iterator[Load]:
    """Four sessions that read, change and add rows of ``orders`` without a pause."""
    load = Load()

    def work(number: int) -> None:
        statements = [
            "SELECT COUNT(*) FROM orders WHERE id BETWEEN {id} AND {id} + 50",
            "UPDATE orders SET n = n + 1 WHERE id = {id}",
            "INSERT INTO orders (id, n, body) VALUES ({new}, 0, 'new')",
        ]
        if in_transactions:
            statements = ["BEGIN", *statements, "COMMIT"]
        new = 1_000_000 * (number + 1)
        try:
            with database.connect() as connection, connection.cursor() as cursor:
                while not load.over.wait(0.01):
                    new += 1
                    for statement in statements:
                        begun = time.monotonic()
                        cursor.execute(statement.format(id=8 + 10 * (new % 500), new=new))
                        load.longest_s = max(load.longest_s, time.monotonic() - begun)
                        load.count += 1
        except (pymysql.MySQLError, psycopg.Error) as error:
            load.errors.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join()


@contextmanager
def readers(database: AnyDatabase, *, elsewhere: bool = False) -> Iterator[list[float]]:
    """A session that reads ``orders`` again and again; how long each read took, in seconds.

    :param elsewhere: it is at home in another database of the server.
    """
    waits: list[float] = []
    over = threading.Event()
    orders = f"{database.name}.orders" if elsewhere else "orders"

    def read() -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            if elsewhere:
                cursor.execute("USE information_schema")
            while not over.wait(0.02):
                begun = time.monotonic()
                cursor.execute(f"SELECT COUNT(*) FROM {orders} WHERE id = 8")
                waits.append(time.monotonic() - begun)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


@contextmanager
def threading_timer(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def end_care(database: AnyDatabase) -> None:
    """As an administrator would who finds it in the list of sessions."""
    if isinstance(database, PostgresDatabase):
        ours = "query LIKE 'VACUUM%%' AND datname = current_database()"
        database.query(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {ours}".replace("%%", "%"))
        return
    for (session,) in database.query("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'OPTIMIZE%'"):
        database.execute(f"KILL QUERY {session}")
