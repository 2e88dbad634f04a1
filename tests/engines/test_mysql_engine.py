"""MariaDB and MySQL: backed up by the duty, restored by the manifest's own line, compared to the last byte."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pymysql.connections import Connection
from pymysql.cursors import Cursor, DictCursor

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, mysql_home, run_line, try_line
from tests.servers.base import AWKWARD
from tests.servers.data.fingerprint_mysql import fingerprint_mysql
from tests.servers.data.hostile_mysql import fill_hostile_mysql
from tests.servers.databases import MySqlDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.verify import verify
from upkeep.engines.mysql_engine import MySqlEngine, _MySqlSnapshot
from upkeep.engines.writes_held import writes_held
from upkeep.errors import SourceError, ToolFailed, ToolUnfit

EVERYTHING = ("SELECT, SHOW VIEW, TRIGGER, EVENT ON {db}.*",)
FULL_BACKUP_ACCOUNT = {
    "mariadb": (*EVERYTHING, "SELECT ON mysql.proc", "SELECT ON mysql.*", "RELOAD, BINLOG MONITOR ON *.*"),
    "mysql": (*EVERYTHING, "SELECT ON mysql.*", "SHOW_ROUTINE, RELOAD, PROCESS, REPLICATION CLIENT ON *.*"),
}


@pytest.fixture
def restored(
    scratch_server: MySqlFamilyServer, sites: SiteFactory, tmp_path: Path
) -> Iterator[Callable[[Manifest], MySqlDatabase]]:
    """Restore a backup elsewhere with its own line; the copy."""
    copies: list[MySqlDatabase] = []

    def restore(manifest: Manifest, key: AgeKey | None = None) -> MySqlDatabase:
        folder = sites.fetch(manifest, tmp_path / "restore")
        if key:
            (folder / "key.txt").write_text(key.file.read_text())
        copy = MySqlDatabase(scratch_server, str(manifest.source["database"]))
        copies.append(copy)
        run_line(manifest.restore, folder, mysql_home(scratch_server, tmp_path / "home"))
        return copy

    yield restore
    for copy in copies:
        copy.drop()


@pytest.fixture
def account(any_mysql_database: MySqlDatabase) -> Iterator[Callable[..., Endpoint]]:
    """Make a fresh account with the given grants on the server; ``{db}`` stands for the database."""
    database = any_mysql_database
    made: list[str] = []

    def make(*grants: str) -> Endpoint:
        name = f"limited_{len(made)}_{database.name[-8:]}"
        made.append(name)
        database.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'weak but its own'")
        for grant in grants:
            database.execute(f"GRANT {grant.format(db=f'`{database.name}`')} TO {name}@'%'")
        return replace(database.endpoint(), user=name, secret="weak but its own")

    yield make
    for name in made:
        database.execute(f"DROP USER {name}@'%'")


def fill_small(database: MySqlDatabase) -> None:
    database.execute("CREATE TABLE students (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50))")
    database.execute("INSERT INTO students (name) VALUES ('张'), ('王'), ('李')")


@pytest.mark.parametrize("as_bytes", [False, True], ids=["as text", "as bytes"])
def test_a_hostile_database_comes_back_exactly(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
    *,
    as_bytes: bool,
) -> None:
    database = any_mysql_database
    with database.connect() as connection:
        fill_hostile_mysql(connection, broken_view=not as_bytes, as_bytes=as_bytes, long_row_bytes=2_000_000)
    database.execute("CREATE TABLE `new\nline` (id INT PRIMARY KEY)")
    database.execute(f"ALTER DATABASE `{database.name}` CHARACTER SET gbk")
    sites.database(database)
    manifest = sites.back_up()
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    copy = restored(manifest)
    with database.connect() as connection, copy.connect() as other:
        source = fingerprint_mysql(connection, database.name)
        assert source.rows > 50
        lost = [] if as_bytes else ["view broken_view is missing"]
        assert source.differences(fingerprint_mysql(other, copy.name)) == lost
    assert manifest.rows_are == "exact"
    assert {name: table["rows"] for name, table in manifest.contents["tables"].items()} == {
        name: rows for name, (rows, _) in source.tables.items()
    }
    assert charset_of(sites, manifest) == ("binary" if as_bytes else "utf8mb4")


@pytest.mark.parametrize(
    "column",
    [
        pytest.param("v VARCHAR(9) CHARACTER SET gbk DEFAULT '縗'", id="gbk"),
        pytest.param("v TEXT CHARACTER SET utf16", id="utf16"),
        pytest.param("v ENUM('é', 'ü') CHARACTER SET latin1 DEFAULT 'é'", id="latin1"),
        pytest.param("v JSON CHECK (JSON_VALID(v))", id="json"),
        pytest.param("v POINT DEFAULT (ST_GeomFromText('POINT(1 2)'))", id="point"),
        pytest.param("v UUID DEFAULT '123e4567-e89b-12d3-a456-426655440000'", id="uuid"),
        pytest.param("v INET6 DEFAULT '2001:db8::ff00:42:8329'", id="inet6"),
        pytest.param("v VARBINARY(9) DEFAULT 'a', w VARCHAR(9) CHARACTER SET ascii DEFAULT 'a'", id="ascii"),
        pytest.param("v VARCHAR(9) CHARACTER SET utf8mb3 DEFAULT '关'", id="utf8mb3"),
    ],
)
def test_what_may_only_pass_as_text_does_even_where_the_server_has_its_own_mind_about_sessions(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    account: Callable[..., Endpoint],
    restored: Callable[[Manifest], MySqlDatabase],
    column: str,
) -> None:
    """``init_connect``, which works on all but administrators, puts mysqldump into utf8mb4 whatever it asked for."""
    database = any_mysql_database
    if database.server.name == "mysql" and ("UUID" in column or "INET6" in column):
        pytest.skip("MariaDB's own types")
    database.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {column})")
    database.execute("INSERT INTO t (id) VALUES (1), (2)")
    if "JSON" in column:
        database.execute('UPDATE t SET v = \'{"a": "关"}\'')
    if "utf16" in column:
        database.execute("UPDATE t SET v = '关😀'")
    [[before]] = database.query("SELECT @@GLOBAL.init_connect")
    database.execute("SET GLOBAL init_connect = 'SET NAMES utf8mb4'")
    try:
        sites.database(database, endpoint=account(*FULL_BACKUP_ACCOUNT[database.server.name]))
        manifest = sites.back_up()
    finally:
        database.execute("SET GLOBAL init_connect = %s", before)
    copy = restored(manifest)
    everything = "SELECT t.*, HEX(v) FROM t ORDER BY id"
    assert copy.query(everything) == database.query(everything)
    passes = "ascii" in column or "utf8mb3" in column or ("JSON" in column and database.server.name == "mariadb")
    assert charset_of(sites, manifest) == ("binary" if passes else "utf8mb4")


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(
            "CREATE VIEW v AS SELECT CONCAT('x', DATE_FORMAT(NOW(), '%W')) COLLATE utf8mb4_bin AS w", id="view"
        ),
        pytest.param("CREATE TABLE t (s VARCHAR(9), CHECK (s <> 'a' COLLATE utf8mb4_bin))", id="check"),
        pytest.param("CREATE TABLE t (s VARCHAR(9), g INT AS (s = 'A') STORED)", id="generated"),
        pytest.param("CREATE TABLE t (s VARCHAR(9) DEFAULT (CONCAT('a' COLLATE utf8mb4_bin, 'b')))", id="default"),
    ],
)
def test_what_a_database_computes_is_not_computed_in_binary(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, restored: Callable[[Manifest], MySqlDatabase], made: str
) -> None:
    database = any_mysql_database
    fill_small(database)
    sites.database(database)
    database.execute(made)
    manifest = sites.back_up()
    assert charset_of(sites, manifest) == "utf8mb4"
    copy = restored(manifest)
    with database.connect() as connection, copy.connect() as other:
        source = fingerprint_mysql(connection, database.name)
        assert source.differences(fingerprint_mysql(other, copy.name)) == []


def test_a_column_that_comes_while_the_dump_begins_and_can_not_pass_as_bytes_fails_the_backup(
    mariadb_database: MySqlDatabase, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_small(mariadb_database)
    sites.database(mariadb_database)
    align = _MySqlSnapshot._align

    def late(snapshot: _MySqlSnapshot) -> None:
        mariadb_database.execute("CREATE TABLE late (id UUID PRIMARY KEY)")
        align(snapshot)

    monkeypatch.setattr(_MySqlSnapshot, "_align", late)
    with pytest.raises(SourceError, match=r"was changed while its dump began: late got a column") as raised:
        sites.back_up()
    assert raised.value.hint == "run the task again"
    monkeypatch.undo()
    assert charset_of(sites, sites.back_up()) == "utf8mb4"


def charset_of(sites: SiteFactory, manifest: Manifest, stream: str = "dump.sql") -> str:
    """The character set of a dump's session, by its own word."""
    (stored,) = (file.name for file in manifest.files if file.stream == stream)
    packed = sites.folder / "store" / manifest.backup.prefix / stored
    dump = subprocess.run(["zstd", "-dcq", packed], check=True, capture_output=True).stdout
    found = re.search(rb"^/\*!\d+ SET NAMES (\w+) \*/;$", dump, re.MULTILINE)
    assert found
    return found[1].decode()


