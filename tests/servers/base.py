"""What every throwaway server has in common: a life from ``start`` to ``close``, and how to reach it."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode

from tests.servers.launcher import launch, run_as
from tests.servers.places import Folder, free_port, port_is_free
from upkeep.domain.endpoint import Endpoint

AWKWARD = "@:/'\" #%\\天"
"""What a password may hold: every character that breaks a URI, a shell, an option file, a SQL string or Latin-1."""

START_WITHIN_S = 60
STOP_WITHIN_S = 30


class ServerFailed(RuntimeError):
    """A server that did not come up or went away by itself; the message ends with the last lines of its log."""


def awkward_password() -> str:
    return f"{secrets.token_hex(4)}{AWKWARD}{secrets.token_hex(4)}"


class Server(ABC):
    """One server process with its own data, port and password.

    ``start`` makes the data on its first call. ``stop`` and ``kill`` end the process and keep the data; ``close``, the
    end of the ``with`` block, and the end of this Python process remove both.
    """

    name: ClassVar[str]
    """In folder names and messages."""
    kind: ClassVar[str]
    """Airflow's connection type."""
    account: ClassVar[str]
    """The system account it runs as when we are root."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    host = "127.0.0.1"
    user = "upkeep"

    def __init__(self) -> None:
        self.port = 0
        self.password = awkward_password()
        self.run_account = self.account
        self._folder: Folder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    # What a kind of server has to say about itself.

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder; called once, with ``place`` at hand and the port not yet known."""

    @abstractmethod
    def command(self) -> list[str]:
        """Write the configuration for the present port and return the server's command line."""

    @abstractmethod
    def check(self) -> None:
        """Log in and do the least there is to do; raise any exception while the server isn't ready."""

    # Its life.

    def start(self) -> Self:
        if self.running:
            raise ServerFailed(f"{self.name} is already running as process {self.pid}")
        first = self._folder is None
        try:
            if first:
                self._folder = Folder(self.name, self.run_account)
                atexit.register(self.close)
                self.prepare()
            self._come_up(tries=5 if first else 1)
        except BaseException:
            if first:
                self.close()
            raise
        return self

    def stop(self) -> None:
        """Shut down in good order and keep the data."""
        process = self._process
        if process is None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to the server and its children, as if the power had failed; the data stays as it is."""
        process = self._process
        if process is None:
            return
        family = [process.pid, *_descendants(process.pid)]
        for pid in family:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP_WITHIN_S)
        _wait_until_gone(family)
        self._process = None

    def restart(self) -> None:
        """The same data on the same port, whether it was running, stopped or killed."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the process and remove its data. A forked child does neither: the server isn't its own."""
        if os.getpid() != self._owner or self._folder is None:
            return
        atexit.unregister(self.close)
        died = self._process is not None and self._process.poll() is not None
        kept = self._keep_log() if died else None
        self.kill()
        self._folder.remove()
        self._folder = None
        if kept is not None:
            raise ServerFailed(f"{self.name} ended by itself while in use; its log is kept as {kept}")

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # What can be seen of it.

    @property
    def place(self) -> Folder:
        if self._folder is None:
            raise ServerFailed(f"{self.name} has no folder: it was never started, or it was closed")
        return self._folder

    @property
    def folder(self) -> Path:
        return self.place.path

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} isn't running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # How to reach it.

    def endpoint(self, database: str = "") -> Endpoint:
        return Endpoint(
            conn_id=f"{self.kind}_test",
            kind=self.kind,
            host=self.host,
            port=self.port,
            user=self.user,
            secret=self.password,
            schema=database,
            extra=self.connection_extra(database),
        )

    def connection_extra(self, database: str) -> dict[str, Any]:
        """The connection's extra field."""
        return {}

    def conn_json(self, database: str = "") -> str:
        """A value for ``AIRFLOW_CONN_<ID>``."""
        endpoint = self.endpoint(database)
        fields = {
            "conn_type": endpoint.kind,
            "host": endpoint.host,
            "port": endpoint.port,
            "login": endpoint.user,
            "password": endpoint.secret,
            "schema": endpoint.schema,
            "extra": dict(endpoint.extra),
        }
        return json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False)

    def conn_uri(self, database: str = "") -> str:
        """The same as ``conn_json``, in Airflow's URI form."""
        endpoint = self.endpoint(database)
        login = f"{quote(endpoint.user, safe='')}:{quote(endpoint.secret, safe='')}"
        query = f"?{urlencode(endpoint.extra)}" if endpoint.extra else ""
        return f"{endpoint.kind}://{login}@{endpoint.host}:{endpoint.port}/{quote(endpoint.schema, safe='')}{query}"

    # How it is done.

    def run(self, *command: str) -> None:
        """Run a program that makes the data, as the server's account."""
        done = subprocess.run(
            [*run_as(self.run_account), *command], cwd=self.folder, capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            raise ServerFailed(f"{command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")

    def _come_up(self, *, tries: int) -> None:
        for left in reversed(range(tries)):
            if self.port == 0 or left < tries - 1:
                self.port = free_port()
            command = [*run_as(self.run_account), *self.command()]
            with (self.folder / "server.log").open("ab") as output:
                self._process = launch(command, output=output, folder=self.folder)
            problem = self._wait_until_ready()
            if problem is None:
                return
            lost_the_port = not self.running and not port_is_free(self.port)
            self.kill()
            if not (lost_the_port and left):
                kept = self._keep_log()
                raise ServerFailed(f"{self.name} did not start: {problem}\n{self.log()[-3000:]}\nkept as {kept}")

    def _wait_until_ready(self) -> str | None:
        deadline = time.monotonic() + START_WITHIN_S
        problem = "no answer"
        while self.running and time.monotonic() < deadline:
            try:
                self.check()
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                time.sleep(0.02)
            else:
                # An answer to our random password can only be our server's; but it must still be there.
                return None if self.running else "it ended right after it had started"
        if self._process is not None and not self.running:
            return f"it ended with status {self._process.returncode}"
        return f"not ready within {START_WITHIN_S} s; last answer: {problem}"

    def _keep_log(self) -> Path:
        kept = self.folder.parent / f"{self.folder.name}.log"
        shutil.copyfile(self.folder / "server.log", kept)
        return kept


def _descendants(pid: int) -> list[int]:
    try:
        below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return below + [deeper for child in below for deeper in _descendants(child)]


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie doesn't: it only waits for a parent that asks after it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + STOP_WITHIN_S
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise ServerFailed(f"processes {pids} survive SIGKILL")
        time.sleep(0.01)
