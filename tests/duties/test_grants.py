"""The accounts that ``upkeep grants`` says are enough: they get just that, then do the whole day, week or month, or a
restore over the live database."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.duties.test_prove import backup, night, proof
from tests.duties.test_tend_tables import make_bloated
from tests.servers.base import Server
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.domain.restoring import RestoreRequest
from upkeep.duties.back_up import back_up
from upkeep.duties.check_health import check_health
from upkeep.duties.check_security import Machine, check_security
from upkeep.duties.drill import drill
from upkeep.duties.forecast_capacity import forecast_capacity
from upkeep.duties.forget import forget
from upkeep.duties.measure_benchmark import measure_benchmark
from upkeep.duties.prove import prove
from upkeep.duties.purge_rows import plan_purge, purge_rows
from upkeep.duties.restore import restore
from upkeep.duties.restore_over import restore_over
from upkeep.duties.review_databases import review_databases
from upkeep.duties.sample_capacity import sample_capacity
from upkeep.duties.tend_partitions import tend_partitions
from upkeep.duties.tend_tables import tend_tables
from upkeep.duties.verify import verify
from upkeep.engines.grants import FLAVOURS, PARTS, Names, grants, written
from upkeep.errors import PurgeRefused
from upkeep.resources import include_folder

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbooks" / "daily.md"
SECRET = "only-Here-7"
RULE = {"table": "audit_logs", "column": "created_at", "keep_days": 30, "archive": True}
TABLES = {"purge_rows": ["audit_logs"], "tend_tables": ["orders"], "tend_partitions": ["visits"]}
WEEK = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


def flavour_of(server: Server) -> str:
    return "postgres" if isinstance(server, PostgresServer) else server.name


@contextmanager
def account(
    server: MySqlFamilyServer | PostgresServer,
    *parts: str,
    database: str = "",
    owner: str = "",
    tables: Mapping[str, list[str]] = TABLES,
) -> Iterator[str]:
    """An account that may do what the statements for ``parts`` say, and nothing else."""
    user = f"u_{secrets.token_hex(4)}"
    is_mysql, flavour = isinstance(server, MySqlFamilyServer), flavour_of(server)
    whole = f"{user}@'%'" if is_mysql else user
    names = Names(whole, database, tables, owner)
    made = (
        f"CREATE USER {whole} IDENTIFIED BY '{SECRET}'" if is_mysql else f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'"
    )
    granted = [grant.statement for part in parts for grant in written(flavour, grants(flavour, part), names)]

    def run(*statements: str) -> None:
        with closing(server.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    run(made)
    try:
        run(*granted)
        yield user
    finally:
        run(*([f"DROP USER {whole}"] if is_mysql else [f"DROP OWNED BY {user}", f"DROP ROLE {user}"]))


def whole_day(sites: SiteFactory, check: str, target: str, tmp_path: Path) -> dict[str, Any]:
    """Every duty of the daily DAG that logs in to a target; what each said."""
    machine = Machine(root=tmp_path, journal="no-such-journal", apt="no-such-apt")
    job = sites.job()
    made = back_up(job, target)
    (record,) = job.ledger.acts(job.site.name, duty="back_up")
    return {
        "warnings": record.detail["warnings"],
        "position": record.detail["position"],
        "verify": verify(job, target, str(made["backup_id"])),
        "forget": forget(job, target, str(made["backup_id"])),
        "health": check_health(job, check),
        "capacity": sample_capacity(job),
        "security": check_security(job, machine=machine),
    }


def require_nothing_unseen(said: dict[str, Any], name: str) -> None:
    assert [warning for warning in said["warnings"] if "masking policies" not in warning] == []
    assert "missing" not in said["position"]
    assert "not checked" not in said["health"]["summary"], said["health"]
    assert said["health"]["light"] == "green", said["health"]
    assert [why for why in said["capacity"]["unread"] if name in why] == []
    machine = ("logins", "updates", "apt", "journal", "auth.log", "sign-ins", "open ports")
    assert [why for why in said["security"]["unread"] if not any(word in why for word in machine)] == []


def make_old_rows(database: MySqlDatabase | PostgresDatabase) -> None:
    moment = "TIMESTAMP NULL" if isinstance(database, MySqlDatabase) else "TIMESTAMPTZ"
    database.execute(f"CREATE TABLE audit_logs (id INT PRIMARY KEY, created_at {moment}, words VARCHAR(20))")
    database.execute("CREATE INDEX by_date ON audit_logs (created_at)")
    database.execute("INSERT INTO audit_logs VALUES (1, '2020-01-01 00:00:00', 'alt'), (2, NULL, 'neu')")


def test_the_account_does_the_whole_day_on_mysql(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, tmp_path: Path
) -> None:
    database = any_mysql_database
    make_old_rows(database)
    database.execute("CREATE PROCEDURE p() SELECT 1")
    database.execute("CREATE TRIGGER t BEFORE INSERT ON audit_logs FOR EACH ROW SET NEW.words = NEW.words")
    with account(database.server, "daily", database=database.name) as user:
        endpoint = replace(database.endpoint(), user=user, secret=SECRET)
        sites.database(database, endpoint=endpoint, purge=[RULE], latency_ms=60_000)
        said = whole_day(sites, "database/app", "app", tmp_path)
        require_nothing_unseen(said, "database/app")
        (plan,) = plan_purge(sites.job(), "app")
        assert (plan.refusals, plan.notes) == ((), ())
        assert purge_rows(sites.job(), "app", 0)["deleted"] == 1
    assert database.query("SELECT id FROM audit_logs") == [(2,)]


def test_a_cascade_into_a_database_that_the_account_may_not_see_is_refused(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, tmp_path: Path
) -> None:
    """InnoDB asks for no rights when it cascades; names that InnoDB writes in a way of its own are met all the same."""
    database, other = any_mysql_database, MySqlDatabase(any_mysql_database.server, f"other-{secrets.token_hex(4)}é")
    make_old_rows(database)
    database.execute("RENAME TABLE audit_logs TO `audit-日志ä`")
    rule = {**RULE, "table": "audit-日志ä", "archive": False, "cascade": True}
    tables = {"purge_rows": ["audit-日志ä"]}
    with other.existing(), account(database.server, "daily", database=database.name, tables=tables) as user:
        other.execute(
            "CREATE TABLE `it-ems.é` (id INT PRIMARY KEY, log INT, "
            f"CONSTRAINT fk FOREIGN KEY (log) REFERENCES `{database.name}`.`audit-日志ä` (id) ON DELETE CASCADE)"
        )
        other.execute("INSERT INTO `it-ems.é` VALUES (1, 1)")
        sites.database(database, endpoint=replace(database.endpoint(), user=user, secret=SECRET), purge=[rule])
        whole_day(sites, "database/app", "app", tmp_path)
        with pytest.raises(PurgeRefused, match=f"foreign key fk of {other.name}.it-ems.é .log. .*CASCADE") as refused:
            purge_rows(sites.job(), "app", 0)
        assert "grant the account SELECT and DELETE on the whole of that database" in refused.value.hint
        database.execute(f"GRANT SELECT, DELETE ON {other.quoted}.* TO {user}@'%'")
        assert purge_rows(sites.job(), "app", 0)["deleted"] == 1
        assert other.query("SELECT * FROM `it-ems.é`") == []


def test_keys_within_the_database_are_told_once(sites: SiteFactory, any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    make_old_rows(database)
    for action in ("CASCADE", "SET NULL", "NO ACTION"):
        database.execute(
            f"CREATE TABLE `by {action}` (id INT PRIMARY KEY, log INT, "
            f"FOREIGN KEY (log) REFERENCES audit_logs (id) ON DELETE {action})"
        )
    with account(database.server, "daily", database=database.name) as user:
        sites.database(database, endpoint=replace(database.endpoint(), user=user, secret=SECRET), purge=[RULE])
        (plan,) = plan_purge(sites.job(), "app")
    said = sorted(re.sub(r".* of by .*ON DELETE (.*): .*", r"\1", refusal.reason) for refusal in plan.refusals)
    assert said == ["CASCADE", "NO ACTION", "SET NULL"]


def test_an_account_that_may_not_ask_innodb_is_told_so(sites: SiteFactory, any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    make_old_rows(database)
    with account(database.server, "daily", database=database.name) as user:
        database.execute(f"REVOKE PROCESS ON *.* FROM {user}@'%'")
        sites.database(database, endpoint=replace(database.endpoint(), user=user, secret=SECRET), purge=[RULE])
        (plan,) = plan_purge(sites.job(), "app")
    assert plan.refusals == ()
    assert any("other databases go with those of audit_logs: grant PROCESS" in note for note in plan.notes)


def test_the_role_does_the_whole_day_on_postgres(
    sites: SiteFactory, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    database = postgres_database
    make_old_rows(database)
    with account(database.server, "daily", database=database.name) as user:
        endpoint = replace(database.endpoint(), user=user, secret=SECRET)
        sites.database(database, endpoint=endpoint, purge=[RULE], latency_ms=60_000)
        said = whole_day(sites, "database/app", "app", tmp_path)
        require_nothing_unseen(said, "database/app")
        (plan,) = plan_purge(sites.job(), "app")
        assert (plan.refusals, plan.notes) == ((), ())
        assert purge_rows(sites.job(), "app", 0)["deleted"] == 1
    assert database.query("SELECT id FROM audit_logs") == [(2,)]


def test_the_runbook_s_user_does_the_whole_day_on_redis(
    sites: SiteFactory, redis_server: RedisServer, tmp_path: Path
) -> None:
    found = re.search(r"^ACL SETUSER upkeep (.*)$", RUNBOOK.read_text(encoding="utf-8"), re.M)
    assert found
    client: Any = redis_server.connect()
    client.set("学生", "张三")
    client.execute_command("ACL", "SETUSER", "upkeep", "reset", *found[1].replace("secret", SECRET).split())
    try:
        sites.cache(redis_server, endpoint=replace(redis_server.endpoint(), user="upkeep", secret=SECRET))
        sites.settings["caches"][0]["latency_ms"] = 60_000
        said = whole_day(sites, "cache/sessions", "sessions", tmp_path)
        require_nothing_unseen(said, "cache/sessions")
        assert said["health"]["figures"]["big_keys"]
    finally:
        client.execute_command("ACL", "DELUSER", "upkeep")
        client.delete("学生")


# The week.


def make_a_weeks_work(database: MySqlDatabase | PostgresDatabase) -> None:
    """A table that is mostly waste, and one whose partitions end with this month."""
    make_bloated(database, "orders")
    if isinstance(database, PostgresDatabase):
        database.execute("CREATE TABLE visits (id int, day date NOT NULL) PARTITION BY RANGE (day)")
        month = "FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')"
        database.execute(f"CREATE TABLE visits_p202611 PARTITION OF visits {month}")
    else:
        database.execute(
            "CREATE TABLE visits (id int, day date NOT NULL) PARTITION BY RANGE (TO_DAYS(day)) "
            "(PARTITION p202611 VALUES LESS THAN (TO_DAYS('2026-12-01')))"
        )
    database.execute("INSERT INTO visits VALUES (1, '2026-11-02')")


def whole_week(
    sites: SiteFactory,
    database: MySqlDatabase | PostgresDatabase,
    scratch: MySqlFamilyServer | PostgresServer,
    path: Path,
) -> None:
    """The night's backup and then every duty of the weekly DAG that logs in, as the narrow accounts."""
    make_old_rows(database)
    make_a_weeks_work(database)
    owner = "" if isinstance(database, MySqlDatabase) else database.server.user
    machine = Machine(root=path, journal="no-such-journal", apt="no-such-apt")
    with (
        account(database.server, "daily", "weekly", database=database.name, owner=owner) as user,
        account(scratch, "scratch") as loader,
    ):
        sites.database(
            database,
            endpoint=replace(database.endpoint(), user=user, secret=SECRET),
            scratch_conn_id=sites.scratch(scratch, user=loader, secret=SECRET),
            upkeep={"tables": ["orders"], "analyze": ["orders"], "bloat_mb": 0},
            partitions=[{"table": "visits", "column": "day"}],
        )
        night(sites)
        assert len(prove(sites.job("week"), "app")["restored"]) == 1
        assert backup(sites).standing == "restored"
        if isinstance(database, MySqlDatabase):
            assert proof(sites)["figures"]["rights"] >= 3, proof(sites)["figures"]["notes"]
        (told,) = tend_partitions(sites.job("week", now=lambda: WEEK), "app")["tables"]
        assert told["light"] == "green" and told["done"], told
        tended = tend_tables(sites.job("week"), "app")
        assert tended["tended"] and not tended["skipped"] and not tended["refused"], tended
        assert [note for note in tended["notes"] if "account" in note] == []
        found = review_databases(sites.job("week"), machine=machine)
        assert [why for why in found["unread"] if "account" in why or "GRANT" in why] == []


