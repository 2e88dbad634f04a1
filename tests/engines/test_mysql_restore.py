"""A MySQL or MariaDB backup of the duty is loaded into a scratch server under another name, and is the same there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import Stored
from tests.servers.data.fingerprint_mysql import fingerprint_mysql
from tests.servers.data.hostile_mysql import fill_hostile_mysql
from tests.servers.data.kindergarten import fill_kindergarten
from tests.servers.databases import MySqlDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql_family import MySqlFamilyServer
from upkeep.domain import dump_split
from upkeep.domain.manifest import Manifest
from upkeep.engines import stopping
from upkeep.engines.mysql_definition import split_definition
from upkeep.engines.mysql_dump_reader import MySqlDumpReader, Piece, TableLoaded, ViewsFollow
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import ProofFailed, RestoreUnavailable, Stopped

KEYS = """
CREATE TABLE orders (
    id INT PRIMARY KEY, customer INT NOT NULL, code VARCHAR(40) NOT NULL, at DATE,
    note VARCHAR(99) COMMENT 'KEY `x` (`y`)', twice INT AS (customer * 2) VIRTUAL,
    UNIQUE KEY `by code` (code), KEY by_at (at, customer) COMMENT 'it''s, a \\\\ comment', KEY prefixed (note(10)),
    KEY by_twice (twice), KEY customer_fk (customer));
CREATE TABLE customers (nr INT AUTO_INCREMENT, id INT NOT NULL, name VARCHAR(50), first_order INT,
    PRIMARY KEY (id), KEY counter (nr), KEY by_name (name), KEY first_order (first_order));
CREATE TABLE without_primary_key (a INT NOT NULL, b INT, UNIQUE KEY u (a), KEY k (b));
CREATE TABLE searched (id INT PRIMARY KEY, body TEXT, FULLTEXT KEY words (body), KEY k (id, body(5)));
CREATE TABLE by_month (id INT, at DATE, b INT, PRIMARY KEY (id, at), KEY k (b))
    PARTITION BY RANGE (YEAR(at) * 100 + MONTH(at))
    (PARTITION p1 VALUES LESS THAN (202601), PARTITION p2 VALUES LESS THAN MAXVALUE);
INSERT INTO customers (id, name) VALUES (10, '王'), (20, '李'), (30, '王');
INSERT INTO orders (id, customer, code, at, note) VALUES
    (1, 10, 'a', '2026-01-01', 'x'), (2, 20, 'b', NULL, 'y;'), (3, 10, 'c', '2026-01-02', NULL);
