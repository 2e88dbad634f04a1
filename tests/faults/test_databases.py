"""The dump is killed, the server goes away, the login or the client is wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scene import Moment, Scene, days_later
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from upkeep.duties.back_up import back_up
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import SourceError, ToolFailed, ToolMissing, ToolUnfit

PLENTY = 40_000_000
"""Bytes of rows: on MySQL random ones, on PostgreSQL hexadecimal digits, which are stored in half as many bytes. Enough
that the dump is far from its end when half of it is stored, whatever waits in pipes.
"""


@pytest.fixture(params=["mysql", "postgres"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A scene on a server of its own, which a test may stop."""
    with MariaDbServer() if request.param == "mysql" else PostgresServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", server.conn_json("shop"))
        database = (
            MySqlDatabase(server, "shop") if isinstance(server, MariaDbServer) else PostgresDatabase(server, "shop")
        )
        with database.existing():
            fill(database)
            target = {"databases": [{"name": "app", "engine": request.param, "conn_id": "shop_db"}]}
            made = Scene(tmp_path, target)
            made.server = server  # type: ignore[attr-defined]  # the tests below reach for it
            yield made


def fill(database: MySqlDatabase | PostgresDatabase) -> None:
    if isinstance(database, MySqlDatabase):
        database.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, filler MEDIUMBLOB)")
        for _ in range(PLENTY // 500_000):
            database.execute("INSERT INTO t (filler) VALUES (RANDOM_BYTES(1000))")
        while database.query("SELECT SUM(LENGTH(filler)) FROM t")[0][0] < PLENTY:
            database.execute("INSERT INTO t (filler) SELECT RANDOM_BYTES(1000) FROM t LIMIT 20000")
        return
    database.execute("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, filler text)")
    database.execute(
        "INSERT INTO t (filler) SELECT string_agg(md5(random()::text), '') "
        f"FROM generate_series(1, {PLENTY // 32}) g GROUP BY g / 30"
    )


def kill_the_dump() -> None:
    (pipeline,) = Pipeline._running
    os.kill(pipeline.processes[0].pid, signal.SIGKILL)


def kill_the_compressor() -> None:
    (pipeline,) = Pipeline._running
    os.kill(pipeline.processes[1].pid, signal.SIGKILL)


def half_way(scene: Scene) -> Moment:
    digits = isinstance(scene.server, PostgresServer)  # type: ignore[attr-defined]
    return Moment("writing", "dump", PLENTY // (4 if digits else 2))


@pytest.mark.parametrize("deed", [kill_the_dump, kill_the_compressor], ids=["dump", "zstd"])
def test_a_program_killed_half_way_is_named_and_leaves_no_backup(scene: Scene, deed: Callable[[], None]) -> None:
    with pytest.raises(ToolFailed, match="signal SIGKILL") as raised:
        back_up(scene.when(half_way(scene), deed), "app")
    name = "dump" if deed is kill_the_dump else "zstd"
    assert name in raised.value.message
    assert "HINT:" in str(raised.value)
    assert scene.backups() == ()
    assert scene.leftovers() == []
    assert len([scene.night("night")]) == len(scene.good())


def test_a_server_that_stops_mid_dump_is_named_and_the_older_backup_stays(scene: Scene) -> None:
    before = scene.night("last night", now=days_later(-1))
    server: MariaDbServer | PostgresServer = scene.server  # type: ignore[attr-defined]
    with pytest.raises((ToolFailed, SourceError), match=r"dump|connection") as raised:
        back_up(scene.when(half_way(scene), server.kill), "app")
    assert "HINT:" in str(raised.value)
    assert scene.good() == [before]
    assert scene.leftovers() == []
    with pytest.raises(SourceError, match="shop_db"):
        back_up(scene.job("night"), "app")
    server.restart()
    assert scene.night("night") in scene.good()


def test_a_wrong_password_names_the_connection_and_shows_no_secret(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: MariaDbServer | PostgresServer = scene.server  # type: ignore[attr-defined]
    wrong = "wrong-secret-Zq7"
    fields = json.loads(server.conn_json("shop"))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", json.dumps({**fields, "password": wrong}))
    with pytest.raises(SourceError, match="connection shop_db") as raised:
        back_up(scene.job("night"), "app")
    assert "check user and password" in raised.value.hint
    assert wrong not in str(raised.value)
    assert scene.backups() == ()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", json.dumps(fields))
    assert [scene.night("night")] == scene.good()


def test_client_settings_of_the_worker_do_not_lead_the_dump_to_another_server(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    elsewhere = "host=127.0.0.1\nport=1\n"
    (home / ".my.cnf").write_text(f"[client]\n{elsewhere}[mysqldump]\nno-data\n[mariadb-dump]\nno-data\n")
    (home / ".my.cnf").chmod(0o600)
    (home / ".pg_service.conf").write_text(f"[elsewhere]\n{elsewhere}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    monkeypatch.setenv("PGSERVICEFILE", str(home / ".pg_service.conf"))
    scene.night("night")
    assert len(scene.good()) == 1
    assert scene.backups()[0].size > PLENTY // 4, "the rows are not in it"


def test_a_missing_client_is_named_with_its_package(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("zstd", "setpriv"):
        (tools / name).symlink_to(Path("/usr/bin", name))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tools))
        patched.delenv("UPKEEP_PATH", raising=False)
        patched.setattr("upkeep.engines.tools.DEBIAN_POSTGRES", tmp_path / "none")
        with pytest.raises((ToolMissing, ToolUnfit), match="dump") as raised:
            back_up(scene.job("night"), "app")
    assert "apt-get install" in raised.value.hint
    assert scene.backups() == ()
    assert scene.leftovers() == []
    assert [scene.night("night")] == scene.good()
