"""Partitions of real tables: made ahead, split out of a catch-all, and taken away behind a proven backup."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from upkeep.cli import main
from upkeep.domain.backup import BackupRef
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import write_proof
from upkeep.duties.job import Job
from upkeep.duties.tend_partitions import plan_partitions, tend_partitions
from upkeep.duties.until import Until
from upkeep.errors import Busy
from upkeep.ledger import verify

NOW = datetime(2026, 11, 30, 17, 0, tzinfo=UTC)
"""01:00 on the first of December in Shanghai, still November in UTC."""
MANUAL = """CREATE TABLE attendance_records (
    id VARCHAR(32), tenant_id VARCHAR(32) NOT NULL, attendance_date DATE NOT NULL,
    PRIMARY KEY (id, attendance_date), INDEX idx_tenant_date (tenant_id, attendance_date)
) PARTITION BY RANGE (YEAR(attendance_date) * 100 + MONTH(attendance_date)) (
    PARTITION p202610 VALUES LESS THAN (202611), PARTITION p202611 VALUES LESS THAN (202612){more})"""
CATCH_ALL = ", PARTITION pmax VALUES LESS THAN MAXVALUE"
RULE = {"table": "attendance_records", "column": "attendance_date"}
LOGS = {"table": "logs", "column": "at"}


class Tending:
    """One site with one database ``app`` under the given rules."""

    def __init__(self, sites: SiteFactory, database: Database, *rules: dict[str, Any], **settings: Any) -> None:
        self.sites, self.database = sites, database
        sites.settings.update(settings)
        sites.database(database, lock_timeout_s=1, partitions=list(rules))

    def job(self, now: datetime = NOW) -> Job:
        return self.sites.job("week", now=lambda: now)

    def tend(self, **options: Any) -> dict[str, Any]:
        now = options.pop("now", NOW)
        (told,) = tend_partitions(self.job(now), "app", **options)["tables"]
        return dict(told)

    def bounds(self, table: str = "attendance_records") -> list[tuple[str, str]]:
        if isinstance(self.database, MySqlDatabase):
            return self.database.query(
                "SELECT partition_name, partition_description FROM information_schema.partitions "
                "WHERE table_schema = DATABASE() AND table_name = %s AND partition_name IS NOT NULL "
                "ORDER BY partition_ordinal_position",
                table,
            )
        return self.database.query(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
            f"WHERE inhparent = '{table}'::regclass ORDER BY 1"
        )

    def names(self, table: str = "attendance_records") -> list[str]:
        return [name for name, _ in self.bounds(table)]

    def rows(self, table: str, partition: str = "") -> int:
        of = partition if isinstance(self.database, PostgresDatabase) and partition else table
        only = f" PARTITION ({partition})" if partition and of == table else ""
        return int(self.database.query(f"SELECT COUNT(*) FROM {of}{only}")[0][0])

    def backed_up(self, level: ProofLevel = ProofLevel.STRUCTURE, *, run_id: str = "night-1") -> str:
        """A real backup of this moment, and a proof of it."""
        manifest = self.sites.back_up("app", run_id)
        ref = BackupRef("kindergarten", "app", manifest.backup.backup_id)
        write_proof(self.job().store, ref, level, ok=True, at=datetime.now(UTC), run={}, figures={})
        return ref.backup_id

    def statements(self) -> list[str]:
        records = self.job().ledger.acts("kindergarten", duty="alter_partitions")
        return [record.started.command for record in records if record.state == "done"]

    def reasons(self) -> list[str]:
        records = self.job().ledger.acts("kindergarten", duty="alter_partitions")
        return [str(record.detail.get("why")) for record in records if record.state == "done"]


# Ahead.


def test_the_manuals_table_gets_its_months_ahead_across_the_years_end_and_no_more_the_second_time(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    any_mysql_database.execute(MANUAL.format(more=""))
    tending = Tending(sites, any_mysql_database, RULE)
    told = tending.tend()
    wanted = [("p202612", "202701"), ("p202701", "202702"), ("p202702", "202703"), ("p202703", "202704")]
    assert tending.bounds() == [("p202610", "202611"), ("p202611", "202612"), *wanted]
    assert (told["light"], told["done"]) == ("green", ["add p202612, p202701, p202702, p202703"])
    assert "partitions reach to 2027-04-01" in told["summary"]
    again = tending.tend()
    assert (again["light"], again["done"], len(tending.statements())) == ("green", [], 1)
    assert verify(tending.job().ledger).clean


def test_rows_in_a_catch_all_move_into_their_months_and_later_ones_stay(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    any_mysql_database.execute(MANUAL.format(more=CATCH_ALL))
    any_mysql_database.execute(
        "INSERT INTO attendance_records VALUES ('a', 't', '2026-12-31'), ('b', 't', '2027-01-01'), "
        "('c', 't', '2099-01-01')"
    )
    tending = Tending(sites, any_mysql_database, RULE)
    told = tending.tend()
    assert tending.names() == ["p202610", "p202611", "p202612", "p202701", "p202702", "p202703", "pmax"]
    held = [tending.rows("attendance_records", name) for name in ("p202612", "p202701", "pmax")]
    assert held == [1, 1, 1]
    assert "1 row stays in pmax: dates later than the partitions made ahead (up to 2099-01)" in told["summary"]
    assert tending.tend()["done"] == []


@pytest.mark.parametrize(
    ("column", "by", "edges", "wanted"),
    [
        ("DATE", "RANGE (TO_DAYS(at))", ("740286", "740316"), ["740347", "740378", "740406", "740437"]),
        ("DATETIME", "RANGE COLUMNS(at)", ("'2026-11-01'", "'2026-12-01'"),
         ["'2027-01-01 00:00:00'", "'2027-02-01 00:00:00'", "'2027-03-01 00:00:00'", "'2027-04-01 00:00:00'"]),
        # Midnights of Shanghai, eight hours before those of UTC.
        ("TIMESTAMP", "RANGE (UNIX_TIMESTAMP(at))", ("1793462400", "1796054400"),
         ["1798732800", "1801411200", "1803830400", "1806508800"]),
    ],
    ids=["TO_DAYS", "COLUMNS", "UNIX_TIMESTAMP"],
)  # fmt: skip
def test_each_form_of_bound_is_continued(
    sites: SiteFactory,
    any_mysql_database: MySqlDatabase,
    column: str,
    by: str,
    edges: tuple[str, str],
    wanted: list[str],
) -> None:
    most = "(MAXVALUE)" if "COLUMNS" in by else "MAXVALUE"
    any_mysql_database.execute(
        f"CREATE TABLE logs (at {column} NOT NULL) PARTITION BY {by} ("
        f"PARTITION log_2026_10 VALUES LESS THAN ({edges[0]}), PARTITION log_2026_11 VALUES LESS THAN ({edges[1]}), "
        f"PARTITION rest VALUES LESS THAN {most})"
    )
    tending = Tending(sites, any_mysql_database, LOGS)
    assert tending.tend()["light"] == "green"
    made = tending.bounds("logs")[2:-1]
    assert [name for name, _ in made] == ["log_2026_12", "log_2027_01", "log_2027_02", "log_2027_03"]
    assert [bound for _, bound in made] == wanted
    assert tending.tend()["done"] == []


@pytest.mark.parametrize("column", ["date", "timestamp", "timestamptz"])
def test_postgres_gets_its_months_at_the_sites_midnight(
    sites: SiteFactory, postgres_database: PostgresDatabase, column: str
) -> None:
    postgres_database.execute(f"CREATE TABLE logs (at {column}, id int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)")
    postgres_database.execute("ALTER TABLE logs OWNER TO pg_monitor")
    for setting in ("timezone TO 'America/New_York'", "datestyle TO 'German'"):  # as the server's sessions speak
        postgres_database.execute(f"ALTER DATABASE {postgres_database.name} SET {setting}")
    tending = Tending(sites, postgres_database, LOGS)
    assert tending.tend()["light"] == "green"
    assert tending.names("logs") == ["logs_p2026_12", "logs_p2027_01", "logs_p2027_02", "logs_p2027_03"]
    moments = {"date": "2026-12-01", "timestamp": "2026-12-01 00:00:00", "timestamptz": "2026-12-01 00:00:00+08"}
    postgres_database.execute(f"INSERT INTO logs VALUES ('{moments[column]}', 1)")
    assert tending.rows("logs", "logs_p2026_12") == 1
    with pytest.raises(psycopg.errors.CheckViolation):
        postgres_database.execute(f"INSERT INTO logs VALUES ('{moments[column]}'::{column} - interval '1 second', 1)")
    assert postgres_database.query("SELECT tableowner FROM pg_tables WHERE tablename = 'logs_p2026_12'") == [
        ("pg_monitor",)
    ]
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'logs_p2027_03'"
    assert postgres_database.query(indexes) == [(1,)]
    assert tending.tend()["done"] == []


def test_rows_of_a_default_partition_move_into_their_months(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    for statement in (
        "CREATE TABLE logs (at date, n int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (at)",
        "CREATE TABLE logs_y2026m10 PARTITION OF logs FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')",
        "CREATE TABLE logs_y2027m01 PARTITION OF logs FOR VALUES FROM ('2027-01-10') TO ('2027-02-01')",
        "CREATE TABLE logs_rest PARTITION OF logs DEFAULT",
    ):
        postgres_database.execute(statement)
    dates = ("2026-11-05", "2026-12-31", "2027-01-09", "2031-01-01", "2020-01-01", None, "infinity")
    for n, at in enumerate(dates, start=1):
        postgres_database.execute("INSERT INTO logs (at, n) VALUES (%s, %s)", at, n)
    tending = Tending(sites, postgres_database, LOGS)
    told = tending.tend()
    made = {
        "logs_y2026m11": [1],
        "logs_y2026m12": [2],
        "logs_y2027m01_2": [3],
        "logs_y2027m02": [],
        "logs_y2027m03": [],
    }
    assert set(tending.names("logs")) == {"logs_y2026m10", "logs_y2027m01", "logs_rest", *made}
    for name, numbers in made.items():
        assert [n for (n,) in postgres_database.query(f"SELECT n FROM {name}")] == numbers
    assert postgres_database.query("SELECT n, twice FROM logs_rest ORDER BY n") == [(4, 8), (5, 10), (6, 12), (7, 14)]
    assert told["light"] == "green"
    for fate in ("later than the partitions made ahead", "before the oldest partition", "no date"):
        assert fate in told["summary"]
    assert tending.tend()["done"] == []


def test_rows_that_others_refer_to_stay_in_the_default_partition_and_other_months_are_made(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    for statement in (
        "CREATE TABLE logs (at date, id int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE logs_rest PARTITION OF logs DEFAULT",
        "CREATE TABLE notes (id int, at date, FOREIGN KEY (id, at) REFERENCES logs (id, at) ON DELETE CASCADE)",
        "INSERT INTO logs VALUES ('2026-12-02', 1)",
        "INSERT INTO notes VALUES (1, '2026-12-02')",
    ):
        postgres_database.execute(statement)
    tending = Tending(sites, postgres_database, LOGS)
    told = tending.tend()
    assert told["light"] == "amber"
    assert "rows of 2026-12 stay in logs_rest: moving them would set off foreign key" in told["summary"]
    assert tending.names("logs") == ["logs_p2027_01", "logs_p2027_02", "logs_p2027_03", "logs_rest"]
    assert tending.rows("notes") == 1


def test_a_dry_run_says_what_it_would_run_and_changes_nothing(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    any_mysql_database.execute(MANUAL.format(more=""))
    tending = Tending(sites, any_mysql_database, RULE)
    (would,) = tending.tend(dry_run=True)["would_run"]
    assert would.startswith(
        "ALTER TABLE `attendance_records` ADD PARTITION (PARTITION `p202612` VALUES LESS THAN (202701)"
    )
    assert (tending.names(), tending.statements()) == (["p202610", "p202611"], [])


def test_the_command_line_shows_the_plan_and_what_is_left_to_people(
    sites: SiteFactory,
    mariadb_database: MySqlDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mariadb_database.execute(MANUAL.format(more=CATCH_ALL))
    mariadb_database.execute("CREATE TABLE plain (attendance_date DATE)")
    tending = Tending(sites, mariadb_database, RULE, {**RULE, "table": "plain"})
    site = tending.job().site.model_dump(mode="json", exclude_none=True)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    monkeypatch.setenv("UPKEEP_SITES", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_CONNECTION_0", mariadb_database.server.conn_json(mariadb_database.name))
    assert main(["plan", "partitions", "kindergarten"]) == 1
    said = capsys.readouterr().out
    assert "split pmax into" in said
    assert "left: plain isn't partitioned" in said
    assert "remedy: make attendance_date a part of its primary key" in said


# Not for us.


def test_a_table_that_does_not_fit_gets_advice_and_no_surgery(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    any_mysql_database.execute("CREATE TABLE plain (at DATE)")
    any_mysql_database.execute("CREATE TABLE hashed (at DATE) PARTITION BY HASH (YEAR(at)) PARTITIONS 2")
    any_mysql_database.execute(
        "CREATE TABLE yearly (at DATE) PARTITION BY RANGE (YEAR(at)) (PARTITION p2026 VALUES LESS THAN (2027))"
    )
    tables = ("plain", "hashed", "yearly", "gone")
    tending = Tending(sites, any_mysql_database, *({"table": table, "column": "at"} for table in tables))
    plans = {plan.rule.table: plan for plan in plan_partitions(tending.job(), "app")}
    assert all(not plan.steps and len(plan.advice) == 1 for plan in plans.values())
    assert "isn't partitioned" in plans["plain"].summary
    assert "PARTITION BY RANGE COLUMNS(at)" in plans["plain"].advice[0].remedy
    assert "partitioned by HASH" in plans["hashed"].summary
    assert "which isn't RANGE by months of at" in plans["yearly"].summary
    assert "there is no table 'gone'" in plans["gone"].summary
    told = tend_partitions(tending.job(), "app")
    assert (told["light"], tending.statements()) == ("amber", [])


def test_postgres_tables_that_do_not_fit_get_advice(sites: SiteFactory, postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE TABLE plain (at date)")
    postgres_database.execute("CREATE TABLE listed (at date) PARTITION BY LIST (at)")
    postgres_database.execute("CREATE TABLE clever (at timestamp) PARTITION BY RANGE (date_trunc('day', at))")
    tending = Tending(sites, postgres_database, *({"table": t, "column": "at"} for t in ("plain", "listed", "clever")))
    plain, listed, clever = plan_partitions(tending.job(), "app")
    assert "isn't partitioned" in plain.summary
    assert "LIST (at)" in listed.summary
    assert "RANGE (date_trunc('day'::text, at))" in clever.summary


# In the way.


@contextmanager
def reading(database: Database, table: str) -> Iterator[None]:
    """A transaction that has read the table and doesn't end."""
    connection: Any = database.connect()  # type: ignore[attr-defined]
    with closing(connection):
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {table}")
            cursor.fetchall()
        yield
        connection.rollback()