@pytest.fixture
def scratch_of_mysql(request: pytest.FixtureRequest) -> Iterator[MySqlFamilyServer]:
    mariadb = "mariadb" in request.node.callspec.id
    if not mariadb and not os.environ.get(MYSQL_BIN):
        pytest.skip(f"{MYSQL_BIN} isn't set")
    server: MySqlFamilyServer = MariaDbServer(server_id=8) if mariadb else MySqlServer(server_id=8)
    with server:
        yield server


def test_the_account_does_the_whole_week_on_mysql(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, scratch_of_mysql: MySqlFamilyServer, tmp_path: Path
) -> None:
    whole_week(sites, any_mysql_database, scratch_of_mysql, tmp_path)


def test_the_role_does_the_whole_week_on_postgres(
    sites: SiteFactory, postgres_database: PostgresDatabase, tmp_path: Path
) -> None:
    with PostgresServer() as scratch:
        whole_week(sites, postgres_database, scratch, tmp_path)


# The month and a restore.


@contextmanager
def owned_shop(database: MySqlDatabase | PostgresDatabase) -> Iterator[str]:
    """A table, and all that belongs to somebody: a view, a trigger, a routine, an event. Gives the owner's name."""
    owner = f"owner_{secrets.token_hex(4)}"
    if isinstance(database, PostgresDatabase):
        database.execute(f"CREATE ROLE {owner}")
        database.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
        made = [
            f"SET ROLE {owner}",
            "CREATE EXTENSION pg_trgm",
            *SHOP,
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f()",
        ]
    else:
        database.execute(f"CREATE USER {owner}@localhost")
        made = [
            *SHOP,
            f"CREATE DEFINER={owner}@localhost TRIGGER t BEFORE INSERT ON notes FOR EACH ROW SET NEW.words = NEW.words",
            f"CREATE DEFINER={owner}@localhost PROCEDURE p() SELECT 1",
            f"CREATE DEFINER={owner}@localhost EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DO 0",
        ]
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        for statement in made:
            cursor.execute(statement)
    try:
        yield owner
    finally:
        if isinstance(database, PostgresDatabase):
            database.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
            database.execute(f"DROP OWNED BY {owner}")
            database.execute(f"DROP ROLE {owner}")
        else:
            database.execute(f"DROP USER {owner}@localhost")


