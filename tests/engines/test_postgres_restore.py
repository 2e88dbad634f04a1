"""A PostgreSQL backup of the duty is loaded into a scratch server under another name, and is the same there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import Stored
from tests.servers.data.chronoretrace import fill_chronoretrace
from tests.servers.data.fingerprint_postgres import fingerprint_postgres
from tests.servers.data.hostile_postgres import OWNER, fill_hostile_postgres
from tests.servers.databases import PostgresDatabase
from tests.servers.postgres import PostgresServer
from upkeep.domain.manifest import Manifest
from upkeep.engines import postgres_indexes, stopping
from upkeep.engines.pipeline import Pipeline
from upkeep.engines.postgres_copy import Copy, CopyReader, CopySessions, Piece, Rows
from upkeep.engines.postgres_indexes import ByTable, EarlyIndexes, by_table
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.engines.restore_base import Loaded
from upkeep.errors import ProofFailed, RestoreUnavailable, Stopped

LARGE = """
CREATE TABLE large (id bigint PRIMARY KEY, body text, owner int);
CREATE INDEX ON large (md5(body)); CREATE INDEX ON large (owner, id);
CREATE TABLE small (id int PRIMARY KEY, large_id bigint REFERENCES large);
INSERT INTO large SELECT i, E'tab\\t\\\\. \\n' || md5(i::text) || repeat('x', i % 300), i % 7
    FROM generate_series(1, 30000) i;
INSERT INTO large VALUES (0, repeat('long ', 800000), NULL);
INSERT INTO small SELECT i, i FROM generate_series(1, 10) i
"""


@pytest.fixture
def scratch(postgres_scratch: PostgresServer) -> Iterator[PostgresRestorer]:
    restorer = PostgresRestorer(postgres_scratch.endpoint())
    before = restorer.databases()
    yield restorer
    for name in {*restorer.databases(), "proof"} - set(before):
        restorer.drop(name)


@pytest.fixture(params=[postgres_indexes.LARGE, 1], ids=["at the end", "early"])
def indexes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a test's size have their indexes made at the end, or as large ones have."""
    monkeypatch.setattr(postgres_indexes, "LARGE", request.param)


@pytest.fixture
def made(postgres_database: PostgresDatabase, sites: SiteFactory) -> Callable[[str], Manifest]:
    """Back up the database once it is filled."""

    def make(statements: str = "SELECT 1") -> Manifest:
        with postgres_database.connect() as connection:
            connection.execute(statements.encode())
        sites.database(postgres_database)
        return sites.back_up()

    return make


@pytest.fixture
def copied(
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[[str], Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
) -> Callable[[str], tuple[Loaded, PostgresDatabase]]:
    """Back up the database once it is filled, and load that with three jobs."""

    def copy(statements: str) -> tuple[Loaded, PostgresDatabase]:
        manifest = made(statements)
        loaded = scratch.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path, jobs=3)
        return loaded, PostgresDatabase(postgres_scratch, "proof")

    return copy


def roles(server: PostgresServer) -> dict[str, tuple[bool, bool]]:
    with server.connect() as connection:
        found = connection.execute("SELECT rolname, rolcanlogin, rolpassword IS NULL FROM pg_authid").fetchall()
    return {str(name): (login, without) for name, login, without in found if not str(name).startswith("pg_")}


def differences(source: PostgresDatabase, copy: PostgresDatabase) -> list[str]:
    with source.connect() as connection, copy.connect() as other:
        return fingerprint_postgres(connection).differences(fingerprint_postgres(other))


