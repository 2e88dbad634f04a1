"""No secret shows anywhere: not in ps, logs, XCom, Airflow's database, the ledger, the store, a report or an error."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.conftest import HOME
from tests.operators.conftest import airflow_database, run_dag, sites
from tests.operators.test_daily_dag import RunDag, Sites
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask

__all__ = ["airflow_database", "run_dag", "sites"]  # fixtures of the DAG tests, used here too


def forms(secret: str) -> set[bytes]:
    """How a secret could be written: as it is, in JSON, in a URL, in Python's repr."""
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        repr(secret)[1:-1],
    }
    return {text.encode() for text in texts}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder. Airflow's threads outlive the run: a journal of SQLite may go while it is looked for,
    and with it what it held.
    """
    found = {}
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[str(path)] = path.read_bytes()
    return found


class Watcher(threading.Thread):
    """Looks at every command line of this machine, over and over."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes())
                except OSError:
                    continue  # the process has ended
            time.sleep(0.002)

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def watching() -> Iterator[Watcher]:
    watcher = Watcher()
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Everything that is logged at any level, as it would reach a task's log."""
    path = tmp_path / "everything.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield path
    root.removeHandler(handler)
    root.setLevel(level)
    handler.close()


@pytest.mark.parametrize("healthy", [True, False], ids=["a good night", "a night of failures"])
def test_a_secret_shows_nowhere(
    healthy: bool,
    sites: Sites,
    run_dag: RunDag,
    tmp_path: Path,
    log_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    redis_server: RedisServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mariadb_database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    key = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
    recipient = key.stderr.split()[-1]
    private_key = next(line for line in key.stdout.splitlines() if line.startswith("AGE-SECRET-KEY"))
    secrets = {private_key}
    for name, text in (
        ("SHOP_MYSQL", mariadb_database.server.conn_json(mariadb_database.name)),
        ("SHOP_POSTGRES", postgres_database.server.conn_json(postgres_database.name)),
        ("SHOP_REDIS", redis_server.conn_json()),
        ("SHOP_AGE", json.dumps({"conn_type": "generic", "password": private_key})),
    ):
        fields = json.loads(text)
        if not healthy and name != "SHOP_AGE":
            fields["password"] = f"wrong-{name}-#@:/'\" 密码"
        secrets.add(fields["password"])
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))
    sites(
        "shop",
        databases=[
            {"name": "app", "engine": "mysql", "conn_id": "shop_mysql"},
            {"name": "prices", "engine": "postgres", "conn_id": "shop_postgres"},
        ],
        caches=[{"name": "sessions", "conn_id": "shop_redis"}],
        encryption={"recipients": [recipient], "identity_conn_id": "shop_age"},
    )
    with watching() as watcher:
        run = run_dag("shop_daily")
    assert str(run.state) == ("success" if healthy else "failed")
    if healthy:
        assert any(b"mariadb-dump" in line for line in watcher.seen), "the watcher saw no dump: it proves nothing"

    places = {f"ps: {line!r}": line for line in watcher.seen}
    for folder in (HOME, tmp_path):
        places |= contents(folder)
    out, err = capfd.readouterr()
    places |= {"stdout": out.encode(), "stderr": err.encode()}
    for secret in secrets:
        for form in forms(secret):
            found = [place for place, content in places.items() if form in content]
            assert found == [], f"a secret stands in {found}"
    assert len(log_file.read_text()) > 1000, "nothing was logged: the search proves nothing"
    assert os.environ["AIRFLOW_CONN_SHOP_AGE"], "the secrets were in place"


def test_an_endpoint_shows_no_secret_in_its_repr() -> None:
    endpoint = Endpoint("x", user="u", secret="s3cret", extra={"security_token": "t0ken"})
    assert "s3cret" not in repr(endpoint)
    assert "t0ken" not in repr(endpoint)
    assert set(endpoint.secrets()) == {"s3cret", "t0ken"}


def test_masking_hides_the_longest_form_first() -> None:
    assert mask("abc and abcdef", ["abc", "abcdef"]) == "*** and ***"
    assert mask("p%40ss p@ss", ["p@ss"]) == "*** ***"
    assert mask("nothing", [""]) == "nothing"
