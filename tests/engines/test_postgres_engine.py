"""PostgreSQL: backed up by the duty, restored by the manifest's own line, compared to the last byte."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, postgres_home, run_line, try_line
from tests.servers.base import AWKWARD
from tests.servers.data.fingerprint_postgres import fingerprint_postgres
from tests.servers.data.hostile_postgres import OWNER, fill_hostile_postgres
from tests.servers.databases import PostgresDatabase
from tests.servers.postgres import PostgresServer, programs
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.verify import verify
from upkeep.engines.pipeline import capture, run
from upkeep.errors import SourceError, ToolFailed, ToolUnfit

Restore = Callable[..., PostgresDatabase]
PASSWORD_HASH = "SCRAM-SHA-256"
WEAK = "weak but its own"


@pytest.fixture
def restored(postgres_scratch: PostgresServer, sites: SiteFactory, tmp_path: Path) -> Iterator[Restore]:
    """Restore a backup elsewhere with its own line; the copy."""
    copies: list[PostgresDatabase] = []

    def restore(manifest: Manifest, key: AgeKey | None = None) -> PostgresDatabase:
        folder = sites.fetch(manifest, tmp_path / "restore")
        if key:
            (folder / "key.txt").write_text(key.file.read_text())
        copy = PostgresDatabase(postgres_scratch, str(manifest.source["database"]))
        copies.append(copy)
        run_line(manifest.restore, folder, postgres_home(postgres_scratch))
        return copy

    yield restore
    for copy in copies:
        copy.drop()


@pytest.fixture
def account(postgres_database: PostgresDatabase) -> Iterator[Callable[..., Endpoint]]:
    """Make a role that may log in and has the given grants."""
    database = postgres_database
    made: list[str] = []

    def make(*grants: str, password: str = WEAK) -> Endpoint:
        name = f"limited_{len(made)}_{database.name[-8:]}"
        made.append(name)
        with database.connect() as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), password))
        for grant in grants:
            database.execute(f"GRANT {grant} TO {name}")
        return replace(database.endpoint(), user=name, secret=password)

    yield make
    for name in made:
        database.execute(f"DROP OWNED BY {name}")
        database.execute(f"DROP ROLE {name}")


def fill_small(database: PostgresDatabase) -> None:
    database.execute("CREATE TABLE students (id serial PRIMARY KEY, name text)")
    database.execute("INSERT INTO students (name) VALUES ('张'), ('王'), ('李')")


def script(sites: SiteFactory, manifest: Manifest) -> str:
    """What the backup keeps of roles and tablespaces."""
    path = sites.folder / "store" / manifest.backup.prefix / "globals.sql.zst"
    return subprocess.run(["zstd", "-d", "-c", path], check=True, capture_output=True, text=True).stdout


def archive(sites: SiteFactory, manifest: Manifest, folder: Path) -> Path:
    path = sites.folder / "store" / manifest.backup.prefix / "dump.zst"
    plain = folder / "dump"
    subprocess.run(["zstd", "-q", "-d", path, "-o", plain], check=True)
    return plain


def test_a_hostile_database_comes_back_exactly(
    postgres_database: PostgresDatabase, sites: SiteFactory, restored: Restore
) -> None:
    database = postgres_database
    with database.connect() as connection:
        fill_hostile_postgres(connection, long_row_bytes=2_000_000)
    sites.database(database)
    manifest = sites.back_up()
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    copy = restored(manifest)
    with database.connect() as connection, copy.connect() as other:
        source = fingerprint_postgres(connection)
        assert source.rows > 60
        assert source.differences(fingerprint_postgres(other)) == []
        assert other.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() == (3,)
    assert manifest.rows_are == "exact"
    assert manifest.contents["large_objects"] == 3
    assert manifest.warnings == ()
    assert manifest.contents["role_passwords"] is False, "hashes belong in encrypted backups only"
    with database.connect() as connection:
        for table, said in manifest.contents["tables"].items():
            schema, _, name = table.partition(".")
            query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
            assert connection.execute(query).fetchone() == (said["rows"],), table


def test_the_archive_can_be_restored_by_several_jobs_at_once(
    postgres_database: PostgresDatabase, postgres_scratch: PostgresServer, sites: SiteFactory, tmp_path: Path
) -> None:
    with postgres_database.connect() as connection:
        fill_hostile_postgres(connection, long_row_bytes=1_000)
    sites.database(postgres_database)
    manifest = sites.back_up()
    plain = archive(sites, manifest, tmp_path)
    copy = PostgresDatabase(postgres_scratch, postgres_database.name)
    home = postgres_home(postgres_scratch)
    try:
        run_line(f"{unpack('globals.sql')} | psql --quiet --dbname=postgres", sites.fetch(manifest, tmp_path), home)
        run_line(f"createdb {copy.name} && pg_restore -j2 --exit-on-error --dbname={copy.name} {plain}", tmp_path, home)
        with postgres_database.connect() as connection, copy.connect() as other:
            assert fingerprint_postgres(connection).differences(fingerprint_postgres(other)) == []
    finally:
        copy.drop()


def unpack(name: str) -> str:
    return f"zstd -q -d -c {name}.zst"


def test_the_copy_keeps_encoding_locale_and_settings_of_the_database(
    postgres_scratch: PostgresServer, sites: SiteFactory, tmp_path: Path
) -> None:
    with PostgresServer() as server:  # of its own: roles whose names EUC_CN can't express can't be dumped from there
        with server.connect() as connection:
            connection.execute(
                "CREATE DATABASE legacy ENCODING 'EUC_CN' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 "
                "CONNECTION LIMIT 7"
            )
            connection.execute("ALTER DATABASE legacy SET work_mem = '7MB'")
            connection.execute("COMMENT ON DATABASE legacy IS 'an old one'")
        database, copy = (PostgresDatabase(place, "legacy") for place in (server, postgres_scratch))
        with database.connect() as connection:
            connection.execute("SET client_encoding = 'UTF8'")
            connection.execute('CREATE TABLE "学生" (id int, "名字" text)')
            connection.execute("INSERT INTO \"学生\" VALUES (1, '张老师')")
        sites.database(database)
        manifest = sites.back_up()
        assert {name: table["rows"] for name, table in manifest.contents["tables"].items()} == {"public.学生": 1}
        assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
        about = (
            "SELECT pg_encoding_to_char(encoding), datcollate, datconnlimit, shobj_description(oid, 'pg_database'), "
            "current_setting('work_mem') FROM pg_database WHERE datname = current_database()"
        )
        try:
            run_line(manifest.restore, sites.fetch(manifest, tmp_path / "restore"), postgres_home(postgres_scratch))
            assert copy.query(about) == database.query(about)
            with copy.connect() as connection:
                connection.execute("SET client_encoding = 'UTF8'")
                assert connection.execute('SELECT "名字" FROM "学生"').fetchall() == [("张老师",)]
        finally:
            copy.drop()


def test_a_database_without_an_encoding_is_backed_up_too(postgres_server: PostgresServer, sites: SiteFactory) -> None:
    """In SQL_ASCII the server doesn't know which characters its bytes are."""
    database = PostgresDatabase(postgres_server, "bytes_only")
    with postgres_server.connect() as connection:
        connection.execute(
            "CREATE DATABASE bytes_only ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    try:
        with database.connect() as connection:
            connection.execute("SET client_encoding = 'SQL_ASCII'")
            connection.execute('CREATE TABLE "学生" (name text)'.encode("gbk"))
            connection.execute("INSERT INTO \"学生\" VALUES ('张')".encode("gbk"))
        sites.database(database)
        manifest = sites.back_up()
        assert manifest.rows_are == "exact"
        assert [table["rows"] for table in manifest.contents["tables"].values()] == [1]
        assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    finally:
        database.drop()


def test_an_empty_database_is_backed_up_and_restored(
    postgres_database: PostgresDatabase, sites: SiteFactory, restored: Restore
) -> None:
    sites.database(postgres_database)
    manifest = sites.back_up()
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    assert manifest.contents["tables"] == {}
    assert restored(manifest).query("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        'it\'s "quoted"',
        "幼儿园",
        "host=nowhere dbname=postgres",
        "postgresql://nowhere/x",
        "$(touch gone)",
        "-rf",
        "back\\slash",
    ],
)
def test_any_database_name_can_be_backed_up_and_restored(
    postgres_server: PostgresServer, sites: SiteFactory, restored: Restore, tmp_path: Path, name: str
) -> None:
    database = PostgresDatabase(postgres_server, name)
    with database.existing():
        fill_small(database)
        sites.database(database)
        manifest = sites.back_up()
        assert restored(manifest).query("SELECT name FROM students ORDER BY id") == [("张",), ("王",), ("李",)]
        assert not list(tmp_path.rglob("gone"))


