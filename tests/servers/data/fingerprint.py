"""The whole of a database in a few lines that can be compared: was the copy restored exactly?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fingerprint:
    """What a database holds.

    ``tables`` maps a table to its number of rows and a checksum of their content that doesn't depend on their order.
    ``objects`` maps a kind of object (view, trigger, sequence ...) to name and definition of each.
    """

    tables: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.tables.values())

    def differences(self, copy: Fingerprint) -> list[str]:
        """What a reader has to know about a copy that isn't exact; empty when it is."""
        found = [
            _difference("table", name, self.tables.get(name), copy.tables.get(name))
            for name in sorted({*self.tables, *copy.tables})
        ]
        for kind in sorted({*self.objects, *copy.objects}):
            mine, others = self.objects.get(kind, {}), copy.objects.get(kind, {})
            found += [_difference(kind, name, mine.get(name), others.get(name)) for name in sorted({*mine, *others})]
        return [line for line in found if line]


def _difference(kind: str, name: str, mine: object, other: object) -> str:
    if mine == other:
        return ""
    if other is None:
        return f"{kind} {name} is missing"
    if mine is None:
        return f"{kind} {name} is new"
    return f"{kind} {name} differs: {mine!r} became {other!r}"
