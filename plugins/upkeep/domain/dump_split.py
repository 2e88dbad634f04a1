"""Which tables of a large database are dumped beside the others, so that no processor waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

WORTH_BYTES = 64_000_000
"""Below it a second program costs more time to start than it saves."""
LEAST_SHARE = 0.1
"""Of all bytes, for every stream: less is not worth a file of its own."""
LARGE_SHARE = 0.02
"""Of all bytes. Only larger tables are moved: the main dump keeps all the small ones, and no extra one has more than
two dozen names to look up while writes are held."""
AS_TEXT_COSTS = 1.25
"""How much longer a stream takes that writes its values as text and not as bytes. Measured with zstd behind it, 500 MB:
4.65 s and 3.58 s on MariaDB, 5.00 s and 4.62 s on MySQL."""


def split_tables(
    sizes: Mapping[str, int],
    streams: int,
    *,
    stays: Collection[str] = frozenset(),
    as_text: Collection[str] = frozenset(),
) -> tuple[list[str], ...]:
    """The tables of each extra stream; what is in none of them stays in the main one. Empty when a split is no use.

    ``sizes``: bytes of every table; ``stays``: those that may not be moved; ``as_text``: those that make their whole
    stream write text. Largest first, each to the stream that has least to do with it. With one table that outweighs all
    others there is nothing to share out: no table is ever cut.

    >>> split_tables({"events": 600_000_000, "visits": 500_000_000, "users": 200_000_000, "roles": 1}, 2)
    (['events'],)
    """
    total = sum(sizes.values())
    if total < WORTH_BYTES:
        return ()
    large = [name for name, size in sizes.items() if size >= LARGE_SHARE * total and name not in stays]
    large.sort(key=lambda name: (-sizes[name], name))
    for count in range(streams, 1, -1):
        shares: list[list[str]] = [[name for name in sizes if name not in large], *([] for _ in range(1, count))]
        for name in large:
            # Of those with least the last: the main stream has the views and routines to write as well.
            place = min(range(count), key=lambda place: (_cost([*shares[place], name], sizes, as_text), -place))
            shares[place].append(name)
        if min(sum(sizes[name] for name in share) for share in shares) >= LEAST_SHARE * total:
            return tuple(shares[1:])
    return ()


def _cost(share: Collection[str], sizes: Mapping[str, int], as_text: Collection[str]) -> float:
    return sum(sizes[name] for name in share) * (AS_TEXT_COSTS if any(name in as_text for name in share) else 1)
