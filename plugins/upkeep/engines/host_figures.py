"""How busy and how full this machine is, from the kernel's own files.

In a container these are the figures of the machine below it (a memory limit of the container's own isn't seen), and the
disks are those that are mounted into it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from upkeep.domain.capacity import Measured
from upkeep.engines.degrading import degrading

CPU_INTERVAL_S = 1.0
PASSING_DEVICES = r"lo|(veth|cali|lxc|ifb).*"
"""Network devices that aren't sampled: the loop, and those that come and go with containers."""

UNREADABLE = (OSError, ValueError, LookupError)


def _pause() -> None:
    time.sleep(CPU_INTERVAL_S)


def host_figures(host: str, *, proc: Path = Path("/proc"), pause: Callable[[], object] = _pause) -> Measured:
    """CPU over the time that ``pause`` takes, memory, load, and the network's counters since the machine started."""
    found = Measured()
    with degrading(found.unread, "CPU", UNREADABLE):
        busy_before, all_before = _cpu_ticks(proc)
        pause()
        busy, all_ticks = _cpu_ticks(proc)
        if all_ticks <= all_before:
            raise ValueError(f"the counters of {proc / 'stat'} stand still")
        found.add("cpu_pct", host, 100 * (busy - busy_before) / (all_ticks - all_before), "%")
    with degrading(found.unread, "memory", UNREADABLE):
        total, available = memory(proc)
        found.add("memory_pct", host, 100 * (1 - available / total), "%")
        found.add("memory_available_bytes", host, available, "bytes")
    with degrading(found.unread, "load", UNREADABLE):
        averages = (proc / "loadavg").read_text().split()
        for minutes, average in zip((1, 5, 15), averages[:3], strict=True):
            found.add(f"load_{minutes}m", host, average, "processes")
    with degrading(found.unread, "network", UNREADABLE):
        for device, received, sent in _network(proc):
            found.add("network_in_bytes", f"{host}:{device}", received, "bytes since start")
            found.add("network_out_bytes", f"{host}:{device}", sent, "bytes since start")
    return found


def disk_figures(host: str, paths: Iterable[str | Path]) -> Measured:
    """Room and inodes of each filesystem that holds one of ``paths``; for a path that isn't there yet, of the one that
    would hold it. As ``df`` counts: full is when an ordinary account can write no more.
    """
    found, seen = Measured(), set()
    for path in map(Path, paths):
        with degrading(found.unread, f"disk of {path}", UNREADABLE):
            mount = mount_point(path)
            device = mount.stat().st_dev
            if device in seen:
                continue
            seen.add(device)
            state = os.statvfs(mount)
            target = f"{host}:{mount}"
            if used_or_free := state.f_blocks - state.f_bfree + state.f_bavail:
                used = state.f_blocks - state.f_bfree
                found.add("disk_pct", target, 100 * used / used_or_free, "%")
                found.add("disk_used_bytes", target, used * state.f_frsize, "bytes")
                found.add("disk_free_bytes", target, state.f_bavail * state.f_frsize, "bytes")
            # Some filesystems make inodes as they need them and report none.
            if used_or_free := state.f_files - state.f_ffree + state.f_favail:
                found.add("inodes_pct", target, 100 * (state.f_files - state.f_ffree) / used_or_free, "%")
    return found


def _cpu_ticks(proc: Path) -> tuple[int, int]:
    """Ticks spent working and ticks in all, since the machine started: ``cpu user nice system idle iowait irq softirq
    steal guest guest_nice``. Waiting for a disk is idling; guests are in user and nice already."""
    with (proc / "stat").open() as file:
        name, *counts = file.readline().split()
    if name != "cpu":
        raise ValueError(f"{proc / 'stat'} does not begin with the line of all processors")
    ticks = [int(count) for count in counts[:8]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def memory(proc: Path = Path("/proc")) -> tuple[int, int]:
    """Bytes in all, and bytes a new program could have without swapping. Errors: ``UNREADABLE``."""
    lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line)
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return total, available


def _network(proc: Path) -> list[tuple[str, int, int]]:
    """Name, bytes received, bytes sent, of each device that has ever carried anything."""
    found = []
    for line in (proc / "net" / "dev").read_text().splitlines()[2:]:
        device, _, counts = line.partition(":")
        received, sent = (int(counts.split()[place]) for place in (0, 8))
        if not re.fullmatch(PASSING_DEVICES, device.strip()) and (received or sent):
            found.append((device.strip(), received, sent))
    return found


def mount_point(path: Path) -> Path:
    """The top folder of the filesystem that holds ``path``, or would."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return path
