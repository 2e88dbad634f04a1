"""The free disk of a database server that runs on this very machine; servers themselves can't say."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address


def free_bytes_of(folder: str) -> int | None:
    """What an unprivileged program may still write there; None where this machine has no such folder."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def is_this_machine(host: str, server_host: str) -> bool:
    """A loopback address may lead into a container, which calls itself by another name than ``server_host``."""
    return is_loopback(host) and server_host == socket.gethostname()


def is_loopback(host: str) -> bool:
    if host.startswith("/") or host in ("", "localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
