"""Counts error lines by kind, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from upkeep.domain.log_message import code_of, normalise, sample

KINDS = 2000
"""How many kinds are told apart in one review; lines of further kinds are counted together."""
TOP = 10
NEW_FIRST = 5
"""How many new kinds may push frequent ones off the list: after a release everything may be new."""

_SHAPES = 4000
_SHAPE_CHARS = 400
_SAME_DIGIT = {ord("0") + digit: "0" for digit in range(10)}


@dataclass
class Kind:
    """One kind of message: how often, and the first line of it, masked."""

    text: str
    count: int
    sample: str
    file: str

    @property
    def key(self) -> str:
        return key_of(self.text)


@dataclass(frozen=True)
class ListedKind:
    """A kind on the list that people read."""

    kind: Kind
    new: bool


class Tally:
    """Takes error lines one by one. Call ``add`` in the order in which they were written: the first one is shown."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.files: Counter[str] = Counter()
        self.beyond = 0
        """Lines of kinds that came after the first ``KINDS``."""
        self._shapes: dict[str, str] = {}

    @property
    def lines(self) -> int:
        return self.files.total()

    def add(self, line: str, file: str) -> None:
        self.files[file] += 1
        text = self._kind_of(line)
        if kind := self.kinds.get(text):
            kind.count += 1
        elif len(self.kinds) < KINDS:
            self.kinds[text] = Kind(text, 1, sample(line), file)
        else:
            self.beyond += 1

    def by_count(self) -> list[Kind]:
        """The most frequent first; among equals the one that came first."""
        return sorted(self.kinds.values(), key=lambda kind: -kind.count)

    def _kind_of(self, line: str) -> str:
        """``normalise``, but only once for lines that differ in nothing but digits: in a storm nearly all of them."""
        if len(line) > _SHAPE_CHARS:
            return normalise(line)
        shape = line.translate(_SAME_DIGIT) + code_of(line)
        if (text := self._shapes.get(shape)) is None:
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            text = self._shapes[shape] = normalise(line)
        return text


def select(kinds: Iterable[Kind], known: Container[str] | None, *, top: int = TOP) -> list[ListedKind]:
    """The few kinds to show: at most ``NEW_FIRST`` new ones lead, then the most frequent.

    :param kinds: the most frequent first.
    :param known: keys of kinds seen in earlier reviews; None for a first review, to which nothing is new.
    """
    told = [ListedKind(kind, known is not None and kind.key not in known) for kind in kinds]
    leading = [one for one in told if one.new][:NEW_FIRST]
    chosen = [*leading, *(one for one in told if one not in leading)][:top]
    return sorted(chosen, key=lambda one: (not one.new, -one.kind.count))


def remember(kinds: Iterable[Kind], known: Mapping[str, str], day: str) -> dict[str, str]:
    """Keys of the kinds that count as known next time, each with the day it was last seen; at most ``KINDS``.

    :param kinds: of today, the most frequent first.
    """
    seen = {kind.key: day for kind in kinds}
    seen |= dict(
        sorted(((key, last) for key, last in known.items() if key not in seen), key=lambda pair: pair[1])[::-1]
    )
    return dict(list(seen.items())[:KINDS])


def key_of(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
