"""Starting processes that can't outlive this one, not even when it is killed with SIGKILL.

``setpriv --pdeathsig KILL`` asks the kernel to kill the child when its parent ends. The parent it means is the
*thread* that forked: a server started from a pool's worker would die with that worker. So one thread, which lives
as long as the process, forks them all.
"""

from __future__ import annotations

import os
import pwd
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO


def run_as(account: str) -> list[str]:
    """The start of a command line that runs as ``account`` when we are root, and as ourselves when we are not."""
    command = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0 and account != "root":
        entry = pwd.getpwnam(account)
        command += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return command


def launch(command: Sequence[str], *, output: IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
    """Start a process in ``folder`` that dies with this one; what it prints goes to ``output``."""

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # Ctrl-C in the terminal must not stop it before the tests have
        )

    return _forker().call(fork)


class _Forker:
    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._work, name="server-launcher", daemon=True).start()

    def call(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        result: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, result))
        return result.result(timeout=30)

    def _work(self) -> None:
        while True:
            job, result = self._jobs.get()
            try:
                result.set_result(job())
            except BaseException as error:
                result.set_exception(error)


_lock = threading.Lock()
_current: _Forker | None = None


def _forker() -> _Forker:
    global _current
    with _lock:
        if _current is None:
            _current = _Forker()
        return _current


def _forget_after_fork() -> None:
    """A forked child has no launcher thread; it makes its own when it needs one."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
