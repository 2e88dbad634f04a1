"""What is measured of a database within the snapshot of its dump, so that a restored copy can be compared with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

UNREADABLE = ""
"""Stands for the digest of what the account may not read: its name is compared, its definition can't be."""


@dataclass(frozen=True)
class Evidence:
    """``checksums`` holds what the manifest says of a table besides its rows: ``checksum``, and ``checksum_without``,
    the columns that a dump doesn't keep to the last digit.
    """

    catalogue: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def contents(self) -> dict[str, Any]:
        """What goes into the manifest's contents besides the tables."""
        return {"catalogue": self.catalogue} if self.catalogue else {}

    def of(self, table: str) -> Mapping[str, Any]:
        return self.checksums.get(table, {})


def digest(definition: str | None) -> str:
    """A definition in 16 letters: enough to see that it changed, and a manifest stays small with thousands of them."""
    if definition is None:
        return UNREADABLE
    return hashlib.sha256(definition.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def by_owner(owners: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One digest for each owner, of the names of all that is theirs, from pairs of owner and name."""
    belongings: dict[str, list[str]] = {}
    for owner, name in owners:
        belongings.setdefault(owner, []).append(name)
    return {owner: digest("\n".join(sorted(names))) for owner, names in sorted(belongings.items())}


def sums(first: Any, second: Any) -> str:
    """Two sums of 64-bit numbers, modulo 2^64, as one word."""
    return f"{int(first) % 2**64:016x}{int(second) % 2**64:016x}"


@dataclass(frozen=True)
class Whole:
    """What a partition is part of; ``prints_alike``: with its columns in the same order."""

    name: str
    prints_alike: bool


def added_up(tables: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Whole]) -> dict[str, Mapping[str, Any]]:
    """``tables`` (``rows`` and maybe ``checksum`` of each) with ``parts`` added up to the whole they are of.

    It has a checksum where all of its parts have one and print their rows alike.
    """
    found: dict[str, Mapping[str, Any]] = {}
    of_whole: dict[str, list[Mapping[str, Any]]] = {}
    for name, table in tables.items():
        if whole := parts.get(name):
            of_whole.setdefault(whole.name, []).append(table)
        else:
            found[name] = table
    unlike = {whole.name for whole in parts.values() if not whole.prints_alike}
    for name, those in of_whole.items():
        rows: dict[str, Any] = {"rows": sum(int(part["rows"]) for part in those)}
        words = [str(part["checksum"]) for part in those if "checksum" in part]
        if len(words) == len(those) and name not in unlike:
            rows["checksum"] = sums(
                sum(int(word[:16], 16) for word in words), sum(int(word[16:], 16) for word in words)
            )
        found[name] = rows
    return found