SHOP = [
    "CREATE TABLE kinds (id INT PRIMARY KEY)",
    """CREATE TABLE notes (id INT PRIMARY KEY, made TIMESTAMP NOT NULL, words VARCHAR(20), kind INT,
       FOREIGN KEY (kind) REFERENCES kinds (id))""",
    "CREATE INDEX by_time ON notes (made)",
    "INSERT INTO notes VALUES (1, '2026-11-02 03:04:05', 'alt', NULL)",
    "CREATE VIEW newest AS SELECT MAX(made) AS made FROM notes",
]


@contextmanager
def as_account(sites: SiteFactory, database: MySqlDatabase | PostgresDatabase, *parts: str) -> Iterator[None]:
    """For a while the site logs in to its database as an account with the grants of ``parts``."""
    owner = "" if isinstance(database, MySqlDatabase) else database.server.user
    conn_id = sites.settings["databases"][0]["conn_id"]
    before = sites.endpoints[conn_id]
    with account(database.server, *parts, database=database.name, owner=owner, tables={}) as user:
        sites.endpoints[conn_id] = replace(before, user=user, secret=SECRET)
        yield
    sites.endpoints[conn_id] = before


def whole_month(
    sites: SiteFactory, database: MySqlDatabase | PostgresDatabase, scratch: MySqlFamilyServer | PostgresServer
) -> None:
    with owned_shop(database), account(scratch, "scratch") as loader:
        sites.database(
            database,
            scratch_conn_id=sites.scratch(scratch, user=loader, secret=SECRET),
            benchmark=[{"name": "by-view", "sql": "SELECT * FROM newest"}],
        )
        with as_account(sites, database, "daily"):
            night(sites)
        with as_account(sites, database, "monthly"):
            drilled = drill(sites.job("month"))
            assert drilled["stood"], drilled
            assert "wrote nothing" in drilled["targets"][0]["by"], "the live database could be asked"
            measured = measure_benchmark(sites.job("month"), "app")
            assert [query["verdict"] for query in measured["queries"]] == ["new"] * 4, measured
            assert forecast_capacity(sites.job("month"))["light"] == "green"


