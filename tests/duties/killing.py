"""Work that is killed with SIGKILL where a test wants it."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable


def killed(arm: Callable[[], object], work: Callable[[], object], where: str) -> None:
    """``work`` in a process of its own, which ``arm`` has made to kill itself with SIGKILL at ``where``."""
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            arm()
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, f"was not killed at {where}, but ended with {status}"
