"""A restore proof killed with SIGKILL: the next one takes away whatever it left, and proves the backup."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.duties.killing import killed
from tests.duties.site_factory import SiteFactory
from tests.servers.data import fill_redis
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.prove import prove
from upkeep.duties.read_back import Streams
from upkeep.duties.verify import verify
from upkeep.engines import copies, folder_scratch
from upkeep.engines.mysql_accounts import Right
from upkeep.engines.redis_scratch import ScratchRedis

Left = Callable[[], Collection[object]]
"""What there is of a copy."""


def dies_at(place: object, name: str) -> Callable[[], None]:
    """Kills the process that comes to ``name`` of ``place``."""
    return lambda: setattr(place, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def mysql(sites: SiteFactory, request: pytest.FixtureRequest, flavour: str) -> tuple[str, Left]:
    database: MySqlDatabase = request.getfixturevalue(f"{flavour}_database")
    scratch: MySqlFamilyServer = request.getfixturevalue(f"{flavour}_scratch")
    database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    database.execute("CREATE USER clerk@'%' IDENTIFIED BY 'x'")
    request.addfinalizer(lambda: database.execute("DROP USER clerk@'%'"))
    database.execute(f"GRANT SELECT ON {database.quoted}.* TO clerk@'%'")
    sites.database(database, scratch_conn_id=sites.scratch(scratch))

    def left() -> list[object]:
        with scratch.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'upkeep\\_%'")
            return [*scratch.databases(), *(row[0] for row in cursor.fetchall())]

    return "app", left


def postgres(sites: SiteFactory, request: pytest.FixtureRequest, _: str) -> tuple[str, Left]:
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    scratch: PostgresServer = request.getfixturevalue("postgres_scratch")
    owner = f"owner_{database.name}"
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    database.execute(f"CREATE ROLE {owner}")
    request.addfinalizer(lambda: database.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}"))
    database.execute(f"ALTER TABLE t OWNER TO {owner}")
    sites.database(database, scratch_conn_id=sites.scratch(scratch))

    def left() -> list[object]:
        with scratch.connect() as connection:
            roles = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = %s", [owner]).fetchall()
        return [*scratch.databases(), *roles]

    return "app", left


def redis(sites: SiteFactory, request: pytest.FixtureRequest, _: str) -> tuple[str, Left]:
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.connect() as client:
        client.flushall()
        fill_redis(client, 10)
    sites.cache(server)
    # A folder of this test's own, since others run beside it; its name is short, since a socket's has to be.
    worker = tempfile.mkdtemp(prefix="up-", dir="/tmp")
    request.addfinalizer(lambda: shutil.rmtree(worker))
    request.getfixturevalue("monkeypatch").setattr(tempfile, "tempdir", worker)

    def left() -> list[object]:
        """The kernel ends the server with its task."""
        end = time.monotonic() + 10
        while (found := [*throwaways(worker)]) and time.monotonic() < end:
            time.sleep(0.1)
        return [*found]

    return "sessions", left


def throwaways(folder: str) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it isn't a process, or no longer one
            if f"{folder}/upkeep-redis-".encode() in (process / "cmdline").read_bytes():
                yield process


def folder(sites: SiteFactory, request: pytest.FixtureRequest, _: str) -> tuple[str, Left]:
    place: Path = request.getfixturevalue("tmp_path")
    for name in ("source", "worker"):
        (place / name).mkdir()
    (place / "source" / "app.conf").write_text("port = 3000\n")
    (place / "source" / "app.conf").chmod(0o400)
    request.getfixturevalue("monkeypatch").setattr(tempfile, "tempdir", str(place / "worker"))
    sites.paths(place / "source")
    return "config", lambda: [*(place / "worker").glob("upkeep_*")]


@pytest.mark.parametrize(
    ("scene", "flavour", "where", "name", "stays"),
    [
        (mysql, "mariadb", Streams, "_check", True),
        (mysql, "mariadb", Right, "statement", True),
        (mysql, "mysql", Right, "statement", True),
        (postgres, "postgres", copies, "look_at_postgres", True),
        (redis, "redis", ScratchRedis, "expired", False),
        (folder, "folder", folder_scratch, "compare", True),
    ],
    ids=["mariadb: rows", "mariadb: rights", "mysql: rights", "postgres: comparing", "redis: counting", "folder"],
)
def test_what_a_killed_proof_left_is_gone_after_the_next_one(
    scene: Callable[..., tuple[str, Left]],
    flavour: str,
    where: object,
    name: str,
    stays: bool,
    sites: SiteFactory,
    request: pytest.FixtureRequest,
) -> None:
    target, left = scene(sites, request, flavour)
    manifest = sites.back_up(target)
    verify(sites.job(), target, manifest.backup.backup_id)
    killed(dies_at(where, name), lambda: prove(sites.job("sunday"), target), name)
    assert bool(left()) is stays
    restored: dict[str, Any] = prove(sites.job("sunday again"), target)["restored"]
    assert list(restored) == [manifest.backup.backup_id]
    assert list(left()) == []
    (backup,) = read_catalogue(sites.job().store, "kindergarten", target).backups
    assert (backup.level, backup.failure) == (ProofLevel.RESTORED, None)
    states = [record.state for record in sites.job().ledger.acts("kindergarten", target=target, duty="prove")]
    assert (states[0], states[-1]) == ("died", "done")
