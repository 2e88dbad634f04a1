"""Proving backups by restoring them: into servers of their own, with everything compared, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import age_key
from tests.servers.data import fill_folder, fill_hostile_mysql, fill_hostile_postgres, fill_redis
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.domain.proving import scratch_name
from upkeep.domain.restoring import RestoreRequest
from upkeep.duties.catalogue import Backup, read_catalogue, write_proof
from upkeep.duties.forget import forget
from upkeep.duties.prove import prove
from upkeep.duties.restore import restore
from upkeep.duties.scratch import Scratch
from upkeep.duties.until import Until
from upkeep.duties.verify import verify
from upkeep.engines.copies import run_checks
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.engines.redis_engine import RedisEngine
from upkeep.engines.redis_scratch import ScratchRedis
from upkeep.engines.tools import require
from upkeep.errors import ProofFailed, RestoreUnavailable, Stopped, UpkeepError
from upkeep.ledger import Record
from upkeep.site import Check


def night(sites: SiteFactory, target: str = "app", run_id: str = "night-1") -> Manifest:
    manifest = sites.back_up(target, run_id)
    verify(sites.job(run_id), target, manifest.backup.backup_id)
    return manifest


def week(sites: SiteFactory, target: str = "app", **settings: Any) -> dict[str, Any]:
    return prove(sites.job("week-1"), target, **settings)


def backup(sites: SiteFactory, target: str = "app") -> Backup:
    return read_catalogue(sites.job().store, "kindergarten", target).backups[-1]


def proof(sites: SiteFactory, target: str = "app") -> dict[str, Any]:
    """The one proof by restore."""
    (path,) = (sites.folder / "store" / "kindergarten" / target).rglob("*-restored-*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def last_act(sites: SiteFactory, target: str = "app") -> Record:
    return list(sites.job().ledger.acts(site="kindergarten", target=target, duty="prove"))[-1]


def wrapped(program: str, path: str, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell script before ``program`` (really at ``path``), as a broken or wrongly called client would be."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    script = tools / program
    script.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {path} "$@";; esac\n{line.format(path=path)}\n')
    script.chmod(0o755)
    monkeypatch.setenv("UPKEEP_PATH", str(tools))


@pytest.fixture
def shop(mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory) -> MySqlDatabase:
    """A small database whose site has a scratch server."""
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(20))")
    mariadb_database.execute("INSERT INTO t VALUES (1,'here'),(2,'there'),(3,'gone')")
    mariadb_database.execute("CREATE VIEW seen AS SELECT id FROM t")
    sites.database(mariadb_database, scratch_conn_id=sites.scratch(mariadb_scratch))
    return mariadb_database


@pytest.mark.parametrize("flavour", ["mariadb", "mysql", "postgres"])
def test_a_backup_is_restored_found_alike_and_taken_away_again(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(f"{flavour}_database")
    scratch: MySqlFamilyServer | PostgresServer = request.getfixturevalue(f"{flavour}_scratch")
    if isinstance(database, PostgresDatabase):
        with database.connect() as connection:
            fill_hostile_postgres(connection, long_row_bytes=400_000)
    else:
        assert isinstance(database, MySqlDatabase)
        fill_hostile_mysql(database.connect(), long_row_bytes=400_000)
    table = "texts" if flavour != "postgres" else "public.texts"
    sites.database(
        database,
        scratch_conn_id=sites.scratch(scratch),
        checks=[{"sql": f"SELECT COUNT(*) FROM {table}", "at_least": 5, "at_most": 500}],
    )
    manifest = night(sites)
    assert len(json.dumps(manifest.contents["catalogue"])) < 15_000, "a manifest stays small"
    restored = week(sites)["restored"]
    assert restored.keys() == {manifest.backup.backup_id}
    assert backup(sites).level is ProofLevel.RESTORED
    assert backup(sites).failure is None
    figures = proof(sites)["figures"]
    assert figures["differences"] == []
    assert figures["tables"] == len(manifest.contents["tables"])
    assert figures["checksums"] >= figures["tables"] - 2, "all but those outside of the snapshot"
    assert figures["objects"] > figures["tables"]
    assert figures["checks"] == 1
    large = manifest.contents.get("large_objects", 0)
    assert bool(large) is (flavour == "postgres")
    assert (f"of {large} large objects the number is compared, not the content" in figures["notes"]) is bool(large)
    assert figures["seconds"]["total"] == restored[manifest.backup.backup_id] > 0
    assert scratch.databases() == set()
    act = last_act(sites)
    assert (act.state, act.detail["light"], act.detail["level"]) == ("done", "green", "restored")
    assert week(sites)["restored"] == {}, "once is enough"


def test_rows_and_contents_that_a_dump_lost_are_named_and_the_backup_counts_no_more(
    shop: MySqlDatabase, sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = require("mariadb-dump", package="mariadb-client")
    shop.execute("CREATE TABLE other (id INT PRIMARY KEY, note VARCHAR(20))")
    shop.execute("INSERT INTO other VALUES (1,'here')")
    with monkeypatch.context() as patched:
        # The option file has to stay the first argument; sed -u, since the dump's first output is waited for.
        lossy = (
            'first=$1; shift; {path} "$first" --skip-extended-insert "$@" | '
            "sed -u \"/(3,'gone')/d; s/^\\(INSERT INTO .other.*\\)here/\\1hare/\""
        )
        wrapped("mariadb-dump", real, lossy, tmp_path, patched)
        night(sites)
    with pytest.raises(ProofFailed, match="table t has 2 rows, its manifest says 3") as raised:
        week(sites)
    assert "table other has its 1 rows, but not their content" in raised.value.message
    assert "seen" not in raised.value.message
    found = backup(sites)
    assert found.failure is not None
    assert found.failure.level is ProofLevel.RESTORED
    assert found.standing == "damaged"
    assert proof(sites)["figures"]["differences_found"] == 2
    assert last_act(sites).state == "failed"


def test_objects_that_a_dump_lost_are_named(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres_database.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
    postgres_database.execute("CREATE VIEW seen AS SELECT id FROM t")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))
    with monkeypatch.context() as patched:
        real = "/usr/lib/postgresql/15/bin/pg_dump"
        wrapped("pg_dump", real, 'exec {path} --exclude-table=seen "$@"', tmp_path, patched)
        night(sites)
    with pytest.raises(ProofFailed, match=r"view public\.seen is missing"):
        week(sites)
    assert postgres_scratch.databases() == set()


def test_an_index_that_broke_off_is_not_in_a_dump_and_makes_no_backup_bad(
    postgres_database: PostgresDatabase, postgres_scratch: PostgresServer, sites: SiteFactory
) -> None:
    postgres_database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1)")
    with postgres_database.connect() as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (id)")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))
    night(sites)
    week(sites)
    assert proof(sites)["figures"]["differences"] == []


def test_decimals_within_json_come_back_as_they_are_dumped(
    mysql_database: MySqlDatabase, mysql_scratch: MySqlFamilyServer, sites: SiteFactory
) -> None:
    """mysqldump writes a DECIMAL as its text, which is a DOUBLE when it is read."""
    mysql_database.execute("CREATE TABLE t (id INT PRIMARY KEY, j JSON)")
    for number, value in enumerate(("CAST(1.50 AS DECIMAL(9, 2))", "NOW(3)", "'王'", "1e300", "18446744073709551615")):
        mysql_database.execute(f"INSERT INTO t VALUES ({number}, JSON_OBJECT('v', {value}))")
    sites.database(mysql_database, scratch_conn_id=sites.scratch(mysql_scratch))
    night(sites)
    week(sites)
    assert proof(sites)["figures"]["differences"] == []


def test_a_queue_that_is_emptied_before_its_dump_begins_makes_no_backup_bad(sites: SiteFactory) -> None:
    """A server waits some seconds, by default, before it sends its first file."""
    with RedisServer() as server, server.connect() as client, RedisEngine(server.endpoint()).connect(1) as queue:
        client.set("stays", "1")
        queue.rpush("celery", "job")
        client.config_set("repl-diskless-sync-delay", 3)
        worker = threading.Timer(1.5, queue.lpop, ["celery"])
        sites.cache(server)
        worker.start()
        night(sites, "sessions")
        worker.join()
        week(sites, "sessions")
    figures = proof(sites, "sessions")["figures"]
    assert figures["differences"] == []
    assert "db1 had keys a moment before the dump, and has none in it: emptied meanwhile" in figures["notes"]


def test_what_the_site_wants_to_be_true_of_a_copy_is_asked_of_it(shop: MySqlDatabase, sites: SiteFactory) -> None:
    check = {"sql": "SELECT COUNT(*) FROM t WHERE note <> 'gone'", "at_least": 100}
    sites.settings["databases"][0]["checks"] = [check]
    night(sites)
    with pytest.raises(ProofFailed, match="gives 2, at least 100 are needed"):
        week(sites)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT COUNT(*) FROM no_such_table", "can't be run"),
        ("DELETE FROM t", "can't be run"),
        ("SELECT 'x'", "number"),
        ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = ''", "can't be run: OperationalError"),
    ],
)
def test_a_check_that_can_not_be_run_says_nothing_about_the_backup(
    shop: MySqlDatabase, sites: SiteFactory, statement: str, words: str
) -> None:
    sites.settings["databases"][0]["checks"] = [{"sql": statement, "at_least": 1}]
    night(sites)
    with pytest.raises(RestoreUnavailable, match=words):
        week(sites)
    assert backup(sites).standing == "structure"


COLUMNS_A_PARENT_GOT_LATER = (
    "CREATE TABLE above (a int)",
    "CREATE TABLE beside (b int)",
    "CREATE TABLE parent (p text) INHERITS (above)",
    "CREATE TABLE child (own text, other text) INHERITS (parent, beside)",
    "CREATE TABLE first_again () INHERITS (above, beside)",
    "ALTER TABLE first_again NO INHERIT above",
    "VACUUM pg_inherits",
    "ALTER TABLE first_again INHERIT above",  # into the same place of pg_inherits, but with a higher inhseqno
    "CREATE TABLE grandchild (smallest text) INHERITS (child)",
    "CREATE TABLE plain () INHERITS (parent)",
    'ALTER TABLE beside ADD "late, too" text',
    "ALTER TABLE parent ADD latest int",
    "ALTER TABLE above ADD late int DEFAULT 7",
    "INSERT INTO child (a, p, own, latest) VALUES (1, 'p', 'o', 4)",
    "INSERT INTO grandchild (a, p, own, smallest, \"late, too\") VALUES (2, 'p, q', NULL, '', ')')",
    "INSERT INTO plain (a, latest) VALUES (3, 3)",
    "INSERT INTO first_again VALUES (5, 6)",
)
PARTED_BY_AN_ENUM = (
    "CREATE TYPE kind AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')",
    "CREATE TABLE alike (k kind, id int) PARTITION BY HASH (k)",
    "CREATE TABLE alike0 PARTITION OF alike FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE alike1 PARTITION OF alike FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY LIST (id)",
    "CREATE TABLE alike1_rest PARTITION OF alike1 DEFAULT",
    "CREATE TABLE unlike (k kind, id int) PARTITION BY HASH (k)",
    "CREATE TABLE unlike0 PARTITION OF unlike FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE unlike1 (id int, k kind)",  # with its columns the other way round
    "ALTER TABLE unlike ATTACH PARTITION unlike1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "INSERT INTO alike SELECT k, i FROM unnest(enum_range(NULL::kind)) k, generate_series(1, 8) i",
    "INSERT INTO unlike SELECT k, id + 100 FROM alike",
)


def test_rows_and_columns_that_come_back_in_another_order_are_compared_all_the_same(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hash of an enum goes by the numbers of its values, which are other ones on every server."""
    for statement in (*COLUMNS_A_PARENT_GOT_LATER, *PARTED_BY_AN_ENUM):
        postgres_database.execute(statement)
    with postgres_scratch.connect() as connection:  # two fresh servers may number alike
        connection.execute("CREATE TABLE unlike (id int); DROP TABLE unlike")
    sites.database(postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))
    first = night(sites)
    parts = {"public.alike0", "public.alike1_rest", "public.unlike0", "public.unlike1"}
    assert parts < first.contents["tables"].keys()
    assert week(sites)["restored"].keys() == {first.backup.backup_id}
    figures = proof(sites)["figures"]
    assert figures["differences"] == []
    assert figures["checksums"] == len(first.contents["tables"])
    unsure = "content of public.{} is not compared: no checksum in the manifest"
    assert unsure.format("unlike") in figures["notes"]
    assert unsure.format("alike") not in figures["notes"]
    with monkeypatch.context() as patched:
        lossy = "{path} \"$@\" | sed -E 's/p, q/p, r/; s/^h\\t8$/h\\t9/; /^(h\\t108|108\\th)$/d'"
        wrapped("pg_restore", "/usr/lib/postgresql/15/bin/pg_restore", lossy, tmp_path, patched)
        night(sites, run_id="night-2")
        with pytest.raises(ProofFailed) as raised:
            week(sites)
    for found in (
        "table public.alike has its 64 rows, but not their content",
        "table public.grandchild has its 1 rows, but not their content",
        "table public.unlike has 63 rows, its manifest says 64",
    ):
        assert found in raised.value.message


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_a_scratch_that_is_the_source_under_another_name_is_refused(
    flavour: str, sites: SiteFactory, request: pytest.FixtureRequest
) -> None:
    database: Any = request.getfixturevalue(f"{flavour}_database")
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    assert database.endpoint().host == "127.0.0.1"
    sites.database(database, scratch_conn_id=sites.scratch(database.server, host="localhost"))
    night(sites)
    like_a_leftover = type(database)(database.server, scratch_name("kindergarten", "app", "20260101T000000Z-0a1b"))
    with like_a_leftover.existing():
        before = database.server.databases()
        with pytest.raises(
            RestoreUnavailable, match="is the very server that kindergarten/app is backed up from"
        ) as raised:
            week(sites)
        assert database.server.databases() == before, "nothing is ever dropped on a source, whatever its name"
    assert "infrastructure" in raised.value.message
    assert backup(sites).standing == "structure"


