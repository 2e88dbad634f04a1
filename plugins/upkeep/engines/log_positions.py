"""Which file is the one that was read last time, whatever rotation made of it since.

A file is known again by its inode, its first bytes, and the bytes before the remembered offset. Another inode with the
same bytes is a copy of it: what copytruncate kept, or a compressed one. The device isn't part of a file's identity: a
log folder lies on one filesystem, and device numbers change with a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from upkeep.engines.log_content import HEAD_BYTES, Content

ENOUGH_TO_KNOW = 256
"""A copy counts as one only from so many bytes on: short logs of one program may begin alike."""
SUPERSEDED = 0
"""The inode of a position whose file was truncated or replaced: only a copy can still be continued from it."""


@dataclass(frozen=True)
class Position:
    """How far one file was read; ``offset`` counts unpacked bytes.

    ``head`` and ``tail`` are hashes of the first bytes and of those before ``offset``, at most 1024 of each; a packed
    file has no tail, for it would have to be unpacked once more. ``size`` and ``modified`` are those of the file on
    disk. ``seen`` is the day it was last there, in ISO format.
    """

    inode: int
    offset: int
    head: str = ""
    tail: str = ""
    size: int = 0
    modified: float = 0.0
    finished: bool = True
    seen: str = ""


class Positions:
    """Those of the last review, moved on by this one."""

    def __init__(self, past: Sequence[Position] = ()) -> None:
        self._own = {position.inode: position for position in past if position.inode != SUPERSEDED}
        self._superseded = [position for position in past if position.inode == SUPERSEDED]
        self._claimed: set[int] = set()

    def claim(self, content: Content) -> int:
        """Look whether a plain file is still the one it was; returns how much of it was read.

        Do so for all files before ``find``: one that still stands where it was read has no copy among the plain ones,
        however alike they are.
        """
        own = self._own.get(content.file.inode)
        if not own or content.packed or not _continues(content, own):
            return 0
        self._claimed.add(own.inode)
        return own.offset

    def is_done(self, content: Content) -> bool:
        """Whether a packed file is as it was when it was read to its end, and needn't be unpacked."""
        own, file = self._own.get(content.file.inode), content.file
        return bool(content.packed and own and own.finished and (own.size, own.modified) == (file.size, file.modified))

    def find(self, content: Content) -> Position | None:
        """Where to go on in a file; None when nothing of it was ever read, or it was truncated or replaced since.

        Errors: ``Damaged``, ``OSError``.
        """
        own = self._own.get(content.file.inode)
        if own and own.offset and _continues(content, own):
            return own
        if own and own.offset:
            del self._own[own.inode]
            self._superseded.append(replace(own, inode=SUPERSEDED))
        heads = {length: _print(content.head[:length]) for length in {_head_length(one) for one in self._all()}}
        alike = [one for one in self._all() if self._may_be_of(one, content) and heads[_head_length(one)] == one.head]
        alike.sort(key=lambda position: -position.offset)
        return next((position for position in alike if _continues(content, position)), None)

    def knows(self, inode: int) -> bool:
        return inode in self._own

    def add(self, content: Content, offset: int, *, finished: bool, seen: str) -> None:
        """Remember how far a file was read. Errors: ``OSError``."""
        file, length = content.file, min(HEAD_BYTES, offset)
        if not content.packed:
            self._claimed.add(file.inode)
        self._own[file.inode] = Position(
            inode=file.inode,
            offset=offset,
            head=_print(content.head[:length]),
            tail="" if content.packed else _print(content.at(offset - length, length)),
            size=file.size,
            modified=file.modified,
            finished=finished,
            seen=seen,
        )

    def add_done(self, content: Content, *, seen: str) -> None:
        """Remember a packed file as read to its end without having looked into it."""
        file = content.file
        self._own[file.inode] = Position(file.inode, 0, size=file.size, modified=file.modified, seen=seen)

    def touch(self, inode: int, *, seen: str) -> None:
        """Remember that a file is there, however far it was read; from its start where it never was."""
        self._own[inode] = replace(self._own.get(inode) or Position(inode, 0, finished=False), seen=seen)

    def kept(self, since: str, most: int) -> list[Position]:
        """What to remember: those seen since the day ``since``, at most ``most``, the last seen first."""
        recent = [position for position in self._all() if position.seen >= since]
        return sorted(recent, key=lambda position: position.seen, reverse=True)[:most]

    def _all(self) -> list[Position]:
        return [*self._own.values(), *self._superseded]

    def _may_be_of(self, position: Position, content: Content) -> bool:
        if not position.tail or position.offset < ENOUGH_TO_KNOW:
            return False
        return content.packed or (position.offset <= content.file.size and position.inode not in self._claimed)


def _head_length(position: Position) -> int:
    return min(HEAD_BYTES, position.offset)


def _continues(content: Content, position: Position) -> bool:
    length = _head_length(position)
    if _print(content.head[:length]) != position.head:
        return False
    return not position.tail or _print(content.at(position.offset - length, length)) == position.tail


def _print(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest() if data else ""