UPDATE customers SET first_order = 1 WHERE id = 10;
INSERT INTO without_primary_key VALUES (2, 1), (1, 1);
INSERT INTO searched VALUES (1, 'words'), (2, NULL);
INSERT INTO by_month VALUES (1, '2025-12-01', 1), (2, '2026-02-01', 2);
ALTER TABLE orders ADD CONSTRAINT `belongs to` FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE;
ALTER TABLE customers ADD CONSTRAINT `the first` FOREIGN KEY (first_order) REFERENCES orders (id) ON DELETE SET NULL
"""

DEFAULT_PACKET = "SET GLOBAL max_allowed_packet = 16777216"
"""The server is shared with tests of the stock restore line, which raises it and leaves it so."""


def fill(database: MySqlDatabase, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";\n")):
        database.execute(statement)


@pytest.fixture
def scratch(scratch_server: MySqlFamilyServer) -> Iterator[MySqlRestorer]:
    restorer = MySqlRestorer(scratch_server.endpoint())
    before = restorer.databases()
    yield restorer
    for name in set(restorer.databases()) - set(before):
        restorer.drop(name)


@pytest.fixture
def made(any_mysql_database: MySqlDatabase, sites: SiteFactory) -> Callable[[str], Manifest]:
    """Back up the database once it is filled."""

    def make(statements: str = "") -> Manifest:
        fill(any_mysql_database, statements)
        sites.database(any_mysql_database)
        return sites.back_up()

    return make


def differences(source: MySqlDatabase, copy: MySqlDatabase) -> list[str]:
    with source.connect() as connection, copy.connect() as other:
        return fingerprint_mysql(connection, source.name).differences(fingerprint_mysql(other, copy.name))


def definitions(restorer: MySqlRestorer, database: str) -> dict[str, str]:
    with restorer.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
        names = [str(next(iter(row.values()))) for row in cursor.fetchall()]
        found = {}
        for name in names:
            cursor.execute("SHOW CREATE TABLE `" + name.replace("`", "``").replace("%", "%%") + "`", ())
            found[name] = str(cursor.fetchone()["Create Table"])  # type: ignore[index]
        return found


@pytest.mark.parametrize("as_bytes", [False, True], ids=["as text", "as bytes"])
def test_a_hostile_database_is_the_same_under_another_name(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch_server: MySqlFamilyServer,
    scratch: MySqlRestorer,
    tmp_path: Path,
    *,
    as_bytes: bool,
) -> None:
    """Its character set is not that of its routines, so that the dump alters the database by name."""
    with any_mysql_database.connect() as connection:
        fill_hostile_mysql(connection, as_bytes=as_bytes, long_row_bytes=2_000_000, broken_view=False)
    any_mysql_database.execute("CREATE TABLE `new\nline` (id INT PRIMARY KEY, k INT, KEY (k))")
    any_mysql_database.execute(f"ALTER DATABASE `{any_mysql_database.name}` CHARACTER SET gbk")
    manifest = made()
    loaded = scratch.load(manifest, "proof of `it`", Stored(sites, manifest), folder=tmp_path)
    assert differences(any_mysql_database, MySqlDatabase(scratch_server, "proof of `it`")) == []
    assert loaded.bytes > 2_000_000
    assert "events are switched off in the copy" in loaded.notes
    assert any_mysql_database.query("SHOW DATABASES LIKE 'proof%%'") == []


def test_indexes_and_foreign_keys_come_after_the_rows_and_are_the_same(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: MySqlRestorer,
    tmp_path: Path,
) -> None:
    manifest = made(KEYS)
    loaded = scratch.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
    source = MySqlRestorer(any_mysql_database.server.endpoint())
    wanted, got = (definitions(each, name) for each, name in ((source, any_mysql_database.name), (scratch, "proof")))
    assert got == wanted
    assert list(loaded.seconds) == ["rows", "indexes", "foreign_keys", "all"]


def test_each_table_keeps_what_its_rows_need(made: Callable[..., Manifest], sites: SiteFactory) -> None:
    manifest = made(KEYS)
    reader = MySqlDumpReader(str(manifest.source["database"]), "proof")
    pieces: list[Piece] = [piece for chunk in Stored(sites, manifest)("dump.sql") for piece in reader.feed(chunk)]
    pieces += reader.close()
    later = {piece.later.name: piece.later for piece in pieces if isinstance(piece, TableLoaded)}
    assert set(later) == {b"`orders`", b"`customers`", b"`without_primary_key`", b"`by_month`"}
    assert {index.split(b" (")[0] for index in later[b"`orders`"].indexes} == {
        b"UNIQUE KEY `by code`", b"KEY `by_at`", b"KEY `prefixed`", b"KEY `by_twice`", b"KEY `customer_fk`",
    }  # fmt: skip
    assert [index.split(b" (")[0] for index in later[b"`customers`"].indexes] == [
        b"KEY `by_name`",
        b"KEY `first_order`",
    ]
    assert later[b"`without_primary_key`"].indexes == later[b"`by_month`"].indexes == (b"KEY `k` (`b`)",)
    assert len(later[b"`orders`"].foreign_keys) == len(later[b"`customers`"].foreign_keys) == 1


@pytest.mark.parametrize(
    "line",
    [
        "  KEY `k` ((lower(`name`)))",
        "  FULLTEXT KEY `k` (`name`)",
        "  UNIQUE KEY `k` (`id`,`p` WITHOUT OVERLAPS)",
        "  KEY `k` (`id`) USING HASH",
        "  KEY `k` (`id`) IGNORED",
        "  CONSTRAINT `f` FOREIGN KEY (`id`) REFERENCES `other`.`t` (`id`)",
        "  PERIOD FOR SYSTEM_TIME (`a`, `b`)",
        "something new",
    ],
)
def test_a_table_with_a_line_that_is_not_understood_stays_whole(line: str) -> None:
    lines = [
        "CREATE TABLE `t` (",
        "  `id` int NOT NULL,",
        "  PRIMARY KEY (`id`),",
        "  KEY `a` (`id`),",
        line,
        ") ENGINE=InnoDB;",
    ]
    text = [f"{each}\n".encode() for each in lines]
    assert split_definition(text) == (b"".join(text), None)
    del text[4]
    assert split_definition(text)[1] is not None


def test_a_dump_is_read_alike_however_it_is_cut(mariadb_database: MySqlDatabase, sites: SiteFactory) -> None:
    fill(mariadb_database, KEYS)
    sites.database(mariadb_database)
    manifest = sites.back_up()
    whole = b"".join(Stored(sites, manifest)("dump.sql"))

    def read(size: int) -> list[Piece]:
        reader = MySqlDumpReader(mariadb_database.name, "proof")
        pieces = [piece for place in range(0, len(whole), size) for piece in reader.feed(whole[place : place + size])]
        found: list[Piece] = []
        for piece in [*pieces, *reader.close()]:
            if isinstance(piece, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += piece
            else:
                found.append(piece)
        return found

    at_once = read(len(whole))
    for size in (1, 7, 4096):
        assert read(size) == at_once


def test_a_dump_that_broke_off_is_no_proof(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: MySqlRestorer, tmp_path: Path
) -> None:
    """mysql itself would take it for a whole one."""
    manifest = made(KEYS)
    cut = Stored(sites, manifest, lambda text: text[: text.index(b"-- Dump completed")])
    with pytest.raises(ProofFailed, match="it broke off"):
        scratch.load(manifest, "proof", cut, folder=tmp_path)
    scratch.drop("proof")
    scratch.drop("proof")
    assert "proof" not in scratch.databases()


def test_a_dump_that_leads_into_another_database_ends_there() -> None:
    for line in (
        "USE `mysql`;",
        "use mysql;",
        "/*!40000 DROP DATABASE IF EXISTS `app`*/;",
        "ALTER DATABASE x READ ONLY=1;",
    ):
        reader = MySqlDumpReader("app", "proof")
        handed_on: list[Piece] = []
        with pytest.raises(ProofFailed, match="leads into another database"):
            handed_on.extend(reader.feed(f"-- head\n{line}\nDROP TABLE t;\n".encode()))
        assert handed_on in ([], [b"-- head\n"])
    assert list(MySqlDumpReader("app", "proof").feed(b"USE `app`;\n")) == [b"USE `proof`;\n"]


def test_what_the_server_refuses_is_the_backups_fault_and_what_it_lacks_is_not(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: MySqlRestorer, tmp_path: Path
) -> None:
    manifest = made(KEYS)

    def changed(before: bytes, after: bytes) -> Stored:
        assert before in b"".join(Stored(sites, manifest)("dump.sql"))
        return Stored(sites, manifest, lambda text: text.replace(before, after, 1))

    live = MySqlRestorer(scratch.endpoint, live=True)
    for restorer, place, other in ((scratch, "the scratch server", "live"), (live, "the live server", "scratch")):
        with pytest.raises(ProofFailed, match=f"{place}.*syntax") as caught:
            restorer.load(
                manifest, "proof", changed(b"INSERT INTO `orders`", b"INSERT INTTO `orders`"), folder=tmp_path
            )
        assert other not in str(caught.value)
        restorer.drop("proof")
    with pytest.raises(ProofFailed, match=r"indexes of table `orders`.*Duplicate entry 'a'"):
        scratch.load(manifest, "proof", changed(b"'b',", b"'a',"), folder=tmp_path)
    scratch.drop("proof")
    with pytest.raises(RestoreUnavailable, match="nknown character set"):
        scratch.load(manifest, "proof", changed(b"CHARSET=utf8mb4", b"CHARSET=nosuch"), folder=tmp_path)
    with pytest.raises(RestoreUnavailable, match="already a database 'proof'"):
        scratch.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
    nobody = MySqlRestorer(replace(scratch.endpoint, secret="wrong"))
    with pytest.raises(RestoreUnavailable, match="Access denied"):
        nobody.load(manifest, "proof 2", Stored(sites, manifest), folder=tmp_path)
    newer = replace(manifest, source={**manifest.source, "version": "99.1.0-MariaDB"})
    with pytest.raises(RestoreUnavailable, match="the scratch server"):
        scratch.load(newer, "proof 2", Stored(sites, manifest), folder=tmp_path)


def test_an_error_of_the_store_comes_out_as_it_is(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: MySqlRestorer, tmp_path: Path
) -> None:
    manifest = made(KEYS)

    def read(stream: str) -> Iterator[bytes]:
        yield b"-- half a line"
        raise ProofFailed("damaged", hint="none")

    with pytest.raises(ProofFailed, match=r"^damaged"):
        scratch.load(manifest, "proof", read, folder=tmp_path)


def test_streams_side_by_side_wait_with_views_until_every_table_is_there(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    monkeypatch: pytest.MonkeyPatch,
    scratch_server: MySqlFamilyServer,
    scratch: MySqlRestorer,
    tmp_path: Path,
) -> None:
    """The main stream comes through at once, the tables that its views select from a second later."""
    monkeypatch.setattr(dump_split, "WORTH_BYTES", 0)
    with any_mysql_database.connect() as connection:
        fill_kindergarten(connection)
    for (table,) in any_mysql_database.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    ):
        any_mysql_database.execute(f"CREATE VIEW `of {table}` AS SELECT * FROM {table}")
    sites.database(any_mysql_database, dump_streams=2)
    manifest = sites.back_up()
    assert {file.stream for file in manifest.files} == {"dump.sql", "tables-2.sql"}
    stored = Stored(sites, manifest)

    def read(stream: str) -> Iterator[bytes]:
        time.sleep(1 if stream == "tables-2.sql" else 0)
        yield from stored(stream)

    scratch.load(manifest, "proof", read, folder=tmp_path)
    found = differences(any_mysql_database, MySqlDatabase(scratch_server, "proof"))
    assert [each for each in found if not each.startswith("event ")] == []


def test_an_enabled_event_never_runs_in_the_copy(
    any_mysql_database: MySqlDatabase,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: MySqlRestorer,
    tmp_path: Path,
) -> None:
    any_mysql_database.execute("CREATE TABLE t (i INT PRIMARY KEY)")
    any_mysql_database.execute("CREATE EVENT e ON SCHEDULE EVERY 1 SECOND COMMENT 'ENABLE it' DO BEGIN END")
    manifest = made("INSERT INTO t VALUES (1)")
    scratch.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
    with scratch.connect("proof") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT STATUS AS s, EVENT_COMMENT AS c FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'proof'"
        )
        assert cursor.fetchall() in ([{"s": "DISABLED", "c": "ENABLE it"}], ({"s": "DISABLED", "c": "ENABLE it"},))


def test_a_task_that_is_told_to_stop_leaves_nothing_running(
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: MySqlRestorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = made(KEYS)
    monkeypatch.setattr(stopping, "_told", False)  # put back after the test

    def read(stream: str) -> Iterator[bytes]:
        whole = b"".join(Stored(sites, manifest)(stream))
        yield whole[:3000]
        threading.Thread(target=Pipeline.stop_all).start()
        time.sleep(1)
        yield whole[3000:]

    with pytest.raises(Stopped):
        scratch.load(manifest, "proof", read, folder=tmp_path)
    ours = [name for thread in threading.enumerate() if not (name := thread.name).startswith("pytest_timeout")]
    assert [name for name in ours if "sql" in name or "indexes" in name] == []
    scratch.drop("proof")


def test_an_account_with_few_rights_loads_what_it_may_and_says_what_it_did_not_use(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path
) -> None:
    mariadb_database.execute("CREATE TABLE photos (id INT PRIMARY KEY, body LONGBLOB, k INT, KEY (k))")
    mariadb_database.execute("INSERT INTO photos VALUES (1, %s, 1)", os.urandom(100_000))
    sites.database(mariadb_database)
    manifest = sites.back_up()
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER loader@'%' IDENTIFIED BY 'its own'")
        cursor.execute("GRANT ALL ON `proof%`.* TO loader@'%'")
        cursor.execute(DEFAULT_PACKET)
    restorer = MySqlRestorer(replace(mariadb_scratch.endpoint(), user="loader", secret="its own"))
    try:
        loaded = restorer.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
        assert any("sql_log_bin" in note for note in loaded.notes)
        assert any("max_allowed_packet stayed at" in note for note in loaded.notes)
    finally:
        restorer.drop("proof")


def test_a_wide_row_comes_through_and_the_servers_setting_is_put_back(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, tmp_path: Path
) -> None:
    mariadb_database.execute("CREATE TABLE photos (id INT PRIMARY KEY, body LONGBLOB)")
    mariadb_database.execute("INSERT INTO photos VALUES (1, REPEAT(x'000A27', 3000000))")
    sites.database(mariadb_database)
    manifest = sites.back_up()
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute(DEFAULT_PACKET)
    restorer = MySqlRestorer(mariadb_scratch.endpoint())

    def one(database: str, question: str) -> Any:
        with restorer.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            return next(iter(cursor.fetchone().values()))  # type: ignore[union-attr]

    before = one("", "SELECT @@GLOBAL.max_allowed_packet")
    try:
        restorer.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
        assert (
            one("proof", "SELECT SHA2(body, 256) FROM photos")
            == mariadb_database.query("SELECT SHA2(body, 256) FROM photos")[0][0]
        )
        assert one("", "SELECT @@GLOBAL.max_allowed_packet") == before < 18_000_000
    finally:
        restorer.drop("proof")


def test_a_server_tells_itself_from_another_and_how_much_room_it_has(
    mariadb_server: MariaDbServer, mariadb_scratch: MariaDbServer, mariadb_database: MySqlDatabase, sites: SiteFactory
) -> None:
    mariadb_database.execute("CREATE TABLE t (i INT)")
    sites.database(mariadb_database)
    manifest = sites.back_up()
    assert MySqlRestorer(mariadb_server.endpoint()).identity() == manifest.source["identity"]
    restorer = MySqlRestorer(mariadb_scratch.endpoint())
    assert restorer.identity() != manifest.source["identity"]
    room = os.statvfs(mariadb_scratch.folder)
    assert restorer.free_bytes() == pytest.approx(room.f_bavail * room.f_frsize, rel=0.1)
    with pytest.raises(RestoreUnavailable, match="log in"):
        MySqlRestorer(replace(restorer.endpoint, port=1)).free_bytes()


def test_a_view_that_names_its_own_database_names_the_copy() -> None:
    """A table of the database's name and text are left alone."""
    reader = MySqlDumpReader("a", "b")
    view = b"/*!50001 VIEW `v` AS select `a`.`t`.`c`,`a`.`f`(`a`.`c`),'`a`.`t`.`c` it''s',`x`.`a`.`c` from `a` */;\n"
    pieces = [*reader.feed(b"-- Final view structure for view `v`\n" + view)]
    assert pieces[-1] == view.replace(b"select `a`.`t`.`c`,`a`.`f`", b"select `b`.`t`.`c`,`b`.`f`")