def test_a_scratch_that_the_backup_came_from_is_refused_even_when_the_source_has_moved_since(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    night(sites)
    section = sites.settings["databases"][0]
    section["conn_id"], section["scratch_conn_id"] = section["scratch_conn_id"], section["conn_id"]
    with pytest.raises(RestoreUnavailable, match="is the very server"):
        week(sites)


def test_a_scratch_that_is_away_says_nothing_about_the_backup(shop: MySqlDatabase, sites: SiteFactory) -> None:
    night(sites)
    conn_id = sites.settings["databases"][0]["scratch_conn_id"]
    sites.endpoints[conn_id] = replace(sites.endpoints[conn_id], port=1)
    with pytest.raises(RestoreUnavailable, match="infrastructure: "):
        week(sites)
    assert backup(sites).standing == "structure"
    assert last_act(sites).detail["light"] == "red"


def test_a_scratch_with_too_little_disk_is_refused_before_anything_is_restored(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    manifest = night(sites)
    job = sites.job()
    figures = {file.stream: {"plain_bytes": 10**15} for file in manifest.files}
    write_proof(
        job.store,
        manifest.backup,
        ProofLevel.STRUCTURE,
        ok=True,
        at=job.now().replace(year=2100),
        run={},
        figures=figures,
    )
    with pytest.raises(RestoreUnavailable, match=r"free disk, .* needs about 2.0 PB"):
        week(sites)


def test_leftovers_of_a_killed_run_are_swept_and_those_of_others_left_alone(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    mine = scratch_name("kindergarten", "app", "20260101T000000Z-0a1b")
    others = scratch_name("kindergarten", "app-test", "20260101T000000Z-0a1b")
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        for name in (mine, others):
            cursor.execute(f"CREATE DATABASE `{name}`")
    try:
        night(sites)
        week(sites)
        assert mariadb_scratch.databases() == {others}
    finally:
        with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE `{others}`")
    (sweep,) = sites.job().ledger.acts(site="kindergarten", target="app", duty="sweep")
    assert mine in sweep.started.command


def test_a_scratch_that_holds_somebody_elses_database_is_refused(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    night(sites)
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE precious")
        try:
            with pytest.raises(RestoreUnavailable, match="databases that Upkeep did not make: precious"):
                week(sites)
            assert mariadb_scratch.databases() == {"precious"}
        finally:
            cursor.execute("DROP DATABASE precious")


def test_a_database_without_a_scratch_is_a_remark_and_not_a_failure(
    mariadb_database: MySqlDatabase, sites: SiteFactory
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    sites.database(mariadb_database)
    night(sites)
    assert "no scratch server" in week(sites)["reason"]
    act = last_act(sites)
    assert act.detail["light"] == "amber"
    assert act.detail["summary"].startswith("infrastructure: ")
    assert backup(sites).standing == "structure"
    with pytest.raises(RestoreUnavailable, match="no scratch server"):  # who asks for this one wants it restored
        prove(sites.job("by hand"), "app", backup_id=backup(sites).ref.backup_id)


def test_a_dry_run_looks_at_everything_and_restores_nothing(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    manifest = night(sites)
    result = week(sites, dry_run=True)
    assert result["would_restore"] == [manifest.backup.backup_id]
    assert backup(sites).standing == "structure"
    assert mariadb_scratch.databases() == set()
    with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE precious")
        try:
            with pytest.raises(RestoreUnavailable):
                week(sites, dry_run=True)
        finally:
            cursor.execute("DROP DATABASE precious")


def test_a_file_damaged_since_it_was_verified_is_found_and_the_others_have_their_turn(
    shop: MySqlDatabase, sites: SiteFactory
) -> None:
    older, newer = night(sites, run_id="night-1"), night(sites, run_id="night-2")
    path = sites.folder / "store" / newer.backup.prefix / newer.files[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ProofFailed, match="another SHA-256"):
        week(sites)
    found = read_catalogue(sites.job().store, "kindergarten", "app")
    whole, damaged = found.find(older.backup.backup_id), found.find(newer.backup.backup_id)
    assert whole is not None
    assert whole.level is ProofLevel.RESTORED
    assert damaged is not None
    assert damaged.failure is not None
    assert damaged.failure.level is ProofLevel.CHECKSUM


def test_where_a_site_counts_restored_backups_those_not_restored_yet_are_not_removed(
    shop: MySqlDatabase, sites: SiteFactory
) -> None:
    sites.settings["retention"] = {"daily": 3, "counts_from": "restored", "keep_at_least": 1, "min_age_days": 0}
    sites.settings["prove"] = "newest"
    for number in range(2):
        night(sites, run_id=f"night-{number}")
    week(sites)
    newest = night(sites, run_id="night-2")
    done = forget(sites.job("night-2"), "app", newest.backup.backup_id)
    assert newest.backup.backup_id not in done["removed"]
    standings = {one.standing for one in read_catalogue(sites.job().store, "kindergarten", "app").backups}
    assert standings == {"restored", "structure"}


def redis_night(server: RedisServer, sites: SiteFactory, keys: int, database: str = "0") -> None:
    with server.connect(database) as client:
        client.flushall()
        fill_redis(client, keys)
    sites.cache(server)
    night(sites, "sessions")


def test_a_redis_is_restored_into_a_throwaway_server(
    redis_server: RedisServer, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server.connect("3") as client:
        client.flushall()
        fill_redis(client, 700)
        client.set("short", "life", px=1)
    sites.cache(redis_server)
    night(sites, "sessions")
    # A folder of this test's own, since others run beside it; its name is short, since a socket's has to be.
    with tempfile.TemporaryDirectory(prefix="up-", dir="/tmp") as worker, monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", worker)
        week(sites, "sessions")
        assert not [*Path(worker).iterdir()], "nothing stays"
    figures = proof(sites, "sessions")["figures"]
    assert figures["keys"] == 700
    assert figures["databases"] == {"db3": 700}
    assert figures["sample"]["db3"]["types"].keys() == {"string", "hash", "list", "set", "zset", "stream"}
    assert figures["sample"]["db3"]["ttl_pct"] > 0
    assert backup(sites, "sessions").level is ProofLevel.RESTORED


def test_a_worker_without_redis_server_says_nothing_about_the_backup(
    redis_server: RedisServer, sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_night(redis_server, sites, 10)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("zstd", "redis-check-rdb", "setpriv"):
        (tools / name).symlink_to(str(shutil.which(name)))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tools))
        with pytest.raises(RestoreUnavailable, match="redis-server is not installed"):
            week(sites, "sessions")
    assert backup(sites, "sessions").standing == "structure"


def test_a_folder_is_unpacked_and_every_entry_compared(sites: SiteFactory, tmp_path: Path) -> None:
    fill_folder(tmp_path / "source")
    sites.paths(tmp_path / "source")
    manifest = night(sites, "config")
    assert manifest.contents["listing"]
    week(sites, "config")
    assert proof(sites, "config")["figures"]["entries"] == manifest.contents["entries"]
    assert backup(sites, "config").level is ProofLevel.RESTORED
    assert not list(Path(tempfile.gettempdir()).glob("upkeep_kindergarten_config_*"))


def test_a_file_that_comes_back_otherwise_is_named(
    sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "app.conf").write_text("port = 3000\n")
    sites.paths(tmp_path / "source")
    night(sites, "config")
    spoil = (
        'case "$*" in *--extract*) {path} "$@"; for a in "$@"; do case "$a" in --directory=*) '
        'find "${{a#--directory=}}" -name app.conf -exec sh -c \'printf "port = 4000\\n" > "$1"\' _ {{}} \\; ;; esac; '
        'done;; *) exec {path} "$@";; esac'
    )
    wrapped("tar", "/usr/bin/tar", spoil, tmp_path, monkeypatch)
    with pytest.raises(ProofFailed, match=r"app\.conf: Contents differ|app\.conf: Mod time differs"):
        week(sites, "config")


def test_an_encrypted_backup_is_restored_where_the_site_has_the_key_and_told_of_where_it_has_not(
    sites: SiteFactory, tmp_path: Path
) -> None:
    (tmp_path / "key").mkdir()
    key = age_key(tmp_path / "key")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "names").write_text("the children's names")
    sites.paths(tmp_path / "source")
    sites.encrypted(key.public)
    night(sites, "config")
    assert "identity_conn_id" in week(sites, "config")["reason"]
    assert last_act(sites, "config").detail["light"] == "amber"
    del sites.settings["retention"]
    sites.encrypted(key.public, identity=key.private)
    night(sites, "config", "night-2")
    week(sites, "config")
    assert backup(sites, "config").level is ProofLevel.RESTORED


def test_a_backup_removed_while_it_is_restored_is_not_called_damaged(shop: MySqlDatabase, sites: SiteFactory) -> None:
    manifest = night(sites)
    job = sites.job("week-1")
    folder = sites.folder / "store" / manifest.backup.prefix
    read = job.store.read

    def removed_meanwhile(key: str, *rest: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return read(key, *rest)

    job.store.read = removed_meanwhile  # type: ignore[method-assign]
    try:
        assert prove(job, "app")["restored"] == {}
    except UpkeepError as error:  # pragma: no cover - shown when it fails
        pytest.fail(str(error))
    assert not folder.exists(), "no proof is written where a backup was"
    assert last_act(sites).state == "skipped"


def test_a_newest_backup_that_is_unfit_for_a_restore_is_no_green_week(shop: MySqlDatabase, sites: SiteFactory) -> None:
    sites.back_up("app")
    assert week(sites)["restored"] == {}
    act = last_act(sites)
    assert (act.detail["light"], act.detail["summary"]) == (
        "amber", "nothing is restored: the newest is reached stored only: it is verified first",
    )  # fmt: skip


def test_no_restore_begins_that_the_window_has_no_time_for(shop: MySqlDatabase, sites: SiteFactory) -> None:
    first = night(sites).backup.backup_id
    assert list(week(sites)["restored"]) == [first]
    second = night(sites, run_id="night-2").backup.backup_id
    closed = datetime.now(UTC)
    assert week(sites, until=Until(closed))["restored"] == {}
    left = last_act(sites)
    assert (left.detail["light"], left.started.command) == ("amber", "leave 1 backups for the next window")
    # The last restore took longer than the few milliseconds that are left.
    assert week(sites, until=Until(datetime.now(UTC) + timedelta(milliseconds=30)))["restored"] == {}
    assert list(week(sites, until=Until(datetime.now(UTC) + timedelta(hours=1)))["restored"]) == [second]


def test_told_to_stop_it_begins_no_further_restore(shop: MySqlDatabase, sites: SiteFactory) -> None:
    night(sites)
    with pytest.raises(Stopped, match="1 backups of app were not restored"):
        week(sites, until=Until(told_to_stop=lambda: True))
    assert backup(sites).level is ProofLevel.STRUCTURE


def test_a_copy_whose_rows_nobody_could_count_is_amber_and_not_called_alike(
    mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    mariadb_database.execute("CREATE USER nightly@'%' IDENTIFIED BY 'x'")
    mariadb_database.execute(f"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON {mariadb_database.quoted}.* TO nightly@'%'")
    try:
        login = replace(mariadb_database.endpoint(), user="nightly", secret="x")
        sites.database(mariadb_database, endpoint=login, scratch_conn_id=sites.scratch(mariadb_scratch))
        night(sites)
        week(sites)
        restore(sites.job("evening"), RestoreRequest("app", "scratch"))
    finally:
        mariadb_database.execute("DROP USER nightly@'%'")
    by_hand = list(sites.job().ledger.acts(site="kindergarten", target="app", duty="restore"))[-1].detail
    assert (by_hand["light"], "no exact counts to compare with" in by_hand["summary"]) == ("amber", True)
    detail = last_act(sites).detail
    assert detail["light"] == "amber"
    assert "its rows are not compared: its manifest has estimates: the account may not hold writes" in detail["summary"]


def test_what_stands_under_a_copys_name_and_is_not_of_this_run_stays(
    shop: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Upkeep with a ledger of its own may restore the same backup on the same server."""
    manifest = night(sites)
    theirs = scratch_name("kindergarten", "app", manifest.backup.backup_id)
    monkeypatch.setattr(Scratch, "leftovers", lambda _: [])  # it came after the sweep
    with MySqlDatabase(mariadb_scratch, theirs).existing():
        with pytest.raises(RestoreUnavailable, match="there is already a database"):
            week(sites)
        assert mariadb_scratch.databases() == {theirs}
    assert backup(sites).standing == "structure"


def test_a_link_that_somebody_put_under_a_copys_name_leads_nowhere(
    sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("source", "shared", "precious"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "app.conf").write_text("port = 3000\n")
    (tmp_path / "precious").chmod(0o755)
    sites.paths(tmp_path / "source")
    manifest = night(sites, "config")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "shared"))
    trap = tmp_path / "shared" / scratch_name("kindergarten", "config", manifest.backup.backup_id)
    trap.symlink_to(tmp_path / "precious")
    with pytest.raises(RestoreUnavailable, match="there is already a"):
        week(sites, "config")
    assert (tmp_path / "precious").stat().st_mode & 0o777 == 0o755
    assert trap.is_symlink()
    assert backup(sites, "config").standing == "structure"


def test_keys_that_expire_while_the_others_are_counted_are_no_difference(
    redis_server: RedisServer, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_night(redis_server, sites, 70, "3")
    count = ScratchRedis.keys

    def keys(server: ScratchRedis) -> dict[int, int]:
        found = count(server)
        with server.connect(3) as client:
            key = client.randomkey()
            client.pexpire(key, 1)
            time.sleep(0.01)
            assert client.get(key) is None
        return found

    monkeypatch.setattr(ScratchRedis, "keys", keys)
    week(sites, "sessions")
    assert proof(sites, "sessions")["figures"]["expired"] == 1


def test_a_throwaway_redis_that_is_ended_meanwhile_says_nothing_about_the_backup(
    redis_server: RedisServer, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_night(redis_server, sites, 10)
    count = ScratchRedis.keys

    def keys(server: ScratchRedis) -> dict[int, int]:
        with server.connect() as client:
            client.shutdown(nosave=True)
        return count(server)

    monkeypatch.setattr(ScratchRedis, "keys", keys)
    with pytest.raises(RestoreUnavailable, match="infrastructure: the throwaway redis-server broke off"):
        week(sites, "sessions")
    assert backup(sites, "sessions").standing == "structure"


def test_a_check_that_gives_no_number_to_compare_can_not_hold(postgres_scratch: PostgresServer) -> None:
    with PostgresRestorer(postgres_scratch.endpoint()).connect("postgres") as connection:
        for nothing in ("'NaN'::float8", "'NaN'::numeric", "NULL::int"):
            checks = [Check(sql=f"SELECT {nothing}", at_least=1)]
            with pytest.raises(RestoreUnavailable, match="doesn't give one number"):
                run_checks(connection, "postgres", checks, 5, ok=True)
