"""The two sample systems, alive on this machine: real servers with made-up rows, folders, and site files to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.endpoints import Endpoints
from demo.sites import DOCKER_SOCKET, fill_configurations, fill_logs, move_sites
from tests.servers.base import Server
from tests.servers.data import Fingerprint, fill_chronoretrace, fill_kindergarten, fill_redis, fingerprint_mysql
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.docker_server import DockerServer
from tests.servers.mariadb import MariaDbServer
from tests.servers.mysql import MYSQL_BIN, MySqlServer
from tests.servers.mysql_family import MySqlFamilyServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer

ROWS = 20_000
KEYS = 5_000


def new_mysql() -> MySqlFamilyServer:
    """Oracle's MySQL where it is at hand, else MariaDB in its place."""
    return MySqlServer() if os.environ.get(MYSQL_BIN) else MariaDbServer()


class Estate:
    """Starts on entering its ``with`` block; nothing of it is left after the block.

    :param place: an empty folder for site files, store, spool and the folders that are backed up.
    """

    def __init__(self, place: Path, samples: Path) -> None:
        if programs := os.environ.get(MYSQL_BIN):
            os.environ["UPKEEP_PATH"] = os.pathsep.join(filter(None, [programs, os.environ.get("UPKEEP_PATH")]))
        self.place = place
        self.samples = samples
        self.sites = place
        """The folder of site files, once started."""
        self.kindergarten = MySqlDatabase(new_mysql(), "kindergarten")
        self.chronoretrace = PostgresDatabase(PostgresServer(), "chronoretrace")
        self.filled = Fingerprint()
        """What was put into the kindergarten's database: the nightly run may purge some of it after the backup."""
        self.caches = {"kindergarten": RedisServer(), "chronoretrace": RedisServer()}
        self.scratches: dict[str, MySqlFamilyServer | PostgresServer] = {
            "kindergarten": new_mysql(),
            "chronoretrace": PostgresServer(),
        }
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with self._running as undo, ThreadPoolExecutor() as pool:
            endpoints = Endpoints()
            undo.callback(endpoints.close)
            moved = move_sites(self.samples, self.place, endpoints.url)
            self.sites = moved.files
            fill_configurations(moved.configurations)
            fill_logs(moved.logs)
            _fill_docker(undo.enter_context(DockerServer(self.place / DOCKER_SOCKET)))
            for server in self._servers():
                undo.callback(server.close)
            jobs: list[Callable[[], object]] = [self._start_kindergarten, self._start_chronoretrace, self._start_caches]
            jobs += [scratch.start for scratch in self.scratches.values()]
            for done in [pool.submit(job) for job in jobs]:
                done.result()
            self._running = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def mysql_name(self) -> str:
        """What stands for the manual's MySQL."""
        return "MySQL" if isinstance(self.kindergarten.server, MySqlServer) else "MariaDB (for MySQL)"

    @property
    def connections(self) -> dict[str, str]:
        """The sample sites' Airflow connections by id."""
        return {
            "kindergarten_mysql": self.kindergarten.server.conn_json("kindergarten"),
            "kindergarten_redis": self.caches["kindergarten"].conn_json(),
            "chronoretrace_postgres": self.chronoretrace.server.conn_json("chronoretrace"),
            "chronoretrace_redis": self.caches["chronoretrace"].conn_json(),
            "kindergarten_scratch": self.scratches["kindergarten"].conn_json(""),
            "chronoretrace_scratch": self.scratches["chronoretrace"].conn_json("postgres"),
        }

    def _servers(self) -> list[Server]:
        return [self.kindergarten.server, self.chronoretrace.server, *self.caches.values(), *self.scratches.values()]

    def _start_kindergarten(self) -> None:
        self.kindergarten.server.start()
        self.kindergarten.create()
        with closing(self.kindergarten.connect()) as connection:
            fill_kindergarten(connection, ROWS)
            self.filled = fingerprint_mysql(connection, self.kindergarten.name)

    def _start_chronoretrace(self) -> None:
        self.chronoretrace.server.start()
        self.chronoretrace.create()
        with closing(self.chronoretrace.connect()) as connection:
            fill_chronoretrace(connection, ROWS)

    def _start_caches(self) -> None:
        for seed, cache in enumerate(self.caches.values()):
            cache.start()
            with closing(cache.connect()) as client:
                fill_redis(client, KEYS, seed=seed)


def _fill_docker(engine: DockerServer) -> None:
    """It speaks as a Docker engine does, without containers behind it: this machine's own one is left alone."""
    used = engine.image("kindergarten/api:1.8", built=400, pulled=300)
    engine.container("api", used, state="running", created=300)
    old = engine.image("kindergarten/api:1.7", built=2_000, pulled=1_900)
    engine.container("api-before", old, hours=300)
    engine.cached("layer-of-a-build", hours=900)
    engine.volume("uploads")
