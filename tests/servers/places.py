"""Ports and folders that two test runs side by side never share, and that a killed run does not leave behind."""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

LONGEST_ROOT = 40
"""A unix socket's path holds 107 bytes, and the server adds its own folder and file name to the root."""

STALE_AFTER_S = 120

_LOWEST_PORT, _EPHEMERAL_PORT = 20_000, 32_768


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port below the ephemeral range.

    A port from ``bind(0)`` may be handed to any client while its server is down for a restart, and a client that polls
    a closed ephemeral port can even connect to itself. Below the range only another test server can take it.
    """
    for _ in range(200):
        port = random.SystemRandom().randrange(_LOWEST_PORT, _EPHEMERAL_PORT)
        if port_is_free(port):
            return port
    raise RuntimeError("no free port between 20000 and 32767 on 127.0.0.1")


def reachable_by_all(path: Path) -> bool:
    """Whether an account without rights of its own can get at ``path``."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


class Folder:
    """A private folder for one server, locked as long as this process lives; folders nobody locks are swept."""

    def __init__(self, name: str, account: str) -> None:
        root = _root()
        _sweep(root)
        self.path = Path(tempfile.mkdtemp(prefix=f"upkeep-{name}-", dir=root))
        self._account = account
        self._lock = os.open(self.path / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._give(self.path)

    def write(self, name: str, text: str) -> Path:
        """Write a file only the server's account can read."""
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        self._give(path)
        return path

    def make(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700)
        self._give(path)
        return path

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self._account)
            os.chown(path, entry.pw_uid, entry.pw_gid)


def _root() -> Path:
    """The temporary folder, or /tmp where that one is too deep for a socket or closed to the server's account."""
    root = Path(tempfile.gettempdir())
    fits = len(str(root)) <= LONGEST_ROOT and root.stat().st_mode & 0o001 and reachable_by_all(root)
    return root if fits else Path("/tmp")


def _sweep(root: Path) -> None:
    """Remove folders of test runs that were killed: they are old and nobody holds their lock any more."""
    for path in root.glob("upkeep-*/owner.lock"):
        try:
            if time.time() - path.stat().st_mtime < STALE_AFTER_S:
                continue
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(handle)