def test_a_table_in_use_is_left_and_said_and_the_others_are_tended(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    any_mysql_database.execute(MANUAL.format(more=""))
    any_mysql_database.execute(MANUAL.format(more="").replace("attendance_records", "meals"))
    tending = Tending(sites, any_mysql_database, RULE, {**RULE, "table": "meals"})
    with reading(any_mysql_database, "attendance_records"):
        held, free = tend_partitions(tending.job(), "app")["tables"]
    assert (held["done"], tending.names()) == ([], ["p202610", "p202611"])
    assert held["light"] == "red", "December has begun, and its rows are refused"
    assert "rows from 2026-11-30 17:00 UTC on are refused" in held["summary"]
    assert "others held attendance_records for longer than lock_timeout_s (1 s)" in held["summary"]
    assert (free["light"], tending.names("meals")[-1]) == ("green", "p202703")
    assert tend_partitions(tending.job(), "app")["light"] == "green"


def test_a_default_partition_in_use_keeps_its_rows_until_the_next_run(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE logs (at date) PARTITION BY RANGE (at)")
    postgres_database.execute("CREATE TABLE logs_rest PARTITION OF logs DEFAULT")
    postgres_database.execute("INSERT INTO logs VALUES ('2026-12-02')")
    tending = Tending(sites, postgres_database, LOGS)
    with reading(postgres_database, "logs"):
        begun = time.monotonic()
        told = tending.tend()
    assert (told["done"], told["light"]) == ([], "amber")
    assert "others held public.logs for longer than lock_timeout_s (1 s)" in told["summary"]
    assert time.monotonic() - begun < 4, "it waits for a lock once, and no longer than it may"
    assert tending.rows("logs", "logs_rest") == 1
    assert tending.tend()["light"] == "green"
    assert tending.rows("logs", "logs_p2026_12") == 1


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_no_write_fails_or_waits_long_while_rows_move_out_of_a_catch_all(
    sites: SiteFactory, request: pytest.FixtureRequest, kind: str
) -> None:
    database: Database = request.getfixturevalue(f"{kind}_database")
    if kind == "mariadb":
        database.execute(
            "CREATE TABLE logs (at DATE, n INT) PARTITION BY RANGE COLUMNS(at) "
            "(PARTITION p202611 VALUES LESS THAN ('2026-12-01'), PARTITION pmax VALUES LESS THAN (MAXVALUE))"
        )
    else:
        database.execute("CREATE TABLE logs (at date, n int) PARTITION BY RANGE (at)")
        database.execute("CREATE TABLE logs_rest PARTITION OF logs DEFAULT")
    rows = ", ".join(["('2026-12-05', 0), ('2027-01-05', 0)"] * 1000)
    database.execute(f"INSERT INTO logs VALUES {rows}")
    tending = Tending(sites, database, LOGS)
    failed: list[Exception] = []
    waits: list[float] = []
    done = threading.Event()

    def write(at: str) -> None:
        with closing(database.connect()) as connection, connection.cursor() as cursor:  # type: ignore[attr-defined]
            while not done.is_set():
                begun = time.monotonic()
                try:
                    cursor.execute(f"INSERT INTO logs VALUES ('{at}', 1)")
                except Exception as error:
                    failed.append(error)
                waits.append(time.monotonic() - begun)

    writers = [threading.Thread(target=write, args=(at,)) for at in ("2026-12-31", "2027-01-01", "2027-03-01")]
    for writer in writers:
        writer.start()
    time.sleep(0.2)
    told = tending.tend()
    done.set()
    for writer in writers:
        writer.join()
    assert not failed
    assert told["light"] == "green", told
    assert max(waits) < 1, "lock_timeout_s"
    assert tending.rows("logs") == 2000 + len(waits)


def test_rows_are_read_and_written_while_postgres_makes_a_partition(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE logs (at date) PARTITION BY RANGE (at)")
    postgres_database.execute(
        "CREATE TABLE logs_p2026_11 PARTITION OF logs FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')"
    )
    tending = Tending(sites, postgres_database, LOGS)
    with postgres_database.connect() as writer:
        writer.execute("INSERT INTO logs VALUES ('2026-11-30')")
        assert tending.tend()["light"] == "green"
    assert len(tending.names("logs")) == 5


def test_no_step_begins_after_the_window_closed(sites: SiteFactory, mariadb_database: MySqlDatabase) -> None:
    mariadb_database.execute(MANUAL.format(more=""))
    tending = Tending(sites, mariadb_database, RULE)
    told = tending.tend(now=datetime(2026, 11, 15, tzinfo=UTC), until=Until(datetime(2026, 11, 15, tzinfo=UTC)))
    assert (told["light"], told["done"]) == ("amber", [])
    assert "1 left to do: the window closed" in told["summary"]


def test_two_runs_at_once_are_one_too_many(sites: SiteFactory, postgres_database: PostgresDatabase) -> None:
    tending = Tending(sites, postgres_database, LOGS)
    with tending.job().ledger.hold("kindergarten/app/partitions"), pytest.raises(Busy):
        tend_partitions(tending.job(), "app")


# Behind.


def old_months(database: MySqlDatabase) -> None:
    months = [f"PARTITION p2026{month:02} VALUES LESS THAN (2026{month + 1:02})" for month in range(1, 12)]
    database.execute(MANUAL.partition(" (\n    PARTITION p2026")[0] + f" ({', '.join(months)})")
    database.execute("INSERT INTO attendance_records VALUES ('a', 't', '2026-01-31'), ('b', 't', '2026-02-01')")


def test_old_partitions_are_dropped_only_behind_a_proven_backup_that_holds_them(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    old_months(any_mysql_database)
    tending = Tending(sites, any_mysql_database, {**RULE, "keep": 9, "old": "drop"})
    at = datetime.now(UTC)
    told = tending.tend(now=at)
    assert "it has no backup" in told["summary"]
    assert (told["light"], "p202601" in tending.names()) == ("amber", True)
    time.sleep(1.1)  # the server tells the time of a change by the second
    backup_id = tending.backed_up()
    told = tending.tend(now=datetime.now(UTC))
    assert told["done"] == ["drop p202601"], told
    assert f"backup {backup_id} holds it" in tending.reasons()[-1]
    assert tending.names()[0] == "p202602"
    assert tending.rows("attendance_records") == 1
    any_mysql_database.execute("UPDATE attendance_records SET tenant_id = 'late'")
    tending.sites.settings["databases"][0]["partitions"] = [{**RULE, "keep": 8, "old": "drop"}]
    told = tending.tend(now=datetime.now(UTC))
    assert f"p202602 stays: it was changed after backup {backup_id} was taken" in told["summary"]


def test_a_server_that_was_started_after_the_backup_keeps_what_may_have_been_changed_before(sites: SiteFactory) -> None:
    """MySQL and MariaDB forget with their start when a table was changed."""
    with MariaDbServer() as server:
        database = MySqlDatabase(server)
        with database.existing():
            old_months(database)
            tending = Tending(sites, database, {**RULE, "keep": 9, "old": "drop"})
            backup_id = tending.backed_up()
            database.execute("INSERT INTO attendance_records VALUES ('late', 't', '2026-01-31')")
            time.sleep(1.1)  # it tells the time by the second
            server.restart()
            told = tending.tend(now=datetime.now(UTC))
            assert tending.names()[0] == "p202601", told
            assert f"p202601 stays: it may have been changed after backup {backup_id} was taken" in told["summary"]
            time.sleep(2)
            tending.backed_up(run_id="night-2")
            told = tending.tend(now=datetime.now(UTC))
            assert told["done"] == ["drop p202601"], told


def test_rows_without_a_date_keep_the_lowest_partition(sites: SiteFactory, any_mysql_database: MySqlDatabase) -> None:
    """MySQL puts them there, and the rule's months say nothing about them."""
    any_mysql_database.execute(
        "CREATE TABLE logs (at DATE) PARTITION BY RANGE COLUMNS(at) ("
        "PARTITION p202601 VALUES LESS THAN ('2026-02-01'), "
        "PARTITION p202602 VALUES LESS THAN ('2026-03-01'), PARTITION p202603 VALUES LESS THAN ('2026-04-01'))"
    )
    any_mysql_database.execute("INSERT INTO logs VALUES (NULL)")
    tending = Tending(sites, any_mysql_database, {**LOGS, "keep": 1, "old": "drop"})
    time.sleep(1.1)
    tending.backed_up()
    told = tending.tend(now=datetime.now(UTC))
    assert "p202601 stays: rows without a date lie in it as well" in told["summary"]
    assert "drop p202602" in told["done"]
    assert tending.rows("logs") == 1


def test_mysql_is_not_asked_to_detach(sites: SiteFactory, mariadb_database: MySqlDatabase) -> None:
    old_months(mariadb_database)
    tending = Tending(sites, mariadb_database, {**RULE, "keep": 9})
    told = tending.tend()
    assert "MySQL can't detach a partition" in told["summary"]
    assert "p202601" in tending.names()


def postgres_months(database: PostgresDatabase, *, default: bool = False) -> None:
    database.execute("CREATE TABLE logs (at date, n int) PARTITION BY RANGE (at)")
    for month in (8, 9, 10, 11):
        bounds = f"FROM ('2026-{month:02}-01') TO ('2026-{month + 1:02}-01')"
        database.execute(f"CREATE TABLE logs_p2026_{month:02} PARTITION OF logs FOR VALUES {bounds}")
    database.execute("INSERT INTO logs VALUES ('2026-08-05', 1), ('2026-09-05', 2)")
    if default:
        database.execute("CREATE TABLE logs_rest PARTITION OF logs DEFAULT")


@pytest.mark.parametrize("default", [False, True], ids=["concurrently", "with a default partition"])
def test_old_partitions_are_detached_and_stay_tables_of_their_own(
    sites: SiteFactory, postgres_database: PostgresDatabase, default: bool
) -> None:
    postgres_months(postgres_database, default=default)
    tending = Tending(sites, postgres_database, {**LOGS, "keep": 2})
    tending.backed_up()
    at = datetime.now(UTC)
    told = tending.tend(now=at)
    assert "detach logs_p2026_08" in told["done"], told
    assert postgres_database.query("SELECT n FROM logs_p2026_08") == [(1,)]
    assert "logs_p2026_08" not in tending.names("logs")
    assert ("CONCURRENTLY" in "".join(tending.statements())) is not default
    assert tending.tend(now=at)["done"] == []


def test_a_partition_that_changed_since_the_backup_stays(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    postgres_months(postgres_database)
    tending = Tending(sites, postgres_database, {**LOGS, "keep": 2, "old": "drop"})
    backup_id = tending.backed_up()
    postgres_database.execute("INSERT INTO logs VALUES ('2026-08-06', 3)")
    told = tending.tend(now=datetime.now(UTC))
    assert f"it has 2 rows and had 1 when backup {backup_id} was taken" in told["summary"]
    assert "logs_p2026_08" in tending.names("logs")


def test_where_the_site_counts_from_restored_an_old_partition_waits_for_a_restored_backup(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    postgres_months(postgres_database)
    tending = Tending(
        sites, postgres_database, {**LOGS, "keep": 2, "old": "drop"}, retention={"daily": 3, "counts_from": "restored"}
    )
    tending.backed_up()
    told = tending.tend(now=datetime.now(UTC))
    assert "no backup taken after it ended is restored" in told["summary"]
    tending.backed_up(ProofLevel.RESTORED)
    assert "drop logs_p2026_08" in tending.tend(now=datetime.now(UTC))["done"]


def test_a_detach_that_was_cut_short_is_finished_by_the_next_run(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    postgres_months(postgres_database)
    tending = Tending(sites, postgres_database, {**LOGS, "keep": 2})
    tending.backed_up()
    at = datetime.now(UTC)
    with reading(postgres_database, "logs"):
        told = tending.tend(now=at)
    assert told["light"] == "amber", told
    pending = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending"
    assert postgres_database.query(pending) == [("logs_p2026_08",)]
    assert tending.tend(now=at)["done"] == ["finish detach logs_p2026_08"]
    assert "logs_p2026_08" not in tending.names("logs")
    assert tending.rows("logs_p2026_08") == 1