def test_what_a_dump_can_not_keep_whole_is_said_in_the_manifest(
    any_mysql_database: MySqlDatabase, sites: SiteFactory
) -> None:
    with any_mysql_database.connect() as connection:
        fill_hostile_mysql(connection, long_row_bytes=1_000)
    sites.database(any_mysql_database)
    manifest = sites.back_up()
    warnings = "\n".join(manifest.warnings)
    assert "'not_transactional' uses MyISAM, which has no transactions" in warnings
    assert "'in_memory' uses MEMORY" in warnings
    assert "'numbers': mysqldump keeps six significant digits of FLOAT columns (small)" in warnings
    assert "view 'broken_view' is broken" in warnings
    assert len(manifest.warnings) == 4
    assert manifest.contents["tables"]["not_transactional"]["rows_are"] == "counted beside the dump"
    assert "rows_are" not in manifest.contents["tables"]["texts"]


def test_a_broken_view_can_be_made_again_from_the_manifest(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, restored: Callable[[Manifest], MySqlDatabase]
) -> None:
    """mysqldump ends at the first view of a table that is gone, so such views are left out of it."""
    database = any_mysql_database
    fill_small(database)
    database.execute("CREATE VIEW `it's a.view` AS SELECT name AS `the name` FROM students WHERE id > 1")
    database.execute("CREATE VIEW `on top` AS SELECT * FROM `it's a.view`")
    database.execute("RENAME TABLE students TO pupils")
    sites.database(database)
    manifest = sites.back_up()
    assert sorted(manifest.contents["left_out"]) == ["it's a.view", "on top"]
    assert manifest.contents["views"] == []
    copy = restored(manifest)
    copy.execute("RENAME TABLE pupils TO students")
    for name in ("it's a.view", "on top"):
        copy.execute(manifest.contents["left_out"][name])
    assert copy.query("SELECT * FROM `on top`") == [("王",), ("李",)]


