"""Programs that run beside the demo and end with it, whatever they have started meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.launcher import launch, run_as

STOP_WITHIN_S = 3
"""Then it is ended. Nothing is lost by that: all it could still write to is thrown away."""


class Program:
    """One program in a session of its own, so that all of its children can be found by the session's number.

    Airflow's scheduler and triggerer have children, and each task a process group of its own: a signal to the program
    alone would leave them behind. The program inherits this process's environment.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as output:
            # run_as("root"): as ourselves, and killed with us.
            self._process = launch([*run_as("root"), *command], output=output, folder=folder)

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def ask_to_stop(self) -> None:
        if self.status is None:
            self._process.terminate()

    def family(self) -> list[int]:
        """The living processes of its session."""
        self._process.poll()
        return [int(entry.name) for entry in Path("/proc").iterdir() if _session(entry) == self._process.pid]


def stop_all(programs: Sequence[Program]) -> None:
    """Ask every program to stop, then end what is left of their sessions."""
    for program in programs:
        program.ask_to_stop()
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline and any(program.family() for program in programs):
        time.sleep(0.1)
    while left := [pid for program in programs for pid in program.family()]:
        for pid in left:
            _kill(pid)
        time.sleep(0.05)


def run(
    command: Sequence[str], *, seconds: float = 60, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it says on standard error is part of the output."""
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
        cwd=folder,
        env=env,
    )


def _session(entry: Path) -> int | None:
    """The session of one process; None for what is not a process, or no longer alive."""
    if not entry.name.isdigit():
        return None
    try:
        state, *numbers = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(numbers[2])


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
