"""Reads what is new in a log file since a remembered position, whatever rotation made of the file in between.

A file is the one that was read before if its inode is, its first bytes are, and the bytes before the remembered offset
are. A file with another inode and the same bytes is a copy: what copytruncate left, or a compressed one. The device
isn't part of it, since one log folder lies on one filesystem and device numbers change with a restart.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, Protocol, cast

from upkeep.engines.log_folder import OpenFile
from upkeep.engines.log_search import ErrorSearch
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.engines.tools import require
from upkeep.errors import ToolFailed

CHUNK = 512 << 10
"""Small enough to stay in the processor's cache while it is searched several times."""
LONGEST_LINE = 1 << 20
"""Of a longer line only the first MiB is searched; the rest is passed over."""
PRINT_BYTES = 1024
"""How many bytes at the beginning, and before the offset, tell one file from another."""
ENOUGH_TO_KNOW = 256
"""A copy is only known as such from so many bytes on: short logs of one program often begin alike."""
BINARY_SAMPLE = 8 << 10
BINARY_SHARE = 0.1

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_TEXT_CONTROLS = b"\t\n\r\f\b\x1b"
_CONTROLS = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS)
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class Damaged(Exception):
    """A compressed file that ends too early or can't be unpacked: still being written, or broken."""


@dataclass(frozen=True)
class Position:
    """How far one file was read. Offsets count decompressed bytes.

    ``size`` and ``modified`` are of the file as it lies on the disk: a compressed file with the same ones isn't
    unpacked again. ``seen`` is the day on which the file was last there.
    """

    inode: int
    offset: int
    head: str = ""
    tail: str = ""
    size: int = 0
    modified: float = 0.0
    finished: bool = True
    seen: str = ""


@dataclass
class Budget:
    """What a review may still read. ``limit_s`` counts from the moment this is made."""

    limit_bytes: int
    limit_s: float
    read: int = 0
    _begun: float = field(default_factory=time.monotonic)

    @property
    def why_over(self) -> str:
        """``bytes`` or ``time`` when one of them is used up, else empty."""
        if self.read >= self.limit_bytes:
            return "bytes"
        return "time" if time.monotonic() - self._begun >= self.limit_s else ""

    def share(self, of: int) -> Budget:
        """One equal part of what is left, for one of ``of`` folders that still have to be read."""
        left_s = self.limit_s - (time.monotonic() - self._begun)
        return Budget(max(0, self.limit_bytes - self.read) // of, max(0.0, left_s) / of)


@dataclass
class Reading:
    """What one pass over the new part of a file found; ``end`` is the offset of the first byte that wasn't counted."""

    end: int
    read: int = 0
    lines: int = 0
    long_lines: int = 0
    finished: bool = False
    binary: bool = False


class Content(ABC):
    """The bytes of one open file, unpacked."""

    packed: bool

    def __init__(self, file: OpenFile) -> None:
        self.file = file

    @abstractmethod
    def stream(self, offset: int, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bytes]:
        """The bytes from ``offset`` on in chunks of at most ``CHUNK``. Errors: ``Damaged``, ``OSError``."""

    @abstractmethod
    def at(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; fewer at the end. Errors: ``Damaged``, ``OSError``."""

    def is_continued_from(self, position: Position) -> bool:
        """Whether the first ``offset`` bytes are those that were read then, as far as two prints tell."""
        length = min(PRINT_BYTES, position.offset)
        if _print(self.at(0, length), length) != position.head:
            return False
        return _print(self.at(position.offset - length, length), length) == position.tail

    def position(self, offset: int, *, finished: bool, seen: str) -> Position:
        """What to remember after reading up to ``offset``."""
        length = min(PRINT_BYTES, offset)
        return Position(
            inode=self.file.inode,
            offset=offset,
            head=_print(self.at(0, length), length),
            tail=_print(self.at(offset - length, length), length),
            size=self.file.size,
            modified=self.file.modified,
            finished=finished,
            seen=seen,
        )


class PlainContent(Content):
    packed = False

    def stream(self, offset: int, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bytes]:
        while chunk := os.pread(self.file.descriptor, CHUNK, offset):
            yield chunk
            offset += len(chunk)

    def at(self, offset: int, length: int) -> bytes:
        return os.pread(self.file.descriptor, length, offset)


class PackedContent(Content):
    """gzip, bzip2, xz through the standard library, zstd through its own program. Every look begins at the start."""

    packed = True

    def __init__(self, file: OpenFile, form: str) -> None:
        super().__init__(file)
        self.form = form

    def stream(self, offset: int, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bytes]:
        skip = offset
        with closing(_zstd_chunks(self.file) if self.form == "zstd" else self._chunks()) as chunks:
            for chunk in chunks:
                if skip < len(chunk):
                    yield chunk[skip:]
                elif should_stop():
                    return
                skip = max(0, skip - len(chunk))

    def at(self, offset: int, length: int) -> bytes:
        found = b""
        with closing(cast("_Closable", self.stream(offset))) as chunks:
            for chunk in chunks:
                found += chunk[: length - len(found)]
                if len(found) >= length:
                    break
        return found

    def _chunks(self) -> Iterator[bytes]:
        opener: Callable[[IO[bytes]], IO[bytes]]
        opener = {"gzip": _open_gzip, "bzip2": bz2.open, "xz": lzma.open}[self.form]  # type: ignore[assignment]
        os.lseek(self.file.descriptor, 0, os.SEEK_SET)
        try:
            with os.fdopen(os.dup(self.file.descriptor), "rb") as raw, opener(raw) as unpacked:
                while chunk := unpacked.read(CHUNK):
                    yield chunk
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise Damaged(str(error)) from error
        except OSError as error:
            if error.errno is None:  # bz2 says "Invalid data stream" so
                raise Damaged(str(error)) from error
            raise
