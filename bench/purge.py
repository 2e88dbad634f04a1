"""Purging under load: ours against pt-archiver and the manual's single DELETE, on the same rows.

    python -m bench.purge [mariadb] [postgres] [--rows 5000000] [--old 1000000] [--quick]

The load runs at a fixed rate, well below what the machine can do: sysbench's oltp_read_write on tables of its own, or
pgbench. Its 99th percentile is compared with the same load's while nothing else happens. ``postgres`` has no
pt-archiver to compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Verdict, verdict_table
from tests.duties.purging import Purging
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer, programs

CUT = "2026-10-22 16:00:00"
SETTLE_S = 5
LIMIT = 1.3
RULE = {"table": "audit_logs", "column": "created_at", "keep_days": 30}
DURABLE = {
    "innodb-buffer-pool-size": "2G", "innodb-flush-log-at-trx-commit": "1", "sync-binlog": "1",
    "innodb-log-file-size": "512M", "max-connections": "100",
}  # fmt: skip
"""Production's defaults, which the throwaway servers otherwise do without."""


@dataclass(frozen=True)
class Scale:
    """``rate``: the load's transactions a second; it runs alone for ``idle_s``."""

    rows: int
    old: int
    rate: int = 60
    idle_s: int = 30
    interval_s: int = 5


FULL = Scale(5_000_000, 1_000_000)
QUICK = Scale(60_000, 20_000, idle_s=6, interval_s=1)
"""To see that the benchmark itself works: its figures mean nothing."""


@dataclass(frozen=True)
class Latency:
    """Of the load's transactions: 99th percentile in milliseconds, how many, how many of them failed."""

    p99_ms: float
    transactions: int
    failed: int