def test_a_damaged_archive_makes_the_restore_line_fail(
    postgres_database: PostgresDatabase, postgres_scratch: PostgresServer, sites: SiteFactory, tmp_path: Path
) -> None:
    postgres_database.execute("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
    sites.database(postgres_database)
    manifest = sites.back_up()
    file = sites.fetch(manifest, tmp_path / "restore") / "dump.zst"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    done = try_line(manifest.restore, file.parent, postgres_home(postgres_scratch))
    PostgresDatabase(postgres_scratch, postgres_database.name).drop()
    assert done.returncode != 0
    assert "premature end" in done.stderr


# The moment.


def test_counts_are_those_of_the_dump_while_others_write(
    postgres_database: PostgresDatabase, sites: SiteFactory, restored: Restore
) -> None:
    database = postgres_database
    for table in ("debit", "credit"):
        database.execute(
            f"CREATE TABLE {table} AS SELECT g AS id, repeat('x', 500) AS note FROM generate_series(1, 3000) g"
        )
    database.execute("CREATE TABLE accounts AS SELECT g AS id, 100 AS balance FROM generate_series(1, 40) g")
    sites.database(database)
    with writers(database) as transactions:
        manifests = [sites.back_up(run_id=f"night-{number}") for number in range(2)]
        during = len(transactions)
    assert during > 20, "nobody wrote during the dumps"
    for manifest in manifests:
        assert manifest.rows_are == "exact"
        copy = restored(manifest)
        said = {name: table["rows"] for name, table in manifest.contents["tables"].items()}
        assert said == {
            f"public.{table}": copy.query(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("debit", "credit", "accounts")
        }
        assert said["public.debit"] == said["public.credit"] > 3_000
        assert copy.query("SELECT sum(balance) FROM accounts") == [(4_000,)]
        copy.drop()


@contextmanager
def writers(database: PostgresDatabase) -> Iterator[list[int]]:
    """Several sessions that keep two tables alike and a sum constant; a list that grows with every transaction."""
    over, errors, transactions = threading.Event(), list[BaseException](), list[int]()

    def write(number: int) -> None:
        turn = number
        try:
            with database.connect() as connection:
                while not over.is_set():
                    turn += 7
                    first, second = sorted((turn % 40 + 1, (turn * 3 + 1) % 40 + 1))
                    with connection.transaction():
                        connection.execute("INSERT INTO debit VALUES (0, 'd')")
                        connection.execute("UPDATE accounts SET balance = balance - 1 WHERE id = %s", [first])
                        connection.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", [second])
                        connection.execute("INSERT INTO credit VALUES (0, 'c')")
                    transactions.append(turn)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    try:
        yield transactions
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not errors, f"the backup made a writer fail: {errors}"


def test_the_log_position_lies_between_what_was_written_before_and_after(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    database = postgres_database
    fill_small(database)
    sites.database(database)
    before = database.query("SELECT pg_current_wal_lsn()::text")[0][0]
    manifest = sites.back_up()
    after = database.query("SELECT pg_current_wal_lsn()::text")[0][0]
    lsn = manifest.position["lsn"]
    assert database.query("SELECT %s::pg_lsn <= %s::pg_lsn AND %s::pg_lsn <= %s::pg_lsn", before, lsn, lsn, after) == [
        (True,)
    ]
    assert manifest.position["timeline"] == 1


def test_timeouts_meant_for_applications_do_not_end_the_dump(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    database = postgres_database
    fill_small(database)
    for setting in ("statement_timeout = '9s'", "idle_in_transaction_session_timeout = '200ms'"):
        database.execute(f'ALTER DATABASE "{database.name}" SET {setting}')
    sites.database(database)
    engine = sites.job().engine("app")
    with engine.snapshot() as snapshot:
        time.sleep(0.5)
        ended = {stream.name: run([stream.command], len, started=stream.started) for stream in snapshot.streams}
        assert snapshot.facts(ended).rows_are == "exact"
        for stream in snapshot.streams:
            show = replace(
                stream.command, argv=["psql", "-At", f"--dbname={database.name}", "-c", "SHOW statement_timeout"]
            )
            assert capture(show) == b"0\n"


def test_a_server_without_such_timeouts_is_sent_no_options_which_a_pooler_would_refuse(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    sites.database(postgres_database)
    with sites.job().engine("app").snapshot() as snapshot:
        assert all("PGOPTIONS" not in stream.command.env for stream in snapshot.streams)


def test_a_megabyte_of_checksum_under_mb_is_a_million_bytes(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    for name, rows in (("under", 90), ("over", 122)):  # one on each page
        postgres_database.execute(f"CREATE TABLE {name} (t text)")
        postgres_database.execute(f"ALTER TABLE {name} ALTER t SET STORAGE PLAIN")
        postgres_database.execute(f"INSERT INTO {name} SELECT repeat('x', 7000) FROM generate_series(1, {rows})")
    [(size,)] = postgres_database.query("SELECT pg_table_size('over')")
    assert 1_000_000 < size < 1 << 20
    sites.database(postgres_database, checksum_under_mb=1)
    tables = sites.back_up().contents["tables"]
    assert [name for name, table in tables.items() if "checksum" in table] == ["public.under"]


# Never in the way.


def test_a_table_under_an_exclusive_lock_fails_the_backup_within_lock_timeout_s(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    database = postgres_database
    fill_small(database)
    sites.database(database, lock_timeout_s=1)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE students IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        with pytest.raises(ToolFailed, match=r"statement timeout \(LOCK TABLE public\.students") as caught:
            back_up(sites.job(), "app")
        took = time.monotonic() - begun
    assert took < 6
    assert "raise lock_timeout_s" in caught.value.hint
    assert not list((sites.folder / "store").rglob("manifest.json"))
    assert database.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'upkeep'") == [(0,)]


# What the account may do.


def test_a_table_the_account_may_not_read_is_an_error_that_names_it(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(postgres_database)
    postgres_database.execute("CREATE TABLE secrets (id int)")
    sites.database(postgres_database, endpoint=account("SELECT ON students, students_id_seq"))
    with pytest.raises(ToolFailed, match="permission denied for table secrets") as caught:
        back_up(sites.job(), "app")
    assert "grant the account the missing privilege" in caught.value.hint
    assert not list((sites.folder / "store").rglob("*.zst"))


def test_rows_hidden_by_row_security_are_an_error_not_an_omission(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(postgres_database)
    postgres_database.execute("ALTER TABLE students ENABLE ROW LEVEL SECURITY")
    postgres_database.execute("CREATE POLICY few ON students USING (id = 1)")
    sites.database(postgres_database, endpoint=account("pg_read_all_data"))
    with pytest.raises(ToolFailed, match="row-level security policy"):
        back_up(sites.job(), "app")


def test_an_account_that_reads_everything_and_no_more_is_enough(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    fill_small(postgres_database)
    sites.database(postgres_database, endpoint=account("pg_read_all_data"))
    manifest = sites.back_up()
    assert manifest.rows_are == "exact"
    assert manifest.source["identity"]


def test_role_passwords_are_left_out_of_a_backup_that_is_not_encrypted(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory
) -> None:
    endpoint = account("pg_read_all_data")
    sites.database(postgres_database)
    text = script(sites, sites.back_up())
    assert f"CREATE ROLE {endpoint.user};" in text
    assert PASSWORD_HASH not in text


def test_role_passwords_are_kept_in_an_encrypted_backup_and_work_after_the_restore(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    account: Callable[..., Endpoint],
    sites: SiteFactory,
    key: AgeKey,
    tmp_path: Path,
) -> None:
    """The account that restores gets the source's password too: it must not be locked out half-way."""
    endpoint = account("pg_read_all_data", password=AWKWARD)
    fill_small(postgres_database)
    sites.database(postgres_database)
    sites.encrypted(key.public)
    manifest = sites.back_up()
    assert {file.name for file in manifest.files} == {"globals.sql.zst.age", "dump.zst.age"}
    assert manifest.warnings == ()
    folder = sites.fetch(manifest, tmp_path / "restore")
    (folder / "key.txt").write_text(key.file.read_text())
    own = postgres_scratch.password
    try:
        run_line(manifest.restore, folder, postgres_home(postgres_scratch))
        postgres_scratch.password = postgres_database.server.password
        copy = PostgresDatabase(postgres_scratch, postgres_database.name)
        with postgres_scratch.connect(copy.name, user=endpoint.user, password=AWKWARD) as connection:
            assert connection.execute("SELECT count(*) FROM students").fetchone() == (3,)
    finally:
        copy.drop()
        with postgres_scratch.connect() as connection:
            connection.execute(f"DROP ROLE {endpoint.user}".encode())
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(postgres_scratch.user), own))
        postgres_scratch.password = own


def test_an_account_that_may_not_read_password_hashes_says_so_in_the_manifest(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory, key: AgeKey
) -> None:
    fill_small(postgres_database)
    sites.database(postgres_database, endpoint=account("SELECT ON students, students_id_seq"))
    sites.encrypted(key.public)
    manifest = sites.back_up()
    assert manifest.warnings == ("roles are kept without their passwords: the account may not read pg_authid",)


def test_a_wrong_password_is_an_error_that_names_the_connection_and_no_secret(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    sites.database(postgres_database, endpoint=replace(postgres_database.endpoint(), secret="not the password"))
    with pytest.raises(SourceError, match="connection_0") as caught:
        back_up(sites.job(), "app")
    assert "check user and password" in caught.value.hint
    assert "not the password" not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(postgres_server: PostgresServer, sites: SiteFactory) -> None:
    sites.database(PostgresDatabase(postgres_server, "no such one"))
    with pytest.raises(SourceError, match="'no such one'") as caught:
        back_up(sites.job(), "app")
    assert "check the database name" in caught.value.hint


@pytest.mark.parametrize("password", [AWKWARD, ":\\:", " lead and trail ", "'\"#", "%(x)s ${HOME} `id`"])
def test_any_password_reaches_both_the_engine_and_the_programs(
    postgres_database: PostgresDatabase, account: Callable[..., Endpoint], sites: SiteFactory, password: str
) -> None:
    fill_small(postgres_database)
    sites.database(postgres_database, endpoint=account("pg_read_all_data", password=password))
    assert sites.back_up().rows_are == "exact"


# Which program.


def test_programs_older_than_the_server_are_refused(
    postgres_database: PostgresDatabase, sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian keeps every release beside the others: on this worker there is only an old one."""
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        program = tmp_path / "9.6" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 9.6.24 (Debian 9.6.24-1)'\n")
        program.chmod(0o755)
    monkeypatch.setenv("UPKEEP_PATH", "")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("upkeep.engines.tools.DEBIAN_POSTGRES", tmp_path)
    sites.database(postgres_database)
    with pytest.raises(ToolUnfit, match=r"the server is PostgreSQL 1\d, but this worker only has pg_dump 9\.6\.24"):
        back_up(sites.job(), "app")


def test_nothing_secret_stands_on_the_command_line_or_on_disk(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    sites.database(postgres_database)
    secret = postgres_database.server.password
    with sites.job().engine("app").snapshot() as snapshot:
        for stream in snapshot.streams:
            assert secret not in " ".join(stream.command.argv)
            assert secret not in " ".join(stream.command.env.values())
            assert all(stat.S_ISREG(os.fstat(number).st_mode) for number in stream.command.pass_fds)
            assert all(os.fstat(number).st_nlink == 0 for number in stream.command.pass_fds)


def test_a_truncated_archive_does_not_pass_for_a_whole_one(
    postgres_database: PostgresDatabase, sites: SiteFactory, tmp_path: Path
) -> None:
    """Its head still lists everything."""
    from upkeep.errors import ProofFailed

    postgres_database.execute("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
    sites.database(postgres_database)
    manifest = sites.back_up()
    whole = archive(sites, manifest, tmp_path).read_bytes()
    engine = sites.job().engine("app")
    about = {"tools": manifest.tools, "contents": manifest.contents}
    check = engine.structure_check("dump", about)
    check.feed(whole)
    assert check.close()["tables"] == 1
    broken = engine.structure_check("dump", about)
    broken.feed(whole[: len(whole) - 5_000])
    with pytest.raises(ProofFailed, match="can't be read to its end"):
        broken.close()


def test_an_archive_that_lacks_a_tables_rows_does_not_pass(
    postgres_database: PostgresDatabase, sites: SiteFactory, tmp_path: Path
) -> None:
    from upkeep.errors import ProofFailed

    fill_small(postgres_database)
    sites.database(postgres_database)
    manifest = sites.back_up()
    whole = archive(sites, manifest, tmp_path).read_bytes()
    contents = {**manifest.contents, "tables": {**manifest.contents["tables"], "public.student": {"rows": 1}}}
    check = sites.job().engine("app").structure_check("dump", {"tools": manifest.tools, "contents": contents})
    check.feed(whole)
    with pytest.raises(ProofFailed, match=r"1 of 2 tables have no data in the archive: public\.student\n"):
        check.close()


def test_the_real_programs_are_those_of_the_servers_release(
    postgres_database: PostgresDatabase, sites: SiteFactory
) -> None:
    sites.database(postgres_database)
    manifest = sites.back_up()
    release = programs().parent.name
    assert manifest.tools["dump_major"] == release
    assert manifest.tools["dump"].startswith(f"pg_dump {release}.")
    assert psycopg.__version__
