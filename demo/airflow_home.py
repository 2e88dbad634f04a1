"""A whole Airflow of its own: the real components on SQLite, in a temporary home, on a free port of this machine."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.processes import Program, stop_all
from demo.rest import NotAnswered, Rest
from demo.screen import Screen
from tests.servers.places import free_port, port_is_free

ROOT = Path(__file__).resolve().parents[1]
USER = "admin"
USUAL_PORT = 8080
UP_WITHIN_S = 240

COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""``airflow standalone`` would start the same four, but leaves their children behind when it is stopped. Nobody needs
the two that serve logs: the API server reads them from the same folder."""


class AirflowDown(RuntimeError):
    """A component did not come up, or ended by itself; the message has the end of its log."""


class AirflowHome:
    """Makes its database from construction on; ``start`` starts it; after the ``with`` block only its folder is left.

    The settings go into this process's environment, where every program started from here finds them.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder
        self.logs = folder / "components"
        self.logs.mkdir(parents=True)
        self.password = secrets.token_urlsafe(9)
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.rest = Rest(self.url, USER, self.password)
        self._programs: list[Program] = []
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            del os.environ[name]  # another Airflow's settings, which would mix with ours
        os.environ.update(self._settings(port))
        passwords = folder / "simple_auth_manager_passwords.json.generated"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({USER: self.password}))
        self._migration = self._program("migrate", ["db", "migrate"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_all(self._programs)

    def start(self, screen: Screen, sites: Path, connections: Mapping[str, str], dag_ids: list[str]) -> None:
        """Start the components, and wait until all are healthy and know the DAGs."""
        os.environ["UPKEEP_SITES"] = str(sites)
        os.environ.update({f"AIRFLOW_CONN_{conn_id.upper()}": value for conn_id, value in connections.items()})
        screen.doing("making Airflow's metadata database (SQLite)")
        if self._migration.wait(UP_WITHIN_S) != 0:
            raise AirflowDown(f"airflow db migrate failed:\n{self._migration.log_tail()}")
        screen.doing(f"starting {', '.join(COMPONENTS)}")
        for name, arguments in COMPONENTS.items():
            self._program(name, arguments)
        self._wait(screen, dag_ids)

    def check(self) -> None:
        """Errors: ``AirflowDown`` when a component has ended by itself."""
        for program in self._programs:
            if program.name in COMPONENTS and program.status is not None:
                raise AirflowDown(f"{program.name} ended with status {program.status}:\n{program.log_tail()}")

    def _wait(self, screen: Screen, dag_ids: list[str]) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        while missing := self._missing(dag_ids):
            self.check()
            if time.monotonic() > deadline:
                tails = "\n".join(f"-- {program.name}\n{program.log_tail(15)}" for program in self._programs)
                raise AirflowDown(f"not ready after {UP_WITHIN_S} s: {missing}\n{tails}")
            screen.waiting(f"waiting for Airflow: {missing}")
            time.sleep(0.3)

    def _missing(self, dag_ids: list[str]) -> str:
        """What isn't there yet, in words; empty when nothing is missing."""
        unhealthy = [name for name, state in self.rest.health().items() if state != "healthy"]
        if unhealthy:
            return f"no sign of life from {', '.join(unhealthy)} yet"
        try:
            unknown = [dag_id for dag_id in dag_ids if not self.rest.has_dag(dag_id)]
            errors = self.rest.import_errors() if unknown else []
        except NotAnswered as error:
            return str(error)
        if errors:
            raise AirflowDown("a DAG file can't be imported:\n" + "\n".join(errors))
        return f"{', '.join(unknown)} not parsed yet" if unknown else ""

    def _program(self, name: str, arguments: list[str]) -> Program:
        airflow = str(Path(sys.executable).with_name("airflow"))
        program = Program(name, [airflow, *arguments], self.logs)
        self._programs.append(program)
        return program

    def _settings(self, port: int) -> dict[str, str]:
        here = "127.0.0.1,localhost"
        return {
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder / 'airflow.db'}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,  # tasks find the API server through it
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__DEFAULT_WRAP": "True",
            # A tick that was missed would run at once, outside the window, and keep our own run waiting.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "NO_PROXY": here,
            "no_proxy": here,
            "PYTHONWARNINGS": "ignore",
        }


def usual_port() -> int:
    """8080 where it is free, as people expect it, else any."""
    return USUAL_PORT if port_is_free(USUAL_PORT) else free_port()
