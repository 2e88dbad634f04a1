"""Restoring: the manual's ``gunzip | mysql`` and ``gunzip | psql`` against Upkeep's loading of its own backup.

Each server gets a database of its own, four fifths of it one table, with three secondary indexes a table. Both sides
restore it into another database of the same server, with the server's own settings (a 128 MB buffer pool, and whatever
redo log is the release's default). Fetching from a store is left out: both read plain files of a warm disk.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import rows
from bench.clients import libpq, option_file, shell
from bench.data import fill_mysql, fill_postgres
from bench.measure import Cost, Verdict, cost_table, interleave, ratio, tell
from tests.duties.site_factory import SiteFactory
from tests.servers.databases import Database, MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer, programs
from upkeep.domain.manifest import Manifest
from upkeep.engines.mysql_restore import MySqlRestorer
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.engines.postgres_restore import PostgresRestorer
from upkeep.engines.restore_base import Restorer
from upkeep.engines.tools import describe, find_all

UPKEEP = "Upkeep's load"
COPY = "restored"
SHARES = {"attendance_records": 0.8, "audit_logs": 0.2}
MORE_INDEXES = (
    "CREATE INDEX idx_student ON attendance_records (student_id)",
    "CREATE INDEX idx_date_status ON attendance_records (attendance_date, note)",
    "CREATE INDEX idx_user ON audit_logs (user_id)",
    "CREATE INDEX idx_tenant ON audit_logs (tenant_id, action)",
)
OF_MANUAL = {"mysql": 1 / 2, "postgres": 0.7}


def run(*, megabytes: int, rounds: int) -> list[Verdict]:
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name:
        folder = Path(name)
        with MariaDbServer() as mariadb:
            verdicts += _mysql("MariaDB", mariadb, "", folder / "mariadb", megabytes, rounds)
        if path := os.environ.get(MYSQL_BIN):
            with MySqlServer() as mysql:
                verdicts += _mysql("MySQL", mysql, path, folder / "mysql", megabytes, rounds)
        else:
            tell(f"MySQL is left out: {MYSQL_BIN} does not say where it is")
        with PostgresServer() as postgres:
            verdicts += _postgres(postgres, folder / "postgres", megabytes, rounds)
    return verdicts


def _mysql(
    title: str, server: MySqlFamilyServer, path: str, folder: Path, megabytes: int, rounds: int
) -> list[Verdict]:
    folder.mkdir()
    database = MySqlDatabase(server, "docs")
    tell(f"filling {title} with {megabytes} MB ...")
    database.create()
    with database.connect() as connection:
        fill_mysql(connection, {table: megabytes * share for table, share in SHARES.items()})
    for index in MORE_INDEXES:
        database.execute(index)
    before = os.environ.get("UPKEEP_PATH", "")
    os.environ["UPKEEP_PATH"] = path
    try:
        flavour = "mysql" if path else "mariadb"
        dump, client = (_program(name, flavour) for name in ("mysqldump", "mysql"))
        packed = folder / "manual.sql.gz"
        with option_file(server.endpoint(), folder) as login:
            # Where the server keeps GTIDs, a copy on the same server can't have them set.
            flags = "--single-transaction --routines --triggers" + (" --set-gtid-purged=OFF" if path else "")
            shell(f"{dump} {login} {flags} {database.name} | gzip > {packed}")
            sites, manifest = _backed_up(database, folder)
            server.restart()

            def manual() -> None:
                shell(f"{client} {login} -e 'CREATE DATABASE {COPY}'; gunzip < {packed} | {client} {login} {COPY}")

            return _compare(title, "mysql", database, MySqlRestorer(server.endpoint()), manual, sites, manifest, rounds)
    finally:
        os.environ["UPKEEP_PATH"] = before


def _postgres(server: PostgresServer, folder: Path, megabytes: int, rounds: int) -> list[Verdict]:
    folder.mkdir()
    database = PostgresDatabase(server, "docs")
    tell(f"filling PostgreSQL with {megabytes} MB ...")
    database.create()
    with database.connect() as connection:
        fill_postgres(connection, {table: megabytes * share for table, share in SHARES.items()})
    for index in MORE_INDEXES:
        database.execute(index)
    packed, login = folder / "manual.sql.gz", libpq(database.endpoint())
    dump, psql, create = (shlex.quote(str(programs() / name)) for name in ("pg_dump", "psql", "createdb"))
    shell(f"{dump} | gzip > {packed}", login)
    sites, manifest = _backed_up(database, folder)
    server.restart()

    def manual() -> None:
        shell(f"{create} {COPY}; gunzip -c {packed} | {psql} --quiet --dbname={COPY} > /dev/null", login)

    restorer = PostgresRestorer(server.endpoint())
    return _compare("PostgreSQL", "postgres", database, restorer, manual, sites, manifest, rounds)


def _backed_up(database: Database, folder: Path) -> tuple[SiteFactory, Manifest]:
    sites = SiteFactory(folder)
    sites.database(database)
    return sites, sites.back_up()


def _compare(
    title: str,
    kind: str,
    database: MySqlDatabase | PostgresDatabase,
    restorer: Restorer,
    by_hand: Callable[[], None],
    sites: SiteFactory,
    manifest: Manifest,
    rounds: int,
) -> list[Verdict]:
    tell(f"{title}: {rounds} rounds of two contenders")
    stored = sites.folder / "store" / manifest.backup.prefix
    names = {file.stream: file.name for file in manifest.files}

    def read(stream: str) -> Iterator[bytes]:
        with Pipeline([Command(["zstd", "-dcq", str(stored / names[stream])])]) as pipeline:
            yield from pipeline.output()

    def manual() -> Mapping[str, float]:
        restorer.drop(COPY)
        begun = time.perf_counter()
        by_hand()
        return {"wall_s": time.perf_counter() - begun}

    def upkeep() -> Mapping[str, float]:
        restorer.drop(COPY)
        begun = time.perf_counter()
        loaded = restorer.load(manifest, COPY, read, folder=sites.folder)
        tell(f"    {', '.join(f'{phase} {seconds:.1f} s' for phase, seconds in loaded.seconds.items())}")
        return {"wall_s": time.perf_counter() - begun}

    name = f"manual: gunzip | {'mysql' if kind == 'mysql' else 'psql'}"
    costs: dict[str, list[Cost]] = interleave({name: manual, UPKEEP: upkeep}, database.server, rounds=rounds)
    same = _rows(database, database.name) == _rows(database, COPY)
    restorer.drop(COPY)
    print(f"\n### Restoring: {title}\n\n{cost_table(costs)}\n")
    of_manual, target = ratio(costs[UPKEEP], costs[name]), OF_MANUAL[kind]
    return [
        Verdict(f"{title}: restore, of the manual's", f"{of_manual:.2f}", f"at most {target}", of_manual <= target),
        Verdict(f"{title}: restored rows", "same" if same else "differ", "same", same),
    ]


def _rows(database: MySqlDatabase | PostgresDatabase, name: str) -> list[object]:
    copy = type(database)(database.server, name)  # type: ignore[arg-type]
    return [copy.query(f"SELECT COUNT(*), MIN(id), MAX(id) FROM {table}") for table in rows.COLUMNS]


def _program(name: str, flavour: str) -> str:
    names = [name, {"mysqldump": "mariadb-dump", "mysql": "mariadb"}[name]]
    return shlex.quote(next(path for path in find_all(names) if describe(path).flavour == flavour))
