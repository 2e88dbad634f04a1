"""What a review asks this machine: only where the server runs on it does that say anything about the server."""

from __future__ import annotations

import os
import re
from pathlib import Path

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.findings import Inspection
from upkeep.domain.review_settings import KERNEL_RULES, Advice, Server, judge_settings
from upkeep.engines.degrading import degrading

_HERE = {"", "localhost", "127.0.0.1", "::1"}
_NAMES = (
    "net.core.somaxconn", "net.core.netdev_max_backlog", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_time", "vm.swappiness", "vm.dirty_ratio", "vm.dirty_background_ratio", "fs.file-max",
    "fs.nr_open",
)  # fmt: skip
_LIMITS = {"nofile": "Max open files", "nproc": "Max processes"}


def is_local(endpoint: Endpoint) -> bool:
    return endpoint.host in _HERE or "unix_socket" in endpoint.extra


def memory_of(endpoint: Endpoint) -> int | None:
    """Bytes of this machine, where the server is on it."""
    if not is_local(endpoint):
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def kernel_settings(host: str, *, pid: int | None = None, proc: Path = Path("/proc")) -> Inspection:
    """The kernel's settings and a server process's limits against the manual's.

    :param pid: a process of PostgreSQL as the server numbers it. One in a container numbers them otherwise, so it is
        looked at only where it is what it should be.
    """
    inspection = Inspection()
    values = {}
    for name in _NAMES:
        path = proc / "sys" / name.replace(".", "/")
        if path.exists():  # a container has a network of its own, and not all of these
            with degrading(inspection.unread, f"{name} of {host}", (OSError, ValueError)):
                values[name] = path.read_text().split()[0]
    if pid is not None and _is_postgres(proc / str(pid)):
        with degrading(inspection.unread, f"limits of process {pid} of {host}", (OSError, ValueError)):
            values |= _limits((proc / str(pid) / "limits").read_text())

    def how(advice: Advice) -> str:
        if advice.setting in _LIMITS:
            limit = f"Limit{advice.setting.upper()}={advice.value}"
            return f"{limit} in the server's systemd unit, or /etc/security/limits.conf; then restart it"
        return f"sysctl -w {advice.setting}={advice.value}, and the same line in /etc/sysctl.conf"

    judge_settings(inspection, KERNEL_RULES, values, Server(), where=host, how=how)
    return inspection


def _is_postgres(process: Path) -> bool:
    try:
        return "postgres" in (process / "comm").read_text()
    except OSError:
        return False


def _limits(text: str) -> dict[str, str]:
    """The soft limits; ``unlimited`` is no number, and no problem."""
    found = {}
    for name, title in _LIMITS.items():
        if match := re.search(rf"^{title}\s+(\S+)", text, re.MULTILINE):
            found[name] = match[1]
    return found
