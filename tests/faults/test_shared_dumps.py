"""One of several dumps of one database fails: the others end at once, the cause is what is told, nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scene import Moment, Scene
from tests.servers.databases import MySqlDatabase
from tests.servers.mariadb import MariaDbServer
from upkeep.duties.back_up import back_up
from upkeep.engines import stopping
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import BackupSpooled, Stopped, StoreUnreachable, ToolFailed

ROWS = 40_000
"""Of 1 kB that doesn't compress, in each of two tables: enough that they are shared out."""
STREAMS = ["dump.sql", "tables-2.sql"]


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbServer]:
    with MariaDbServer() as server:
        database = MySqlDatabase(server, "shop")
        database.create()
        for table in ("t", "u"):
            database.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT, filler MEDIUMBLOB)")
            database.execute(f"INSERT INTO {table} (filler) SELECT RANDOM_BYTES(1000) FROM seq_1_to_{ROWS}")
            database.execute(f"ANALYZE TABLE {table}")  # sizes are estimates, and follow a moment later
        yield server


@pytest.fixture
def scene(server: MariaDbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", server.conn_json("shop"))
    return Scene(tmp_path, {"databases": [{"name": "app", "engine": "mysql", "conn_id": "shop_db"}]})


class TooLate(BaseException):
    """As Airflow's own, no ``Exception``: nothing takes it for an error of the store."""


def pipeline_of(stream: str) -> Pipeline:
    extra = stream != "dump.sql"
    [found] = [each for each in Pipeline._running if (each.commands[0].argv[-2] == "shop") == extra]
    return found


def half_way(stream: str) -> Moment:
    return Moment("writing", stream, 4_000_000)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("place", [0, 1], ids=["dump", "zstd"])
def test_one_program_killed_ends_them_all_and_is_the_one_that_is_named(scene: Scene, stream: str, place: int) -> None:
    killed_at = 0.0

    def kill() -> None:
        nonlocal killed_at
        killed_at = time.monotonic()
        os.kill(pipeline_of(stream).processes[place].pid, signal.SIGKILL)

    with pytest.raises(ToolFailed, match="signal SIGKILL") as raised:
        back_up(scene.when(half_way(stream), kill), "app")
    assert time.monotonic() - killed_at < 2
    assert ("dump", "zstd")[place] in raised.value.message
    assert not Pipeline._running
    assert scene.backups() == ()
    assert scene.leftovers() == []
    scene.night("night")
    [backup] = scene.backups()
    assert scene.good() == [backup.ref.backup_id]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_store_that_goes_away_for_one_file_sends_all_of_them_to_the_spool(scene: Scene, stream: str) -> None:
    def go_away() -> None:
        raise StoreUnreachable("the network cable is out", hint="plug it in")

    with pytest.raises(BackupSpooled):
        back_up(scene.when(half_way(stream), go_away), "app")
    assert scene.leftovers() == []
    [folder] = {path.parent for path in (scene.folder / "spool").rglob("*.zst")}
    assert sorted(path.name for path in folder.iterdir()) == ["dump.sql.zst", "manifest.json", "tables-2.sql.zst"]
    scene.night("night")
    assert len(scene.good()) == 1


@pytest.mark.parametrize("stream", STREAMS)
def test_a_task_told_to_stop_stops_every_stream(scene: Scene, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_told", False)  # and back again after the test
    begun = time.monotonic()
    with pytest.raises(Stopped, match="told to stop"):
        back_up(scene.when(half_way(stream), Pipeline.stop_all), "app")
    assert time.monotonic() - begun < 10
    assert not Pipeline._running
    assert scene.backups() == ()
    assert scene.leftovers() == []


@pytest.mark.parametrize("waits_in", ["the stream it reads itself", "another stream"])
def test_a_time_limit_of_the_task_ends_every_stream(scene: Scene, waits_in: str) -> None:
    """Airflow's execution_timeout raises in the main thread, wherever that is."""

    def too_late(*_: object) -> None:
        raise TooLate("execution_timeout")

    def soon() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        if waits_in == "another stream":
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline and len(Pipeline._running) > 1:
                time.sleep(0.01)

    before = signal.signal(signal.SIGALRM, too_late)
    stream = "dump.sql" if waits_in == "the stream it reads itself" else "tables-2.sql"
    try:
        with pytest.raises(TooLate, match="execution_timeout"):
            back_up(scene.when(half_way(stream), soon), "app")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not Pipeline._running
    assert scene.leftovers() == []


def test_a_rehearsal_names_both_files_and_starts_nothing(scene: Scene) -> None:
    plan = back_up(scene.job("night"), "app", dry_run=True)
    assert plan["files"] == ["dump.sql.zst", "tables-2.sql.zst"]
    assert scene.leftovers() == []


@pytest.mark.parametrize("moment", [half_way("tables-2.sql"), Moment("wrote", "tables-2.sql")], ids=["half", "whole"])
def test_a_run_killed_between_its_files_leaves_no_backup_and_its_rerun_succeeds(scene: Scene, moment: Moment) -> None:
    scene.killed_at(moment)
    assert scene.backups() == ()
    scene.night("night")
    assert len(scene.good()) == 1
    assert scene.leftovers() == []