@pytest.mark.usefixtures("indexes")
def test_a_hostile_database_is_the_same_under_another_name(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
) -> None:
    """Owners and grants included: their roles are made, can't log in, and are gone with the copy."""
    with postgres_database.connect() as connection:
        fill_hostile_postgres(connection, long_row_bytes=2_000_000)
    manifest = made()
    with postgres_scratch.connect() as connection:
        connection.execute(f'DROP ROLE IF EXISTS "{OWNER}"'.encode())  # other tests restore it to stay
    before = roles(postgres_scratch)
    loaded = scratch.load(manifest, 'proof of "it"', Stored(sites, manifest), folder=tmp_path)
    assert differences(postgres_database, PostgresDatabase(postgres_scratch, 'proof of "it"')) == []
    while_there = roles(postgres_scratch)
    assert OWNER in set(while_there) - set(before)
    assert all(while_there[name] == (False, True) for name in set(while_there) - set(before))
    assert any(OWNER in note for note in loaded.notes)
    assert list(loaded.seconds) == ["definitions", "rows", "indexes", "all"]
    scratch.drop('proof of "it"')
    assert roles(postgres_scratch) == before
    assert list(tmp_path.iterdir()) == [tmp_path / "site"]


@pytest.mark.usefixtures("indexes")
def test_tables_that_several_sessions_fill_are_the_same(
    postgres_database: PostgresDatabase, copied: Callable[[str], tuple[Loaded, PostgresDatabase]]
) -> None:
    """The longest row is longer than any chunk, text holds what ends a COPY, and rows keep their order on disk."""
    loaded, copy = copied(LARGE)
    assert differences(postgres_database, copy) == []
    order = "SELECT array_agg(id ORDER BY ctid) FROM large"
    assert copy.query(order) == postgres_database.query(order)
    assert loaded.bytes > 9_000_000
    copy.execute("CREATE EXTENSION pg_visibility")
    frozen = "all_frozen = pg_relation_size('large') / current_setting('block_size')::int"
    assert copy.query(f"SELECT {frozen} FROM pg_visibility_map_summary('large')") == [(True,)], "no vacuum has to"