def test_past_rows_of_system_versioned_tables_come_back(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path
) -> None:
    database = mariadb_database
    database.execute("CREATE TABLE prices (id INT PRIMARY KEY, price INT) WITH SYSTEM VERSIONING")
    database.execute("INSERT INTO prices VALUES (1, 10), (2, 20)")
    database.execute("UPDATE prices SET price = 11 WHERE id = 1")
    database.execute("DELETE FROM prices WHERE id = 2")
    past = "SELECT id, price, ROW_START, ROW_END FROM prices FOR SYSTEM_TIME ALL ORDER BY 1, 2"
    before = database.query(past)
    assert len(before) == 3
    sites.database(database)
    manifest = sites.back_up()
    folder = sites.fetch(manifest, tmp_path / "restore")
    copy = MySqlDatabase(mariadb_scratch, database.name)
    try:
        run_line(manifest.restore, folder, mysql_home(mariadb_scratch, tmp_path / "home"))
        assert copy.query(past) == before
    finally:
        copy.drop()
    assert manifest.contents["tables"]["prices"]["rows"] == 1
    assert manifest.warnings == ()


def test_a_row_that_doubles_in_the_dump_can_be_taken_back(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path
) -> None:
    """9 MB of bytes are 18 MB when all have to be escaped, and max_allowed_packet is 16 MB by default."""
    database = mariadb_database
    database.execute("CREATE TABLE photos (id INT PRIMARY KEY, body LONGBLOB)")
    database.execute("INSERT INTO photos VALUES (1, REPEAT(x'000A27', 3000000))")
    sites.database(database)
    manifest = sites.back_up()
    folder = sites.fetch(manifest, tmp_path / "restore")
    copy = MySqlDatabase(mariadb_scratch, database.name)
    before = mariadb_scratch.connect()
    try:
        run_line(manifest.restore, folder, mysql_home(mariadb_scratch, tmp_path / "home"))
        digest = "SELECT SHA2(body, 256) FROM photos"
        assert copy.query(digest) == database.query(digest)
    finally:
        before.cursor().execute("SET GLOBAL max_allowed_packet = 16777216")
        copy.drop()


def test_an_empty_database_is_backed_up_and_restored_with_its_character_set(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, restored: Callable[[Manifest], MySqlDatabase]
) -> None:
    any_mysql_database.execute(f"ALTER DATABASE `{any_mysql_database.name}` CHARACTER SET gbk COLLATE gbk_bin")
    sites.database(any_mysql_database)
    manifest = sites.back_up()
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    assert manifest.rows_are == "exact"
    assert manifest.contents["tables"] == {}
    copy = restored(manifest)
    assert copy.query("SHOW TABLES") == []
    assert copy.query("SELECT @@character_set_database, @@collation_database") == [("gbk", "gbk_bin")]


@pytest.mark.parametrize(
    "name", ["with space", 'it\'s "quoted"', "幼儿园", "a.b=c%d", "$(touch gone)", "-rf", "back`tick"]
)
def test_any_database_name_can_be_backed_up_and_restored(
    mariadb_server: MariaDbServer,
    mariadb_scratch: MariaDbServer,
    sites: SiteFactory,
    tmp_path: Path,
    name: str,
) -> None:
    quoted = "`" + name.replace("`", "``").replace("%", "%%") + "`"
    with mariadb_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {quoted}", ())
        cursor.execute(f"CREATE TABLE {quoted}.t (i INT)", ())
        cursor.execute(f"INSERT INTO {quoted}.t VALUES (1), (2)", ())
        cursor.execute(f"CREATE VIEW {quoted}.broken AS SELECT 1 FROM {quoted}.t", ())
        cursor.execute(f"RENAME TABLE {quoted}.t TO {quoted}.u", ())
    try:
        sites.database(MySqlDatabase(mariadb_server, name))
        manifest = sites.back_up()
        run_line(
            manifest.restore,
            sites.fetch(manifest, tmp_path / "restore"),
            mysql_home(mariadb_scratch, tmp_path / "home"),
        )
        assert MySqlDatabase(mariadb_scratch, name).query("SELECT * FROM u") == [(1,), (2,)]
        assert not list(tmp_path.rglob("gone"))
    finally:
        for server in (mariadb_server, mariadb_scratch):
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {quoted}", ())


def test_a_damaged_file_makes_the_restore_line_fail(
    any_mysql_database: MySqlDatabase, scratch_server: MySqlFamilyServer, sites: SiteFactory, tmp_path: Path
) -> None:
    """A shell pipe ends well when its last program does, and mysql takes half a dump for a whole one."""
    database = any_mysql_database
    database.execute("CREATE TABLE t (i INT, noise VARCHAR(200))")
    database.execute("INSERT INTO t VALUES " + ",".join(f"({i}, '{os.urandom(90).hex()}')" for i in range(3_000)))
    sites.database(database)
    manifest = sites.back_up()
    file = sites.fetch(manifest, tmp_path / "restore") / "dump.sql.zst"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    done = try_line(manifest.restore, file.parent, mysql_home(scratch_server, tmp_path / "home"))
    MySqlDatabase(scratch_server, database.name).drop()
    assert done.returncode != 0
    assert "premature end" in done.stderr


# The moment: counts, position and dump are of one and the same.


