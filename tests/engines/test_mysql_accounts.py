"""Who may do what in a MySQL or MariaDB database: in its backup, made again by stock mysql, compared in the proof."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey, mysql_home, run_line
from tests.engines.test_mysql_engine import FULL_BACKUP_ACCOUNT
from tests.servers.databases import MySqlDatabase
from tests.servers.mysql_family import MySqlFamilyServer
from upkeep.domain.manifest import Manifest
from upkeep.duties.prove import prove
from upkeep.duties.verify import verify
from upkeep.engines.mysql_accounts import GRANTS, MAY_NOT, GrantsCheck
from upkeep.engines.mysql_grants_proof import compare_grants, throwaway
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.errors import ProofFailed

PASSWORD = "Only-Here-7"


class People:
    """Accounts of a nursery with names of their own, on the source and wherever a backup makes them again."""

    def __init__(self, database: MySqlDatabase) -> None:
        self.database, self.mariadb = database, database.server.name == "mariadb"
        tail = secrets.token_hex(3)
        self.app, self.reader, self.teacher, self.other = (f"{n}_{tail}" for n in ("app", "reader", "teacher", "other"))
        self.role = f"staff_{tail}"

    def make(self) -> None:
        run = self.database.execute
        db = self.database.name
        run("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(50), phone VARCHAR(20))")
        run("CREATE TABLE gone (id INT)")
        run("CREATE PROCEDURE p() SELECT 1")
        for user in (self.app, self.reader, self.teacher, self.other):
            run(f"CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'")
        run(f"CREATE ROLE {self.role}")
        run(f"GRANT SELECT, INSERT, UPDATE ON `{_pattern(db)}`.* TO {self.app}@'%' WITH GRANT OPTION")
        run(f"GRANT DELETE ON `{db[:-1]}%`.* TO {self.app}@'%'")
        run(f"GRANT SELECT (id, name), UPDATE (phone) ON students TO {self.reader}@'%'")
        run(f"GRANT EXECUTE ON PROCEDURE p TO {self.reader}@'%'")
        run(f"GRANT SELECT ON gone TO {self.reader}@'%'")
        run(f"ALTER USER {self.reader}@'%' REQUIRE SSL")
        run("DROP TABLE gone")
        run(f"GRANT SELECT ON `{db}`.* TO {self.role}")
        run(f"GRANT {self.role} TO {self.teacher}@'%'")
        run(f"SET DEFAULT ROLE {self.role} {'FOR' if self.mariadb else 'TO'} {self.teacher}@'%'")
        run(f"GRANT SELECT ON somewhere_else.* TO {self.other}@'%'")

    def grants(self, server: MySqlFamilyServer, user: str) -> list[str]:
        """About one database, and roles."""
        said = _query(server, f"SHOW GRANTS FOR {user}@'%'")
        return sorted(line for (line,) in said if " ON *.* " not in line and "`gone`" not in line)

    def drop(self, *servers: MySqlFamilyServer) -> None:
        for server in servers:
            for user in (self.app, self.reader, self.teacher, self.other):
                _query(server, f"DROP USER IF EXISTS {user}@'%'")
            _query(server, f"DROP ROLE IF EXISTS {self.role}")


def _pattern(name: str) -> str:
    return name.replace("_", "\\_")


def _query(server: MySqlFamilyServer, statement: str) -> list[tuple[str, ...]]:
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return [tuple(map(str, row)) for row in cursor.fetchall()]


def accounts(server: MySqlFamilyServer) -> set[str]:
    return {f"{user}@{host}" for user, host in _query(server, "SELECT User, Host FROM mysql.user")}


@pytest.fixture
def people(any_mysql_database: MySqlDatabase, scratch_server: MySqlFamilyServer) -> Iterator[People]:
    found = People(any_mysql_database)
    try:
        found.make()
        yield found
    finally:
        found.drop(any_mysql_database.server, scratch_server)


@pytest.fixture
def restored(
    scratch_server: MySqlFamilyServer, sites: SiteFactory, tmp_path: Path, people: People
) -> Iterator[Callable[..., MySqlFamilyServer]]:
    """A backup restored by its own line, and then by the step that this names when it is through."""

    def restore(manifest: Manifest, key: AgeKey | None = None) -> MySqlFamilyServer:
        folder, home = sites.fetch(manifest, tmp_path / "restore"), mysql_home(scratch_server, tmp_path / "home")
        if key:
            (folder / "key.txt").write_text(key.file.read_text())
        before = accounts(scratch_server)
        said = run_line(manifest.restore, folder, home)
        assert accounts(scratch_server) == before, "whoever only looks at a copy wants no accounts"
        found = re.search(r"^now the accounts and their rights: (.*)$", said, re.M)
        assert found
        run_line(f"{found[1]} || true", folder, home)  # --force goes on over the table that is gone, and tells
        return scratch_server

    yield restore
    MySqlDatabase(scratch_server, people.database.name).drop()


def test_accounts_come_back_with_their_rights_on_this_database_and_locked(
    people: People, sites: SiteFactory, restored: Callable[..., MySqlFamilyServer]
) -> None:
    sites.database(people.database)
    manifest = sites.back_up()
    assert [file.stream for file in manifest.files] == ["dump.sql", GRANTS]
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    recorded = manifest.contents["grants"]
    assert set(recorded["accounts"]) == {
        *(f"`{user}`@`%`" for user in (people.app, people.reader, people.teacher)),
        f"`{people.role}`" if people.mariadb else f"`{people.role}`@`%`",
    }
    assert f"`{people.database.server.user}`@`%`" in recorded["everywhere"]
    scratch = restored(manifest)
    for user in (people.app, people.reader, people.teacher):
        assert people.grants(scratch, user) == people.grants(people.database.server, user) != []
        made = _query(scratch, f"SHOW CREATE USER {user}@'%'")[0][0]
        assert "ACCOUNT LOCK" in made
        assert ("REQUIRE SSL" in made) == (user == people.reader)
    assert f"{people.other}@%" not in accounts(scratch)
    assert b"IDENTIFIED" not in manifest.to_bytes()


def test_an_encrypted_backup_keeps_the_passwords_and_tells_them_nowhere_else(
    people: People,
    sites: SiteFactory,
    key: AgeKey,
    restored: Callable[..., MySqlFamilyServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    sites.database(people.database)
    sites.encrypted(key.public, identity=key.private)
    manifest = sites.back_up()
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"
    scratch = restored(manifest, key)
    database = people.database.name
    with scratch.connect(database, user=people.teacher, password=PASSWORD) as session, session.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM students")
        assert cursor.fetchone() == (0,), "the role is active"
    question = f"SELECT HEX(authentication_string) FROM mysql.user WHERE User = '{people.teacher}'"
    [(stored,)] = _query(people.database.server, question)
    assert len(stored) > 60
    ledger = [path for path in sites.folder.glob("*.db*") if path.is_file()]
    assert ledger
    for text in (manifest.to_bytes(), caplog.text.encode(), *(path.read_bytes() for path in ledger)):
        assert bytes.fromhex(stored) not in text
        assert stored.encode() not in text


def test_without_leave_to_read_them_the_backup_is_made_and_says_what_to_grant(
    people: People, sites: SiteFactory
) -> None:
    database = people.database
    sites.database(database, endpoint=replace(database.endpoint(), user=people.other, secret=PASSWORD))
    for grant in FULL_BACKUP_ACCOUNT[database.server.name]:
        if "mysql.*" not in grant:
            database.execute(f"GRANT {grant.format(db=f'`{database.name}`')} TO {people.other}@'%'")
    manifest = sites.back_up()
    assert [file.stream for file in manifest.files] == ["dump.sql"]
    assert [line for line in manifest.warnings if line.endswith(MAY_NOT)]
    assert "grants" not in manifest.contents
    assert "now the accounts" not in manifest.restore


def test_the_week_gives_each_right_on_the_copy_and_leaves_no_account(
    people: People, sites: SiteFactory, scratch_server: MySqlFamilyServer
) -> None:
    sites.database(people.database, scratch_conn_id=sites.scratch(scratch_server))
    manifest = sites.back_up()
    verify(sites.job(), "app", manifest.backup.backup_id)
    before = accounts(scratch_server)
    assert prove(sites.job("week-1"), "app")["restored"]
    (path,) = sites.folder.rglob("*-restored-*.json")
    figures = json.loads(path.read_text())["figures"]
    assert (figures["differences"], figures["rights"]) == ([], 5)
    (note,) = [note for note in figures["notes"] if note.startswith("right ")]
    assert "`gone`" in note
    assert accounts(scratch_server) == before


def test_rights_that_are_lost_added_or_refused_are_differences(
    people: People, sites: SiteFactory, scratch_server: MySqlFamilyServer
) -> None:
    sites.database(people.database)
    manifest = sites.back_up()
    copy = MySqlDatabase(scratch_server, "upkeep_copy")
    with copy.existing():
        copy.execute("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(50), phone VARCHAR(20))")
        copy.execute("CREATE PROCEDURE p() SELECT 1")
        script = "\n".join(
            f"GRANT {right.rpartition(' WITH GRANT')[0] or right} TO {who};"
            for who, rights in manifest.contents["grants"]["accounts"].items()
            for right in rights
            if not right.startswith(("role ", "EXECUTE"))
        )
        extra = f"{script}\nGRANT FLY ON `{people.database.name}`.`students` TO `somebody`@`%`;\n"
        with MySqlRestorer(scratch_server.endpoint()).connect(copy.name) as connection:
            found = compare_grants(connection, manifest, copy.name, [extra.encode()]).differences
        told = "\n".join(found)
        assert re.search(r"right EXECUTE ON PROCEDURE .* is missing in grants.sql", told)
        assert "right SELECT, INSERT, UPDATE ON" in told and "WITH GRANT OPTION of" in told
        assert re.search(r"right FLY ON .* of `somebody`@`%` is not in the manifest", told)
        assert re.search(r"refuses right FLY ON", told)


def test_an_account_that_a_killed_proof_left_goes_with_its_copy(
    any_mysql_database: MySqlDatabase, scratch_server: MySqlFamilyServer
) -> None:
    before = accounts(scratch_server)
    MySqlDatabase(scratch_server, "upkeep_killed").create()
    _query(scratch_server, f"CREATE USER {throwaway('upkeep_killed')} ACCOUNT LOCK")
    assert accounts(scratch_server) != before
    MySqlRestorer(scratch_server.endpoint()).drop("upkeep_killed")
    assert accounts(scratch_server) == before


def test_a_script_that_broke_off_or_lacks_statements_is_no_backup() -> None:
    whole = b"SET NAMES utf8mb4;\nCREATE USER a;\nGRANT SELECT ON `a`.* TO a;\n-- Grants completed: 2 statements\n"

    def check(text: bytes, statements: int) -> dict[str, object]:
        looking = GrantsCheck({"statements": statements})
        for place in range(0, len(text), 7):
            looking.feed(text[place : place + 7])
        return looking.close()

    assert check(whole, 2) == {"plain_bytes": len(whole), "statements": 2}
    with pytest.raises(ProofFailed, match="2 statements, its manifest says 3"):
        check(whole, 3)
    for cut in (whole[:-3], whole[: whole.index(b"--")], b""):
        with pytest.raises(ProofFailed, match="broke off"):
            check(cut, 2)
