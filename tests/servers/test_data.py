"""The generators make what they claim, the same from the same seed, and a fingerprint sees every difference."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers.data import (
    Fingerprint,
    describe_folder,
    fill_chronoretrace,
    fill_folder,
    fill_hostile_mysql,
    fill_hostile_postgres,
    fill_kindergarten,
    fill_redis,
    fingerprint_mysql,
    fingerprint_postgres,
    fingerprint_redis,
    grow_mysql,
    grow_postgres,
)
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mysql import MySqlServer
from tests.servers.postgres import programs
from tests.servers.redis_server import RedisServer

NOW = datetime(2026, 11, 21)  # noqa: DTZ001 MySQL's DATETIME has no time zone


def of_mysql(database: MySqlDatabase) -> Fingerprint:
    with database.connect() as connection:
        return fingerprint_mysql(connection, database.name)


def of_postgres(database: PostgresDatabase) -> Fingerprint:
    with database.connect() as connection:
        return fingerprint_postgres(connection)


# The two sample systems


def test_the_kindergarten_has_the_manuals_tables_and_what_goes_with_them(any_mysql_database: MySqlDatabase) -> None:
    with any_mysql_database.connect() as connection:
        filled = fill_kindergarten(connection, rows=500, now=NOW)
    found = of_mysql(any_mysql_database)
    assert {table: rows for table, (rows, _) in found.tables.items()} == filled
    assert filled["attendance_records"] == 500
    assert {kind: len(found.objects[kind]) for kind in ("view", "trigger", "routine", "event")} == {
        "view": 1,
        "trigger": 1,
        "routine": 2,
        "event": 1,
    }
    assert "p202611" in found.objects["definition"]["attendance_records"]
    assert any_mysql_database.query("SELECT COUNT(*) > 0 FROM students WHERE status = 'active'") == [(1,)]


def test_part_of_the_kindergarten_is_due_for_purging(mariadb_database: MySqlDatabase) -> None:
    with mariadb_database.connect() as connection:
        filled = fill_kindergarten(connection, rows=500)
    for table, due in (("audit_logs", "created_at < NOW() - INTERVAL 30 DAY"), ("tokens", "expires_at < NOW()")):
        [(rows,)] = mariadb_database.query(f"SELECT COUNT(*) FROM {table} WHERE {due}")
        assert 0 < rows < filled[table]


def test_chronoretrace_has_partitions_large_objects_and_a_filled_materialised_view(
    postgres_database: PostgresDatabase,
) -> None:
    with postgres_database.connect() as connection:
        filled = fill_chronoretrace(connection, rows=500, now=NOW.replace(tzinfo=UTC))
    found = of_postgres(postgres_database)
    assert {name: found.tables[name if "." in name else f"public.{name}"][0] for name in filled} == filled
    assert filled["market.price_history"] == 500
    assert found.tables["market.price_history_202605"][0] > 0
    assert found.tables["market.price_history_default"][0] == 0
    assert found.tables["market.monthly_close"][0] > 0
    assert len(found.objects["large object"]) == 3
    assert set(found.objects["extension"]) == {"plpgsql", "citext", "pgcrypto"}


def test_the_same_seed_makes_the_same_rows_on_mysql(mariadb_database: MySqlDatabase) -> None:
    seen = []
    for seed in (1, 1, 2):
        mariadb_database.drop()
        mariadb_database.create()
        with mariadb_database.connect() as connection:
            fill_kindergarten(connection, rows=200, seed=seed, now=NOW)
        seen.append(of_mysql(mariadb_database))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_the_same_seed_makes_the_same_rows_on_postgres(postgres_database: PostgresDatabase) -> None:
    seen = []
    for seed in (1, 1, 2):
        postgres_database.drop()
        postgres_database.create()
        with postgres_database.connect() as connection:
            fill_chronoretrace(connection, rows=200, seed=seed, now=NOW.replace(tzinfo=UTC))
        seen.append(of_postgres(postgres_database))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_a_redis_holds_every_type_and_some_keys_expire(redis_server: RedisServer) -> None:
    client = redis_server.connect()
    client.flushall()
    assert fill_redis(client, keys=350) == 350 == client.dbsize()
    found = fingerprint_redis(client)
    assert {kind for kind, _, _ in found.values()} == {"string", "hash", "list", "set", "zset", "stream"}
    assert sum(expires for _, _, expires in found.values()) == 50
    client.flushall()
    fill_redis(client, keys=350)
    assert fingerprint_redis(client) == found
    client.append("cache:page:0", b"\x00")
    assert fingerprint_redis(client) != found


# The hostile databases, through the tools that everyone has


def test_a_hostile_mysql_database_survives_a_dump(any_mysql_database: MySqlDatabase) -> None:
    database = any_mysql_database
    with database.connect() as connection:
        fill_hostile_mysql(connection, broken_view=False)
    source = of_mysql(database)
    oracle = isinstance(database.server, MySqlServer)
    folder = f"{database.server.programs}/" if isinstance(database.server, MySqlServer) else ""
    login = [f"--host={database.server.host}", f"--port={database.server.port}", f"--user={database.server.user}"]
    login.append("--default-character-set=utf8mb4")
    dump = [f"{folder}mysqldump" if oracle else "mariadb-dump", *login, "--single-transaction"]
    dump += ["--hex-blob", "--routines", "--events"]
    client = [f"{folder}mysql" if oracle else "mariadb", *login, "--comments", database.name]
    env = {**os.environ, "MYSQL_PWD": database.server.password}
    if oracle:
        dump.append("--set-gtid-purged=OFF")
    dumped = subprocess.run([*dump, database.name], env=env, capture_output=True, check=True).stdout
    database.drop()
    database.create()
    subprocess.run(client, input=dumped, env=env, check=True)
    assert source.differences(of_mysql(database)) == []
    assert {"orphaned_view", "healthy_view"} <= set(source.objects["view"])


def test_a_hostile_mysql_database_has_a_broken_view(mariadb_database: MySqlDatabase) -> None:
    with mariadb_database.connect() as connection:
        fill_hostile_mysql(connection, long_row_bytes=100)
    with pytest.raises(Exception, match="references invalid table"):
        mariadb_database.query("SELECT * FROM broken_view")


def test_a_hostile_postgres_database_survives_a_dump(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    database, server = postgres_database, postgres_database.server
    with database.connect() as connection:
        fill_hostile_postgres(connection)
    source = of_postgres(database)
    login = [f"--host={server.host}", f"--port={server.port}", f"--username={server.user}", f"--dbname={database.name}"]
    env = {**os.environ, "PGPASSWORD": server.password}
    archive = tmp_path / "archive"
    subprocess.run([programs() / "pg_dump", *login, "-Fc", "-Z0", f"--file={archive}"], env=env, check=True)
    database.drop()
    database.create()
    subprocess.run([programs() / "pg_restore", *login, "--exit-on-error", archive], env=env, check=True)
    assert source.differences(of_postgres(database)) == []
    assert source.objects["event trigger"]


# A fingerprint sees every difference


CHANGES_ON_MYSQL = [
    ("UPDATE blobs SET body = CONCAT(body, X'00') WHERE id = 0", "table blobs differs"),
    ("UPDATE blobs SET body = INSERT(body, 200, 1, X'FF') WHERE id = 0", "table blobs differs"),
    ("UPDATE texts SET body = CONCAT(body, ' ') WHERE body = ''", "table texts differs"),
    ("UPDATE texts SET body = '' WHERE body IS NULL", "table texts differs"),
    ("UPDATE computed SET name = NULL WHERE id = 1", "table computed differs"),
    ("UPDATE times SET dt = dt + INTERVAL 1 MICROSECOND WHERE id = 4", "table times differs"),
    ("UPDATE numbers SET price = price + 0.000000000000000000000000000001 WHERE id = 2", "table numbers differs"),
    ("UPDATE choices SET document = '[1]' WHERE id = 2", "table choices differs"),
    ("UPDATE places SET at = ST_GeomFromText('POINT(0 1)') WHERE id = 3", "table places differs"),
    ("DELETE FROM no_primary_key WHERE a = 1 LIMIT 1", "table no_primary_key differs"),
    ("DELETE FROM no_primary_key WHERE a = 1", "table no_primary_key differs"),
    ("DROP TABLE empty_table", "table empty_table is missing"),
    ("CREATE TABLE another (id INT)", "table another is new"),
    ("ALTER TABLE texts COMMENT = 'x'", "definition texts differs"),
    ("DROP TRIGGER second_of_its_kind", "trigger second_of_its_kind is missing"),
    ("ALTER EVENT `nightly 清理` ENABLE", "event nightly 清理 differs"),
    ("DROP EVENT `nightly 清理`", "event nightly 清理 is missing"),
    ("DROP PROCEDURE orphaned_procedure", "routine procedure orphaned_procedure is missing"),
    ("ALTER VIEW healthy_view AS SELECT 1", "view healthy_view differs"),
]

CHANGES_ON_POSTGRES = [
    ("UPDATE bytes SET body = body || '\\x00' WHERE id = 0", "table public.bytes differs"),
    ("UPDATE bytes SET body = set_byte(body, 200, 0) WHERE id = 0", "table public.bytes differs"),
    ("UPDATE texts SET body = '' WHERE body IS NULL", "table public.texts differs"),
    ("UPDATE times SET ts = ts + interval '1 us' WHERE id = 3", "table public.times differs"),
    ("UPDATE numbers SET n = 0.1 WHERE id = 5", "table public.numbers differs"),
    ("DELETE FROM no_primary_key WHERE a = 1", "table public.no_primary_key differs"),
    ("INSERT INTO zero_columns DEFAULT VALUES", "table public.zero_columns differs"),
    ("DROP TABLE empty_table", "table public.empty_table is missing"),
    ("CREATE TABLE another ()", "table public.another is new"),
    ("ALTER TABLE unlogged SET LOGGED", "relation public.unlogged differs"),
    ("ALTER TABLE owned OWNER TO CURRENT_USER", "relation public.owned differs"),
    ('REVOKE SELECT ON texts FROM "upkeep 园长"', "relation public.texts differs"),
    ("COMMENT ON TABLE texts IS 'x'", "relation public.texts differs"),
    ("ALTER TABLE numbers ALTER n SET DEFAULT 1", "column public.numbers.n differs"),
    ("SELECT nextval('lonely')", "sequence public.lonely differs"),
    ("REFRESH MATERIALIZED VIEW never_filled", "table public.never_filled is new"),
    ('DROP POLICY "own tenant" ON guarded', "policy guarded.own tenant is missing"),
    ("DROP RULE silent ON owned", "rule public.owned.silent is missing"),
    ("DROP EVENT TRIGGER upkeep_ddl", "event trigger upkeep_ddl is missing"),
    ("ALTER TABLE by_range ENABLE TRIGGER switched_off", "trigger public.by_range.switched_off differs"),
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "type public.mood differs"),
    ("ALTER DOMAIN positive DROP DEFAULT", "type public.positive differs"),
    ("SELECT lo_put(4000002, 0, '\\x01')", "large object 4000002 differs"),
    ("SELECT lo_unlink(4000001)", "large object 4000001 is missing"),
    ('DROP INDEX "expression index"', 'index public."expression index" is missing'),
    ('ALTER TABLE cycle_a DROP CONSTRAINT "to b"', "constraint public.cycle_a.to b is missing"),
    ("ALTER EXTENSION hstore SET SCHEMA public", "extension hstore differs"),
    ("CREATE OR REPLACE PROCEDURE tidy_up() LANGUAGE sql AS 'SELECT 1'", "function public.tidy_up() differs"),
]


def test_a_fingerprint_sees_a_change_on_mysql(any_mysql_database: MySqlDatabase) -> None:
    with any_mysql_database.connect() as connection:
        fill_hostile_mysql(connection, broken_view=False, long_row_bytes=100)
    before = of_mysql(any_mysql_database)
    for change, seen in CHANGES_ON_MYSQL:
        any_mysql_database.execute(change)
        after = of_mysql(any_mysql_database)
        found = before.differences(after)
        assert any(line.startswith(seen) for line in found), f"{change} was seen as {found}"
        before = after


def test_a_fingerprint_sees_a_change_on_postgres(postgres_database: PostgresDatabase) -> None:
    with postgres_database.connect() as connection:
        fill_hostile_postgres(connection, long_row_bytes=100)
    before = of_postgres(postgres_database)
    for change, seen in CHANGES_ON_POSTGRES:
        postgres_database.execute(change)
        after = of_postgres(postgres_database)
        found = before.differences(after)
        assert any(line.startswith(seen) for line in found), f"{change} was seen as {found}"
        before = after


def test_a_fingerprint_does_not_depend_on_the_order_of_rows(postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE TABLE t (i int)")
    seen = []
    for order in ("ASC", "DESC"):
        postgres_database.execute("TRUNCATE t")
        postgres_database.execute(f"INSERT INTO t SELECT i FROM generate_series(1, 1000) i ORDER BY i {order}")
        seen.append(of_postgres(postgres_database))
    assert seen[0] == seen[1]


# Bulk


def test_grown_rows_have_the_size_that_was_asked_for_and_compress_like_the_real_thing(
    mariadb_database: MySqlDatabase, postgres_database: PostgresDatabase
) -> None:
    with mariadb_database.connect() as connection:
        rows = grow_mysql(connection, 8, tables=2)
    with postgres_database.connect() as connection:
        assert grow_postgres(connection, 8, tables=2) == rows
    statement = "SELECT * FROM documents_1 UNION ALL SELECT * FROM documents_2 ORDER BY 1, 2, 3"
    on_mysql = [",".join(map(str, row)) for row in mariadb_database.query(statement)]
    on_postgres = [",".join(map(str, row)) for row in postgres_database.query(statement)]
    assert len(on_mysql) == rows
    assert on_mysql == on_postgres
    text = "\n".join(",".join(map(str, row)) for row in mariadb_database.query("SELECT * FROM documents_1")).encode()
    assert len(text) == pytest.approx(4_000_000, rel=0.05)
    assert 2.4 < len(text) / len(zlib.compress(text, 6)) < 2.8


# Folders


def test_a_folder_has_what_a_copy_loses_easily(tmp_path: Path) -> None:
    fill_folder(tmp_path / "etc")
    found = describe_folder(tmp_path / "etc")
    kinds = {str(facts[0])[0] for facts in found.values()}
    assert kinds == {"-", "d", "l", "p"}
    assert found["setuid"][0] == "-rwsr-xr-x"
    assert found["link to nowhere"][-2:] == ("->", "no such file")
    assert found["深圳/hard link to app.conf"][-1] == found["app.conf"][-1]
    assert any(name.encode("utf-8", "surrogateescape").endswith(b"\xff\xfe") for name in found)
    assert (found["old"][1] == 12_345) == (os.geteuid() == 0)
    assert not any("secret" in name for name in found)
    assert describe_folder(tmp_path / "etc") == found


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "app.conf").write_text("port = 3001\n# 配置\n"),
        lambda path: (path / "run.sh").chmod(0o644),
        lambda path: (path / "empty folder").rmdir(),
        lambda path: (path / "fifo").unlink(),
        lambda path: os.utime(path / "old"),
        lambda path: ((path / "link inside").unlink(), (path / "link inside").symlink_to("empty")),
        lambda path: (path / "深圳" / "hard link to app.conf").unlink(),
        lambda path: (path / "new").hardlink_to(path / "old"),
    ],
)
def test_a_description_of_a_folder_sees_a_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    fill_folder(tmp_path / "etc")
    before = describe_folder(tmp_path / "etc")
    change(tmp_path / "etc")
    assert describe_folder(tmp_path / "etc") != before
