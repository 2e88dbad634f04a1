"""The programs that dump a PostgreSQL: this worker's, or those in the server's own pod."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.pipeline import Command
from upkeep.engines.private_file import private_file
from upkeep.engines.tools import Tool, postgres_tool
from upkeep.errors import ToolUnfit

if TYPE_CHECKING:
    from upkeep.engines.pod import Pod

FIRST_LINE = 'IFS= read -r PGPASSWORD && export PGPASSWORD && exec "$@"'
"""For the pod's shell: the password comes as the first line of standard input, never as an argument."""


class Programs(ABC):
    """Commands last as long as ``stack``, which holds what they are given privately."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @abstractmethod
    def find(self, name: str, major: int) -> Tool:
        """One that fits a server of this major release. Errors: ``ToolMissing``, ``ToolUnfit``."""

    @abstractmethod
    def command(self, tool: Tool, flags: Sequence[str], environment: Mapping[str, str]) -> Command: ...


class LocalPrograms(Programs):
    def __init__(self, stack: ExitStack, pgpass: str) -> None:
        super().__init__(stack)
        self._passwords = stack.enter_context(private_file(pgpass))

    def find(self, name: str, major: int) -> Tool:
        return postgres_tool(name, major)

    def command(self, tool: Tool, flags: Sequence[str], environment: Mapping[str, str]) -> Command:
        environment = {**environment, "PGPASSFILE": f"/dev/fd/{self._passwords}"}
        return Command([tool.path, *flags], env=environment, pass_fds=(self._passwords,))


class PodPrograms(Programs):
    def __init__(self, stack: ExitStack, pod: Pod, endpoint: Endpoint) -> None:
        super().__init__(stack)
        self._pod, self._secret = pod, endpoint.secret

    def find(self, name: str, major: int) -> Tool:
        tool = self._pod.find_tool([name])
        if tool.version[0] < major:
            raise ToolUnfit(
                f"{self._pod.label} has {tool.label}, which is older than the server's PostgreSQL {major}",
                hint="name the database's own container under via.container: its image has the fitting programs",
            )
        return tool

    def command(self, tool: Tool, flags: Sequence[str], environment: Mapping[str, str]) -> Command:
        settings = [f"{name}={value}" for name, value in environment.items() if name in _NOT_SECRET]
        argv = ["env", *settings, tool.path, *flags]
        if not self._secret:
            return self._stack.enter_context(self._pod.command(argv, program=tool.path))
        line = self._stack.enter_context(private_file(f"{self._secret}\n"))
        argv = ["sh", "-c", FIRST_LINE, "upkeep", *argv]
        return self._stack.enter_context(self._pod.command(argv, program=tool.path, stdin=line))


_NOT_SECRET = ("PGAPPNAME", "PGCONNECT_TIMEOUT", "PGOPTIONS")
