"""Purging on real servers: what goes, what stays, what is refused, and when it holds still."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
import pytest

import upkeep.engines.mysql_row_purge as mysql_purge
from tests.duties.purging import NOW, Purging, small_steps
from tests.servers.databases import AnyDatabase, MySqlDatabase, PostgresDatabase, is_mysql
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.replicas import MariaDbReplica, PostgresStandby, within
from upkeep.domain.backup import BackupRef
from upkeep.domain.load import Limits
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import write_proof
from upkeep.duties.purge_rows import plan_purge, purge_rows
from upkeep.duties.until import Until
from upkeep.engines.row_purge import open_row_purge
from upkeep.errors import Busy, NoFreshBackup, PurgeRefused, SiteFileError, SourceError, Stopped
from upkeep.resources import sql

RULE = {"table": "logs", "column": "created_at", "keep_days": 30}
CUT = datetime(2026, 10, 22, 16, 0)  # noqa: DTZ001 - as the servers of these tests, which keep UTC, write it


def q(database: AnyDatabase, name: str) -> str:
    mark = "`" if is_mysql(database) else '"'
    return mark + name.replace(mark, mark * 2) + mark


def make_logs(
    database: AnyDatabase, *dates: str | None, type: str = "", table: str = "logs", column: str = "created_at"
) -> None:
    """A table of rows numbered from 1 with these dates."""
    kind = type or ("datetime(6)" if is_mysql(database) else "timestamp")
    t, c = q(database, table), q(database, column)
    database.execute(f"CREATE TABLE {t} (id bigint PRIMARY KEY, {c} {kind} NULL, body varchar(200))")
    database.execute(f"CREATE INDEX by_date ON {t} ({c})")
    with database.connect() as connection, connection.cursor() as cursor:
        statement = f"INSERT INTO {t.replace('%', '%%')} VALUES (%s, %s, %s)"
        rows = [(number, date, f"row {number}") for number, date in enumerate(dates, start=1)]
        cursor.executemany(statement, rows)


def left(database: AnyDatabase, table: str = "logs") -> list[int]:
    return [row[0] for row in database.query(f"SELECT id FROM {q(database, table)} ORDER BY id")]


def ready(folder: Path, database: AnyDatabase, *rules: dict[str, Any], **settings: Any) -> Purging:
    purging = Purging(folder, database, *(rules or (RULE,)), **settings)
    purging.backed_up()
    return purging


def old(number: int) -> str:
    return str(CUT - timedelta(minutes=number))


# What goes and what stays


def test_rows_from_before_the_cut_off_go_and_all_others_stay(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, "2020-01-01", str(CUT - timedelta(microseconds=1)), str(CUT), "2026-11-01", "2099-01-01", None)
    result = ready(tmp_path, database).purge()
    assert left(database) == [3, 4, 5, 6]
    assert result["deleted"] == 2
    assert result["stopped_because"] == "done"
    assert re.match(
        r"2 of about [\d,]+ rows are older than 2026-10-23 00:00 Asia/Shanghai \(keep_days 30\), the oldest 2020-01-01",
        result["reason"],
    )


def test_an_instant_is_compared_as_an_instant(tmp_path: Path, database: AnyDatabase) -> None:
    kind = "timestamp(6)" if is_mysql(database) else "timestamptz"
    make_logs(database, str(CUT - timedelta(seconds=1)), str(CUT), None, type=kind)
    with servers_zone(database, "+08:00" if is_mysql(database) else "Asia/Shanghai"):
        ready(tmp_path, database).purge()
    assert left(database) == [2, 3]


def test_a_wall_clock_is_read_in_the_servers_own_zone(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, "2026-10-22 16:00:00", "2026-10-22 23:59:59", "2026-10-23 00:00:00")
    with servers_zone(database, "+08:00" if is_mysql(database) else "Asia/Shanghai"):
        purging = ready(tmp_path, database)
        (plan,) = plan_purge(purging.job(), "app")
        purging.purge()
    assert left(database) == [3]
    assert "the server's own, where the cut-off is 2026-10-23 00:00:00" in plan.notes[0]


def test_a_day_goes_only_when_all_of_it_is_over(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, "2026-10-21", "2026-10-22", "2026-10-23", "2026-10-24", None, type="date")
    ready(tmp_path, database).purge()
    assert left(database) == [3, 4, 5]


def test_what_expires_goes_at_once(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, "2026-11-22 02:29:59", "2026-11-22 02:30:00", "2026-11-22 02:30:01")
    ready(tmp_path, database, {**RULE, "keep_days": 0}).purge()
    assert left(database) == [2, 3]


def test_a_day_of_expiry_lasts_until_its_end(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, "2026-11-21", "2026-11-22", type="date")
    ready(tmp_path, database, {**RULE, "keep_days": 0}).purge()
    assert left(database) == [2]


def test_values_that_stand_for_no_date_stay(tmp_path: Path, database: AnyDatabase) -> None:
    none = ["0000-00-00 00:00:00"] if is_mysql(database) else ["-infinity", "infinity"]
    if is_mysql(database):
        make_logs(database, old(1), None)
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            cursor.execute("INSERT INTO logs VALUES (3, '0000-00-00 00:00:00', NULL)")
    else:
        make_logs(database, old(1), None, *none)
    assert ready(tmp_path, database).purge()["deleted"] == 1
    assert left(database) == list(range(2, 3 + len(none)))


def test_an_empty_table_and_one_without_old_rows_need_nothing(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database)
    purging = ready(tmp_path, database)
    assert purging.purge()["reason"] == "no row is older than 2026-10-23 00:00 Asia/Shanghai (keep_days 30)"
    database.execute("INSERT INTO logs VALUES (1, '2026-11-20', NULL)")
    assert purging.purge()["deleted"] == 0
    assert left(database) == [1]


def test_many_rows_of_one_moment_go_whatever_the_chunks(
    tmp_path: Path, database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch.setattr, rows=7, chunk=50)
    make_logs(database, *["2026-01-01"] * 240, *[old(n) for n in range(1, 61)], "2026-11-01")
    result = ready(tmp_path, database).purge()
    assert left(database) == [301]
    assert result["deleted"] == 300
    assert result["batches"] >= 300 // 7


@pytest.mark.parametrize("key", ["(tenant, id)", "(id, tenant)"])
def test_composite_keys_are_taken_whole(
    tmp_path: Path, database: AnyDatabase, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    small_steps(monkeypatch.setattr, rows=11, chunk=25)
    text = "varchar(20) COLLATE utf8mb4_bin" if is_mysql(database) else "varchar(20)"
    database.execute(f"CREATE TABLE logs (tenant {text}, id int, created_at date NOT NULL, PRIMARY KEY {key})")
    database.execute("CREATE INDEX by_date ON logs (created_at)")
    rows = [
        (tenant, n, "2026-01-01" if (n + len(tenant)) % 2 else "2026-11-01")
        for tenant in ("a", "'", "天")
        for n in range(40)
    ]
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO logs VALUES (%s, %s, %s)", rows)
    result = ready(tmp_path, database).purge()
    assert result["deleted"] == sum(date == "2026-01-01" for _, _, date in rows) == 60
    found = database.query("SELECT tenant, id FROM logs WHERE created_at > '2026-10-01'")
    assert sorted(found) == sorted((tenant, n) for tenant, n, date in rows if date == "2026-11-01")
    assert database.query("SELECT COUNT(*) FROM logs WHERE created_at < '2026-10-01'") == [(0,)]


def test_the_key_may_begin_with_the_date(tmp_path: Path, database: AnyDatabase) -> None:
    kind = "binary(2)" if is_mysql(database) else "bytea"
    database.execute(f"CREATE TABLE logs (created_at date, id {kind}, PRIMARY KEY (created_at, id))")
    for date, value in (("2026-01-01", b"\x00\xff"), ("2026-01-01", b"'\\"), ("2026-11-01", b"\x00\xff")):
        database.execute("INSERT INTO logs VALUES (%s, %s)", date, value)
    assert ready(tmp_path, database).purge()["deleted"] == 2
    assert [bytes(value) for (value,) in database.query("SELECT id FROM logs")] == [b"\x00\xff"]


def test_rows_between_the_numbers_that_go_stay(tmp_path: Path, database: AnyDatabase) -> None:
    """Neighbouring numbers are deleted as spans: what lies between two spans must not be taken along."""
    make_logs(database, *[old(300 - n) if n % 10 else "2026-11-01" for n in range(1, 201)])
    database.execute("UPDATE logs SET created_at = NULL WHERE id IN (55, 56)")
    ready(tmp_path, database).purge()
    assert left(database) == sorted([*range(10, 201, 10), 55, 56])


def test_a_list_of_numbers_that_was_cut_off_is_not_trusted(
    tmp_path: Path, mariadb_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"set_purge_patience": sql("mysql", "set_purge_patience").replace("4194304", "100")}
    monkeypatch.setattr(mysql_purge, "sql", lambda engine, name: short.get(name) or sql(engine, name))
    make_logs(mariadb_database, *[old(n) for n in range(1, 301)], "2026-11-01")
    assert ready(tmp_path, mariadb_database).purge()["deleted"] == 300
    assert left(mariadb_database) == [301]


def test_keys_are_compared_to_the_last_digit(tmp_path: Path, database: AnyDatabase) -> None:
    """As floating-point numbers these two are one."""
    kind = "bigint unsigned" if is_mysql(database) else "numeric(20)"
    database.execute(f"CREATE TABLE logs (id {kind} PRIMARY KEY, created_at date)")
    database.execute("CREATE INDEX by_date ON logs (created_at)")
    high = 18_446_744_073_709_551_614
    database.execute("INSERT INTO logs VALUES (%s, '2026-01-01'), (%s, '2026-11-01')", high, high + 1)
    assert ready(tmp_path, database).purge()["deleted"] == 1
    assert left(database) == [high + 1]


@pytest.mark.parametrize("name", ['lo`gs"; DROP TABLE x; --', "100%s", "日志 (旧)", "{table}", "back\\slash'"])
def test_hostile_names_are_only_names(tmp_path: Path, database: AnyDatabase, name: str) -> None:
    make_logs(database, old(1), "2026-11-01", table=name, column=name)
    rule = {"table": name, "column": name, "keep_days": 30, "archive": True}
    purging = ready(tmp_path, database, rule)
    assert purging.purge()["deleted"] == 1
    assert left(database, name) == [2]
    assert [line["id"] for line in purging.lines(name)] == ["1"]


def test_a_table_outside_public_is_named_with_its_schema(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE SCHEMA audit")
    for table in ("audit.logs", "public.logs"):
        postgres_database.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, created_at date)")
        postgres_database.execute(f"CREATE INDEX ON {table} (created_at)")
        postgres_database.execute(f"INSERT INTO {table} VALUES (1, '2020-01-01')")
    ready(tmp_path, postgres_database, {**RULE, "table": "audit.logs"}).purge()
    assert postgres_database.query("SELECT * FROM audit.logs") == []
    assert len(postgres_database.query("SELECT * FROM public.logs")) == 1


def test_a_name_that_could_mean_two_tables_is_refused(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE SCHEMA audit")
    postgres_database.execute("CREATE TABLE audit.logs (id int PRIMARY KEY)")
    postgres_database.execute('CREATE TABLE public."audit.logs" (id int PRIMARY KEY)')
    with pytest.raises(SourceError, match="may mean"):
        ready(tmp_path, postgres_database, {**RULE, "table": "audit.logs"}).purge()


def test_rows_of_an_inheriting_table_are_left_alone(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    make_logs(postgres_database, old(1))
    postgres_database.execute("CREATE TABLE more () INHERITS (logs)")
    postgres_database.execute("INSERT INTO more VALUES (1, '2020-01-01', 'a twin of row 1')")
    assert ready(tmp_path, postgres_database).purge()["deleted"] == 1
    assert postgres_database.query("SELECT body FROM logs") == [("a twin of row 1",)]


def test_a_partitioned_table_is_purged_and_the_cheaper_way_is_named(tmp_path: Path, database: AnyDatabase) -> None:
    if is_mysql(database):
        database.execute(
            "CREATE TABLE logs (id int, created_at date, PRIMARY KEY (id, created_at), KEY (created_at)) "
            "PARTITION BY RANGE (YEAR(created_at)) "
            "(PARTITION a VALUES LESS THAN (2026), PARTITION b VALUES LESS THAN (2030))"
        )
    else:
        database.execute(
            "CREATE TABLE logs (id int, created_at date, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
        )
        database.execute("CREATE TABLE a PARTITION OF logs FOR VALUES FROM ('2020-01-01') TO ('2026-01-01')")
        database.execute("CREATE TABLE b PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2030-01-01')")
        database.execute("CREATE INDEX ON logs (created_at)")
    database.execute("INSERT INTO logs VALUES (1, '2025-06-01'), (2, '2026-06-01'), (3, '2026-11-01')")
    purging = ready(tmp_path, database, {**RULE, "archive": True})
    assert "dropping whole partitions would be cheaper" in "".join(plan_purge(purging.job(), "app")[0].notes)
    assert purging.purge()["deleted"] == 2
    assert left(database) == [3]


def test_the_highest_number_stays_where_a_restart_would_hand_it_out_again(
    tmp_path: Path, mariadb_database: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_purge, "counts_from_its_rows", lambda flavour, version: True)
    make_logs(mariadb_database, old(3), old(2), old(1))
    mariadb_database.execute("ALTER TABLE logs MODIFY id bigint AUTO_INCREMENT")
    ready(tmp_path, mariadb_database).purge()
    assert left(mariadb_database) == [3]


def test_triggers_see_the_time_as_the_application_does(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1), type="timestamp(0)" if is_mysql(database) else "timestamptz")
    if is_mysql(database):
        database.execute("CREATE TABLE gone (zone varchar(50))")
        database.execute("CREATE TRIGGER tell AFTER DELETE ON logs FOR EACH ROW INSERT INTO gone VALUES (@@time_zone)")
    else:
        database.execute("CREATE TABLE gone (zone text)")
        database.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN INSERT INTO gone VALUES (current_setting('TimeZone')); RETURN OLD; END$$"
        )
        database.execute("CREATE TRIGGER tell BEFORE DELETE ON logs FOR EACH ROW EXECUTE FUNCTION tell()")
    zone = "+08:00" if is_mysql(database) else "Asia/Shanghai"
    with servers_zone(database, zone):
        assert ready(tmp_path, database, {**RULE, "archive": True}).purge()["deleted"] == 1
    assert database.query("SELECT zone FROM gone") == [(zone,)]


def test_a_lock_that_a_trigger_meets_leaves_the_session_in_utc(
    tmp_path: Path, any_mysql_database: MySqlDatabase
) -> None:
    make_logs(any_mysql_database, old(1), type="timestamp(0)")
    any_mysql_database.execute("CREATE TABLE tally (id int PRIMARY KEY, n int)")
    any_mysql_database.execute("INSERT INTO tally VALUES (1, 0)")
    any_mysql_database.execute(
        "CREATE TRIGGER count_gone AFTER DELETE ON logs FOR EACH ROW UPDATE tally SET n = n + 1 WHERE id = 1"
    )
    purging = ready(tmp_path, any_mysql_database, {**RULE, "archive": True})
    with servers_zone(any_mysql_database, "+08:00"), closing(any_mysql_database.connect()) as holder:
        holder.cursor().execute("BEGIN")
        holder.cursor().execute("SELECT * FROM tally FOR UPDATE")
        # The third question comes after the first batch was locked out.
        result = purging.purge(until=Until(told_to_stop=at_call(3, holder.rollback)))
    assert (result["locked_out"], result["deleted"], result["left_changed"]) == (1, 1, 0)


def test_a_key_that_triggers_would_make_name_other_rows_is_not_archived_by(
    tmp_path: Path, any_mysql_database: MySqlDatabase
) -> None:
    """West of Greenwich the key of an archived row names one that is five hours younger and in no archive yet."""
    any_mysql_database.execute(
        "CREATE TABLE logs (created_at timestamp NOT NULL DEFAULT '2026-01-01', PRIMARY KEY (created_at))"
    )
    any_mysql_database.execute("CREATE TABLE gone (n int)")
    any_mysql_database.execute("CREATE TRIGGER tell AFTER DELETE ON logs FOR EACH ROW INSERT INTO gone VALUES (1)")
    any_mysql_database.execute("INSERT INTO logs VALUES ('2026-08-01 00:00:00'), ('2026-08-01 05:00:00')")
    with servers_zone(any_mysql_database, "-05:00"), pytest.raises(PurgeRefused, match="key names another row"):
        ready(tmp_path, any_mysql_database, {**RULE, "archive": True}).purge()
    assert any_mysql_database.query("SELECT count(*) FROM logs") == [(2,)]
    any_mysql_database.execute("DROP TRIGGER tell")
    assert ready(tmp_path, any_mysql_database, {**RULE, "archive": True}).purge()["deleted"] == 2


@contextmanager
def servers_zone(database: AnyDatabase, zone: str) -> Iterator[None]:
    """Sessions that begin within the block speak in another time zone."""
    if isinstance(database, PostgresDatabase):
        database.execute(f"ALTER DATABASE {database.name} SET timezone = '{zone}'")
        yield
        return
    database.execute(f"SET GLOBAL time_zone = '{zone}'")
    try:
        yield
    finally:
        database.execute("SET GLOBAL time_zone = 'SYSTEM'")


# What changes meanwhile


def at_call(number: int, do: Callable[[], object]) -> Callable[[], bool]:
    """A ``told_to_stop`` that never says so, but does something when it is asked for the ``number``-th time.

    It is asked once before each look for old rows and once before each batch.
    """
    calls = count(1)

    def asked() -> bool:
        if next(calls) == number:
            do()
        return False

    return asked


@pytest.mark.parametrize("archive", [False, True], ids=["plain", "archived"])
def test_a_row_whose_date_moved_forward_meanwhile_stays(tmp_path: Path, database: AnyDatabase, archive: bool) -> None:
    make_logs(database, old(3), old(2), old(1))
    purging = ready(tmp_path, database, {**RULE, "archive": archive})
    change = at_call(2, lambda: database.execute("UPDATE logs SET created_at = '2026-11-20' WHERE id = 2"))
    assert purging.purge(until=Until(told_to_stop=change))["deleted"] == 2
    assert left(database) == [2]


def test_rows_that_somebody_holds_are_left_and_the_others_go(
    tmp_path: Path, database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch.setattr, rows=10, chunk=50)
    make_logs(database, *[old(n) for n in range(100, 0, -1)])
    purging = ready(tmp_path, database)
    holder = database.connect()
    try:
        holder.cursor().execute("BEGIN")
        holder.cursor().execute("SELECT * FROM logs WHERE id = 15 FOR UPDATE")
        result = purging.purge()
    finally:
        holder.close()
    assert result["deleted"] == 90
    assert result["left_locked"] == 10
    detail = purging.acts()[-1].detail
    assert (detail["light"], detail["summary"]) == ("amber", "logs: 10 rows left because others hold them")
    assert left(database) == list(range(11, 21))
    assert purging.purge()["deleted"] == 10


def test_a_lock_for_a_moment_costs_a_moment(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, *[old(n) for n in range(1, 51)])
    purging = ready(tmp_path, database)
    holder = database.connect()
    try:
        holder.cursor().execute("BEGIN")
        holder.cursor().execute("SELECT * FROM logs WHERE id = 1 FOR UPDATE")
        # The third question comes after the first batch was locked out.
        result = purging.purge(until=Until(told_to_stop=at_call(3, holder.close)))
    finally:
        with suppress(pymysql.Error):
            holder.close()
    assert result["deleted"] == 50
    assert result["locked_out"] == 1


# What is refused


@pytest.mark.parametrize("dry_run", [False, True])
def test_without_a_backup_nothing_goes(tmp_path: Path, one_of_each: AnyDatabase, dry_run: bool) -> None:
    make_logs(one_of_each, old(1))
    with pytest.raises(NoFreshBackup, match="has no backup") as refused:
        Purging(tmp_path, one_of_each, RULE).purge(dry_run=dry_run)
    assert "HINT: back it up and verify that" in str(refused.value)
    assert left(one_of_each) == [1]


def test_a_backup_must_be_proven_as_far_as_the_site_says(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = Purging(tmp_path, mariadb_database, RULE)
    purging.backed_up(level=None)
    with pytest.raises(NoFreshBackup, match="is stored; proven means structure or better"):
        purging.purge()
    purging.backed_up(level=ProofLevel.CHECKSUM, age=timedelta(minutes=1))
    with pytest.raises(NoFreshBackup, match="is checksum; proven means structure"):
        purging.purge()
    purging.backed_up(level=ProofLevel.STRUCTURE, age=timedelta(0))
    assert purging.purge()["deleted"] == 1


def test_a_backup_must_be_young(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = Purging(tmp_path, mariadb_database, RULE)
    purging.backed_up(age=timedelta(hours=26, minutes=1))
    with pytest.raises(NoFreshBackup, match="is 1 d 2 h old, more than 1 d 2 h"):
        purging.purge()
    purging.backed_up(age=timedelta(hours=25, minutes=59))
    assert purging.purge()["deleted"] == 1


def test_the_newest_backup_counts_and_a_damaged_one_is_none(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    purging = ready(tmp_path, mariadb_database)
    newest = BackupRef("shop", "app", purging.backed_up(age=timedelta(minutes=5)))
    write_proof(purging.store, newest, ProofLevel.CHECKSUM, ok=False, at=NOW, run={}, figures={})
    with pytest.raises(NoFreshBackup, match="is damaged"):
        purging.purge()
    assert left(mariadb_database) == [1]


def test_without_an_index_the_statement_to_run_is_given_and_does_it(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1), "2026-11-01")
    database.execute("DROP INDEX by_date ON logs" if is_mysql(database) else "DROP INDEX by_date")
    purging = ready(tmp_path, database)
    with pytest.raises(PurgeRefused, match="no usable index that begins with created_at") as refused:
        purging.purge()
    assert left(database) == [1, 2]
    statement = refused.value.hint
    assert statement.startswith("CREATE INDEX ")
    database.execute(statement)
    assert purging.purge()["deleted"] == 1


def test_an_index_that_cannot_help_does_not_count(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    if is_mysql(database):
        database.execute("DROP INDEX by_date ON logs")
        database.execute("CREATE INDEX second ON logs (body, created_at)")
    else:
        database.execute("DROP INDEX by_date")
        database.execute("CREATE INDEX part ON logs (created_at) WHERE body IS NULL")
        database.execute("CREATE INDEX hashed ON logs USING hash (created_at)")
        database.execute("CREATE INDEX computed ON logs ((created_at + interval '1 day'))")
    with pytest.raises(PurgeRefused, match="no usable index"):
        ready(tmp_path, database).purge()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "nowhere"}, "there is no table 'nowhere'"),
        ({"column": "nothing"}, "logs has no column 'nothing'"),
        ({"column": "body"}, "column body is of type .*, which is not a date or a time"),
        ({"column": "id"}, "column id is of type bigint.*, which is not a date or a time"),
    ],
)
def test_a_rule_that_does_not_fit_the_table_is_refused(
    tmp_path: Path, database: AnyDatabase, change: dict[str, str], words: str
) -> None:
    make_logs(database, old(1))
    purging = ready(tmp_path, database, {**RULE, **change})
    with pytest.raises(PurgeRefused, match=words):
        purging.purge()
    assert left(database) == [1]
    assert [act.state for act in purging.acts()] == ["failed"]


def test_a_table_without_a_primary_key_is_refused(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    database.execute(
        "ALTER TABLE logs DROP PRIMARY KEY" if is_mysql(database) else "ALTER TABLE logs DROP CONSTRAINT logs_pkey"
    )
    with pytest.raises(PurgeRefused, match="no primary key") as refused:
        ready(tmp_path, database).purge()
    assert "ALTER TABLE" in refused.value.hint


def test_a_table_without_transactions_is_refused(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    make_logs(mariadb_database, old(1))
    mariadb_database.execute("ALTER TABLE logs ENGINE=MyISAM")
    with pytest.raises(PurgeRefused, match="MyISAM, which has no transactions"):
        ready(tmp_path, mariadb_database).purge()


def test_a_view_is_refused(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    database.execute("CREATE VIEW seen AS SELECT * FROM logs")
    with pytest.raises(PurgeRefused, match="seen is a view"):
        ready(tmp_path, database, {**RULE, "table": "seen"}).purge()


def test_a_read_only_server_is_refused(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    on, off = (
        ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0") if is_mysql(database)
        else (f"ALTER DATABASE {database.name} SET default_transaction_read_only = on", "SELECT 1")
    )  # fmt: skip
    database.execute(on)
    try:
        with pytest.raises(PurgeRefused, match="read-only") as refused:
            ready(tmp_path, database).purge()
    finally:
        database.execute(off)
    assert "purge on the primary" in refused.value.hint


def with_children(database: AnyDatabase, action: str) -> None:
    make_logs(database, old(1), "2026-11-01")
    database.execute(
        "CREATE TABLE items (id int PRIMARY KEY, log_id bigint, "
        f"CONSTRAINT fk_items FOREIGN KEY (log_id) REFERENCES logs (id) ON DELETE {action})"
    )
    if not is_mysql(database):
        database.execute("CREATE INDEX ON items (log_id)")
    database.execute("INSERT INTO items VALUES (1, 1), (2, 2)")


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"])
def test_a_table_that_others_refer_to_is_refused_unless_the_site_says_cascade(
    tmp_path: Path, database: AnyDatabase, action: str
) -> None:
    with_children(database, action)
    with pytest.raises(PurgeRefused, match=f"foreign key fk_items of (public.)?items .*ON DELETE ({action}|NO ACTION)"):
        ready(tmp_path, database).purge()
    assert left(database) == [1, 2]


@pytest.mark.parametrize(("action", "remain"), [("CASCADE", [(2, 2)]), ("SET NULL", [(1, None), (2, 2)])])
def test_where_the_site_says_cascade_foreign_keys_do_their_work(
    tmp_path: Path, database: AnyDatabase, action: str, remain: list[Any]
) -> None:
    with_children(database, action)
    assert ready(tmp_path, database, {**RULE, "cascade": True}).purge()["deleted"] == 1
    assert database.query("SELECT id, log_id FROM items ORDER BY id") == remain


def test_rows_do_not_go_by_cascade_before_their_own_rule_has_archived_them(
    tmp_path: Path, database: AnyDatabase
) -> None:
    with_children(database, "CASCADE")
    child = {"table": "items", "column": "made_at", "keep_days": 30, "archive": True}
    with pytest.raises(PurgeRefused, match="would go that its own rule has not archived yet"):
        ready(tmp_path, database, {**RULE, "cascade": True}, child).purge()
    assert database.query("SELECT id FROM items ORDER BY id") == [(1,), (2,)]


def test_a_cascade_without_an_index_is_refused_on_postgresql(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    with_children(postgres_database, "CASCADE")
    postgres_database.execute("DROP INDEX items_log_id_idx")
    with pytest.raises(PurgeRefused, match="every delete would read all of items") as refused:
        ready(tmp_path, postgres_database, {**RULE, "cascade": True}).purge()
    postgres_database.execute(refused.value.hint)
    assert ready(tmp_path, postgres_database, {**RULE, "cascade": True}).purge()["deleted"] == 1


def test_an_account_that_may_not_delete_is_told_so_by_a_dry_run(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, old(1))
    if is_mysql(one_of_each):
        one_of_each.execute("CREATE OR REPLACE USER reader@'%' IDENTIFIED BY 'secret'")
        one_of_each.execute(f"GRANT SELECT ON `{one_of_each.name}`.* TO reader@'%'")
    else:
        one_of_each.execute("DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'secret'; EXCEPTION WHEN OTHERS THEN END $$")
        one_of_each.execute("GRANT SELECT ON logs TO reader")
    purging = ready(tmp_path, one_of_each)
    job = purging.job()
    plain = job.connect
    job.connect = lambda conn_id: replace(plain(conn_id), user="reader", secret="secret")
    with pytest.raises(SourceError, match=r"(?i)denied"):
        purge_rows(job, "app", 0, dry_run=True)


def test_an_unknown_rule_lists_those_there_are(tmp_path: Path, mariadb_database: MySqlDatabase) -> None:
    with pytest.raises(SiteFileError, match="no purge rule 7") as error:
        ready(tmp_path, mariadb_database).purge(7)
    assert "logs by created_at" in error.value.hint
    with pytest.raises(SiteFileError, match="no purge rule"):
        ready(tmp_path, mariadb_database).purge(("logs", "updated_at"))


# The plan, the dry run, the record


def test_a_plan_judges_every_rule_and_changes_nothing(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1), "2026-11-01")
    purging = ready(tmp_path, database, RULE, {**RULE, "table": "nowhere"}, {**RULE, "keep_days": 3000})
    plans = plan_purge(purging.job(), "app")
    assert [bool(plan.refusals) for plan in plans] == [False, True, False]
    assert [plan.rows for plan in plans] == [1, 0, 0]
    assert left(database) == [1, 2]
    assert purging.acts() == []


def test_a_dry_run_finds_the_rows_and_leaves_them(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1), old(2), "2026-11-01")
    purging = ready(tmp_path, database, {**RULE, "archive": True})
    result = purging.purge(dry_run=True)
    assert (result["would_delete"], result["deleted"]) == (2, 0)
    assert left(database) == [1, 2, 3]
    assert purging.lines() == []
    assert purging.acts() == []


def test_one_act_in_the_ledger_says_what_was_done(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, *[old(n) for n in range(1, 31)])
    purging = ready(tmp_path, database, {**RULE, "archive": True})
    result = purging.purge(("logs", "created_at"))
    (act,) = purging.acts()
    assert act.state == "done"
    assert act.started.target == "app"
    assert act.finished is not None
    assert (act.finished.rows, act.finished.bytes) == (30, result["archived_bytes"])
    assert act.finished.checksum
    detail = act.detail
    assert (detail["table"], detail["archives"], detail["archived_rows"]) == ("logs", 1, 30)
    assert detail["batches"] >= 1
    assert detail["stopped_because"] == "done"
    assert (detail["light"], detail["hint"]) == ("green", "")
    assert "older than 2026-10-23" in detail["reason"]
    purging.require_clean_ledger()


def test_two_purges_of_one_table_do_not_run_at_once(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, old(1))
    purging = ready(tmp_path, one_of_each)
    with purging.job().ledger.hold("shop/app/purge/logs"), pytest.raises(Busy, match="shop/app/purge/logs"):
        purging.purge()


# When it holds still, and when it stops


def test_at_the_end_of_the_window_it_stops_and_goes_on_the_next_night(
    tmp_path: Path, database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch.setattr, rows=10, chunk=30)
    make_logs(database, *[old(n) for n in range(1, 101)], "2026-11-01")
    purging = ready(tmp_path, database)
    ticks = count()
    job = purging.job(now=lambda: NOW + timedelta(seconds=next(ticks)))
    result = purge_rows(job, "app", 0, until=Until(NOW + timedelta(seconds=9)))
    assert 0 < result["deleted"] < 100
    rest = 100 - result["deleted"]
    assert result["stopped_because"] == f"the window closed: about {rest} rows left for the next night"
    assert len(left(database)) == rest + 1
    assert purging.purge()["deleted"] == rest
    assert left(database) == [101]


def test_once_the_window_is_closed_nothing_is_done(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, old(1))
    purging = ready(tmp_path, one_of_each, {**RULE, "archive": True})
    result = purging.purge(until=Until(NOW))
    assert result["stopped_because"] == "the window closed: about 1 rows left for the next night"
    detail = purging.acts()[-1].detail
    assert (detail["light"], detail["summary"]) == ("amber", f"logs: {result['stopped_because']}")
    assert "rhythms.daily.length_h" in detail["hint"]
    assert left(one_of_each) == [1]


def test_when_the_task_is_told_to_stop_it_does_and_the_ledger_knows(tmp_path: Path, one_of_each: AnyDatabase) -> None:
    make_logs(one_of_each, old(1))
    purging = ready(tmp_path, one_of_each)
    with pytest.raises(Stopped, match="told to stop"):
        purging.purge(until=Until(told_to_stop=lambda: True))
    assert left(one_of_each) == [1]
    assert [act.state for act in purging.acts()] == ["failed"]


def test_while_many_sessions_are_at_work_it_waits(tmp_path: Path, database: AnyDatabase) -> None:
    make_logs(database, old(1))
    sleep = "SELECT SLEEP(3)" if is_mysql(database) else "SELECT pg_sleep(3)"
    sessions = [threading.Thread(target=database.query, args=(sleep,)) for _ in range(4)]
    for session in sessions:
        session.start()
    time.sleep(0.5)
    try:
        began = time.monotonic()
        result = ready(tmp_path, database).purge(limits=Limits(running=3))
        waited = time.monotonic() - began
    finally:
        for session in sessions:
            session.join()
    assert result["deleted"] == 1
    assert result["throttled_s"] > 0.5
    assert waited > 1


def test_others_are_noticed_between_two_looks_however_short_their_statements(
    tmp_path: Path, database: AnyDatabase
) -> None:
    make_logs(database, old(1))
    purging = ready(tmp_path, database)
    with closing(database.connect()) as other, open_row_purge(purging.job().engine("app")) as session:
        time.sleep(1.1)
        looks = [session.pressure().is_shared for _ in range(3)]
        other.cursor().execute("SELECT 1")
        assert (looks, session.pressure().is_shared) == ([False] * 3, True)


def test_a_server_that_stays_too_busy_is_left_for_the_next_night(
    tmp_path: Path, one_of_each: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upkeep.duties.purge_rows.PATIENCE_S", 1)
    monkeypatch.setattr("upkeep.duties.purge_rows.LOOK_EVERY_S", 0.2)
    make_logs(one_of_each, old(1))
    result = ready(tmp_path, one_of_each).purge(limits=Limits(running=-1))
    assert result["stopped_because"].startswith("waited 1 s in vain: ")
    assert left(one_of_each) == [1]


# Replicas


def slowly() -> bool:
    """A ``told_to_stop`` that leaves a replica the time to fall behind."""
    time.sleep(0.3)
    return False


@pytest.fixture(scope="module")
def mariadb_pair() -> Iterator[tuple[MariaDbServer, MariaDbReplica]]:
    with MariaDbServer() as primary, MariaDbReplica(primary) as replica:
        replica.follow()
        yield primary, replica


@pytest.fixture(scope="module")
def postgres_pair() -> Iterator[tuple[PostgresServer, PostgresStandby]]:
    with PostgresServer() as primary, PostgresStandby(primary) as standby:
        yield primary, standby


def test_a_mariadb_replica_whose_replay_has_stopped_makes_the_purge_wait(
    tmp_path: Path, mariadb_pair: tuple[MariaDbServer, MariaDbReplica]
) -> None:
    primary, replica = mariadb_pair
    database = MySqlDatabase(primary)
    with database.existing():
        make_logs(database, *[old(n) for n in range(1, 201)])
        within(lambda: replica.status()["Seconds_Behind_Master"] == 0, "the replica did not catch up")
        within(lambda: _reaches(replica, database.name), "the table did not reach the replica")
        purging = ready(tmp_path, database)
        replica.stop_replay()
        starter = threading.Timer(5, replica.start_replay)
        starter.start()
        try:
            result = purging.purge()
        finally:
            starter.join()
        assert result["deleted"] == 200
        assert result["throttled_s"] >= 1
        assert result["notes"] == [note for note in result["notes"] if "replica" not in note], "it can be asked"


def test_a_mariadb_replica_that_falls_behind_makes_the_purge_wait(
    tmp_path: Path, mariadb_pair: tuple[MariaDbServer, MariaDbReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = mariadb_pair
    database = MySqlDatabase(primary)
    with database.existing():
        make_logs(database, *[old(n) for n in range(1, 201)])
        within(lambda: _reaches(replica, database.name), "the table did not reach the replica")
        purging = ready(tmp_path, database)
        blocker = replica.connect(database.name)
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLES logs READ")  # the replica can't replay what is deleted
            small_steps(monkeypatch.setattr, rows=20, chunk=200)
            threading.Timer(6, blocker.close).start()
            result = purging.purge(limits=Limits(lag_s=1), until=Until(told_to_stop=slowly))
        assert result["deleted"] == 200
        assert result["throttled_s"] >= 1


def test_a_replica_that_cannot_be_asked_is_named_in_the_plan(
    tmp_path: Path, mariadb_pair: tuple[MariaDbServer, MariaDbReplica]
) -> None:
    primary, replica = mariadb_pair
    database = MySqlDatabase(primary)
    with database.existing():
        make_logs(database, old(1))
        with primary.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_log_bin = 0")  # an account that the replica doesn't know
            cursor.execute("CREATE OR REPLACE USER only_here@'%' IDENTIFIED BY 'secret'")
            cursor.execute("GRANT ALL ON *.* TO only_here@'%'")
        job = ready(tmp_path, database).job()
        plain = job.connect
        job.connect = lambda conn_id: replace(plain(conn_id), user="only_here", secret="secret")
        notes = plan_purge(job, "app")[0].notes
    assert any(f"replica {replica.server_id} (127.0.0.1, port {replica.port}) can't be asked" in note for note in notes)


def _reaches(replica: MariaDbReplica, database: str) -> bool:
    with replica.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = %s AND table_name = 'logs'",
            (database,),
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def test_a_standby_whose_replay_stands_still_makes_the_purge_wait(
    tmp_path: Path, postgres_pair: tuple[PostgresServer, PostgresStandby], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = postgres_pair
    small_steps(monkeypatch.setattr, rows=20, chunk=200)
    database = PostgresDatabase(primary)
    with database.existing():
        make_logs(database, *[old(n) for n in range(1, 401)])
        purging = ready(tmp_path, database)
        standby.pause_replay()
        resumer = threading.Timer(4, standby.resume_replay)
        resumer.start()
        try:
            result = purging.purge(limits=Limits(lag_s=1), until=Until(told_to_stop=slowly))
        finally:
            resumer.join()
        assert result["deleted"] == 400
        assert result["throttled_s"] >= 0.9


def test_a_standby_that_is_gone_makes_the_purge_wait(
    tmp_path: Path, postgres_pair: tuple[PostgresServer, PostgresStandby]
) -> None:
    primary, standby = postgres_pair
    database = PostgresDatabase(primary)
    with database.existing():
        make_logs(database, old(1))
        purging = ready(tmp_path, database)
        standby.stop()
        starter = threading.Timer(5, standby.start)
        starter.start()
        try:
            result = purging.purge()
        finally:
            starter.join()
        assert result["deleted"] == 1
        assert result["throttled_s"] >= 1
