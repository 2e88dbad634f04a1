"""make demo-restore: a bad day on two databases. Each loses a table; each gets it back from last night's backup.

On throwaway servers, by the command line, as when Airflow itself is down. Exit status 0 only if everything held.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from demo.screen import Screen
from demo.stage import Verdict, place_of_its_own, stopped_by_signals, upkeep
from tests.servers.base import Server, ServerFailed
from tests.servers.data import (
    Fingerprint,
    fill_chronoretrace,
    fill_kindergarten,
    fingerprint_mysql,
    fingerprint_postgres,
)
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from upkeep.connections import connection_from_environment, filesystem_from_environment
from upkeep.duties.back_up import back_up
from upkeep.duties.job import Job, Run
from upkeep.duties.verify import verify
from upkeep.ledger import Ledger, default_url
from upkeep.site import load_site

ROWS = 20_000
LOST = {"kindergarten": "attendance_records", "chronoretrace": "market.price_history"}


def main() -> int:
    with Screen() as screen, stopped_by_signals(screen), place_of_its_own() as place:
        screen.title("Upkeep's restore: a table is dropped on MariaDB and on PostgreSQL, and comes back")
        verdict = Verdict()
        try:
            with _running(screen, place) as databases:
                _back_up(screen, place)
                _beside(screen, verdict, databases)
                for name, database in databases.items():
                    _over(screen, verdict, name, database)
        except ServerFailed as error:
            verdict.add(False, str(error))
        screen.title("What had to hold")
        screen.show(verdict.text())
        screen.say("the demo ends here; its servers are gone" if verdict.good else "FAILED")
        return 0 if verdict.good else 1


@contextmanager
def _running(screen: Screen, place: Path) -> Iterator[dict[str, Any]]:
    servers: dict[str, Server] = {"kindergarten": MariaDbServer(), "chronoretrace": PostgresServer()}
    screen.doing(f"starting MariaDB and PostgreSQL with {ROWS:,} rows each")
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        for server in servers.values():
            stack.callback(server.close)
        list(pool.map(lambda server: server.start(), servers.values()))
        mysql = MySqlDatabase(servers["kindergarten"], "kindergarten")  # type: ignore[arg-type]
        postgres = PostgresDatabase(servers["chronoretrace"], "chronoretrace")  # type: ignore[arg-type]
        for database in (mysql, postgres):
            database.create()
        with closing(mysql.connect()) as connection:
            fill_kindergarten(connection, ROWS)
        with closing(postgres.connect()) as session:
            fill_chronoretrace(session, ROWS)
        _write_site(place, {"kindergarten": "mysql", "chronoretrace": "postgres"})
        for name, found in (("kindergarten", mysql), ("chronoretrace", postgres)):
            os.environ[f"AIRFLOW_CONN_{name.upper()}"] = servers[name].conn_json(found.name)
        yield {"kindergarten": mysql, "chronoretrace": postgres}
        screen.doing("stopping the servers")


def _write_site(place: Path, engines: dict[str, str]) -> None:
    (place / "sites").mkdir()
    (place / "store").mkdir()
    site = {
        "name": "demo",
        "title": "Demo",
        "timezone": "Asia/Shanghai",
        "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
        "store": {"url": f"file://{place}/store"},
        "spool": f"{place}/spool",
        "retention": {"daily": 7},
        "databases": [
            {"name": name, "engine": engine, "conn_id": name, "stop_writes": "read_only"}
            for name, engine in engines.items()
        ],
    }
    (place / "sites" / "demo.yaml").write_text(yaml.safe_dump(site, allow_unicode=True), encoding="utf-8")
    os.environ |= {"UPKEEP_SITES": str(place / "sites"), "AIRFLOW_HOME": str(place)}
    os.environ.pop("AIRFLOW_CONN_UPKEEP_LEDGER", None)


def _back_up(screen: Screen, place: Path) -> None:
    """As the nightly DAG does it."""
    screen.doing("backing both up and verifying that, as every night")
    job = Job(
        site=load_site(place / "sites" / "demo.yaml"),
        run=Run(run_id="night", actor="demo", trigger="demo"),
        ledger=Ledger(default_url(place)),
        connect=connection_from_environment,
        make_filesystem=filesystem_from_environment,
    )
    for name in LOST:
        verify(job, name, str(back_up(job, name)["backup_id"]))
    screen.title("$ upkeep backups demo")
    screen.show(upkeep("backups", "demo")[1])


def _beside(screen: Screen, verdict: Verdict, databases: dict[str, Any]) -> None:
    """The careful way: single tables under another name; nothing live is touched."""
    screen.title(f"Somebody wants to look at yesterday's {LOST['kindergarten']}")
    arguments = ("restore", "backup", "demo", "kindergarten", "--table", LOST["kindergarten"], "--yes")
    screen.show(f"$ upkeep {' '.join(arguments)}")
    status, said = upkeep(*arguments)
    screen.show(said)
    live = databases["kindergarten"]
    copies = [name for (name,) in live.query("SHOW DATABASES") if name.startswith("kindergarten_tables_")]
    held = status == 0 and len(copies) == 1
    if held:
        copy = MySqlDatabase(live.server, copies[0])
        counted = f"SELECT COUNT(*) FROM {LOST['kindergarten']}"
        held = copy.query(counted) == live.query(counted)
        copy.drop()
    verdict.add(held, "a single table was restored beside the live database")


def _over(screen: Screen, verdict: Verdict, name: str, database: Any) -> None:
    before, table = _fingerprint(database), LOST[name]
    cascade = " CASCADE" if name == "chronoretrace" else ""
    screen.title(f"A bad day: DROP TABLE {table} on {name}")
    database.execute(f"DROP TABLE {table}{cascade}")
    (row,) = [line.split()[1] for line in upkeep("backups", "demo", name)[1].splitlines() if line.startswith(name)]
    arguments = ("restore", "backup", "demo", name, "--backup", row, "--to", "over", "--yes")
    screen.show(f"$ upkeep {' '.join(arguments)}")
    screen.doing(f"restoring {name}")
    status, said = upkeep(*arguments)
    screen.show(said)
    after = _fingerprint(database)
    verdict.add(status == 0 and after == before, f"{name} is as it was, row by row: {len(after.tables)} tables")
    kept = [one for one in _names(database) if one.startswith(f"{name}_replaced_")]
    verdict.add(len(kept) == 1, f"{name}: what was live stays as {', '.join(kept)}")


def _fingerprint(database: Any) -> Fingerprint:
    with closing(database.connect()) as connection:
        if isinstance(database, MySqlDatabase):
            return fingerprint_mysql(connection, database.name)
        return fingerprint_postgres(connection)


def _names(database: Any) -> list[str]:
    listed = "SHOW DATABASES" if isinstance(database, MySqlDatabase) else "SELECT datname FROM pg_database"
    return [str(name) for (name,) in database.query(listed)]


if __name__ == "__main__":
    sys.exit(main())
