"""The programs that dump a MySQL or MariaDB: this worker's, or those in the server's own pod.

Each waits for its option file, which holds the password and isn't handed over before the snapshot may be opened.
"""

from __future__ import annotations

import os
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from upkeep.engines.pipeline import Command
from upkeep.engines.private_file import GatedFile
from upkeep.engines.tools import Tool, mysql_dump, mysql_dump_names
from upkeep.errors import ToolUnfit

if TYPE_CHECKING:
    from upkeep.engines.pod import Pod

COLLECT_KB = 64
"""mysqldump's 4 KiB cost a second per GB. Behind every table's definition it prints what it has, however little."""
READS_OPTIONS = 'head -c "$1" | { shift; exec "$@"; }'
"""For the pod's shell: the option file is cut out of standard input, whose end the API can't tell."""


class Programs(ABC):
    """Gates and commands last as long as ``stack``."""

    def __init__(self, stack: ExitStack, options: str) -> None:
        """``options``: the content of the option file."""
        self._stack, self._options = stack, options

    def gate(self) -> GatedFile:
        return self._stack.enter_context(closing(GatedFile(self._options)))

    @abstractmethod
    def find(self, flavour: str, version: tuple[int, ...]) -> Tool:
        """One that fits the server. Errors: ``ToolMissing``, ``ToolUnfit``."""

    @abstractmethod
    def command(self, tool: Tool, words: Sequence[str], gate: GatedFile) -> Command: ...

    @abstractmethod
    def wait_until_there(self, within_s: float) -> None:
        """Until every program that was started waits at its gate, or as good as."""


class LocalPrograms(Programs):
    def find(self, flavour: str, version: tuple[int, ...]) -> Tool:
        return mysql_dump(flavour, version)

    def command(self, tool: Tool, words: Sequence[str], gate: GatedFile) -> Command:
        return Command(
            # Not --defaults-extra-file: the worker's ~/.my.cnf is read after that one, and where it leads to a scratch
            # server, that server would be dumped in the name of this one.
            [tool.path, f"--defaults-file=/dev/fd/{gate.descriptor}", *words],
            env={"MYSQL_TEST_LOGIN_FILE": "/dev/null"},  # nor ~/.mylogin.cnf
            pass_fds=(gate.descriptor,),
            collect_kb=COLLECT_KB,
        )

    def wait_until_there(self, within_s: float) -> None:
        return  # a program starts in milliseconds


class PodPrograms(Programs):
    def __init__(self, stack: ExitStack, options: str, pod: Pod) -> None:
        super().__init__(stack, options)
        self._pod = pod
        self._ready: list[int] = []

    def find(self, flavour: str, version: tuple[int, ...]) -> Tool:
        tool = self._pod.find_tool(mysql_dump_names(flavour))
        if tool.flavour != flavour or tool.version[0] < version[0]:
            raise ToolUnfit(
                f"{self._pod.label} has {tool.label}, the server is {flavour} {'.'.join(map(str, version))}",
                hint="name the database's own container under via.container: its image has the fitting programs",
            )
        return tool

    def command(self, tool: Tool, words: Sequence[str], gate: GatedFile) -> Command:
        there, ready = os.pipe()
        self._stack.callback(os.close, there)
        self._stack.callback(os.close, ready)
        self._ready.append(there)
        size = str(len(self._options.encode()))
        argv = ["sh", "-c", READS_OPTIONS, "upkeep", size, "env", "MYSQL_TEST_LOGIN_FILE=/dev/null", tool.path]
        command = self._pod.command(
            [*argv, "--defaults-file=/dev/stdin", *words], program=tool.path, stdin=gate.descriptor, ready=ready
        )
        return self._stack.enter_context(command)

    def wait_until_there(self, within_s: float) -> None:
        """A way into a pod takes a second to open: nobody's writes are held meanwhile."""
        deadline = time.monotonic() + within_s
        for there in self._ready:
            poll = select.poll()
            poll.register(there, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        self._ready.clear()