def sibling(database: MySqlDatabase | PostgresDatabase, name: str) -> MySqlDatabase | PostgresDatabase:
    if isinstance(database, MySqlDatabase):
        return MySqlDatabase(database.server, name)
    return PostgresDatabase(database.server, name)


def a_restore(sites: SiteFactory, database: MySqlDatabase | PostgresDatabase) -> None:
    """Beside the live database and over it, with applications kept from writing, as an account for restores."""
    with (
        owned_shop(database) as owner,
        account(database.server, "restore", database=database.name, owner=owner) as restorer,
    ):
        sites.database(
            database,
            restore_conn_id=sites.scratch(database.server, user=restorer, secret=SECRET),
            stop_writes="read_only",
        )
        with as_account(sites, database, "daily"):
            night(sites)
            names = [restore(sites.job("evening"), RestoreRequest("app"))["database"]]
            try:
                database.execute("DELETE FROM notes")
                wanted = RestoreRequest("app", "over", backup(sites).ref.backup_id)
                names.append(restore_over(sites.job("restore"), wanted, approver="li")["old"])
                assert database.query("SELECT words FROM notes") == [("alt",)]
                assert [record.state for record in sites.job().ledger.acts(run_id="restore")].count("failed") == 0
            finally:
                for name in names:
                    sibling(database, name).drop()


