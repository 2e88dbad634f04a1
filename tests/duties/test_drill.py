"""Drills: a whole site stands again from its backups, is measured against its goals, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.duties.test_prove import night
from tests.servers.data import fill_redis
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import Backup, read_catalogue
from upkeep.duties.drill import drill
from upkeep.duties.prove import prove
from upkeep.duties.scratch import Scratch
from upkeep.duties.scratch_database import DatabaseScratch
from upkeep.duties.until import Until
from upkeep.errors import DrillFailed, GoalMissed, ProofFailed, RestoreUnavailable, Stopped
from upkeep.ledger import Record

STEPS = ("fetch", "decrypt", "load", "verify")


@pytest.fixture
def shop(mariadb_database: MySqlDatabase, mariadb_scratch: MariaDbServer, sites: SiteFactory) -> MySqlDatabase:
    """A site of a MariaDB with a scratch, and a folder."""
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY, made TIMESTAMP NOT NULL, ends DATETIME, KEY (made))")
    mariadb_database.execute("INSERT INTO t VALUES (1, NOW() - INTERVAL 3 HOUR, NOW() + INTERVAL 1 YEAR)")
    checks = [{"sql": "SELECT COUNT(*) FROM t", "at_least": 1}]
    sites.database(mariadb_database, scratch_conn_id=sites.scratch(mariadb_scratch), checks=checks)
    folder = sites.folder / "etc"
    folder.mkdir()
    (folder / "app.conf").write_text("port = 3000\n")
    sites.paths(folder)
    sites.settings["goals"] = {"rto_min": 10, "rpo_h": 1}
    return mariadb_database


@pytest.fixture
def ready(shop: MySqlDatabase, sites: SiteFactory) -> MySqlDatabase:
    for target in ("app", "config"):
        night(sites, target)
    return shop


def month(
    sites: SiteFactory, run_id: str = "month-1", *, at: datetime | None = None, **settings: Any
) -> dict[str, Any]:
    job = sites.job(run_id)
    if at:
        job.now = lambda: at
    return drill(job, **settings)


def newest(sites: SiteFactory, target: str = "app") -> Backup:
    return read_catalogue(sites.job().store, "kindergarten", target).backups[-1]


def whole(sites: SiteFactory) -> Record:
    """The newest act about a drill as a whole."""
    return sites.job().ledger.acts("kindergarten", duty="drill", target="site", limit=1, newest_first=True)[0]


def row(sites: SiteFactory, target: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in whole(sites).detail["targets"] if row["target"] == target)
    return found


def test_a_whole_site_stands_at_once_is_measured_and_taken_away(
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    redis_server: RedisServer,
    mariadb_scratch: MariaDbServer,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY, made DATETIME, KEY (made))")
    mariadb_database.execute("INSERT INTO t SELECT seq, NOW() FROM seq_1_to_2000")
    postgres_database.execute("CREATE TABLE prices (id int PRIMARY KEY, at timestamptz)")
    postgres_database.execute("CREATE INDEX ON prices (at)")
    postgres_database.execute("INSERT INTO prices SELECT n, now() FROM generate_series(1, 500) n")
    with redis_server.connect() as client:
        client.flushall()
        fill_redis(client, 100)
    check = {"sql": "SELECT COUNT(*) FROM t", "at_least": 2000}
    sites.database(mariadb_database, "app", scratch_conn_id=sites.scratch(mariadb_scratch), checks=[check])
    sites.database(postgres_database, "quotes", scratch_conn_id=sites.scratch(postgres_scratch))
    sites.cache(redis_server)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "app.conf").write_text("port = 3000\n")
    sites.paths(tmp_path / "etc")
    sites.settings |= {"goals": {"rto_min": 10, "rpo_h": 1}, "drill": {"order": ["config", "sessions"]}}
    for target in ("app", "quotes", "sessions", "config"):
        night(sites, target)
    stood: dict[str, set[str]] = {}
    ask = DatabaseScratch.ask

    def looking(scratch: Scratch, *rest: Any) -> None:
        stood["mariadb"], stood["postgres"] = mariadb_scratch.databases(), postgres_scratch.databases()
        stood["folders"] = {path.name for path in Path(tempfile.gettempdir()).glob("upkeep_kindergarten_config_*")}
        ask(scratch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DatabaseScratch, "ask", looking)

    found = month(sites)

    assert [len(names) for names in stood.values()] == [1, 1, 1], "all copies stand when the checks are asked"
    assert [one["target"] for one in found["targets"]] == ["config", "sessions", "app", "quotes"], "in its order"
    for target in ("app", "quotes", "sessions", "config"):
        assert newest(sites, target).level is ProofLevel.DRILLED
        steps = row(sites, target)
        assert steps["outcome"] == "rebuilt"
        assert sum(steps[step] for step in STEPS) == pytest.approx(steps["total"], abs=0.25), steps
    assert found["light"] == "green"
    assert max(row(sites, name)["total"] for name in ("app", "quotes")) <= found["rto_s"] < 60
    assert 0 <= found["rpo_s"] < 60
    assert "newest row" in row(sites, "app")["by"] or "wrote nothing" in row(sites, "app")["by"]
    assert "no column" in row(sites, "config")["by"]
    assert mariadb_scratch.databases() == postgres_scratch.databases() == set()
    assert not list(Path(tempfile.gettempdir()).glob("upkeep_kindergarten_*"))
    again = month(sites, "month-2")
    assert again["last"]["rto_s"] == found["rto_s"]
    assert again["last"]["totals"].keys() == {"app", "quotes", "sessions", "config"}


def test_goals_that_are_missed_fail_the_drill_and_name_the_slowest_step(
    ready: MySqlDatabase, sites: SiteFactory
) -> None:
    sites.settings["goals"] = {"rto_min": 0.0001, "rpo_h": 1}
    with pytest.raises(GoalMissed, match=r"the site stood again after .* its goal is 6 ms: the slowest step was to"):
        month(sites)
    assert newest(sites).level is ProofLevel.DRILLED, "the backup is none the worse for it"
    assert whole(sites).state == "failed"
    assert whole(sites).detail["slowest"][1] in STEPS
    sites.settings["goals"] = {"rto_min": 10, "rpo_h": 1}
    with pytest.raises(GoalMissed, match=r"app lost 5 h.*; config lost 5 h"):
        month(sites, "month-2", at=datetime.now(UTC) + timedelta(hours=5))


def test_what_was_lost_is_counted_from_the_newest_row_unless_the_source_was_silent(
    ready: MySqlDatabase, sites: SiteFactory
) -> None:
    month(sites)
    assert "wrote nothing" in row(sites, "app")["by"]
    assert row(sites, "app")["rpo_s"] < 60, "the newest row is three hours old, but nothing was lost with it"
    conn_id = sites.settings["databases"][0]["conn_id"]
    sites.endpoints[conn_id] = replace(sites.endpoints[conn_id], secret="wrong")
    with pytest.raises(GoalMissed, match=r"app lost 3 h.*by its newest row \(t.made\)"):
        month(sites, "month-2")


def proof(sites: SiteFactory, level: str, target: str = "app") -> str:
    (path,) = (sites.folder / "store" / "kindergarten" / target).rglob(f"*-{level}-*.json")
    return path.read_text()


def test_a_bad_backup_fails_it_as_one_and_the_others_have_their_turn(ready: MySqlDatabase, sites: SiteFactory) -> None:
    manifest = night(sites, run_id="night-2")
    path = sites.folder / "store" / manifest.backup.prefix / manifest.files[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ProofFailed, match="another SHA-256"):
        month(sites)
    assert newest(sites).standing == "damaged"
    assert row(sites, "app")["outcome"] == "bad"
    assert row(sites, "config")["outcome"] == "rebuilt"
    assert newest(sites, "config").level is ProofLevel.RESTORED, "the site as a whole did not stand"
    month(sites, "month-2")
    assert row(sites, "app")["backup_id"] != manifest.backup.backup_id, "next time the one before it is the newest"


def test_a_check_that_fails_once_the_site_stands_is_a_bad_backup(ready: MySqlDatabase, sites: SiteFactory) -> None:
    sites.settings["databases"][0]["checks"] = [{"sql": "SELECT COUNT(*) FROM t", "at_least": 2}]
    with pytest.raises(ProofFailed, match="gives 1, at least 2 are needed"):
        month(sites)
    assert newest(sites).standing == "damaged"


@pytest.mark.parametrize("missing", ["away", "foreign"])
def test_a_scratch_that_can_not_be_used_is_infrastructure_and_no_bad_backup(
    missing: str, ready: MySqlDatabase, sites: SiteFactory, mariadb_scratch: MariaDbServer
) -> None:
    if missing == "away":
        conn_id = sites.settings["databases"][0]["scratch_conn_id"]
        sites.endpoints[conn_id] = replace(sites.endpoints[conn_id], port=1)
        with pytest.raises(RestoreUnavailable, match="infrastructure: "):
            month(sites)
    else:
        with mariadb_scratch.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE precious")
            try:
                with pytest.raises(RestoreUnavailable, match="Upkeep did not make: precious"):
                    month(sites)
            finally:
                cursor.execute("DROP DATABASE precious")
    assert newest(sites).standing == "structure"
    assert row(sites, "app")["outcome"] == "infrastructure"
    assert newest(sites, "config").level is ProofLevel.RESTORED


def test_a_database_without_a_scratch_is_a_remark_and_with_goals_a_failure(
    ready: MySqlDatabase, sites: SiteFactory
) -> None:
    del sites.settings["databases"][0]["scratch_conn_id"]
    with pytest.raises(DrillFailed, match=r"no scratch server.*nobody knows whether the goals are met"):
        month(sites)
    del sites.settings["goals"]
    found = month(sites, "month-2")
    assert found["light"] == "amber"
    assert "app: no scratch" in found["summary"]
    assert newest(sites, "config").level is ProofLevel.DRILLED


def test_a_target_without_a_proven_backup_fails_it(shop: MySqlDatabase, sites: SiteFactory) -> None:
    night(sites, "config")
    sites.back_up("app")
    with pytest.raises(DrillFailed, match=r"none of its 1 backups is proven; .* is only stored"):
        month(sites)
    assert row(sites, "app")["outcome"] == "no backup"
    assert row(sites, "config")["outcome"] == "rebuilt"
    del sites.settings["databases"][0]["scratch_conn_id"]
    del sites.settings["goals"]
    with pytest.raises(DrillFailed, match=r"none of its 1 backups is proven"):
        month(sites, "month-2")


def test_a_dry_run_restores_nothing_and_a_backup_can_be_named(ready: MySqlDatabase, sites: SiteFactory) -> None:
    first = newest(sites).ref.backup_id
    night(sites, run_id="night-2")
    found = month(sites, dry_run=True)
    assert found["summary"] == "would rebuild app, config"
    assert newest(sites).level is ProofLevel.STRUCTURE
    month(sites, targets=["app"], backups={"app": first})
    assert row(sites, "app")["backup_id"] == first
    assert whole(sites).detail["partial"] is True
    older = read_catalogue(sites.job().store, "kindergarten", "app").find(first)
    assert older and older.level is ProofLevel.RESTORED, "a part of the site is no drill of it"
    assert whole(sites).detail["proven"] == {"restored": 1}
    assert month(sites, "month-2")["last"] is None, "a part is nothing to compare a whole site with"


def test_an_older_backup_is_restored_and_not_held_against_the_loss_that_a_disaster_would_cost(
    ready: MySqlDatabase, sites: SiteFactory
) -> None:
    first = newest(sites).ref.backup_id
    night(sites, run_id="night-2")
    sites.settings["goals"] = {"rto_min": 10, "rpo_h": 1}
    later = datetime.now(UTC) + timedelta(hours=3)
    with pytest.raises(GoalMissed) as error:
        month(sites, at=later, backups={"app": first})
    assert "config lost" in str(error.value) and "app lost" not in str(error.value)
    found = month(sites, "month-2", at=later, targets=["app"], backups={"app": first})
    assert found["light"] == "green" and "rpo_s" not in found
    assert "from older backups, so their loss is not judged" in found["summary"]
    assert row(sites, "app")["rpo_s"] > 3 * 3600 - 600


def test_told_to_stop_or_out_of_time_it_takes_away_what_stands(
    ready: MySqlDatabase, sites: SiteFactory, mariadb_scratch: MariaDbServer
) -> None:
    asked = iter([False, True])
    with pytest.raises(Stopped, match="told to stop: config was not rebuilt"):
        month(sites, until=Until(told_to_stop=lambda: next(asked)))
    assert mariadb_scratch.databases() == set()
    assert whole(sites).detail["summary"].startswith("rebuilt 1 of 2 targets, then stopped")
    with pytest.raises(RestoreUnavailable, match="app was not rebuilt: the window closed at"):
        month(sites, "month-2", until=Until(datetime.now(UTC)))
    assert newest(sites).standing == "structure"


def test_copies_of_a_killed_drill_are_swept_by_the_next(
    ready: MySqlDatabase, sites: SiteFactory, mariadb_scratch: MariaDbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = os.fork()
    if killed == 0:
        DatabaseScratch.ask = lambda *_: time.sleep(60)  # type: ignore[method-assign]
        month(sites)
        os._exit(0)
    try:
        deadline = time.monotonic() + 30
        folders = Path(tempfile.gettempdir())
        while not (mariadb_scratch.databases() and list(folders.glob("upkeep_kindergarten_config_*"))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
    assert mariadb_scratch.databases()
    month(sites, "month-2")
    assert mariadb_scratch.databases() == set()
    assert not list(folders.glob("upkeep_kindergarten_config_*"))
    swept = sites.job().ledger.acts("kindergarten", duty="sweep")
    assert {record.started.target for record in swept} == {"app", "config"}
    assert prove(sites.job("week-1"), "app")["restored"] == {}, "drilled is more than restored"


def test_a_site_of_many_targets_is_measured_whole_and_what_has_no_room_is_said(sites: SiteFactory) -> None:
    names = [f"a-folder-as-people-call-them-{number:02}" for number in range(28)]
    for name in names:
        (sites.folder / name).mkdir()
        sites.paths(sites.folder / name, name=name)
        night(sites, name)
    found = month(sites)
    assert whole(sites).detail["targets"] == found["targets"], "the ledger has kept its row"
    unsaid = len(names) - len(found["targets"])
    assert 0 < unsaid < 10
    assert f"no room for {unsaid} targets" in found["summary"]
    assert found["summary"].startswith("rebuilt 28 of 28 targets")
    assert (found["outcomes"], found["proven"], found["stood"]) == ({"rebuilt": 28}, {"drilled": 28}, True)
    again = month(sites, "month-2")
    assert again["last"]["rto_s"] == found["rto_s"]
    shutil.rmtree(sites.folder / "store" / "kindergarten" / names[-1])
    with pytest.raises(DrillFailed):
        month(sites, "month-3")
    assert row(sites, names[-1])["outcome"] == "no backup", "what did not stand is told before what did"
    assert whole(sites).detail["stood"] is False
