"""Client programs: found where the operator said, told apart by what they say of themselves, refused when unfit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.mysql import MYSQL_BIN
from tests.servers.postgres import programs
from upkeep.engines import tools
from upkeep.engines.mysql_engine import server_release
from upkeep.engines.tools import describe, find_all, mysql_dump, postgres_tool, require
from upkeep.errors import ToolMissing, ToolUnfit

Fake = Callable[..., Path]

MYSQL_57 = "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)"
MYSQL_80 = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"
MYSQL_84 = "mysqldump  Ver 8.4.5 for Linux on aarch64 (MySQL Community Server - GPL)"
MYSQL_9 = "mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
MYSQL_UBUNTU = "mysqldump  Ver 8.0.41-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))"
PERCONA = "mysqldump  Ver 8.0.35-27 for Linux on x86_64 (Percona Server (GPL), Release 27, Revision 2f8eeab2)"
PERCONA_57 = "mysqldump  Ver 10.13 Distrib 5.7.44-48, for Linux (x86_64)"
MARIADB_103 = "mysqldump  Ver 10.17 Distrib 10.3.39-MariaDB, for debian-linux-gnu (x86_64)"
MARIADB_1011 = "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)"
MARIADB_114 = "mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)"
MARIADB_118 = "/usr/bin/mariadb-dump from 11.8.3-MariaDB, client 10.19 for Linux (x86_64)"
PG_15 = "pg_dump (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"
PG_96 = "pg_dump (PostgreSQL) 9.6.24"
PG_17 = "pg_dump (PostgreSQL) 17.5 (Ubuntu 17.5-1.pgdg24.04+1)"
PG_18 = "pg_dump (PostgreSQL) 18beta1 (Debian 18~beta1-1.pgdg120+1)"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a program on this worker that only knows what to say about itself; the worker has no others."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("UPKEEP_PATH", raising=False)
    monkeypatch.setattr(tools, "DEBIAN_POSTGRES", tmp_path / "postgresql")

    def make(name: str, says: str, folder: str = "bin") -> Path:
        program = tmp_path / folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{says}\nEND\n")
        program.chmod(0o755)
        return program

    return make


@pytest.mark.parametrize(
    ("name", "says", "flavour", "version"),
    [
        ("mysqldump", MYSQL_57, "mysql", (5, 7, 44)),
        ("mysqldump", MYSQL_80, "mysql", (8, 0, 36)),
        ("mysqldump", MYSQL_84, "mysql", (8, 4, 5)),
        ("mysqldump", MYSQL_9, "mysql", (9, 7, 4)),
        ("mysqldump", MYSQL_UBUNTU, "mysql", (8, 0, 41)),
        ("mysqldump", PERCONA, "mysql", (8, 0, 35)),
        ("mysqldump", PERCONA_57, "mysql", (5, 7, 44)),
        ("mysqldump", MARIADB_103, "mariadb", (10, 3, 39)),
        ("mariadb-dump", MARIADB_1011, "mariadb", (10, 11, 19)),
        ("mariadb-dump", MARIADB_114, "mariadb", (11, 4, 2)),
        ("mysqldump", MARIADB_118, "mariadb", (11, 8, 3)),
        ("pg_dump", PG_96, "postgres", (9, 6, 24)),
        ("pg_dump", PG_15, "postgres", (15, 13)),
        ("pg_dump", PG_17, "postgres", (17, 5)),
        ("pg_dump", PG_18, "postgres", (18,)),
        ("redis-cli", "redis-cli 7.0.15", "redis-cli", (7, 0, 15)),
        ("redis-cli", "Redis-cli 6.2.6 (git:00000000)", "redis-cli", (6, 2, 6)),
        ("tar", "tar (GNU tar) 1.34\nCopyright (C) 2021 Free Software Foundation, Inc.", "tar", (1, 34)),
        ("zstd", "*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", "zstd", (1, 5, 4)),
        ("age", "1.1.1", "age", (1, 1, 1)),
    ],
)
def test_a_program_is_known_by_what_it_says_of_itself(
    fake: Fake, name: str, says: str, flavour: str, version: tuple[int, ...]
) -> None:
    tool = describe(str(fake(name, says)))
    assert (tool.flavour, tool.version) == (flavour, version)
    assert tool.label == f"{name} {'.'.join(map(str, version))} ({flavour})"


@pytest.mark.parametrize(
    ("version", "flavour", "numbers"),
    [
        ("5.7.44-log", "mysql", (5, 7, 44)),
        ("8.0.36", "mysql", (8, 0, 36)),
        ("8.4.5", "mysql", (8, 4, 5)),
        ("9.7.4-2", "mysql", (9, 7, 4)),
        ("8.0.35-27", "mysql", (8, 0, 35)),
        ("8.0.41-0ubuntu0.24.04.1", "mysql", (8, 0, 41)),
        ("8.0.35-rds.20240101", "mysql", (8, 0, 35)),
        ("8.0.mysql_aurora.3.04.0", "mysql", (8, 0)),
        ("8.0.34-azure", "mysql", (8, 0, 34)),
        ("10.3.39-MariaDB-0+deb10u2-log", "mariadb", (10, 3, 39)),
        ("10.11.19-MariaDB-0+deb12u1-log", "mariadb", (10, 11, 19)),
        ("5.5.5-10.6.16-MariaDB-log", "mariadb", (10, 6, 16)),
        ("11.4.2-MariaDB-ubu2404", "mariadb", (11, 4, 2)),
    ],
)
def test_a_server_is_known_by_what_it_says_of_itself(version: str, flavour: str, numbers: tuple[int, ...]) -> None:
    assert server_release(version) == (flavour, numbers)


def test_the_programs_of_this_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mysql_dump("mariadb", (10, 11)).version >= (10, 11)
    major = int(programs().parent.name)
    assert postgres_tool("pg_dump", major).version[0] == major
    for name in ("tar", "zstd", "age", "redis-cli"):
        assert describe(require(name, package=name)).version


@pytest.mark.skipif(not os.environ.get(MYSQL_BIN), reason=f"{MYSQL_BIN} isn't set")
def test_the_mysql_programs_of_this_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_PATH", os.environ[MYSQL_BIN])
    assert mysql_dump("mysql", (9, 0)).path.startswith(os.environ[MYSQL_BIN])
    assert mysql_dump("mariadb", (10, 11)).flavour == "mariadb"


# Where they are looked for.


def test_the_folders_of_upkeep_path_come_before_those_of_path(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("zstd", "v1.0.0")
    first = fake("zstd", "v2.0.0", folder="own")
    monkeypatch.setenv("UPKEEP_PATH", f"/nowhere:{first.parent}:")
    assert require("zstd", package="zstd") == str(first)
    assert find_all(["zstd"])[0] == str(first)


def test_a_file_that_may_not_be_run_is_not_a_program(fake: Fake) -> None:
    fake("zstd", "v1.0.0").chmod(0o644)
    if os.geteuid() == 0:
        assert shutil.which("zstd") is None
    with pytest.raises(ToolMissing, match="the program zstd is not installed on this worker") as caught:
        require("zstd", package="zstd")
    assert caught.value.hint == "apt-get install zstd, or put its folder into UPKEEP_PATH"


def test_a_program_that_says_nothing_of_itself_is_unfit(fake: Fake) -> None:
    with pytest.raises(ToolUnfit, match="says no version: 'usage: mysqldump'"):
        describe(str(fake("mysqldump", "usage: mysqldump")))


def test_a_program_that_can_not_run_is_unfit_and_says_why(fake: Fake) -> None:
    program = fake("mysqldump", "")
    program.write_bytes(b"\x7fELF of another machine")
    with pytest.raises(ToolUnfit, match=r"does not run: .*Exec format error"):
        describe(str(program))


# MySQL and MariaDB.


@pytest.mark.parametrize(
    ("flavour", "server", "name", "says"),
    [
        ("mysql", (5, 7, 44), "mysqldump", MYSQL_57),
        ("mysql", (5, 7, 44), "mysqldump", MYSQL_80),
        ("mysql", (8, 0, 36), "mysqldump", MYSQL_84),
        ("mysql", (8, 4, 5), "mysqldump", MYSQL_80),
        ("mysql", (8, 0, 35), "mysqldump", PERCONA),
        ("mariadb", (10, 3, 39), "mysqldump", MARIADB_103),
        ("mariadb", (10, 11, 19), "mariadb-dump", MARIADB_114),
        ("mariadb", (11, 8, 3), "mysqldump", MARIADB_118),
    ],
)
def test_the_servers_own_flavour_in_its_major_release_or_a_newer_one_is_taken(
    fake: Fake, flavour: str, server: tuple[int, ...], name: str, says: str
) -> None:
    program = fake(name, says)
    assert mysql_dump(flavour, server).path == str(program)


@pytest.mark.parametrize(
    ("flavour", "name", "says"),
    [("mysql", "mysqldump", MARIADB_1011), ("mysql", "mysqldump", MARIADB_118), ("mariadb", "mysqldump", MYSQL_80)],
)
def test_the_other_flavours_program_is_refused_and_named(fake: Fake, flavour: str, name: str, says: str) -> None:
    fake(name, says)
    with pytest.raises(ToolUnfit, match=f"the server is {flavour}, but this worker only has mysqldump ") as caught:
        mysql_dump(flavour, (10, 0))
    assert "UPKEEP_PATH" in caught.value.hint


@pytest.mark.parametrize(
    ("flavour", "server", "says"),
    [("mysql", (8, 0, 36), MYSQL_57), ("mysql", (9, 7, 4), MYSQL_84), ("mariadb", (11, 4, 2), MARIADB_1011)],
)
def test_a_program_of_an_older_major_release_is_refused(
    fake: Fake, flavour: str, server: tuple[int, ...], says: str
) -> None:
    fake("mysqldump", says)
    with pytest.raises(ToolUnfit, match=f"is older than the server's {'.'.join(map(str, server))}"):
        mysql_dump(flavour, server)


def test_no_program_at_all_is_named_with_its_package(fake: Fake) -> None:
    with pytest.raises(ToolMissing, match="no mariadb-dump or mysqldump is installed") as caught:
        mysql_dump("mariadb", (10, 11))
    assert "apt-get install mariadb-client" in caught.value.hint
    with pytest.raises(ToolMissing, match="no mysqldump is installed"):
        mysql_dump("mysql", (8, 0))


def test_among_several_programs_of_the_flavour_the_newest_is_taken(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("mysqldump", MARIADB_118)
    newest = fake("mysqldump", MYSQL_84, folder="new")
    fake("mysqldump", MYSQL_80, folder="old")
    monkeypatch.setenv("UPKEEP_PATH", f"{newest.parents[1] / 'old'}:{newest.parent}")
    assert mysql_dump("mysql", (8, 0, 36)).path == str(newest)


def test_a_broken_program_does_not_hide_one_that_fits(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = fake("mysqldump", MYSQL_80)
    broken = fake("mysqldump", "usage: mysqldump", folder="broken")
    monkeypatch.setenv("UPKEEP_PATH", str(broken.parent))
    assert mysql_dump("mysql", (8, 0, 36)).path == str(fitting)
    fitting.unlink()
    with pytest.raises(ToolUnfit, match="says no version"):
        mysql_dump("mysql", (8, 0, 36))


# PostgreSQL.


@pytest.fixture
def releases(fake: Fake, tmp_path: Path) -> Path:
    """Debian's layout: every release in a folder of its own, and in /usr/bin a wrapper that picks one by itself."""
    wrapper = fake("pg_wrapper", "pg_dump (PostgreSQL) 99.1", folder="share")
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "pg_dump").symlink_to(wrapper)
    for release, says in (("9.6", PG_96), ("15", PG_15), ("17", PG_17), ("18", PG_18)):
        fake("pg_dump", says, folder=f"postgresql/{release}/bin")
    return tmp_path / "postgresql"


