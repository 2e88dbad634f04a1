"""Which files some process has open.

``/proc`` shows it for the processes that this account may look into and that share our view of process numbers: root on
the machine itself sees all, root in a container doesn't see the neighbour that shares its log volume. Where ``/proc``
doesn't show everything the kernel is asked about the one file: it grants a write lease only on a file that nobody else
has open. Neither knows of other machines that have a network folder mounted.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import signal
import stat
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path

from upkeep.domain.clean_logs import Use
from upkeep.engines.background import in_background

log = logging.getLogger(__name__)

LOOK_LIMIT_S = 30.0
"""A file on a network folder that is gone never answers, and no program can take back its question."""
_INITIAL_NAMESPACE = "pid:[4026531836]"
"""The machine's own; the kernel gives it this number always."""
_MAPPED = re.compile(rb"^\S+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*) ", re.MULTILINE)


class OpenFiles:
    """One look at ``/proc``, which takes about a millisecond for each process. A file opened later isn't in it.

    ``complete``: whether it shows every process of the machine. ``hangs``: it was given up, and another would hang too.
    """

    def __init__(self) -> None:
        self.found: set[tuple[int, int]] = set()
        """Device and inode of each."""
        self._at = ""
        looking = in_background(self._look, name="look at open files")
        wait([looking], LOOK_LIMIT_S)
        self.hangs = not looking.done()
        self.complete = not self.hangs and looking.result()
        if self.hangs:
            log.warning(
                "process %s has a file open on a folder that does not answer (a network mount that is gone?): the "
                "kernel is asked about each file instead",
                self._at,
            )

    def _look(self) -> bool:
        seen_all = _sees_all_processes()
        seen_init = False  # hidepid=2 and systemd's ProtectProc hide other accounts' processes without a word
        try:
            entries = list(os.scandir("/proc"))
        except OSError:
            return False
        for entry in entries:
            if not entry.name.isdigit():
                continue
            seen_init = seen_init or entry.name == "1"
            self._at = entry.name
            try:
                self._look_into(f"/proc/{entry.name}")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            except OSError:
                # Of all processes a machine's own init is the one that a root of fewer rights may not look into, and
                # the one that keeps no log of its own open.
                if entry.name != "1":
                    seen_all = False
        return seen_all and seen_init

    def use_of(self, state: os.stat_result) -> Use:
        return "open" if (state.st_dev, state.st_ino) in self.found else self.otherwise

    @property
    def otherwise(self) -> Use:
        """What a file is that isn't among those found."""
        return "closed" if self.complete else "unknown"

    def _look_into(self, process: str) -> None:
        with os.scandir(f"{process}/fd") as descriptors:
            for descriptor in descriptors:
                with suppress(FileNotFoundError):
                    state = os.stat(f"{process}/fd/{descriptor.name}")  # noqa: PTH116 - a thousand of these a second
                    if stat.S_ISREG(state.st_mode):
                        self.found.add((state.st_dev, state.st_ino))
        for major, minor, inode in _MAPPED.findall(Path(f"{process}/maps").read_bytes()):
            self.found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))


def ask_kernel(descriptor: int) -> Use:
    """The same for one file, which ``descriptor`` has open for reading, and no other of ours has.

    Whoever opens it in this very moment waits until we let go, microseconds later.
    """
    try:
        # By default the news that somebody waits is SIGIO, which ends a process; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        # Not ours and we aren't root, or a filesystem without leases.
        return "open" if error.errno == errno.EAGAIN else "unknown"
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return "closed"


def _sees_all_processes() -> bool:
    try:
        return Path("/proc/self/ns/pid").readlink().name == _INITIAL_NAMESPACE
    except OSError:
        return False
