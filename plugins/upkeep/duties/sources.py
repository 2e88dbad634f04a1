"""Reading many sources, each within a limit; one that can't be read is told, and the others are read all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from typing import TypeVar

from upkeep.engines.background import in_background
from upkeep.errors import SourceError, Stopped, UpkeepError

log = logging.getLogger(__name__)

LIMIT_S = 60.0

T = TypeVar("T")


def read_sources(
    sources: Mapping[str, Callable[[], T]], *, limit_s: float = LIMIT_S
) -> tuple[dict[str, T], dict[str, str]]:
    """What each source gave, and why the others gave nothing, both by name.

    One after the other: what one reads must not be what another one's reading costs. Errors: ``Stopped``.
    """
    given: dict[str, T] = {}
    unread: dict[str, str] = {}
    for name, read in sources.items():
        try:
            given[name] = answer_within(limit_s, name, read)
        except Stopped:
            raise
        except UpkeepError as error:
            log.warning("%s: %s", name, error)
            unread[name] = error.message
        except Exception as error:
            # A fault of ours or a surprise of theirs: the log has where, and the other sources don't suffer from it.
            log.exception("%s can't be read", name)
            unread[name] = f"can't be read ({type(error).__name__}; the task's log says where)"
    return given, unread


def answer_within(limit_s: float, name: str, read: Callable[[], T]) -> T:
    """What ``read`` gives, or its error. Errors: ``SourceError`` once the limit is over.

    In a thread, which is left behind then: a call into a dead network disk, or a resolver that hangs, can't be ended.
    """
    answer = in_background(read, name=f"reading {name}")
    wait([answer], limit_s)
    if not answer.done():
        raise SourceError(
            f"no answer within {limit_s:g} s",
            hint="look for a hanging network disk or an overloaded server",
        )
    return answer.result()