@dataclass(frozen=True)
class Outcome:
    name: str
    rows: int
    seconds: float
    latency: Latency

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Sysbench:
    """sysbench tells percentiles for intervals only: what is reported is their median."""

    def __init__(self, database: MySqlDatabase, scale: Scale) -> None:
        server = database.server
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE OR REPLACE USER bench@'%' IDENTIFIED BY 'bench'")
            cursor.execute("GRANT ALL ON *.* TO bench@'%'")
        self._command = [
            "sysbench", "oltp_read_write", "--db-driver=mysql", f"--mysql-host={server.host}",
            f"--mysql-port={server.port}", "--mysql-user=bench", "--mysql-password=bench",
            f"--mysql-db={database.name}", "--tables=4", "--table-size=50000", "--threads=4", "--percentile=99",
        ]  # fmt: skip
        self.scale = scale
        subprocess.run([*self._command, "prepare"], check=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def running(self) -> Iterator[Callable[[], Latency]]:
        shape = [f"--rate={self.scale.rate}", "--time=0", f"--report-interval={self.scale.interval_s}"]
        load = subprocess.Popen([*self._command, *shape, "run"], stdout=subprocess.PIPE, text=True)
        try:
            yield lambda: self._ended(load)
        finally:
            load.kill()
            load.wait()

    def _ended(self, load: subprocess.Popen[str]) -> Latency:
        load.terminate()
        said = load.communicate()[0]
        lines = re.findall(r"tps: ([\d.]+) .*?lat \(ms,99%\): ([\d.]+) err/s: ([\d.]+)", said)
        lines = lines[1:] if len(lines) > 2 else lines  # the first interval warms up
        return Latency(
            statistics.median(float(p99) for _, p99, _ in lines),
            round(sum(float(tps) for tps, _, _ in lines) * self.scale.interval_s),
            round(sum(float(errors) for _, _, errors in lines) * self.scale.interval_s),
        )


class Pgbench:
    """pgbench logs every transaction: the percentile is exact."""

    def __init__(self, database: PostgresDatabase, scale: Scale) -> None:
        server = database.server
        self._environment = {
            **os.environ, "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user,
            "PGPASSWORD": server.password, "PGDATABASE": database.name,
        }  # fmt: skip
        self._program, self.scale = str(programs() / "pgbench"), scale
        subprocess.run([self._program, "-i", "-q", "-s", "10"], env=self._environment, check=True, capture_output=True)

    @contextmanager
    def running(self) -> Iterator[Callable[[], Latency]]:
        with tempfile.TemporaryDirectory() as folder:
            shape = ["-c", "4", "-n", "-l", f"-R{self.scale.rate}", "-T", "36000"]
            load = subprocess.Popen(
                [self._program, *shape], cwd=folder, env=self._environment, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                yield lambda: self._ended(load, Path(folder))
            finally:
                load.kill()
                load.wait()

    @staticmethod
    def _ended(load: subprocess.Popen[bytes], folder: Path) -> Latency:
        load.terminate()
        _, said = load.communicate()
        lines = [line.split() for path in folder.glob("pgbench_log.*") for line in path.read_text().splitlines()]
        times = sorted(int(words[2]) for words in lines if len(words) >= 6 and words[2].isdigit())
        return Latency(times[int(len(times) * 0.99)] / 1000, len(times), said.count(b"ERROR"))


def fill_mariadb(database: MySqlDatabase, rows: int, old: int) -> None:
    database.execute(
        "CREATE TABLE base (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32), user_id VARCHAR(32), "
        "action VARCHAR(50) NOT NULL, detail JSON, created_at DATETIME NOT NULL, KEY idx_created_at (created_at))"
    )
    database.execute(
        "INSERT INTO base SELECT seq, MD5(seq MOD 50), MD5(seq MOD 9999), 'login', "
        f"JSON_OBJECT('ip', seq, 'agent', SHA1(seq)), '{CUT}' + INTERVAL (CAST(seq AS SIGNED) - {old} - 1) SECOND "
        f"FROM seq_1_to_{rows}"
    )


def fill_postgres(database: PostgresDatabase, rows: int, old: int) -> None:
    database.execute(
        "CREATE TABLE base (id bigint PRIMARY KEY, tenant_id varchar(32), user_id varchar(32), "
        "action varchar(50) NOT NULL, detail jsonb, created_at timestamp NOT NULL)"
    )
    database.execute(
        "INSERT INTO base SELECT i, md5((i % 50)::text), md5((i % 9999)::text), 'login', "
        f"jsonb_build_object('ip', i, 'agent', md5(i::text)), '{CUT}'::timestamp + (i - {old} - 1) * interval '1 s' "
        f"FROM generate_series(1, {rows}) i"
    )
    database.execute("CREATE INDEX ON base (created_at)")


def fresh(database: MySqlDatabase | PostgresDatabase) -> None:
    """The same rows again, with the server at rest."""
    database.execute("DROP TABLE IF EXISTS audit_logs")
    if isinstance(database, MySqlDatabase):
        database.execute("CREATE TABLE audit_logs LIKE base")
        database.execute("INSERT INTO audit_logs SELECT * FROM base")
        database.execute("ANALYZE TABLE audit_logs")
        _flush(database)
    else:
        database.execute("CREATE TABLE audit_logs (LIKE base INCLUDING ALL)")
        database.execute("INSERT INTO audit_logs SELECT * FROM base")
        database.execute("VACUUM ANALYZE audit_logs")
        database.execute("CHECKPOINT")
    time.sleep(SETTLE_S)


def _flush(database: MySqlDatabase) -> None:
    """What CHECKPOINT does: else the server goes on writing the new rows' pages for minutes, under the load."""
    fast = ("innodb_io_capacity_max", "innodb_io_capacity")
    database.execute(f"SET GLOBAL innodb_max_dirty_pages_pct = 0, {', '.join(f'{name} = 20000' for name in fast)}")
    before, dirty = sys.maxsize, sys.maxsize - 1
    while dirty < before:
        time.sleep(2)
        before, dirty = dirty, int(database.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0][1])
    for name in ("innodb_max_dirty_pages_pct", *reversed(fast)):
        database.execute(f"SET GLOBAL {name} = DEFAULT")


def ours(database: MySqlDatabase | PostgresDatabase, *, archive: bool) -> Callable[[], int]:
    def purge() -> int:
        with tempfile.TemporaryDirectory() as folder:
            purging = Purging(Path(folder), database, {**RULE, "archive": archive})
            purging.backed_up()
            result = purging.purge()
            print(
                f"  {'archived' if archive else 'plain'}: {result['batches']} batches, {result['stopped_because']}",
                file=sys.stderr,
            )
            return int(result["deleted"])

    return purge


def pt_archiver(database: MySqlDatabase, *flags: str) -> int:
    """As the first example of its manual runs it, row by row; ``flags`` are added."""
    server = database.server
    dsn = f"h={server.host},P={server.port},u=bench,p=bench,D={database.name},t=audit_logs,i=idx_created_at,A=utf8mb4"
    before = database.query("SELECT COUNT(*) FROM audit_logs")[0][0]
    subprocess.run(
        [
            "pt-archiver", "--source", dsn, "--purge", "--where", f"created_at < '{CUT}'", "--limit", "1000",
            "--commit-each", "--primary-key-only", "--no-check-charset", "--no-version-check", *flags,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return int(before - database.query("SELECT COUNT(*) FROM audit_logs")[0][0])


def measured(name: str, load: Sysbench | Pgbench, purge: Callable[[], int]) -> Outcome:
    with load.running() as ended:
        time.sleep(load.scale.interval_s + 1)
        began = time.monotonic()
        rows = purge()
        seconds = time.monotonic() - began
        time.sleep(max(0.0, 2 * load.scale.interval_s - seconds))
        return Outcome(name, rows, seconds, ended())


def idle(load: Sysbench | Pgbench) -> Latency:
    with load.running() as ended:
        time.sleep(load.scale.idle_s)
        return ended()


def compare(title: str, load: Any, database: Any, contenders: dict[str, Callable[[], int]]) -> list[Verdict]:
    fresh(database)
    before = idle(load)
    print(f"## {title}\n\nLoad alone: p99 {before.p99_ms:.1f} ms, {before.transactions} transactions.\n")
    print("| | rows | seconds | rows/s | load's p99 | of idle | failed |\n|---|---|---|---|---|---|---|")
    outcomes = {}
    for name, purge in contenders.items():
        fresh(database)
        outcome = outcomes[name] = measured(name, load, purge)
        share = outcome.latency.p99_ms / before.p99_ms
        print(
            f"| {name} | {outcome.rows:,} | {outcome.seconds:.1f} | {outcome.rate:,.0f} | "
            f"{outcome.latency.p99_ms:.1f} ms | {share:.2f} | {outcome.latency.failed} |",
            flush=True,
        )
    after = idle(load)
    print(f"\nLoad alone, once more: p99 {after.p99_ms:.1f} ms.\n")
    server = title.partition(",")[0]
    mine, quiet = outcomes["Upkeep"], max(before.p99_ms, after.p99_ms)
    share = mine.latency.p99_ms / quiet
    verdicts = [
        Verdict(f"{server}: load's p99 while purging", f"{share:.2f} of idle", f"at most {LIMIT}", share <= LIMIT),
        Verdict(f"{server}: load's failed transactions", str(mine.latency.failed), "none", mine.latency.failed == 0),
    ]
    for name in ("pt-archiver", "pt-archiver --bulk-delete"):
        if rival := outcomes.get(name):
            faster = mine.rate / rival.rate
            verdicts.append(Verdict(f"{server}: rows a second", f"{faster:.2f} of {name}", "at least 1", faster >= 1))
    return verdicts


def run_mariadb(scale: Scale) -> list[Verdict]:
    with MariaDbServer(options=DURABLE) as server:
        database = MySqlDatabase(server)
        with database.existing():
            fill_mariadb(database, scale.rows, scale.old)
            load = Sysbench(database, scale)
            return compare(
                f"MariaDB, {scale.old:,} of {scale.rows:,} rows, sysbench at {scale.rate} transactions a second",
                load,
                database,
                {
                    "Upkeep": ours(database, archive=False),
                    "Upkeep, archived": ours(database, archive=True),
                    "pt-archiver": lambda: pt_archiver(database),
                    "pt-archiver --bulk-delete": lambda: pt_archiver(database, "--bulk-delete"),
                    "the manual's DELETE": lambda: database.execute(
                        f"DELETE FROM audit_logs WHERE created_at < '{CUT}'"
                    ),
                },
            )


def run_postgres(scale: Scale) -> list[Verdict]:
    settings = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "1GB"}
    with PostgresServer(settings=settings) as server:
        database = PostgresDatabase(server)
        with database.existing():
            fill_postgres(database, scale.rows, scale.old)
            load = Pgbench(database, scale)
            with contextlib.closing(database.connect()) as session:
                return compare(
                    f"PostgreSQL, {scale.old:,} of {scale.rows:,} rows, pgbench at {scale.rate} transactions a second",
                    load,
                    database,
                    {
                        "Upkeep": ours(database, archive=False),
                        "Upkeep, archived": ours(database, archive=True),
                        "the manual's DELETE": lambda: (
                            session.execute(f"DELETE FROM audit_logs WHERE created_at < '{CUT}'".encode()).rowcount
                        ),
                    },
                )


SERVERS = {"mariadb": run_mariadb, "postgres": run_postgres}


def run(scale: Scale = FULL, servers: Sequence[str] = tuple(SERVERS)) -> list[Verdict]:
    logging.basicConfig(level=logging.WARNING, stream=io.StringIO())
    return [verdict for name in servers for verdict in SERVERS[name](scale)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.purge", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("servers", nargs="*", choices=[*SERVERS, []], help="default: both")
    parser.add_argument("--rows", type=int, default=FULL.rows)
    parser.add_argument("--old", type=int, default=FULL.old)
    parser.add_argument("--rate", type=int, default=FULL.rate, help="the load's transactions a second")
    parser.add_argument("--quick", action="store_true", help="whether it works at all: small, its figures mean nothing")
    given = parser.parse_args()
    scale = QUICK if given.quick else Scale(given.rows, given.old, given.rate)
    verdicts = run(scale, given.servers or tuple(SERVERS))
    print(verdict_table(verdicts))
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
