"""Reading on where one part of a source can't be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from upkeep.domain.masking import mask


@contextmanager
def degrading(
    unread: list[str], what: str, errors: type[Exception] | tuple[type[Exception], ...], secrets: tuple[str, ...] = ()
) -> Iterator[None]:
    """What can't be read is said in ``unread``, in one line without secrets, and the rest is still read."""
    try:
        yield
    except errors as error:
        unread.append(f"{what} ({mask(in_a_line(error), secrets)})")


def in_a_line(error: BaseException) -> str:
    """The first line of what an error says; drivers put a number before the text, and the system's errors a path after
    it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    said = str(error.args[-1] if error.args else error).strip().splitlines()
    return said[0] if said else type(error).__name__