def test_a_default_draws_from_the_copys_sequence_and_no_lock_keeps_it_from_that() -> None:
    """Dumps of before --skip-add-locks have locks; text and sequences of other databases are left alone."""
    reader = MySqlDumpReader("a", "b`")
    table = (
        b"CREATE TABLE `t` (\n  `id` int DEFAULT nextval(`a`.`n`) COMMENT 'nextval(`a`.`n`)',\n"
        b"  `x` int DEFAULT nextval(`c`.`a`)\n) ENGINE=InnoDB;\n"
    )
    rows = b"INSERT INTO `t` VALUES (1,2);\nUNLOCK TABLES;\n-- Dump completed\n"
    text = b"CREATE SEQUENCE `n` start with 1;\n" + table + b"LOCK TABLES `t` WRITE;\n" + rows
    got = b"".join(piece for piece in [*reader.feed(text), *reader.close()] if isinstance(piece, bytes))
    moved = table.replace(b"DEFAULT nextval(`a`.", b"DEFAULT nextval(`b```.")
    assert got == b"CREATE SEQUENCE `n` start with 1;\n" + moved + rows


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("ENABLE", "DISABLE ON SLAVE"),
        ("DISABLE", "DISABLE"),
        ("DISABLE ON SLAVE", "DISABLE"),
        ("DISABLE ON REPLICA", "DISABLE"),
    ],
)
def test_only_an_event_that_ran_is_marked_to_be_woken_when_the_copy_goes_live(was: str, becomes: str) -> None:
    reader = MySqlDumpReader("a", "b", to_wake=True)
    event = (
        "/*!50106 CREATE*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE {} DO SELECT 1 */ ;;"
    )
    lines = f"DELIMITER ;;\n{event.format(was)}\nDELIMITER ;\n".encode()
    assert b"".join(one for one in reader.feed(lines) if isinstance(one, bytes)) == lines.replace(
        was.encode(), becomes.encode()
    )


def test_views_wait_only_at_their_first_definition() -> None:
    reader = MySqlDumpReader("a", "b")
    text = b"-- Final view structure for view `v`\n-- Final view structure for view `w`\n-- Dump completed\n"
    pieces = [*reader.feed(text), *reader.close()]
    assert [type(piece) for piece in pieces if not isinstance(piece, bytes)] == [ViewsFollow]
