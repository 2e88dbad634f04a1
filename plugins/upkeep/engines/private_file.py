"""Hands a secret to a program as a file that exists in memory only.

A password on a command line shows in ``ps``; one in a temporary file stays on disk when the task is killed. An
anonymous file (memfd) vanishes with the processes that hold it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_file(content: str) -> Iterator[int]:
    """The descriptor of an anonymous file; programs that get it open it as ``/dev/fd/<descriptor>``."""
    descriptor = os.memfd_create("upkeep")
    try:
        os.fchmod(descriptor, 0o600)  # MySQL ignores option files others may write, libpq those others may read
        os.write(descriptor, content.encode())
        yield descriptor
    finally:
        os.close(descriptor)