def test_rows_that_are_there_already_stay(postgres_database: PostgresDatabase) -> None:
    """As an extension's own in a table to which its users add some."""
    postgres_database.execute("CREATE TABLE own (id int); INSERT INTO own VALUES (1)")
    postgres_database.execute("CREATE TABLE parted (id int) PARTITION BY HASH (id)")
    postgres_database.execute("CREATE TABLE part PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    tables = (b"own", b"parted", b"own")
    loaded: list[tuple[bytes, int]] = []
    with CopySessions(
        postgres_database.connect, 1, lambda: b"SELECT 1", lambda *table: loaded.append(table), lambda: None
    ) as sessions:
        for number, table in enumerate(tables):
            copy = Copy(b"COPY public." + table + b" (id) FROM stdin;\n", number)
            sessions.send(Rows(copy, b"2\n"))
            sessions.send(Rows(copy, b""))
    assert loaded == [(b"public.own", 2), (b"public.own", 2)]
    assert postgres_database.query("SELECT id FROM own ORDER BY id") == [(1,), (2,), (2,)]
    assert postgres_database.query("SELECT id FROM parted") == [(2,)]


def test_a_script_is_split_alike_however_it_is_cut() -> None:
    script = (
        b"SET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\n\n"
        b'COPY a."new\nline" (i) FROM stdin;\n1\n\\\\.\n\\.x\n\\.\n\nSELECT 1;\n'
        b"COPY b (i) FROM stdin;\n\\.\nSELECT 2;\n"
        b"COPY c (i) FROM stdin;\n3\n\\N\n\\.\n"
    )

    def read(size: int) -> tuple[bytes, dict[bytes, bytes], bytes]:
        reader, text = CopyReader(), b""
        rows: dict[bytes, bytes] = {}
        pieces: list[Piece] = [
            each for at in range(0, len(script), size) for each in reader.feed(script[at : at + size])
        ]
        for piece in pieces:
            if isinstance(piece, Rows):
                rows[piece.copy.statement] = rows.get(piece.copy.statement, b"") + piece.data
            else:
                text += piece
        assert reader.complete
        return text + reader.close(), rows, reader.settings

    text, rows, settings = read(len(script))
    assert rows == {
        b'COPY a."new\nline" (i) FROM stdin;\n': b"1\n\\\\.\n\\.x\n",
        b"COPY b (i) FROM stdin;\n": b"",
        b"COPY c (i) FROM stdin;\n": b"3\n\\N\n",
    }
    assert settings + b"\n\nSELECT 1;\nSELECT 2;\n" == text
    for size in (1, 2, 3, 7, 50):
        assert read(size) == (text, rows, settings)


def test_the_sample_site_comes_back_with_its_search_path(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
) -> None:
    """The database's other settings stay behind: a time limit would end the comparison."""
    with postgres_database.connect() as connection:
        fill_chronoretrace(connection)
    name = postgres_database.name
    manifest = made(
        f"ALTER DATABASE {name} SET search_path TO elsewhere, public;ALTER DATABASE {name} SET statement_timeout = '1h'"
    )
    scratch.load(manifest, "proof", Stored(sites, manifest), folder=tmp_path)
    copy = PostgresDatabase(postgres_scratch, "proof")
    assert copy.query("SHOW search_path") == [("elsewhere, public",)]
    assert copy.query("SHOW statement_timeout") == [("0",)]
    assert differences(postgres_database, copy) == []


def test_an_archive_that_broke_off_is_no_proof(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: PostgresRestorer, tmp_path: Path
) -> None:
    manifest = made(LARGE)
    for part in (0.001, 0.5, 0.999):
        cut = Stored(sites, manifest, lambda text, part=part: text[: int(len(text) * part)])  # type: ignore[misc]
        with pytest.raises(ProofFailed, match="the archive can't be read to its end"):
            scratch.load(manifest, "proof", cut, folder=tmp_path)
        scratch.drop("proof")
        scratch.drop("proof")
    assert "proof" not in scratch.databases()


@pytest.mark.usefixtures("indexes")
def test_what_the_server_refuses_is_the_backups_fault_and_what_it_lacks_is_not(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: PostgresRestorer, tmp_path: Path
) -> None:
    manifest = made(LARGE)
    stored = Stored(sites, manifest)

    def load(
        change: Callable[[bytes], bytes] = lambda text: text,
        wanted: Manifest = manifest,
        restorer: PostgresRestorer = scratch,
    ) -> None:
        restorer.load(wanted, "proof", Stored(sites, wanted, change), folder=tmp_path)

    live = PostgresRestorer(scratch.endpoint, live=True)
    for restorer, place, other in ((scratch, "the scratch server", "live"), (live, "the live server", "scratch")):
        with pytest.raises(ProofFailed, match=f'(?s){place}.*type "texx" does not exist') as caught:
            load(lambda text: text.replace(b"body text", b"body texx", 1), restorer=restorer)
        assert other not in str(caught.value)
        restorer.drop("proof")
    with pytest.raises(ProofFailed, match="invalid input syntax for type bigint"):
        load(lambda text: text.replace(b"1\t1\n", b"1\tx\n", 1))
    scratch.drop("proof")
    absent = replace(manifest, contents={**manifest.contents, "extensions": ["plpgsql", "no_such"]})
    with pytest.raises(RestoreUnavailable, match="has no extension no_such"):
        load(wanted=absent)
    with pytest.raises(RestoreUnavailable, match=r"is older than 99\.1"):
        load(wanted=replace(manifest, source={**manifest.source, "version": "99.1"}))
    load()
    with pytest.raises(RestoreUnavailable, match="already a database 'proof'"):
        load()
    with pytest.raises(RestoreUnavailable, match="password authentication failed"):
        nobody = PostgresRestorer(replace(scratch.endpoint, secret="wrong"))
        nobody.load(manifest, "proof 2", stored, folder=tmp_path)


def test_an_error_of_the_store_comes_out_as_it_is(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: PostgresRestorer, tmp_path: Path
) -> None:
    manifest = made(LARGE)
    stored = Stored(sites, manifest)

    def read(stream: str) -> Iterator[bytes]:
        for number, chunk in enumerate(stored(stream)):
            if number == 20:
                raise ProofFailed("damaged", hint="none")
            yield chunk

    with pytest.raises(ProofFailed, match=r"^damaged"):
        scratch.load(manifest, "proof", read, folder=tmp_path)


def test_a_task_that_is_told_to_stop_leaves_nothing_running(
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = made(LARGE)
    stored = Stored(sites, manifest)
    monkeypatch.setattr(stopping, "_told", False)  # put back after the test

    def read(stream: str) -> Iterator[bytes]:
        for number, chunk in enumerate(stored(stream)):
            if number == 20:
                threading.Thread(target=Pipeline.stop_all).start()
                time.sleep(0.5)
            yield chunk

    with pytest.raises(Stopped):
        scratch.load(manifest, "proof", read, folder=tmp_path)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("rows", "archive"))] == []


