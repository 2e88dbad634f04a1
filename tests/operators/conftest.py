"""Airflow's database, once, and sites whose DAGs run in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def airflow_database() -> None:
    from airflow.utils import db

    db.initdb()


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a site file into this test's own folder of sites; ``sites("shop", databases=[...])``."""
    folder = tmp_path / "sites"
    folder.mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("内容")
    monkeypatch.setenv("UPKEEP_SITES", str(folder))
    monkeypatch.setenv("AIRFLOW_CONN_UPKEEP_LEDGER", f'{{"conn_type": "sqlite", "host": "{tmp_path}/ledger.db"}}')

    def write(name: str, **sections: Any) -> None:
        content = {
            "name": name,
            "title": f"{name} 系统",
            "timezone": "Asia/Shanghai",
            "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
            "store": {"url": f"file://{tmp_path}/store"},
            "spool": f"{tmp_path}/spool",
            "retention": {"daily": 7},
            "folders": [{"name": "config", "paths": [f"{tmp_path}/data"]}],
            **sections,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")

    return write


@pytest.fixture
def run_dag(airflow_database: None) -> Iterator[Callable[..., Any]]:
    """Run a whole DAG in this process and return its DagRun. Retries are off unless asked for."""
    from airflow.dag_processing.dagbag import DagBag

    def run(dag_id: str, retries: int = 0, **conf: Any) -> Any:
        bag = DagBag(dag_folder=str(DAGS))
        assert dag_id in bag.dags, f"{dag_id} is not there: {bag.import_errors}"
        dag = bag.dags[dag_id]
        dag.deadline = None  # dag.test() of Airflow 3.3.2 trips over one at the end of a run; the demo has it on
        for task in dag.tasks:
            task.retries = retries
        return dag.test(logical_date=None, run_conf={"override_window": True, "override_reason": "a test", **conf})

    before = dict(os.environ)
    yield run
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def sections(
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    redis_server: RedisServer,
    mariadb_scratch: MariaDbServer,
    postgres_scratch: PostgresServer,
) -> dict[str, Any]:
    """What a site file says of a MariaDB and a PostgreSQL with rows, each with a scratch server, and of a Redis."""
    mariadb_database.execute("CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(40))")
    mariadb_database.execute("INSERT INTO students VALUES (1, '王小明'), (2, '李雷')")
    postgres_database.execute("CREATE TABLE prices (id int PRIMARY KEY, price numeric)")
    postgres_database.execute("INSERT INTO prices SELECT n, n / 7.0 FROM generate_series(1, 500) n")
    connections = {
        "SHOP_MYSQL": mariadb_database.server.conn_json(mariadb_database.name),
        "SHOP_POSTGRES": postgres_database.server.conn_json(postgres_database.name),
        "SHOP_REDIS": redis_server.conn_json(),
        "SHOP_MYSQL_SCRATCH": mariadb_scratch.conn_json(""),
        "SHOP_POSTGRES_SCRATCH": postgres_scratch.conn_json("postgres"),
    }
    for name, text in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", text)
    return {
        "databases": [
            {
                "name": "app", "engine": "mysql", "conn_id": "shop_mysql", "scratch_conn_id": "shop_mysql_scratch",
                "checks": [{"sql": "SELECT COUNT(*) FROM students", "at_least": 2}],
                "benchmark": [{"name": "names", "sql": "SELECT name FROM students ORDER BY name LIMIT 10"}],
            },
            {
                "name": "prices", "engine": "postgres", "conn_id": "shop_postgres",
                "scratch_conn_id": "shop_postgres_scratch",
            },
        ],
        "caches": [{"name": "sessions", "conn_id": "shop_redis"}],
    }  # fmt: skip