def test_the_account_does_the_whole_month_on_mysql(
    sites: SiteFactory, any_mysql_database: MySqlDatabase, scratch_of_mysql: MySqlFamilyServer
) -> None:
    whole_month(sites, any_mysql_database, scratch_of_mysql)


def test_the_role_does_the_whole_month_on_postgres(sites: SiteFactory, postgres_database: PostgresDatabase) -> None:
    with PostgresServer() as scratch:
        whole_month(sites, postgres_database, scratch)


def test_the_account_restores_beside_and_over_live_on_mysql(
    sites: SiteFactory, any_mysql_database: MySqlDatabase
) -> None:
    a_restore(sites, any_mysql_database)


def test_the_role_restores_beside_and_over_live_on_postgres(
    sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    a_restore(sites, postgres_database)


def test_a_statement_about_a_table_is_written_for_each_table_of_its_duty_and_for_no_other() -> None:
    names = Names("upkeep@'10.1.%'", "my`app", {"purge_rows": ["b", "a"], "tend_tables": ["orders"]})
    lines = [
        grant.statement for grant in written("mysql", grants("mysql", "daily"), names) if "DELETE" in grant.statement
    ]
    assert lines == [
        "GRANT DELETE ON `my``app`.`a` TO upkeep@'10.1.%'",
        "GRANT DELETE ON `my``app`.`b` TO upkeep@'10.1.%'",
    ]
    nothing = Names("upkeep", "app", {})
    others = written("postgres", grants("postgres", "daily"), nothing)
    assert others
    assert not any("DELETE" in grant.statement for grant in others)
    (for_schema,) = [
        grant.statement
        for grant in written("postgres", grants("postgres", "daily"), Names("u", "app", {"purge_rows": ["crm.logs"]}))
        if "DELETE" in grant.statement
    ]
    assert for_schema == 'GRANT DELETE, UPDATE ON "crm"."logs" TO u'


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("part", PARTS)
def test_every_statement_of_the_files_is_read_and_names_its_duties(flavour: str, part: str) -> None:
    found = grants(flavour, part)
    engine = "postgres" if flavour == "postgres" else "mysql"
    files = (include_folder() / "sql" / engine).glob(f"grants_{part}*.sql")
    statements = {
        line.partition(";")[0] for file in files for line in file.read_text().splitlines() if line[:2] != "--"
    }
    assert {grant.statement for grant in found} <= statements
    assert all(grant.duties for grant in found)
    assert found
