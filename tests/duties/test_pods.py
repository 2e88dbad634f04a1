"""Databases that are reached only from inside a pod: the dump runs there, and the ladder is that of any other."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.base import Server
from tests.servers.data import fill_hostile_mysql, fill_hostile_postgres
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.kubernetes_exec_server import Cut, FakePod, Fault, NoStatus, PodServer, Refused
from tests.servers.mysql import MYSQL_BIN
from tests.servers.postgres import PostgresServer, programs
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.proof import ProofLevel
from upkeep.domain.restoring import RestoreRequest
from upkeep.duties.catalogue import read_catalogue
from upkeep.duties.check_health import check_health
from upkeep.duties.migrate import refuse_begun
from upkeep.duties.migration_plan import Migration
from upkeep.duties.prove import prove
from upkeep.duties.restore import plan_restore
from upkeep.duties.verify import verify
from upkeep.errors import MigrationRefused, RestoreRefused, SourceError, ToolFailed, ToolMissing, UpkeepError

LABELS = {"app": "db"}
VIA = {"pod_selector": "app=db"}


@pytest.fixture
def pods() -> Iterator[PodServer]:
    with PodServer(path=[str(programs()), "/usr/bin", "/bin"], pods=[FakePod("db-0", LABELS)]) as server:
        yield server


def in_pod(sites: SiteFactory, pods: PodServer, database: Database, **settings: Any) -> Endpoint:
    """The connection's host leads nowhere: whatever works went through the pod."""
    endpoint = replace(database.endpoint(), host="db.invalid")
    sites.database(database, endpoint=endpoint, via=VIA, **settings)
    sites.cluster("kindergarten", pods.endpoint())
    return endpoint


def level(sites: SiteFactory) -> ProofLevel:
    return read_catalogue(sites.job().store, "kindergarten", "app").backups[-1].level


def nothing_stored(sites: SiteFactory) -> bool:
    return not [path for path in (sites.folder / "store").rglob("*") if path.is_file()]


def test_a_postgresql_in_a_pod_is_dumped_there_and_climbs_the_whole_ladder(
    postgres_database: PostgresDatabase,
    postgres_scratch: PostgresServer,
    sites: SiteFactory,
    pods: PodServer,
) -> None:
    with postgres_database.connect() as connection:
        fill_hostile_postgres(connection, long_row_bytes=400_000)
    endpoint = in_pod(sites, pods, postgres_database, scratch_conn_id=sites.scratch(postgres_scratch))

    manifest = sites.back_up()
    verify(sites.job(), "app", manifest.backup.backup_id)
    assert prove(sites.job("week-1"), "app")["restored"].keys() == {manifest.backup.backup_id}

    assert level(sites) is ProofLevel.RESTORED
    assert manifest.rows_are == "exact"
    assert manifest.source["host"] == "pod kindergarten/db-0"
    assert any("--snapshot=" in word for argv in pods.commands for word in argv)
    asked = "\0".join(word for argv in pods.commands for word in argv)
    assert endpoint.secret not in asked
    assert pods.token not in asked


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_a_mysql_in_a_pod_is_dumped_there_and_climbs_the_whole_ladder(
    flavour: str, sites: SiteFactory, pods: PodServer, request: pytest.FixtureRequest
) -> None:
    database: MySqlDatabase = request.getfixturevalue(f"{flavour}_database")
    scratch: Server = request.getfixturevalue(f"{flavour}_scratch")
    if flavour == "mysql":
        pods.path = [os.environ[MYSQL_BIN], *pods.path]
    fill_hostile_mysql(database.connect(), long_row_bytes=400_000)
    endpoint = in_pod(sites, pods, database, scratch_conn_id=sites.scratch(scratch))

    manifest = sites.back_up()
    verify(sites.job(), "app", manifest.backup.backup_id)
    assert prove(sites.job("week-1"), "app")["restored"].keys() == {manifest.backup.backup_id}

    assert level(sites) is ProofLevel.RESTORED
    assert manifest.rows_are == "exact"
    assert manifest.source["host"] == "pod kindergarten/db-0"
    asked = "\0".join(word for argv in pods.commands for word in argv)
    assert "--single-transaction" in asked
    assert endpoint.secret not in asked