@pytest.mark.parametrize("how", ["told to stop among the rows", "told to stop after them", "the store fails"])
def test_what_ends_a_load_ends_the_index_that_is_being_made(
    how: str,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that has written to the table holds up its indexes for as long as it likes."""
    manifest = made(f"{LARGE}; CREATE TABLE last AS SELECT repeat('x', 100) FROM generate_series(1, 9000)")
    stored = Stored(sites, manifest)
    monkeypatch.setattr(stopping, "_told", False)  # put back after the test
    monkeypatch.setattr(postgres_indexes, "LARGE", 1_000_000)
    copying, waits, over = threading.Event(), threading.Event(), threading.Event()

    def hold_up() -> None:
        copy = PostgresDatabase(postgres_scratch, "proof")
        while not copy.query("SELECT 1 FROM pg_stat_progress_copy WHERE relid = to_regclass('large')"):
            time.sleep(0.01)
        copying.set()
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'large'::regclass AND NOT granted"
        with copy.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE large IN ROW EXCLUSIVE MODE")
            while not connection.execute(waiting).fetchone():
                time.sleep(0.01)
            waits.set()
            if how == "told to stop after them":
                time.sleep(0.5)
                Pipeline.stop_all()
            over.wait(60)

    def read(stream: str) -> Iterator[bytes]:
        chunks = list(stored(stream))
        for number, chunk in enumerate(chunks):
            if stream == "dump" and number == len(chunks) // 2:
                threading.Thread(target=hold_up).start()
                assert copying.wait(60)
                time.sleep(0.5)  # until it waits for the table
            if stream == "dump" and number == len(chunks) - 1 and how != "told to stop after them":
                yield chunk[:-1]
                assert waits.wait(60)
                if how == "the store fails":
                    raise ProofFailed("the store has gone", hint="none")
                Pipeline.stop_all()
                time.sleep(0.5)
                chunk = chunk[-1:]
            yield chunk

    try:
        with pytest.raises(ProofFailed if how == "the store fails" else Stopped):
            scratch.load(manifest, "proof", read, folder=tmp_path)
        assert waits.is_set()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("rows", "indexes"))] == []
    finally:
        over.set()


@contextmanager
def one_waits(
    database: PostgresDatabase, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[CopySessions, Rows]]:
    """Two sessions, one of which waits for a lock on ``t``; and a row of that."""
    database.execute("CREATE TABLE t (id int); CREATE TABLE u (id int)")
    row = Rows(Copy(b"COPY public.t (id) FROM stdin;\n", 1), b"1\n")
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE")
        with CopySessions(database.connect, 2, lambda: b"SELECT 1", lambda *_: None, check) as sessions:
            sessions.send(row)
            while not other.execute("SELECT 1 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted").fetchone():
                time.sleep(0.01)
            yield sessions, row
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("rows")] == []
    assert database.query("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("more", [0, 1000], ids=["all handed out", "more to come"])
def test_a_load_that_is_told_to_stop_waits_for_nobodys_lock(postgres_database: PostgresDatabase, more: int) -> None:
    """Neither the COPY that can't begin, nor its rows that wait, nor whoever hands out more."""

    def stop() -> None:
        raise Stopped("told to stop", hint="none")

    with pytest.raises(Stopped), one_waits(postgres_database, stop) as (sessions, row):
        for _ in range(more):
            sessions.send(row)


def test_what_fails_in_one_session_is_told_while_another_waits_for_a_lock(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation), one_waits(postgres_database) as (sessions, row):
        sessions.send(row)  # so that the next table goes to the other one
        wrong = Copy(b"COPY public.u (id) FROM stdin;\n", 2)
        sessions.send(Rows(wrong, b"no number\n"))
        sessions.send(Rows(wrong, b""))


def entry(number: int, statement: bytes, kind: bytes = b"INDEX") -> bytes:
    """As pg_restore prints it."""
    return b"""--
-- TOC entry %d (class 1259 OID 16392)
-- Dependencies: 214 214
-- Name: i; Type: %s; Schema: s; Owner: o
-- Data Pos: 0
--

%s


""" % (number, kind, statement)


def test_only_what_needs_nothing_but_its_table_is_made_early() -> None:
    statements = (
        b"CREATE INDEX a ON s.large USING btree (a);",
        b"CREATE INDEX b ON s.large USING btree (a, b) INCLUDE (c) WITH (fillfactor='70');",
        b"ALTER TABLE ONLY s.large\n    ADD CONSTRAINT c PRIMARY KEY (a, b, c);",
        b"CREATE INDEX d ON s.large USING btree (lower(a));",
        b"CREATE INDEX e ON s.large USING btree (a) WHERE (a > 1);",
        b"ALTER TABLE ONLY s.large\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.other(a);",
        b'CREATE UNIQUE INDEX g ON s."an ""other" USING gin (a);',
        b"CREATE INDEX h ON ONLY s.parted USING btree (a);",
        b"CREATE INDEX i ON s.large USING btree (a);\n\nALTER TABLE s.large CLUSTER ON i;",
    )
    listing = [f"{number}; 1259 16392 INDEX s i o" for number in range(len(statements))]
    definitions = b"".join(entry(number, statement) for number, statement in enumerate(statements))
    text = b"COMMENT ON INDEX s.a IS '\n%s';" % entry(2, b"CREATE INDEX z ON s.large USING btree (a);")
    definitions += entry(100, text, b"COMMENT") + b"-- Completed on 2026-11-22\n"
    definitions += entry(100, b"CREATE INDEX y ON s.large USING btree (a);")
    assert by_table(definitions, ["; 100; a comment", "100; 0 0 COMMENT s y o", *listing]) == {
        b"s.large": [(True, 1, "0"), (True, 2, "1"), (False, 3, "2")],
        b's."an ""other"': [(True, 1, "6")],
    }


def test_keys_are_made_alone_on_their_table_and_long_ones_first() -> None:
    of_large, of_other = [(True, 1, "0"), (True, 2, "1"), (False, 1, "2")], [(True, 1, "6")]
    begun: list[str] = []
    making: set[str] = set()
    together: set[tuple[str, ...]] = set()
    first = threading.Event()

    def make(number: str) -> None:
        begun.append(number)
        making.add(number)
        first.wait(0.5)  # until both are there, if both may be
        together.add(tuple(sorted(making)))
        time.sleep(0.1)
        making.remove(number)

    def definitions() -> ByTable:
        return {b"large": of_large, b"other": of_other, b"small": [(True, 1, "7")]}

    with EarlyIndexes(definitions, make, lambda: None, 2) as early:
        early.loaded(b"large", postgres_indexes.LARGE + 1)
        early.loaded(b"unheard of", postgres_indexes.LARGE)
        early.loaded(b"other", postgres_indexes.LARGE)
        early.loaded(b"small", postgres_indexes.LARGE - 1)
        assert early.finish() == {"0", "1", "2", "6"}
    assert begun == ["2", "6", "1", "0"]
    assert ("2", "6") in together
    assert not {each for each in together if "2" in each and set(each) & {"0", "1"}}


@pytest.mark.parametrize("among_the_rows", [True, False])
def test_an_index_that_fails_is_noticed_at_once(among_the_rows: bool) -> None:
    over = threading.Event()

    def make(number: str) -> None:
        if number == "1":
            raise RestoreUnavailable(f"no room for {number}", hint="none")
        over.wait(60)

    with (
        pytest.raises(RestoreUnavailable, match=r"^no room for 1"),
        EarlyIndexes(lambda: {b"t": [(True, 1, "0"), (True, 1, "1")]}, make, over.set, 2) as early,
    ):
        early.loaded(b"t", postgres_indexes.LARGE)
        while among_the_rows:
            early.check()
            time.sleep(0.01)
        early.finish()
    assert over.is_set(), "what else is being made is stopped"


@pytest.mark.usefixtures("indexes")
def test_what_makes_the_order_of_an_archive_s_entries_matter(
    postgres_database: PostgresDatabase, copied: Callable[[str], tuple[Loaded, PostgresDatabase]]
) -> None:
    """pg_restore counts a comment to whatever stands before it; several COPYs fill a table that is parted by a hash of
    an enum; a name may hold what some take for the end of a line, and then a number.
    """
    _, copy = copied(
        "CREATE TABLE a (id int CONSTRAINT aaa PRIMARY KEY, b text); CREATE INDEX b ON a (b);"
        "COMMENT ON CONSTRAINT aaa ON a IS 'of the key'; COMMENT ON INDEX b IS 'of the index';"
        "INSERT INTO a SELECT i, i FROM generate_series(1, 100) i;"
        "CREATE TYPE kind AS ENUM ('x', 'y', 'z'); CREATE TABLE p (k kind, id int, PRIMARY KEY (k, id))"
        " PARTITION BY HASH (k);"
        "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO p SELECT k, i FROM generate_series(1, 100) i, unnest(enum_range(NULL::kind)) k;"
        'CREATE TABLE n (id int CONSTRAINT "c0\u20283200" PRIMARY KEY, b int); INSERT INTO n VALUES (1);'
        "CREATE UNIQUE INDEX n1 ON n (b); ALTER TABLE n CLUSTER ON n1;"
    )
    assert not [each for each in differences(postgres_database, copy) if not each.startswith("table public.p")]
    assert copy.query("SELECT count(*) FROM p") == [(300,)]  # in other parts: an enum's values have new numbers
    comments = "SELECT description FROM pg_description WHERE objoid > 16383 ORDER BY 1"
    assert copy.query(comments) == [("of the index",), ("of the key",)]


def test_a_partition_whose_rows_come_back_in_others_is_not_restored_by_itself(
    sites: SiteFactory, made: Callable[..., Manifest], scratch: PostgresRestorer, tmp_path: Path
) -> None:
    manifest = made(
        "CREATE TYPE kind AS ENUM ('x'); CREATE TABLE p (k kind) PARTITION BY HASH (k); CREATE TABLE other (id int);"
        "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0); INSERT INTO p VALUES ('x')"
    )
    stored = Stored(sites, manifest)
    with pytest.raises(RestoreUnavailable, match=r"public\.p0 can't be restored by itself.* of public\.p\n") as caught:
        scratch.load(manifest, "proof", stored, folder=tmp_path, only=("public.p0",))
    assert "restore all of the database" in caught.value.hint
    scratch.drop("proof")
    assert scratch.load(manifest, "proof", stored, folder=tmp_path, only=("public.other",)).database == "proof"


def test_roles_stay_while_another_load_relies_on_them(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
    tmp_path: Path,
) -> None:
    with_role = (
        "DROP ROLE IF EXISTS teacher; CREATE ROLE teacher; CREATE TABLE t (i int); ALTER TABLE t OWNER TO teacher"
    )
    manifest = made(with_role)
    stored = Stored(sites, manifest)
    try:
        scratch.load(manifest, "proof", stored, folder=tmp_path)
        scratch.load(manifest, "proof 2", stored, folder=tmp_path)
        scratch.drop("proof")
        assert "teacher" in roles(postgres_scratch)
        scratch.drop("proof 2")
        assert "teacher" not in roles(postgres_scratch)
    finally:
        postgres_database.execute("DROP TABLE t; DROP ROLE teacher")


def test_a_server_tells_itself_from_another_and_how_much_room_it_has(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    made: Callable[..., Manifest],
    scratch: PostgresRestorer,
) -> None:
    manifest = made()
    assert PostgresRestorer(postgres_database.server.endpoint()).identity() == manifest.source["identity"]
    assert scratch.identity() != manifest.source["identity"]
    room = os.statvfs(postgres_scratch.folder)
    assert scratch.free_bytes() == pytest.approx(room.f_bavail * room.f_frsize, rel=0.1)
    with pytest.raises(RestoreUnavailable, match="log in"):
        PostgresRestorer(replace(scratch.endpoint, port=1)).free_bytes()
