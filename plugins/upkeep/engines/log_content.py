"""The bytes of an open log file, unpacked where it is compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from functools import cached_property
from typing import IO, Any

from upkeep.engines.log_folder import OpenFile
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.engines.tools import require
from upkeep.errors import ToolFailed

CHUNK = 512 << 10
"""Bytes at a time: small enough to stay in the processor's cache while it is searched for several words."""
HEAD_BYTES = 1024

Chunks = Generator[bytes, None, None]


class Damaged(Exception):
    """A compressed file that ends too early or can't be unpacked: still being written, or broken."""


class Content(ABC):
    """``packed``: offsets count unpacked bytes, and looking at any of them means unpacking all before."""

    packed: bool

    def __init__(self, file: OpenFile) -> None:
        self.file = file

    @abstractmethod
    def stream(self, offset: int) -> Chunks:
        """The bytes from ``offset`` on, in chunks of at most ``CHUNK``; an empty one now and then while bytes before
        ``offset`` are unpacked. Errors: ``Damaged``, ``OSError``, ``ToolMissing``.
        """

    @abstractmethod
    def at(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; fewer at the end. Errors: as ``stream``."""

    @cached_property
    def head(self) -> bytes:
        return self.at(0, HEAD_BYTES)


class PlainContent(Content):
    """A file as it lies there, up to the size it had when it was opened: one that grows as fast as it is read would
    never end.
    """

    packed = False

    def stream(self, offset: int) -> Chunks:
        while chunk := os.pread(self.file.descriptor, min(CHUNK, max(0, self.file.size - offset)), offset):
            yield chunk
            offset += len(chunk)

    def at(self, offset: int, length: int) -> bytes:
        return os.pread(self.file.descriptor, length, offset)


class PackedContent(Content):
    """gzip, bzip2 and xz through the standard library, zstd through its own program."""

    packed = True

    def __init__(self, file: OpenFile, unpack: Callable[[OpenFile], Chunks]) -> None:
        super().__init__(file)
        self._unpack = unpack

    def stream(self, offset: int) -> Chunks:
        with closing(self._unpack(self.file)) as chunks:
            for chunk in chunks:
                yield chunk[offset:]
                offset = max(0, offset - len(chunk))

    def at(self, offset: int, length: int) -> bytes:
        found = b""
        with closing(self.stream(offset)) as chunks:
            while len(found) < length and (chunk := next(chunks, None)) is not None:
                found += chunk[: length - len(found)]
        return found


def content_of(file: OpenFile) -> Content:
    """By what the file begins with; its name says nothing while it is being rotated."""
    begin = os.pread(file.descriptor, 6, 0)
    unpack = next((unpack for magic, unpack in _UNPACK.items() if begin.startswith(magic)), None)
    return PackedContent(file, unpack) if unpack else PlainContent(file)


def _through(open_packed: Callable[[IO[bytes]], Any]) -> Callable[[OpenFile], Chunks]:
    def unpack(file: OpenFile) -> Chunks:
        os.lseek(file.descriptor, 0, os.SEEK_SET)
        try:
            with os.fdopen(os.dup(file.descriptor), "rb") as raw, open_packed(raw) as unpacked:
                while chunk := unpacked.read(CHUNK):
                    yield chunk
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise Damaged(str(error)) from error
        except OSError as error:
            if error.errno is None:  # gzip's and bzip2's word for data that isn't theirs
                raise Damaged(str(error)) from error
            raise

    return unpack


def _unzstd(file: OpenFile) -> Chunks:
    zstd = require("zstd", package="zstd")
    # cat, because zstd itself refuses links, and a descriptor's name in /dev/fd is one.
    cat = Command(["cat", f"/dev/fd/{file.descriptor}"], pass_fds=(file.descriptor,))
    try:
        with Pipeline([cat, Command([zstd, "-dcq"])]) as pipeline:
            for chunk in pipeline.output():
                yield from (chunk[at : at + CHUNK] for at in range(0, len(chunk), CHUNK))
    except ToolFailed as error:
        raise Damaged(error.message) from error


_UNPACK: dict[bytes, Callable[[OpenFile], Chunks]] = {
    b"\x1f\x8b": _through(lambda raw: gzip.GzipFile(fileobj=raw)),
    b"BZh": _through(bz2.BZ2File),
    b"\xfd7zXZ\0": _through(lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": _unzstd,
}