class Writers:
    """Several sessions that keep two tables alike and a sum constant, one transaction after the other."""

    def __init__(self, database: MySqlDatabase, sessions: int = 4) -> None:
        self.database = database
        database.execute("CREATE TABLE debit (id INT PRIMARY KEY AUTO_INCREMENT, who INT, note VARCHAR(900))")
        database.execute("CREATE TABLE credit (id INT PRIMARY KEY AUTO_INCREMENT, who INT, note VARCHAR(900))")
        database.execute("CREATE TABLE accounts (id INT PRIMARY KEY, balance INT NOT NULL)")
        database.execute("INSERT INTO accounts VALUES " + ",".join(f"({i}, 100)" for i in range(40)))
        values = ",".join(f"(0, '{'x' * 800}')" for _ in range(2_000))
        for table in ("debit", "credit"):
            database.execute(f"INSERT INTO {table} (who, note) VALUES {values}")
        self.slowest_s = 0.0
        self.transactions = 0
        self._over = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(sessions)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self._errors, f"the backup made a writer fail: {self._errors}"

    def _write(self, number: int) -> None:
        turn = number
        try:
            with self.database.connect() as connection, connection.cursor() as cursor:
                while not self._over.is_set():
                    begun = time.monotonic()
                    turn += 7
                    first, second = sorted((turn % 40, (turn * 3 + 1) % 40))
                    cursor.execute("BEGIN")
                    cursor.execute("INSERT INTO debit (who, note) VALUES (%s, 'd')", (number,))
                    cursor.execute("UPDATE accounts SET balance = balance - 1 WHERE id = %s", (first,))
                    cursor.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (second,))
                    cursor.execute("INSERT INTO credit (who, note) VALUES (%s, 'c')", (number,))
                    cursor.execute("COMMIT")
                    self.transactions += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        except BaseException as error:
            self._errors.append(error)


