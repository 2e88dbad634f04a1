"""Quantities: bytes, seconds and counts as people read them, and moments as programs compare them.

Sizes are SI, everywhere in Upkeep: 1 kB = 1000 bytes, 1 MB = 1000 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

_SIZES = ("kB", "MB", "GB", "TB", "PB", "EB")
_SPANS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def human_bytes(size: int) -> str:
    """``41_200_000`` -> ``41.2 MB``."""
    if size < 0:
        return f"-{human_bytes(-size)}"
    if size < 1000:
        return f"{size} B"
    scaled, step = size / 1000, 0
    while round(scaled, 1) >= 1000 and step + 1 < len(_SIZES):  # 999,950 bytes are 1.0 MB, not 1000.0 kB
        scaled, step = scaled / 1000, step + 1
    return f"{scaled:.1f} {_SIZES[step]}"


def human_seconds(seconds: float) -> str:
    """The two largest units: ``8012.5`` -> ``2 h 13 min``, ``8.84`` -> ``8.8 s``, ``0.0421`` -> ``42 ms``."""
    if seconds < 0:
        return f"-{human_seconds(-seconds)}"
    if 0 < round(seconds, 3) < 1:
        return f"{round(seconds * 1000)} ms"
    if round(seconds, 1) < 60:
        return f"{round(seconds, 1):g} s"
    rest = round(seconds)
    counts = []
    for unit, length in _SPANS:
        count, rest = divmod(rest, length)
        counts.append((count, unit))
    largest = next(place for place, (count, _) in enumerate(counts) if count)
    return " ".join(f"{count} {unit}" for count, unit in counts[largest : largest + 2] if count)


def human_count(count: int) -> str:
    """``812_412`` -> ``812,400``, ``5_012_345`` -> ``5.0 M``: as exact as an estimate deserves."""
    if count >= 1_000_000:
        return f"{count / 1_000_000:,.1f} M"
    if count >= 10_000:
        count = round(count, -2)
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,042 rows``, ``3 entries``."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count:,} {noun}"


def first_few(words: Sequence[str], most: int = 5, *, joint: str = ", ") -> str:
    """``a, b and 3 more``."""
    rest = len(words) - most
    if rest <= 0:
        return joint.join(words)
    return joint.join(words[:most]) + (" " if joint == ", " else joint) + f"and {rest:,} more"


def ends(names: Sequence[str], most: int) -> list[str]:
    """All of them, or only the first and the last: ``["a", "...", "f"]``."""
    return list(names) if len(names) <= most else [names[0], "...", names[-1]]


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters; where some are missing it ends with an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"[:limit]


def utc(moment: datetime, what: str) -> datetime:
    """The same moment in UTC; a moment without a zone is refused, because it could be any of 26 hours.

    Python compares and subtracts two datetimes of one zone by their wall clocks, so in the hour that DST repeats a
    later moment can count as the earlier one. Comparing and calculating in UTC can't go wrong that way.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"{what} {moment} has no time zone")
    return moment.astimezone(UTC)
