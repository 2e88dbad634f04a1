"""``upkeep init`` on real servers: what it says of them, what it writes, and that it is right about what is missing."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.base import Server
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from upkeep.cli import main
from upkeep.domain.first_site import LARGE_BYTES, Asked, FoundDatabase, advice_on, site_text
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_statements import literal
from upkeep.engines.survey import mysql_survey
from upkeep.site import load_site, site_from

SECRET = "only-Here-9"


@pytest.fixture(params=["mariadb", "mysql", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    found.execute("CREATE TABLE orders (id INT PRIMARY KEY, body VARCHAR(400))")
    found.execute("INSERT INTO orders VALUES (1, 'eins')")
    found.execute("CREATE TABLE visits (day DATE)")
    return found


@pytest.fixture
def narrow(database: Database) -> Iterator[str]:
    """An account that may log in and nothing else; its name."""
    user = f"n_{secrets.token_hex(4)}"
    if isinstance(database, MySqlDatabase):
        database.execute(f"CREATE USER {user}@'%' IDENTIFIED BY '{SECRET}'")
        database.execute(f"GRANT SELECT ON `{database.name}`.* TO {user}@'%'")
        yield user
        database.execute(f"DROP USER {user}@'%'")
    else:
        database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'")
        yield user
        database.execute(f"DROP OWNED BY {user}")
        database.execute(f"DROP ROLE {user}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("UPKEEP_SITES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connected(server: Server, conn_id: str, monkeypatch: pytest.MonkeyPatch, schema: str = "", user: str = "") -> None:
    import json

    fields = json.loads(server.conn_json(schema))
    if user:
        fields |= {"login": user, "password": SECRET}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def init(place: Path, database: Database, name: str = "shop", *more: str) -> int:
    engine = "mysql" if isinstance(database, MySqlDatabase) else "postgres"
    where = ["--store", f"file://{place}/store", "--spool", f"{place}/spool"]
    return main(["init", name, "--engine", engine, "--conn-id", "first", "--timezone", "Asia/Shanghai", *where, *more])


def lines(out: str, after: str) -> list[str]:
    """The block of the output below one heading."""
    assert f"{after}\n" in out
    return out.partition(f"{after}\n")[2].partition("\n\n")[0].splitlines()


def test_what_it_writes_passes_check_and_says_what_is_there(
    database: Database, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(database.server, "first", monkeypatch, database.name)  # type: ignore[attr-defined]
    assert init(place, database, "shop", "--title", "商店: 'A'") == 0
    out = capsys.readouterr().out
    assert "in 2 tables; the largest: orders" in out
    assert "1 table without a primary key (visits)" in out
    assert not any("grant" in line for line in lines(out, "missing before the first night:")), out
    plan = lines(out, "first plan, if nothing is changed:")
    assert "shop_daily starts at" in plan[0]
    assert "02:00 Asia/Shanghai" in plan[0]
    assert any("orders" in line for line in plan[3:]), plan
    path = place / "sites" / "shop.yaml"
    assert load_site(path).title == "商店: 'A'"
    assert "# without a primary key, so never purged or archived: visits" in path.read_text()
    monkeypatch.setenv("UPKEEP_SITES", str(path.parent))
    assert main(["check"]) == 0
    assert (place / "spool").exists() is False, "nothing is made but the file"
    assert list((place / "store").rglob("*check*")) == []


def test_a_file_that_is_there_is_never_overwritten(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sites").mkdir()
    (place / "sites" / "shop.yaml").write_text("mine")
    assert main(["init", "shop"]) == 2
    assert "is there already\nHINT:" in capsys.readouterr().err
    assert (place / "sites" / "shop.yaml").read_text() == "mine"
    (place / "sites" / "other.yaml").write_text(site_text(replace(ASKED, name="taken")))
    assert main(["init", "taken"]) == 2
    assert "a site called taken in" in capsys.readouterr().err


def test_the_statements_it_prints_are_just_those_that_the_account_lacks(
    database: Database, narrow: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(database.server, "first", monkeypatch, database.name, narrow)  # type: ignore[attr-defined]
    assert init(place, database) == 0
    first = lines(capsys.readouterr().out, "missing before the first night:")
    statements = [line.strip().partition(";")[0] for line in first if line.strip().startswith("GRANT")]
    if isinstance(database, PostgresDatabase):  # the tables are the test server's superuser's
        assert any(line.endswith("give the tables an owner of their own first") for line in first), first
    assert len(statements) >= 4, first
    assert all(narrow in statement for statement in statements)
    for statement in statements:
        database.execute(statement)
    assert init(place, database, "again") == 0
    after = lines(capsys.readouterr().out, "missing before the first night:")
    assert [line for line in after if "GRANT" in line] == []
    # One that is taken back is missed again, by itself.
    if isinstance(database, MySqlDatabase):
        database.execute(f"REVOKE PROCESS ON *.* FROM {narrow}@'%'")
    else:
        database.execute(f"REVOKE pg_monitor FROM {narrow}")
    assert init(place, database, "third") == 0
    last = lines(capsys.readouterr().out, "missing before the first night:")
    (missed,) = [line for line in last if "GRANT" in line]
    assert "PROCESS" in missed or "pg_monitor" in missed


def test_the_statements_for_an_account_with_a_quote_in_its_name_can_be_run(any_mysql_database: MySqlDatabase) -> None:
    database, user = any_mysql_database, f"o'{secrets.token_hex(4)}"
    account = f"{literal(user)}@'%'"
    database.execute(f"CREATE USER {account} IDENTIFIED BY '{SECRET}'")
    try:
        database.execute(f"GRANT SELECT ON `{database.name}`.* TO {account}")
        engine = MySqlEngine(replace(database.endpoint(), user=user, secret=SECRET), database.name)
        for grant in mysql_survey(engine, ["daily"]).lacking:
            database.execute(grant.statement)
        assert mysql_survey(engine, ["daily"]).lacking == ()
    finally:
        database.execute(f"DROP USER {account}")


def test_the_rules_of_a_site_file_count_and_what_it_lacks_now_can_be_asked_at_any_time(
    database: Database, narrow: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(database.server, "first", monkeypatch, database.name, narrow)  # type: ignore[attr-defined]
    assert init(place, database) == 0
    path = place / "sites" / "shop.yaml"
    rules = (
        "    purge: [{table: orders, column: at, keep_days: 1}, {table: gone, column: at, keep_days: 1}]\n"
        "    upkeep: {tables: [visits]}\n    partitions: [{table: visits, column: day}]\n"
    )
    path.write_text(path.read_text().replace("    # purge:", f"{rules}    # purge:"))
    monkeypatch.setenv("UPKEEP_SITES", str(path.parent))
    capsys.readouterr()
    assert main(["grants", "--site", "shop"]) == 1
    lacking = [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]
    mysql = isinstance(database, MySqlDatabase)
    assert any(line.startswith("GRANT DELETE") and "orders" in line for line in lacking), lacking
    assert any("gone" in line for line in lacking) == mysql, "MySQL grants rights on what isn't there, PostgreSQL can't"
    if mysql:
        database.execute("CREATE TABLE gone (at DATE)")
        assert {
            line.split(" ON ")[1].split(" TO ")[0] for line in lacking if "tend_tables" in line and "INSERT" in line
        } == {f"`{database.name}`.`visits`"}
    for line in lacking:
        database.execute(line.partition(";")[0])
    assert main(["grants", "--site", "shop"]) == 0
    assert "has all that the site's duties need" in capsys.readouterr().out


def test_the_account_for_restores_is_asked_for_what_it_lacks_too(
    database: Database, narrow: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(database.server, "first", monkeypatch, database.name)  # type: ignore[attr-defined]
    connected(database.server, "second", monkeypatch, database.name, narrow)  # type: ignore[attr-defined]
    assert init(place, database) == 0
    path = place / "sites" / "shop.yaml"
    path.write_text(path.read_text().replace("    # purge:", "    restore_conn_id: second\n    # purge:"))
    monkeypatch.setenv("UPKEEP_SITES", str(path.parent))
    capsys.readouterr()
    assert main(["grants", "--site", "shop"]) == 1
    nightly, restorer, *lacking = capsys.readouterr().out.splitlines()
    assert "has all that the site's duties need" in nightly
    assert narrow in restorer and "lacks of what restores need" in restorer
    assert all("restore" in line for line in lacking), lacking
    for line in lacking:
        database.execute(line.strip().partition(";")[0])
    assert main(["grants", "--site", "shop"]) == 0
    assert "has all that restores need" in capsys.readouterr().out


def test_what_no_option_says_is_asked_for_and_without_a_terminal_it_is_an_error(
    postgres_database: PostgresDatabase,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connected(postgres_database.server, "shop_postgres", monkeypatch, postgres_database.name)
    assert main(["init", "--spool", str(place / "spool")]) == 2
    assert "nobody said: name of the system" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("shop\npostgres\n\noss://bucket/prefix\n\n"))
    assert main(["init"]) == 2
    assert "nobody said: Airflow connection to that bucket" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal(f"shop\npostgres\n\nfile://{place}/store\n\n"))
    assert main(["init", "--spool", str(place / "spool")]) == 0
    out = capsys.readouterr().out
    assert "Airflow connection to the database [shop_postgres]" in out
    assert load_site(place / "sites" / "shop.yaml").databases[0].conn_id == "shop_postgres"


def test_a_database_that_can_not_be_reached_leaves_no_file(
    postgres_database: PostgresDatabase,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FIRST", raising=False)
    assert init(place, postgres_database) == 2
    assert "export AIRFLOW_CONN_FIRST" in capsys.readouterr().err
    connected(postgres_database.server, "first", monkeypatch, postgres_database.name, "nobody")
    assert init(place, postgres_database) == 2
    error = capsys.readouterr().err
    assert "can't log in" in error
    assert SECRET not in error
    monkeypatch.setenv("AIRFLOW_CONN_FIRST", '{"conn_type": "mysql", "host": "127.0.0.1"}')
    assert init(place, postgres_database) == 2
    assert "'app' of site 'shop' is postgres, and its connection 'first' is of type mysql" in capsys.readouterr().err
    assert not (place / "sites").exists()


def test_it_may_be_the_first_thing_to_run_on_a_machine(
    postgres_database: PostgresDatabase,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connected(postgres_database.server, "first", monkeypatch, postgres_database.name)
    monkeypatch.setenv("AIRFLOW_HOME", str(place / "new" / "airflow"))
    assert init(place, postgres_database) == 0
    assert "can't be said yet" not in capsys.readouterr().out
    (place / "file").touch()
    monkeypatch.setenv("AIRFLOW_HOME", str(place / "file" / "airflow"))
    assert main(["status"]) == 2
    assert "HINT: set AIRFLOW_HOME as Airflow has it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_store_spool_scratch_and_programs_that_are_missing_are_named(
    kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    database: MySqlDatabase | PostgresDatabase = request.getfixturevalue(f"{kind}_database")
    connected(database.server, "first", monkeypatch, database.name)
    connected(database.server, "same", monkeypatch)
    (place / "store").rmdir()
    (place / "spool").write_text("a file")
    import upkeep.engines.tools as tools

    monkeypatch.setattr(tools, "DEBIAN_POSTGRES", place)
    monkeypatch.setenv("PATH", str(place))
    assert init(place, database, "shop", "--scratch-conn-id", "same") == 0
    missing = "\n".join(lines(capsys.readouterr().out, "missing before the first night:"))
    for word in (
        "the store: ",
        "the spool: ",
        "a client program: the program zstd is not installed",
        "the very server",
    ):
        assert word in missing, missing


def test_an_empty_scratch_server_is_accepted_and_its_account_looked_at(
    mariadb_database: MySqlDatabase, postgres_database: PostgresDatabase, place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pairs: list[tuple[MySqlDatabase | PostgresDatabase, MariaDbServer | PostgresServer]] = [
        (mariadb_database, MariaDbServer(server_id=9)),
        (postgres_database, PostgresServer()),
    ]
    for number, (database, scratch) in enumerate(pairs):
        database.execute("CREATE TABLE orders (id INT PRIMARY KEY)")
        connected(database.server, "first", monkeypatch, database.name)
        with scratch:
            connected(scratch, "spare", monkeypatch)
            assert init(place, database, f"shop{number}", "--scratch-conn-id", "spare") == 0
            assert lines(capsys.readouterr().out, "missing before the first night:") == ["  nothing"]
            with closing(scratch.connect()) as connection, connection.cursor() as cursor:
                mysql = isinstance(scratch, MariaDbServer)
                cursor.execute(f"CREATE USER weak {'IDENTIFIED BY' if mysql else 'PASSWORD'} '{SECRET}'")
            connected(scratch, "spare", monkeypatch, "", "weak")
            assert init(place, database, f"again{number}", "--scratch-conn-id", "spare") == 0
            said = "\n".join(lines(capsys.readouterr().out, "missing before the first night:"))
            assert ("GRANT ALL ON *.* TO 'weak'@'%'" if mysql else "ALTER ROLE weak SUPERUSER") in said


# What is written, without a server.

ASKED = Asked("shop", "商店", "Asia/Shanghai", "mysql", "shop_mysql", "file:///backup")


def test_a_file_is_whole_before_and_after_the_look() -> None:
    tables = (("a\nname: other", 5), ("b # c", 3))
    for looked in (None, FoundDatabase("MySQL 9.7", "shop", tables, ("a\nname: other",))):
        site = site_from(site_text(ASKED, looked), Path("shop.yaml"))
        assert (site.name, site.title, site.databases[0].engine) == ("shop", "商店", "mysql")
        assert site.databases[0].purge == []
    full = replace(ASKED, database="数据", store_url="oss://b/p", store_conn_id="oss", scratch_conn_id="spare")
    site = site_from(site_text(full), Path("shop.yaml"))
    assert (site.store.conn_id, site.databases[0].database, site.databases[0].scratch_conn_id) == (
        "oss",
        "数据",
        "spare",
    )


def test_large_empty_and_keyless_databases_are_warned_of() -> None:
    large = advice_on(ASKED, FoundDatabase("MySQL 9.7", "shop", (("t", LARGE_BYTES + 1),), ()))
    assert "20.0 GB may take longer" in large[0]
    assert "has no tables that this account can see" in advice_on(ASKED, FoundDatabase("MySQL 9.7", "shop"))[0]
