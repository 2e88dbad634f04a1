"""Finds the lines that match a site's error patterns, in blocks of bytes.

Python's regular expressions walk through a log at 30 to 100 MB/s, ``bytes.find`` at more than 1000. So a block is first
searched for words that every match must hold, and only the lines around them are decoded and matched.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from upkeep.domain.log_message import plain
from upkeep.errors import SiteFileError

LINE_BYTES = 16 << 10
"""A line is decoded and matched up to here; what comes after it in a longer line isn't seen."""

_SHORTEST = 3
"""A shorter word stands in nearly every line and would only cost time."""
_MOST = 12


class ErrorSearch:
    """Compiled patterns. Errors: ``SiteFileError`` naming the pattern that isn't a regular expression.

    They are matched against decoded lines, one by one, with ASCII word boundaries: in ``系统ERROR`` the error begins a
    word.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_compiled(pattern) for pattern in patterns]
        needles = [_needles(pattern) for pattern in self._patterns]
        known = [words for words in needles if words]
        self._any_case = any(pattern.flags & re.IGNORECASE for pattern in self._patterns)
        self._needles: list[bytes] = []
        if len(known) == len(needles):
            self._needles = _as_bytes({word for words in known for word in words}, lower=self._any_case)
        if len(self._needles) > _MOST:
            self._needles = []

    def lines(self, block: bytes) -> Iterator[str]:
        """The error lines of a block of whole lines, in order, decoded and without colours."""
        for start, end in self._candidates(block):
            line = decode(block[start : min(end, start + LINE_BYTES)])
            if any(pattern.search(line) for pattern in self._patterns):
                yield line

    def _candidates(self, block: bytes) -> list[tuple[int, int]]:
        """Where the lines begin and end that may match."""
        if not self._needles:
            return _all_lines(block)
        found: dict[int, int] = {}
        searched = block.lower() if self._any_case else block
        for needle in self._needles:
            at = searched.find(needle)
            while at >= 0:
                start = searched.rfind(b"\n", 0, at) + 1
                end = searched.find(b"\n", at)
                end = len(searched) if end < 0 else end
                found[start] = end
                at = searched.find(needle, end)
        return sorted(found.items())


def decode(line: bytes) -> str:
    """UTF-8, else GB 18030 (which holds GBK), else Latin-1, which takes anything.

    UTF-8 with a few broken characters stays UTF-8: programs and our own limit cut lines at a byte, not at a character.
    """
    line = line.rstrip(b"\r\n").replace(b"\0", b"")
    text = line.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken and broken >= sum(character > "\x7f" for character in text) - broken:
        try:
            text = line.decode("gb18030")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
    return plain(text)


def _all_lines(block: bytes) -> list[tuple[int, int]]:
    found, start = [], 0
    while start < len(block):
        end = block.find(b"\n", start)
        end = len(block) if end < 0 else end
        found.append((start, end))
        start = end + 1
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, ValueError) as error:
        raise SiteFileError(
            f"the log error pattern {pattern!r} is not a regular expression: {error}",
            hint="fix it under logs, errors in the site file, then run: upkeep check",
        ) from error


def _as_bytes(words: set[str], *, lower: bool) -> list[bytes]:
    """The words as they stand in UTF-8 and in GBK files; a word that holds another one of them is left out."""
    encoded = {word.encode(encoding) for word in words for encoding in ("utf-8", "gb18030")}
    if lower:
        encoded = {word.lower() for word in encoded}  # of bytes, like the block's: it leaves all but A to Z alone
    return sorted(word for word in encoded if not any(other != word and other in word for other in encoded))


def _needles(pattern: re.Pattern[str]) -> frozenset[str]:
    """Words of which every match holds at least one; empty when that can't be told.

    It looks into the parse tree of Python's own parser, which has no public name. Should it move, patterns are only
    matched more slowly.
    """
    try:
        parser: Any = importlib.import_module("re._parser")
        words = _required(parser.parse(pattern.pattern, pattern.flags))
    except (ImportError, AttributeError, TypeError, ValueError):
        return frozenset()
    any_case = bool(pattern.flags & re.IGNORECASE)
    # İ or ſ match i and s without case in a str, but bytes.lower() doesn't know them. ASCII patterns don't match them.
    usable = all(len(word.encode()) >= _SHORTEST and (word.isascii() or not any_case) for word in words)
    return words if usable else frozenset()


def _required(parsed: Any) -> frozenset[str]:
    """The best choice of words that this part of a pattern can't match without: the one whose shortest is longest."""
    choices: list[frozenset[str]] = []
    word = ""
    for operation, argument in [*parsed, (None, None)]:
        name = str(operation)
        if name == "LITERAL":
            word += chr(argument)
            continue
        if name == "AT":  # a boundary takes no room
            continue
        if word:
            choices.append(frozenset({word}))
            word = ""
        if name == "SUBPATTERN" and not argument[1] and not argument[2]:
            choices.append(_required(argument[3]))
        elif name == "BRANCH":
            branches = [_required(branch) for branch in argument[1]]
            choices.append(frozenset().union(*branches) if all(branches) else frozenset())
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and argument[0] >= 1:
            choices.append(_required(argument[2]))
    return max(choices, key=lambda words: min(map(len, words), default=0), default=frozenset())