@pytest.mark.parametrize(
    ("server", "release"), [(9, "9.6"), (10, "15"), (15, "15"), (16, "17"), (17, "17"), (18, "18")]
)
def test_the_servers_own_release_or_the_nearest_newer_one_is_taken(releases: Path, server: int, release: str) -> None:
    assert postgres_tool("pg_dump", server).path == str(releases / release / "bin" / "pg_dump")


def test_debians_wrapper_is_never_taken_since_its_release_depends_on_local_clusters(releases: Path) -> None:
    with pytest.raises(ToolUnfit) as caught:
        postgres_tool("pg_dump", 19)
    assert "99" not in caught.value.message


def test_a_server_newer_than_every_program_is_refused_with_what_there_is(releases: Path) -> None:
    with pytest.raises(
        ToolUnfit, match=r"the server is PostgreSQL 19, but this worker only has pg_dump 15\.13"
    ) as caught:
        postgres_tool("pg_dump", 19)
    assert "apt-get install postgresql-client-19" in caught.value.hint


def test_a_program_on_the_path_is_taken_where_debians_folders_are_missing(fake: Fake) -> None:
    program = fake("pg_dump", PG_17)
    assert postgres_tool("pg_dump", 15).path == str(program)


def test_no_postgresql_program_at_all_is_named_with_its_package(fake: Fake) -> None:
    with pytest.raises(ToolMissing, match="the program pg_restore is not installed") as caught:
        postgres_tool("pg_restore", 16)
    assert "apt-get install postgresql-client-16" in caught.value.hint
