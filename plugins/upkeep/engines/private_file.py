"""Hands a secret to a program as a file that exists in memory only.

A password on a command line shows in ``ps``; one in a temporary file stays on disk when the task is killed. An
anonymous file (memfd) or a pipe vanishes with the processes that hold it.
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


class GatedFile:
    """A private file that is read once, by a program that waits at it until ``open`` is called.

    It is a pipe: the program that inherits ``descriptor`` is loaded and started meanwhile, and what it does after
    reading the file happens after ``open``. The content has to fit into a pipe (64 KiB).
    """

    def __init__(self, content: str) -> None:
        self._content = content.encode()
        self.descriptor, self._writer = os.pipe()

    def open(self) -> None:
        """Let the program read. More than once is no mistake."""
        if self._writer >= 0:
            os.write(self._writer, self._content)
            self._close_writer()

    def close(self) -> None:
        """A program that still waits finds the file empty."""
        self._close_writer()
        os.close(self.descriptor)

    def _close_writer(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