def counts(database: MySqlDatabase) -> dict[str, int]:
    return {table: database.query(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("debit", "credit", "accounts")}


def rows_of(manifest: Manifest) -> dict[str, int]:
    return {name: table["rows"] for name, table in manifest.contents["tables"].items()}


def require_one_moment(manifests: Iterable[Manifest], restored: Callable[[Manifest], MySqlDatabase]) -> None:
    """What each says of its rows is what its dump holds, and no transaction of ``Writers`` is in it by half."""
    for manifest in manifests:
        assert manifest.rows_are == "exact"
        copy, said = restored(manifest), rows_of(manifest)
        assert said == counts(copy)
        assert said["debit"] == said["credit"] > 2_000
        assert copy.query("SELECT SUM(balance) FROM accounts") == [(4_000,)]
        copy.drop()


def test_counts_are_those_of_the_dump_while_others_write(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
    record_property: Callable[[str, object], None],
) -> None:
    sites.database(any_mysql_database)
    with Writers(any_mysql_database) as writers:
        manifests = [sites.back_up(run_id=f"night-{number}") for number in range(2)]
    held = [manifest.position["writes_held_s"] for manifest in manifests]
    record_property("writes_held_s", held)  # in --junitxml, for whoever wants to compare
    assert max(held) < 2
    require_one_moment(manifests, restored)
    assert counts(any_mysql_database)["debit"] > rows_of(manifests[-1])["debit"], "nobody wrote during the dumps"
    assert writers.slowest_s < 2


def test_the_binary_log_from_the_position_on_leads_from_the_copy_to_the_source(
    any_mysql_database: MySqlDatabase,
    scratch_server: MySqlFamilyServer,
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
    tmp_path: Path,
) -> None:
    database = any_mysql_database
    sites.database(database)
    with Writers(database) as writers:
        manifest = sites.back_up()
        time.sleep(0.3)
    copy = restored(manifest)
    assert counts(copy)["debit"] < counts(database)["debit"], "nothing was written after the dump"
    logs = sorted(
        str(path)
        for path in (database.server.folder / "data").glob("bin.[0-9]*")
        if path.name >= manifest.position["file"]
    )
    program = "mariadb-binlog" if database.server.name == "mariadb" else "mysqlbinlog --skip-gtids"
    client = "mariadb" if database.server.name == "mariadb" else "mysql"
    line = (
        f"{program} --database={database.name} --start-position={manifest.position['position']} {' '.join(logs)} "
        f"| {client} --binary-mode"
    )
    run_line(line, tmp_path, mysql_home(scratch_server, tmp_path / "home"))
    with database.connect() as connection, copy.connect() as other:
        source = fingerprint_mysql(connection, database.name)
        assert source.differences(fingerprint_mysql(other, copy.name)) == []
    assert writers.transactions > 50


def test_the_dump_begins_only_once_writes_are_held(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, restored: Callable[[Manifest], MySqlDatabase]
) -> None:
    """A statement that keeps the lock away for a while commits before it is had; mysqldump must not have looked yet."""
    database = any_mysql_database
    database.execute("CREATE TABLE slow (i INT)")
    sites.database(database)
    with running(database, "INSERT INTO slow SELECT SLEEP(2)"):
        manifest = sites.back_up()
    assert manifest.rows_are == "exact"
    assert manifest.contents["tables"]["slow"]["rows"] == 1
    assert restored(manifest).query("SELECT COUNT(*) FROM slow") == [(1,)]


def test_the_gtid_is_that_of_the_moment(any_mysql_database: MySqlDatabase, sites: SiteFactory) -> None:
    database = any_mysql_database
    fill_small(database)
    sites.database(database)
    manifest = sites.back_up()
    statement = "SELECT @@gtid_current_pos" if database.server.name == "mariadb" else "SELECT @@gtid_executed"
    assert manifest.position["gtid"]
    assert manifest.position["gtid"] == database.query(statement)[0][0].replace("\n", "")


# Never in the way.


@contextmanager
def running(database: MySqlDatabase, statement: str) -> Iterator[None]:
    """Another session runs ``statement`` meanwhile."""
    connection = database.connect()
    [(session,)] = _run(connection, "SELECT CONNECTION_ID()")
    thread = threading.Thread(target=lambda: _until_killed(connection, statement))
    thread.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        database.execute(f"KILL {session}")
        thread.join()


def _run(connection: Connection[Cursor], statement: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _until_killed(connection: Connection[Cursor], statement: str) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except Exception as error:
        logging.getLogger(__name__).info("ended: %s", error)


def test_a_long_query_neither_stops_the_backup_nor_is_made_to_stop_anybody(
    any_mysql_database: MySqlDatabase, sites: SiteFactory
) -> None:
    """A read lock on MySQL waits for every SELECT, and its tables stay closed to all until that SELECT ends."""
    database = any_mysql_database
    fill_small(database)
    sites.database(database, lock_timeout_s=1)
    slowest = 0.0
    with running(database, "SELECT *, SLEEP(30) FROM students"):
        time.sleep(1)
        manifest = sites.back_up()
        for statement in ("INSERT INTO students (name) VALUES ('赵')", "SELECT COUNT(*) FROM students"):
            begun = time.monotonic()
            with database.connect() as other, other.cursor() as cursor:
                cursor.execute("SET SESSION lock_wait_timeout = 10")
                cursor.execute(statement)
            slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 1
    if database.server.name == "mariadb":  # its lock doesn't wait for readers
        assert manifest.rows_are == "exact"
    else:
        assert manifest.rows_are.startswith("estimates: a statement of upkeep (session ")
        assert manifest.position["missing"] in "".join(manifest.warnings)


def test_a_long_update_keeps_others_waiting_for_moments_and_costs_only_the_exact_counts(
    any_mysql_database: MySqlDatabase, sites: SiteFactory
) -> None:
    database = any_mysql_database
    database.execute("CREATE TABLE slow (i INT)")
    database.execute("INSERT INTO slow VALUES (0)")
    sites.database(database, lock_timeout_s=2)
    with Writers(database, sessions=2) as writers, running(database, "UPDATE slow SET i = SLEEP(30)"):
        manifest = sites.back_up()
        before = writers.transactions
        time.sleep(0.3)
        assert writers.transactions > before, "writers still wait after the backup"
    assert "others kept the read lock away" in manifest.rows_are or "has been running for" in manifest.rows_are
    assert "missing" in manifest.position
    assert any(warning.startswith("row counts are the server's estimates") for warning in manifest.warnings)
    assert manifest.contents["tables"]["debit"]["rows"] > 1_000
    assert manifest.rows_are.startswith("estimates: ")
    assert writers.slowest_s < 1.5


def test_a_read_lock_that_was_given_up_is_let_go(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MySQL the statement that fails leaves the lock behind; a dump of an hour would stop all writes for an hour."""
    database = any_mysql_database
    fill_small(database)
    monkeypatch.setattr("upkeep.engines.writes_held.LONG_S", 1_000)  # it looks quiet, and then a long query is there
    sites.database(database, lock_timeout_s=1)
    slowest = 0.0
    job = sites.job()
    with running(database, "SELECT SLEEP(30) FROM students"):
        engine = job.engine("app")
        with engine.snapshot() as snapshot:
            [stream] = snapshot.streams
            process = subprocess.Popen(
                stream.command.argv, stdout=subprocess.PIPE, pass_fds=stream.command.pass_fds, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            assert stream.started is not None
            stream.started(process.stdout.fileno())
            begun = time.monotonic()
            database.execute("CREATE TABLE written_during_the_dump (i INT)")
            slowest = time.monotonic() - begun
            process.kill()
            process.communicate()
    assert slowest < 0.5


def test_the_session_that_holds_writes_is_closed_by_the_server_should_the_worker_vanish(
    any_mysql_database: MySqlDatabase,
) -> None:
    database = any_mysql_database
    engine = MySqlEngine(database.endpoint(), database.name)
    beside = engine.connect()
    holders = []

    def connect() -> Connection[DictCursor]:
        holders.append(engine.connect())
        return holders[-1]

    with (
        beside,
        writes_held(connect, beside, flavour=database.server.name, limit_s=2),
        holders[0].cursor() as cursor,
    ):
        cursor.execute("SELECT @@session.wait_timeout AS seconds, @@session.lock_wait_timeout AS patience")
        assert cursor.fetchone() == {"seconds": 9, "patience": 2}


# What the account may do.


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_the_documented_backup_account_is_enough(
    flavour: str, request: pytest.FixtureRequest, sites: SiteFactory
) -> None:
    database: MySqlDatabase = request.getfixturevalue(f"{flavour}_database")
    fill_small(database)
    database.execute("CREATE PROCEDURE p() SELECT 1")
    database.execute("CREATE TRIGGER t BEFORE INSERT ON students FOR EACH ROW SET NEW.name = TRIM(NEW.name)")
    database.execute("CREATE USER nightly@'%' IDENTIFIED BY 'x'")
    try:
        for grant in FULL_BACKUP_ACCOUNT[flavour]:
            database.execute(f"GRANT {grant.format(db=f'`{database.name}`')} TO nightly@'%'")
        sites.database(database, endpoint=replace(database.endpoint(), user="nightly", secret="x"))
        manifest = sites.back_up()
    finally:
        database.execute("DROP USER nightly@'%'")
    assert manifest.rows_are == "exact"
    assert manifest.position["file"].startswith("bin.")
    assert [line for line in manifest.warnings if "masking polic" not in line] == []  # MySQL 9.7's mysqldump, to all
    assert (manifest.contents["routines"], manifest.contents["triggers"]) == (["p"], ["t"])


def test_without_reload_counts_are_estimates_and_the_position_is_missing_and_says_why(
    any_mysql_database: MySqlDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(any_mysql_database)
    sites.database(any_mysql_database, endpoint=account(*EVERYTHING, "PROCESS ON *.*"))
    manifest = sites.back_up()
    assert manifest.rows_are == "estimates: the account may not hold writes for a moment: grant RELOAD"
    assert manifest.position == {"missing": "the account may not hold writes for a moment: grant RELOAD"}
    assert "no binlog position: the account may not hold writes for a moment: grant RELOAD" in manifest.warnings
    assert "students" in manifest.contents["tables"]
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"


def test_without_process_mysql_is_not_asked_for_a_lock_that_might_stop_everybody(
    mysql_database: MySqlDatabase, sites: SiteFactory
) -> None:
    mysql_database.execute("CREATE USER unseeing@'%' IDENTIFIED BY 'x'")
    try:
        mysql_database.execute(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `{mysql_database.name}`.* TO unseeing@'%'")
        mysql_database.execute("GRANT RELOAD ON *.* TO unseeing@'%'")
        sites.database(mysql_database, endpoint=replace(mysql_database.endpoint(), user="unseeing", secret="x"))
        manifest = sites.back_up()
    finally:
        mysql_database.execute("DROP USER unseeing@'%'")
    assert manifest.rows_are.endswith("grant PROCESS and RELOAD")


def test_without_leave_to_read_the_log_counts_are_exact_and_only_the_position_is_missing(
    any_mysql_database: MySqlDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(any_mysql_database)
    sites.database(any_mysql_database, endpoint=account(*EVERYTHING, "RELOAD, PROCESS ON *.*"))
    manifest = sites.back_up()
    need = "BINLOG MONITOR" if any_mysql_database.server.name == "mariadb" else "REPLICATION CLIENT"
    assert manifest.rows_are == "exact"
    assert manifest.contents["tables"]["students"]["rows"] == 3
    assert manifest.position["missing"] == f"the account may not read it: grant {need}"
    assert f"no binlog position: the account may not read it: grant {need}" in manifest.warnings


@pytest.mark.parametrize(
    ("lacks", "warning"),
    [
        ("TRIGGER", "the account may not see triggers, so the dump may lack some: grant TRIGGER on the database"),
        ("SHOW_ROUTINE", "the account may not see every routine, so the dump may lack some: grant "),
    ],
)
def test_what_the_account_can_not_see_is_never_silently_left_out(
    any_mysql_database: MySqlDatabase, account: Callable[..., Endpoint], sites: SiteFactory, lacks: str, warning: str
) -> None:
    """mysqldump ends well without the triggers and routines that it isn't shown."""
    database = any_mysql_database
    fill_small(database)
    database.execute("CREATE PROCEDURE p() SELECT 1")
    database.execute("CREATE TRIGGER t BEFORE INSERT ON students FOR EACH ROW SET NEW.name = TRIM(NEW.name)")
    grants = ["SELECT, SHOW VIEW, EVENT ON {db}.*"]
    if lacks == "SHOW_ROUTINE":
        grants.append("TRIGGER ON {db}.*")
    else:
        grants.append("SHOW_ROUTINE ON *.*" if database.server.name == "mysql" else "SELECT ON mysql.proc")
    sites.database(database, endpoint=account(*grants))
    warnings = sites.back_up().warnings
    assert [line for line in warnings if line.startswith("the account may not see")] == [
        line for line in warnings if line.startswith(warning)
    ]
    assert any(line.startswith(warning) for line in warnings)


def test_tables_that_the_account_can_not_see_are_warned_about(
    any_mysql_database: MySqlDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(any_mysql_database)
    any_mysql_database.execute("CREATE TABLE secret (i INT)")
    sites.database(any_mysql_database, endpoint=account("SELECT, TRIGGER ON {db}.students", "EVENT ON {db}.*"))
    manifest = sites.back_up()
    assert list(manifest.contents["tables"]) == ["students"]
    assert any(line.startswith("the account may not see every table") for line in manifest.warnings)


def test_a_view_the_account_may_not_show_is_an_error_that_names_the_privilege(
    any_mysql_database: MySqlDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(any_mysql_database)
    any_mysql_database.execute("CREATE VIEW names AS SELECT name FROM students")
    sites.database(any_mysql_database, endpoint=account("SELECT, TRIGGER, EVENT ON {db}.*"))
    with pytest.raises((SourceError, ToolFailed), match="SHOW VIEW command denied") as caught:
        sites.back_up()
    assert "grant the account the missing privilege" in caught.value.hint
    assert not list(sites.folder.rglob("manifest.json"))


def test_a_wrong_password_is_an_error_that_names_the_connection_and_no_secret(
    any_mysql_database: MySqlDatabase, sites: SiteFactory
) -> None:
    endpoint = replace(any_mysql_database.endpoint(), secret="not the password")
    sites.database(any_mysql_database, endpoint=endpoint)
    with pytest.raises(SourceError, match="connection_0") as caught:
        back_up(sites.job(), "app")
    assert "check user and password" in caught.value.hint
    assert "not the password" not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(any_mysql_database: MySqlDatabase, sites: SiteFactory) -> None:
    sites.database(MySqlDatabase(any_mysql_database.server, "no such one"))
    with pytest.raises(SourceError, match="'no such one'") as caught:
        back_up(sites.job(), "app")
    assert "check the database name" in caught.value.hint


@pytest.mark.parametrize(
    "password", [AWKWARD, ' "', "'\\", "#;=", "\\n\\t\\", " lead and trail ", "%(x)s ${HOME} `id`"]
)
def test_any_password_reaches_both_the_engine_and_the_program(
    any_mysql_database: MySqlDatabase, sites: SiteFactory, password: str
) -> None:
    database = any_mysql_database
    fill_small(database)
    database.execute("CREATE USER awkward@'%%' IDENTIFIED BY %s", password)
    try:
        for grant in FULL_BACKUP_ACCOUNT[database.server.name]:
            database.execute(f"GRANT {grant.format(db=f'`{database.name}`')} TO awkward@'%'")
        sites.database(database, endpoint=replace(database.endpoint(), user="awkward", secret=password))
        assert sites.back_up().rows_are == "exact"
    finally:
        database.execute("DROP USER awkward@'%'")


# Which server, which program.


def test_without_a_binary_log_the_position_is_missing_and_says_so(
    sites: SiteFactory, tmp_path: Path, any_flavour_without_log: MySqlFamilyServer
) -> None:
    database = MySqlDatabase(any_flavour_without_log)
    database.create()
    fill_small(database)
    sites.database(database)
    manifest = sites.back_up()
    assert manifest.rows_are == "exact"
    assert manifest.position["missing"] == "the server writes no binary log (log_bin is off)"
    assert "no binlog position: the server writes no binary log (log_bin is off)" in manifest.warnings


@pytest.fixture
def any_flavour_without_log(request: pytest.FixtureRequest) -> Iterator[MySqlFamilyServer]:
    with MariaDbServer(log_bin=False) as server:
        yield server


def test_a_program_of_the_other_flavour_only_is_refused(
    mysql_database: MySqlDatabase, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UPKEEP_PATH")  # leaves Debian's mysqldump, which is MariaDB's
    sites.database(mysql_database)
    with pytest.raises(ToolUnfit, match=r"the server is mysql, but this worker only has .*\(mariadb\)"):
        back_up(sites.job(), "app")


def test_mysqls_program_only_is_refused_for_mariadb(
    mariadb_database: MySqlDatabase, mysql_server: MySqlServer, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_PATH", "")
    monkeypatch.setenv("PATH", os.environ[MYSQL_BIN])
    sites.database(mariadb_database)
    with pytest.raises(ToolUnfit, match=r"the server is mariadb, but this worker only has mysqldump 9.*\(mysql\)"):
        back_up(sites.job(), "app")


# Secrets.


def test_an_encrypted_backup_is_restored_with_the_private_key_and_stock_tools(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    key: AgeKey,
    restored: Callable[..., MySqlDatabase],
) -> None:
    fill_small(any_mysql_database)
    sites.database(any_mysql_database)
    sites.encrypted(key.public)
    manifest = sites.back_up()
    assert [file.name for file in manifest.files] == ["dump.sql.zst.age"]
    assert restored(manifest, key).query("SELECT name FROM students") == [("张",), ("王",), ("李",)]


def test_the_wrong_private_key_makes_the_restore_line_fail(
    mariadb_database: MySqlDatabase,
    mariadb_scratch: MariaDbServer,
    sites: SiteFactory,
    key: AgeKey,
    tmp_path: Path,
) -> None:
    fill_small(mariadb_database)
    sites.database(mariadb_database)
    sites.encrypted(key.public)
    manifest = sites.back_up()
    folder = sites.fetch(manifest, tmp_path / "restore")
    subprocess.run(["age-keygen", "-o", folder / "key.txt"], check=True, capture_output=True)
    done = try_line(manifest.restore, folder, mysql_home(mariadb_scratch, tmp_path / "home"))
    MySqlDatabase(mariadb_scratch, mariadb_database.name).drop()
    assert done.returncode != 0
    assert "no identity matched" in done.stderr


# Several mysqldumps that share one database.


@pytest.fixture
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is large enough to be moved."""
    for name in ("WORTH_BYTES", "LARGE_SHARE", "LEAST_SHARE"):
        monkeypatch.setattr(f"upkeep.domain.dump_split.{name}", 0)


def streams_of(manifest: Manifest) -> dict[str, str]:
    return {name: table.get("stream", "dump.sql") for name, table in manifest.contents["tables"].items()}


@pytest.mark.parametrize("as_bytes", [False, True], ids=["as text", "as bytes"])
@pytest.mark.usefixtures("shared_out")
def test_a_hostile_database_shared_by_three_programs_comes_back_exactly(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
    *,
    as_bytes: bool,
) -> None:
    database = any_mysql_database
    with database.connect() as connection:
        fill_hostile_mysql(connection, broken_view=not as_bytes, as_bytes=as_bytes, long_row_bytes=2_000_000)
    database.execute("CREATE TABLE `new\nline` (id INT PRIMARY KEY)")
    database.execute("DROP SEQUENCE IF EXISTS tickets" if database.server.name == "mariadb" else "DO 0")
    sites.database(database, dump_streams=3)
    manifest = sites.back_up()
    assert [file.stream for file in manifest.files] == ["dump.sql", "tables-2.sql", "tables-3.sql"]
    streams = streams_of(manifest)
    assert len(set(streams.values())) == 3
    assert streams["not_transactional"] == streams["in_memory"] == "dump.sql"
    assert streams["UPPER"] == streams["upper"] == "dump.sql"
    names = [
        *("in_gbk", "in_latin1", "places", "computed", "ruled", "hidden"),
        *(("only_mariadb",) if database.server.name == "mariadb" else ("choices", "only_mysql")),
    ]
    textual = set() if as_bytes else {"dump.sql", *(streams[name] for name in names)}
    assert {stream for stream in streams.values() if charset_of(sites, manifest, stream) == "utf8mb4"} == textual
    assert len(manifest.warnings) == 4 - as_bytes
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    copy = restored(manifest)
    with database.connect() as connection, copy.connect() as other:
        source = fingerprint_mysql(connection, database.name)
        lost = [] if as_bytes else ["view broken_view is missing"]
        assert source.differences(fingerprint_mysql(other, copy.name)) == lost
    assert manifest.rows_are == "exact"
    assert {name: table["rows"] for name, table in manifest.contents["tables"].items()} == {
        name: rows for name, (rows, _) in source.tables.items()
    }


@pytest.mark.usefixtures("shared_out")
def test_several_dumps_their_counts_and_the_position_are_of_one_moment_while_others_write(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
    record_property: Callable[[str, object], None],
) -> None:
    sites.database(any_mysql_database, dump_streams=3)
    with Writers(any_mysql_database) as writers:
        manifests = [sites.back_up(run_id=f"night-{number}") for number in range(3)]
    record_property("writes_held_s", [manifest.position["writes_held_s"] for manifest in manifests])
    for manifest in manifests:
        assert sorted(streams_of(manifest).values()) == ["dump.sql", "tables-2.sql", "tables-3.sql"]
        assert manifest.position["file"].startswith("bin.")
    require_one_moment(manifests, restored)
    assert counts(any_mysql_database)["debit"] > rows_of(manifests[-1])["debit"], "nobody wrote during the dumps"
    assert writers.slowest_s < 2


@pytest.mark.usefixtures("shared_out")
def test_where_writes_can_not_be_held_one_consistent_dump_is_made_after_all(
    any_mysql_database: MySqlDatabase,
    account: Callable[..., Endpoint],
    sites: SiteFactory,
    restored: Callable[[Manifest], MySqlDatabase],
) -> None:
    """Several that begin at different moments would each be consistent, and together not."""
    database = any_mysql_database
    sites.database(database, dump_streams=3)
    sites.endpoints["connection_0"] = replace(account(*EVERYTHING, "PROCESS ON *.*"), conn_id="connection_0")
    with Writers(database):
        manifest = sites.back_up()
    assert [file.stream for file in manifest.files] == ["dump.sql"]
    assert manifest.rows_are == "estimates: the account may not hold writes for a moment: grant RELOAD"
    assert manifest.position == {"missing": "the account may not hold writes for a moment: grant RELOAD"}
    assert set(streams_of(manifest).values()) == {"dump.sql"}
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    copy = restored(manifest)
    found = counts(copy)
    assert found["debit"] == found["credit"] > 2_000
    assert copy.query("SELECT SUM(balance) FROM accounts") == [(4_000,)]


@pytest.mark.usefixtures("shared_out")
def test_a_database_with_sequences_is_not_shared_out(mariadb_database: MySqlDatabase, sites: SiteFactory) -> None:
    """A column's default may draw from one, and the program that dumps the table alone would not make it."""
    mariadb_database.execute("CREATE SEQUENCE tickets")
    mariadb_database.execute("CREATE TABLE a (id INT PRIMARY KEY DEFAULT NEXTVAL(tickets))")
    mariadb_database.execute("CREATE TABLE b (id INT PRIMARY KEY)")
    sites.database(mariadb_database, dump_streams=2)
    assert [file.stream for file in sites.back_up().files] == ["dump.sql"]


@pytest.mark.usefixtures("shared_out")
def test_past_rows_come_back_from_every_stream(
    mariadb_database: MySqlDatabase, sites: SiteFactory, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = mariadb_database
    for name in ("prices", "wages"):
        database.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, amount INT) WITH SYSTEM VERSIONING")
        database.execute(f"INSERT INTO {name} VALUES (1, 10), (2, 20)")
        database.execute(f"UPDATE {name} SET amount = 11 WHERE id = 1")
    sites.database(database, dump_streams=2)
    manifest = sites.back_up()
    assert set(streams_of(manifest).values()) == {"dump.sql", "tables-2.sql"}
    server: MariaDbServer = request.getfixturevalue("mariadb_scratch")
    copy = MySqlDatabase(server, database.name)
    try:
        run_line(manifest.restore, sites.fetch(manifest, tmp_path / "restore"), mysql_home(server, tmp_path / "home"))
        for name in ("prices", "wages"):
            past = f"SELECT id, amount, ROW_START, ROW_END FROM {name} FOR SYSTEM_TIME ALL ORDER BY 1, 2"
            assert len(database.query(past)) == 3
            assert copy.query(past) == database.query(past)
    finally:
        copy.drop()


@pytest.mark.usefixtures("shared_out")
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_whichever_file_is_damaged_the_restore_line_fails(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path, shell: str
) -> None:
    database = mariadb_database
    for name in ("t", "u"):
        database.execute(f"CREATE TABLE {name} (i INT, noise VARCHAR(200))")
        rows = ",".join(f"({i}, '{os.urandom(90).hex()}')" for i in range(3_000))
        database.execute(f"INSERT INTO {name} VALUES {rows}")
    sites.database(database, dump_streams=2)
    manifest = sites.back_up()
    copy, home = MySqlDatabase(mariadb_scratch, database.name), mysql_home(mariadb_scratch, tmp_path / "home")
    assert len(manifest.files) == 2
    for file in manifest.files:
        damaged = sites.fetch(manifest, tmp_path / file.stream) / file.name
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: len(whole) * 2 // 3])
        done = try_line(manifest.restore, damaged.parent, home, shell=shell)
        copy.drop()
        assert done.returncode != 0
        assert "premature end" in done.stderr
    run_line(manifest.restore, sites.fetch(manifest, tmp_path / "whole"), home, shell=shell)
    assert copy.query("SELECT COUNT(*) FROM t UNION ALL SELECT COUNT(*) FROM u") == [(3_000,), (3_000,)]
    copy.drop()


@pytest.mark.usefixtures("shared_out")
def test_the_files_of_an_encrypted_backup_are_restored_together(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, key: AgeKey, tmp_path: Path
) -> None:
    database = mariadb_database
    fill_small(database)
    database.execute("CREATE TABLE teachers (id INT PRIMARY KEY)")
    database.execute("INSERT INTO teachers VALUES (7)")
    sites.database(database, dump_streams=2)
    sites.encrypted(key.public)
    manifest = sites.back_up()
    assert [file.name for file in manifest.files] == ["dump.sql.zst.age", "tables-2.sql.zst.age"]
    folder = sites.fetch(manifest, tmp_path / "restore")
    (folder / "key.txt").write_text(key.file.read_text())
    copy = MySqlDatabase(mariadb_scratch, database.name)
    try:
        run_line(manifest.restore, folder, mysql_home(mariadb_scratch, tmp_path / "home"))
        assert copy.query("SELECT id FROM teachers UNION ALL SELECT COUNT(*) FROM students") == [(7,), (3,)]
    finally:
        copy.drop()
