"""Airflow with the CeleryExecutor and two workers that share nothing but the network.

Each worker is a system account of its own with its own home, temporary folder and host name, and sees a disk of its own
where the site files put spool, folders and logs: a task that left something there for another task would not find it.
What they share is what they would share as machines: the code, PostgreSQL (metadata and ledger), Redis (the broker), an
OSS bucket, and the systems under care.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from psycopg.sql import SQL, Identifier, Literal

from demo.airflow_home import ROOT, AirflowHome
from demo.estate import Estate
from demo.processes import Program, stop_all
from demo.screen import Screen
from tests.servers.oss_server import OssServer
from tests.servers.places import reachable_by_all
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from upkeep.ledger import Ledger

SITES = ("kindergarten", "chronoretrace")
WORKERS = {"worker-1": "nobody", "worker-2": "daemon"}
"""Host names, and the accounts they run as: Debian has both."""
UP_WITHIN_S = 120
DEAD_AFTER_S = 20
"""How long a task may be silent before the scheduler takes its worker for dead; Airflow's default is 300 s."""


class FleetHome(AirflowHome):
    """The machine of scheduler, API server, DAG processor and triggerer."""

    def __init__(self, folder: Path, *, metadata: str, broker: str) -> None:
        self._metadata, self._broker = metadata, broker
        super().__init__(folder)

    def _settings(self, port: int) -> dict[str, str]:
        return {
            **super()._settings(port),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._metadata,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": self._metadata,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),  # in each home of its own, it would differ
            "AIRFLOW__CELERY__BROKER_URL": self._broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self._metadata}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(DEAD_AFTER_S),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        }