def test_several_mysqldumps_in_a_pod_see_one_moment_while_others_write(
    mariadb_database: MySqlDatabase, sites: SiteFactory, pods: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their snapshots are aligned through the API; each transaction adds a row to both tables."""
    for name in ("WORTH_BYTES", "LEAST_SHARE", "LARGE_SHARE"):
        monkeypatch.setattr(f"upkeep.domain.dump_split.{name}", 0)
    for table in ("one", "two"):
        mariadb_database.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT, body TEXT)")
    in_pod(sites, pods, mariadb_database, dump_streams=2, checksum_under_mb=0)
    over = threading.Event()

    def write() -> None:
        with mariadb_database.connect() as connection, connection.cursor() as cursor:
            while not over.is_set():
                cursor.execute("BEGIN")
                cursor.execute("INSERT INTO one (body) VALUES (REPEAT('x', 3000))")
                cursor.execute("INSERT INTO two (body) VALUES (REPEAT('x', 3000))")
                cursor.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifest = sites.back_up()
    finally:
        over.set()
        writer.join()

    assert {file.stream for file in manifest.files} == {"dump.sql", "tables-2.sql"}
    rows = {name: table["rows"] for name, table in manifest.contents["tables"].items()}
    assert manifest.rows_are == "exact"
    assert rows["one"] == rows["two"] > 0
    assert manifest.position["writes_held_s"] < 1
    assert verify(sites.job(), "app", manifest.backup.backup_id)["level"] == "structure"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Cut(after=100_000), "the connection to pod db-0 was cut before its exit status came"),
        (NoStatus(), "the connection to pod db-0 was cut before its exit status came: it was closed"),
    ],
)
def test_a_connection_that_breaks_leaves_no_backup_and_says_so(
    fault: Fault, told: str, postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer
) -> None:
    postgres_database.execute("CREATE TABLE t AS SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 500) i")
    in_pod(sites, pods, postgres_database)
    pods.fault = fault
    with pytest.raises(ToolFailed, match=told):
        sites.back_up()
    assert nothing_stored(sites)


@pytest.mark.parametrize("door", ["exec", "portforward"])
def test_an_account_that_may_not_enter_the_pod_is_told_which_rights_it_needs(
    door: str, postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer
) -> None:
    in_pod(sites, pods, postgres_database)
    pods.fault = Refused(door)
    with pytest.raises(UpkeepError, match=f'cannot get resource "pods/{door}"') as caught:
        sites.back_up()
    assert "pod_exec.yaml" in caught.value.hint


def test_a_dump_that_fails_in_the_pod_is_told_with_its_status_and_its_own_words(
    postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer, tmp_path: Path
) -> None:
    script = tmp_path / "pg_dump"
    script.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo "pg_dump (PostgreSQL) 15.9"; exit;; esac\n'
        'echo half a dump; echo "pg_dump: error: out of luck with $PGPASSWORD" >&2; exit 3\n'
    )
    script.chmod(0o755)
    tmp_path.chmod(0o755)
    pods.path = [str(tmp_path), *pods.path]
    endpoint = in_pod(sites, pods, postgres_database)
    with pytest.raises(ToolFailed) as caught:
        sites.back_up()
    assert caught.value.status == 3
    assert "pg_dump ended with exit status 3: pg_dump: error: out of luck with ***" in str(caught.value)
    assert endpoint.secret not in str(caught.value)
    assert nothing_stored(sites)


@pytest.mark.parametrize(
    ("pods_there", "via", "error", "told"),
    [
        ([], {}, SourceError, "app=db picks no ready pod (not ready: none)"),
        ([FakePod("db-0", {"app": "other"})], {}, SourceError, "app=db picks no ready pod (not ready: none)"),
        ([FakePod("db-0", LABELS, ready=False)], {}, SourceError, "picks no ready pod (not ready: db-0)"),
        ([FakePod("db-0", LABELS), FakePod("db-1", LABELS)], {}, SourceError, "2 ready pods (db-0, db-1)"),
        ([FakePod("db-0", LABELS, containers=("db", "proxy"))], {}, SourceError, "has the containers db, proxy"),
        ([FakePod("db-0", LABELS)], {"container": "sidecar"}, SourceError, "containers db, none is called sidecar"),
    ],
)
def test_labels_that_do_not_pick_one_ready_pod_and_one_container_are_an_error_with_names(
    pods_there: list[FakePod],
    via: dict[str, str],
    error: type[UpkeepError],
    told: str,
    postgres_database: PostgresDatabase,
    sites: SiteFactory,
    pods: PodServer,
) -> None:
    pods.pods = pods_there
    in_pod(sites, pods, postgres_database)
    sites.settings["databases"][0]["via"] = {**VIA, **via}
    with pytest.raises(error, match=re.escape(told)):
        sites.back_up()


def test_a_pod_that_is_not_ready_or_is_replaced_does_not_count_beside_the_one_that_is(
    postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer
) -> None:
    pods.pods = [FakePod("db-0", LABELS), FakePod("db-1", LABELS, ready=False)]
    in_pod(sites, pods, postgres_database)
    assert sites.back_up().source["host"] == "pod kindergarten/db-0"


def test_a_container_without_the_program_and_a_port_where_nobody_listens_are_told(
    postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer
) -> None:
    in_pod(sites, pods, postgres_database)
    pods.path = ["/nowhere"]
    with pytest.raises(ToolMissing, match="container db of pod kindergarten/db-0 has no pg_dump"):
        sites.back_up()
    pods.ports = [1]
    with pytest.raises(SourceError, match=r"failed to connect to localhost:\d+ inside the pod: connection refused"):
        sites.back_up()


def test_health_and_every_other_duty_reach_the_database_through_its_pod(
    postgres_database: PostgresDatabase, sites: SiteFactory, pods: PodServer
) -> None:
    in_pod(sites, pods, postgres_database)
    before = tunnels()
    assert check_health(sites.job(), "database/app")["light"] == "green"
    until = time.monotonic() + 5
    while tunnels() - before and time.monotonic() < until:
        time.sleep(0.05)
    assert not tunnels() - before, "a tunnel ends with its connection"


def tunnels() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("upkeep-tunnel-*"))


@pytest.mark.parametrize("flavour", ["mariadb", "postgres"])
def test_who_restores_or_migrates_a_database_in_a_pod_has_to_reach_the_server_that_the_pod_has(
    flavour: str, request: pytest.FixtureRequest, sites: SiteFactory, pods: PodServer
) -> None:
    database: Any = request.getfixturevalue(f"{flavour}_database")
    scratch: Server = request.getfixturevalue(f"{flavour}_scratch")
    conn_id = sites.scratch(scratch)
    in_pod(sites, pods, database, scratch_conn_id=conn_id, migrate_conn_id=conn_id, restore_conn_id=conn_id)
    verify(sites.job(), "app", sites.back_up().backup.backup_id)
    migration = Migration("app", "CREATE TABLE a (b INT)")
    with pytest.raises(MigrationRefused, match="lead to two servers"):
        refuse_begun(sites.job(), migration)
    for destination in ("beside", "over"):
        with pytest.raises(RestoreRefused, match="lead to two servers"):
            plan_restore(sites.job(), RestoreRequest("app", destination))
    sites.endpoints[conn_id] = database.endpoint()
    refuse_begun(sites.job(), migration)
    database.drop()
    plan_restore(sites.job(), RestoreRequest("app", "over"))  # the server answers, though the database is gone
    pods.ports = [1]
    plan_restore(sites.job(), RestoreRequest("app"))
    with pytest.raises(RestoreRefused, match=r"(?s)nobody knows whether .* lead to one server: .*connection refused"):
        plan_restore(sites.job(), RestoreRequest("app", "over"))
