"""Reads the new part of a log file: whole lines, in constant memory, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from upkeep.engines.log_content import Content, Damaged
from upkeep.engines.log_search import ErrorSearch

LONGEST_LINE = 1 << 20
"""Of a longer line only about the first MiB is searched; the rest is passed over."""
BINARY_SAMPLE = 8 << 10
BINARY_SHARE = 0.05
"""From this share of control characters on a file isn't text. Random bytes have 0.1."""

_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\b\x1b")
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass
class Budget:
    """What a review may still read; ``limit_s`` counts from the moment this is made."""

    limit_bytes: int
    limit_s: float
    read: int = 0
    _begun: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> str:
        """``bytes`` or ``time``, whichever is used up; empty while neither is."""
        if self.read >= self.limit_bytes:
            return "bytes"
        return "time" if self._left_s <= 0 else ""

    @property
    def _left_s(self) -> float:
        return self.limit_s - (time.monotonic() - self._begun)

    def share(self, of: int) -> Budget:
        """An equal part of what is left for one of ``of``, so that one huge folder can't take it all."""
        return Budget(max(0, self.limit_bytes - self.read) // of, max(0.0, self._left_s) / of)


@dataclass
class Reading:
    """One pass over the new part of a file.

    ``end`` is where the next one begins. ``read`` counts unpacked bytes, ``long_lines`` the lines of which only the
    beginning was searched. ``finished``: the end of the file was reached. ``damaged`` says why it can't be unpacked
    any further.
    """

    end: int
    read: int = 0
    lines: int = 0
    long_lines: int = 0
    finished: bool = False
    binary: bool = False
    damaged: str = ""


def read_new(
    content: Content,
    start: int,
    search: ErrorSearch,
    on_error: Callable[[str], object],
    budget: Budget,
    *,
    take_last: bool,
) -> Reading:
    """Hand every error line from ``start`` on to ``on_error``, decoded.

    A ``start`` in the middle of a line begins with the next line. A last line without its end is left for next time.

    :param take_last: nobody will finish the last line: take it as it is.
    Errors: ``OSError``, ``ToolMissing``.
    """
    encoding = _UTF16.get(content.head[:2], "")
    cutter = _Cutter(content, start, encoding)
    reading = Reading(end=start)
    sampled = bool(encoding)

    def take(block: bytes) -> None:
        reading.end = cutter.offset
        if not block:
            return
        if encoding:
            block = block.decode(encoding, "replace").encode()
        reading.lines += block.count(b"\n") + (not block.endswith(b"\n"))
        for line in search.lines(block):
            on_error(line)

    try:
        with closing(content.stream(cutter.offset)) as chunks:
            for chunk in chunks:
                budget.read += len(chunk)
                reading.read += len(chunk)
                if not sampled and (sample := chunk.strip(b"\0")[:BINARY_SAMPLE]):
                    sampled = True
                    if _is_binary(sample):
                        reading.binary = True
                        return reading
                take(cutter.feed(chunk))
                if budget.over:
                    return reading
        if take_last:
            take(cutter.rest())
        reading.finished = True
    except Damaged as error:
        reading.damaged = str(error)
    finally:
        reading.long_lines = cutter.long_lines
    return reading


class _Cutter:
    """Cuts a stream into blocks of whole lines. ``offset`` is where the first byte lies that wasn't handed out."""

    def __init__(self, content: Content, offset: int, encoding: str) -> None:
        self._unit = 2 if encoding else 1
        self._newline = "\n".encode(encoding or "ascii")
        self.offset = offset - offset % self._unit
        before = content.at(self.offset - self._unit, self._unit) if self.offset and not content.packed else b""
        self._passing = bool(before) and before != self._newline
        """Whether we are in the middle of a line that is passed over."""
        self._carry = b""
        self._hole = 0
        """NUL bytes before the first one that isn't: a writer that didn't notice its file was truncated leaves them."""
        self.long_lines = 0

    def feed(self, chunk: bytes) -> bytes:
        data = self._carry + chunk
        self._carry = b""
        if self._passing:
            end = self._first_line_end(data)
            self._passing = not end
            end = end or len(data) - len(data) % self._unit
            self.offset += end
            data = data[end:]
        if self._unit == 1:
            data = self._without_hole(data)
        end = self._last_line_end(data)
        if not end and len(data) > LONGEST_LINE:
            self.long_lines += 1
            self._passing = True
            end = len(data) - len(data) % self._unit
        self._carry = data[end:]
        self.offset += end
        return data[:end]

    def rest(self) -> bytes:
        """The line that has no end, without the NUL bytes behind it that are still to be written over; call it when
        the stream has ended.
        """
        block, self._carry = self._carry.rstrip(b"\0") if self._unit == 1 else self._carry, b""
        if self._passing:
            return b""
        self.offset += len(block)
        return block

    def _without_hole(self, data: bytes) -> bytes:
        """The hole is only left behind once something follows it: in a file made long in advance nothing does yet."""
        rest = data.lstrip(b"\0")
        self._hole += len(data) - len(rest)
        if rest:
            self.offset += self._hole
            self._hole = 0
        return rest

    def _last_line_end(self, data: bytes) -> int:
        at = len(data)
        while (at := data.rfind(self._newline, 0, at)) >= 0:
            if at % self._unit == 0:
                return at + self._unit
            at += self._unit - 1  # the second half of one character and the first of the next
        return 0

    def _first_line_end(self, data: bytes) -> int:
        at = -1
        while (at := data.find(self._newline, at + 1)) >= 0:
            if at % self._unit == 0:
                return at + self._unit
        return 0


def _is_binary(sample: bytes) -> bool:
    return len(sample) - len(sample.translate(None, _CONTROLS)) > BINARY_SHARE * len(sample)