class Fleet:
    """Starts on entering its ``with`` block. ``place``: an empty folder that every account may enter."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.host = place / "host"
        """Where the site files say that spool, folders and logs are: another disk on each worker."""
        self.workers: dict[str, Program] = {}
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with self._running as undo:
            base = undo.enter_context(PostgresServer(settings={"max_connections": "200"}))
            broker = RedisServer()
            broker.password = secrets.token_hex(16)  # Celery takes it within a URL
            undo.enter_context(broker)
            self.oss = undo.enter_context(OssServer(self.place / "bucket"))
            metadata, ledger = (_database(base, name) for name in ("airflow", "ledger"))
            self.ledger = Ledger(ledger)
            url = f"redis://:{broker.password}@{broker.host}:{broker.port}/0"
            self.airflow = undo.enter_context(FleetHome(self.place / "airflow", metadata=metadata, broker=url))
            self.estate = undo.enter_context(Estate(self.place, ROOT / "include" / "sites"))
            self._store_in_oss()
            connections = {
                **self.estate.connections,
                "upkeep_ledger": ledger.replace("postgresql+psycopg", "postgres"),
                "fleet_oss": _oss(self.oss),
            }
            screen = undo.enter_context(Screen())
            self.airflow.start(screen, self.estate.sites, connections, [f"{site}_daily" for site in SITES])
            undo.callback(lambda: stop_all(list(self.workers.values())))
            for name in WORKERS:
                self.start(name)
            self._wait(
                "both workers take tasks", lambda: all("ready" in one.log_tail(60) for one in self.workers.values())
            )
            self._running = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def start(self, name: str) -> None:
        """One worker, with its own disk in place of ``host``."""
        home = self.place / name
        disk = home / "disk"
        shutil.copytree(self.host, disk, symlinks=True)
        for folder in (home / "tmp", home / "airflow", disk / "var/spool/upkeep"):
            folder.mkdir(parents=True, exist_ok=True)
        account = pwd.getpwnam(WORKERS[name])
        for path in (home, *home.rglob("*")):
            os.lchown(path, account.pw_uid, account.pw_gid)
        home.chmod(0o700)
        script = self.place / f"{name}.sh"
        python = Path(sys.executable)
        script.write_text(
            _SCRIPT.format(
                name=name,
                home=home,
                disk=disk,
                host=self.host,
                account=account.pw_name,
                hidden=_hidden(python),
                base=Path(sys.base_prefix).resolve(),
                airflow=python.with_name("airflow"),
            )
        )
        self.workers[name] = Program(name, ["unshare", "--mount", "--uts", "bash", str(script)], self.place)

    def kill(self, name: str) -> None:
        """As if its machine lost power: every process of it at once."""
        for pid in self.workers[name].family():
            os.kill(pid, 9)

    def wait_for_runs(self, runs: dict[str, str], within_s: float) -> dict[str, str]:
        """The state in which each run ended."""
        states: dict[str, str] = {}

        def over() -> bool:
            self.airflow.check()
            states.update({dag_id: self.airflow.rest.run_state(dag_id, run_id) for dag_id, run_id in runs.items()})
            return set(states.values()) <= {"success", "failed"}

        self._wait("the runs end", over, within_s)
        return states

    def trigger(self) -> dict[str, str]:
        conf = {"override_window": True, "override_reason": "fleet"}
        return {f"{site}_daily": self.airflow.rest.trigger(f"{site}_daily", conf) for site in SITES}

    def failures(self, runs: dict[str, str]) -> str:
        """What the failed tasks said, for whoever reads a failed test."""
        told = []
        for dag_id, run_id in runs.items():
            for task in self.airflow.rest.tasks(dag_id, run_id):
                if task.state == "failed":
                    told.append(f"-- {dag_id} {task.name}\n" + "\n".join(self.log_of(task.task_id)[-25:]))
        return "\n".join(told)

    def log_of(self, task_id: str) -> list[str]:
        """Logs stay on the worker that wrote them: without a remote log store nobody else has them."""
        paths = [
            path for name in WORKERS for path in (self.place / name / "airflow").rglob(f"task_id={task_id}/**/*.log")
        ]
        return [line for path in sorted(paths) for line in path.read_text(errors="replace").splitlines()]

    def _wait(self, what: str, met: Callable[[], bool], within_s: float = UP_WITHIN_S) -> None:
        until = time.monotonic() + within_s
        while not met():
            for name, worker in self.workers.items():
                if worker.status not in (None, -9):
                    raise AssertionError(f"{name} ended with {worker.status}:\n{worker.log_tail(60)}")
            if time.monotonic() > until:
                tails = "\n".join(f"-- {name}\n{worker.log_tail(40)}" for name, worker in self.workers.items())
                raise AssertionError(f"not within {within_s} s: {what}\n{tails}")
            time.sleep(0.5)

    def _store_in_oss(self) -> None:
        for path in self.estate.sites.glob("*.yaml"):
            site = yaml.safe_load(path.read_text(encoding="utf-8"))
            site["store"] = {"url": f"oss://{self.oss.bucket}/fleet", "conn_id": "fleet_oss"}
            path.write_text(yaml.safe_dump(site, allow_unicode=True, sort_keys=False), encoding="utf-8")


_SCRIPT = """\
set -eu
hostname {name}
mount --make-rprivate /
mount --bind {disk} {host}
if [ -n "{hidden}" ]; then  # an interpreter below root's home: leave only it to be seen there
  mkdir -p {home}/python && mount --bind {base} {home}/python
  mount -t tmpfs -o mode=755 none "{hidden}"
  mkdir -p {base} && mount --move {home}/python {base}
fi
export HOME={home} TMPDIR={home}/tmp AIRFLOW_HOME={home}/airflow
cd {home}
exec setpriv --reuid={account} --regid=$(id -g {account}) --clear-groups --no-new-privs \\
  {airflow} celery worker --celery-hostname {name} --skip-serve-logs --without-gossip --without-mingle
"""


def _oss(server: OssServer) -> str:
    fields = {"conn_type": "oss", "host": server.endpoint_url, "login": server.access_key_id}
    return json.dumps({**fields, "password": server.access_key_secret, "extra": {"region": server.region}})


def _hidden(path: Path) -> str:
    """The topmost folder above the interpreter that other accounts can't enter; empty where there is none."""
    real = path.resolve()
    if reachable_by_all(real):
        return ""
    return str(next(folder for folder in reversed(real.parents) if not folder.stat().st_mode & 0o001))


def _database(server: PostgresServer, name: str) -> str:
    """A database with an owner of its own; gives its URL."""
    password = secrets.token_hex(16)
    with server.connect() as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(name), Literal(password)))
        connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(name)))
    return f"postgresql+psycopg://{name}:{password}@{server.host}:{server.port}/{name}"
