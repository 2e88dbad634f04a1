"""A database, and all that is in it, may be called anything: no way of restoring stumbles over a name or runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.duties.site_factory import SiteFactory
from tests.duties.test_restore import FLAVOURS, databases, fingerprint, like, proven
from tests.engines.restoring import mysql_home, postgres_home, run_line
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mysql import MySqlServer
from upkeep.domain.restoring import RestoreRequest
from upkeep.duties.catalogue import read_catalogue, read_manifest
from upkeep.duties.restore import restore
from upkeep.duties.restore_over import restore_over
from upkeep.errors import SiteFileError

HOSTILE = "--a`\"'%s%;\\$(touch gone) -- 库"
INSIDE = f"{HOSTILE}\n-- x;\nx"
"""Within PostgreSQL's 63 bytes also with a letter before it."""


def quoted(database: Database, name: str) -> str:
    mark = "`" if isinstance(database, MySqlDatabase) else '"'
    return mark + name.replace(mark, 2 * mark) + mark


def fill(database: Database) -> None:
    table, view, other, index = (quoted(database, f"{kind}{INSIDE}") for kind in ("", "v", "o", "i"))
    database.execute(f"CREATE TABLE {table} ({table} INT PRIMARY KEY, {other} INT)")
    database.execute(f"CREATE INDEX {index} ON {table} ({other})")
    database.execute(f"CREATE TABLE {other} (i INT, CONSTRAINT {view} FOREIGN KEY (i) REFERENCES {table} ({table}))")
    database.execute(f"CREATE VIEW {view} AS SELECT {table}.{other} AS {view} FROM {table}")
    if isinstance(database, MySqlDatabase):
        database.execute(f"CREATE TRIGGER {table} BEFORE INSERT ON {table} FOR EACH ROW SET NEW.{other} = 1")
        database.execute(f"CREATE FUNCTION {table}({other} INT) RETURNS INT DETERMINISTIC RETURN {other}")
        # mariadb-dump --events can't select a database with a quote or a backslash in its name: the backup fails.
        if isinstance(database.server, MySqlServer):
            database.execute(f"CREATE EVENT {table} ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DISABLE DO DO 0")
    else:
        database.execute(f"CREATE FUNCTION {table}({other} int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    database.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    database.execute(f"INSERT INTO {other} VALUES (1), (NULL)")


def home_of(database: Database, folder: Path) -> dict[str, str]:
    if isinstance(database, MySqlDatabase):
        return mysql_home(database.server, folder)
    assert isinstance(database, PostgresDatabase)
    return postgres_home(database.server)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_way_of_restoring_takes_any_name(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    plain: Database = request.getfixturevalue(f"{flavour}_database")
    live = like(plain, HOSTILE)
    try:
        with live.existing():
            fill(live)
            sites.database(live, stop_writes="read_only")
            before, backup_id = fingerprint(live), proven(sites)
            beside = like(live, restore(sites.job("evening"), RestoreRequest("app"))["database"])
            assert before.differences(fingerprint(beside)) == []
            table = INSIDE if isinstance(live, MySqlDatabase) else f"public.{INSIDE}"
            tables = restore(sites.job("evening"), RestoreRequest("app", "tables", tables=(table,)))
            assert like(live, tables["database"]).query(f"SELECT COUNT(*) FROM {quoted(live, INSIDE)}") == [(2,)]
            live.execute(f"DROP TABLE {quoted(live, 'o' + INSIDE)}")
            old = restore_over(sites.job("night"), RestoreRequest("app", "over", backup_id), approver="li")["old"]
            assert before.differences(fingerprint(live)) == []
            (swap,) = sites.job().ledger.acts(duty="swap")
            assert old in databases(plain)
            plain.execute(swap.detail["hint"].partition(": ")[2])
            assert old not in databases(plain), "the hint can be typed as it stands"

            live.drop()
            (backup,) = read_catalogue(sites.job().store, "kindergarten", "app").backups[:1]
            manifest, _ = read_manifest(sites.job().store, backup.ref)
            run_line(manifest.restore, sites.fetch(manifest, tmp_path / "restore"), home_of(live, tmp_path / "home"))
            assert before.differences(fingerprint(live)) == []
        assert not list(tmp_path.rglob("gone"))
    finally:
        for name in databases(plain):
            if name.startswith(HOSTILE[:9]):
                like(live, name).drop()


def test_a_database_whose_name_has_a_line_break_is_refused_since_dumps_run_what_is_behind_it(
    mariadb_database: Database, sites: SiteFactory
) -> None:
    sites.database(like(mariadb_database, "a\nDROP TABLE x;"))
    with pytest.raises(SiteFileError, match="has a line break"):
        sites.back_up()
