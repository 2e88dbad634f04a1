"""Whether a restored copy is like what its manifest says of the source; every difference is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upkeep.domain.units import first_few

KINDS_OF_ALL_RELEASES = ("tables", "indexes", "views", "routines", "triggers", "events", "sequences")
"""Objects that have the same names on every release. Others, such as constraints, are made up by the server."""
SINGULAR = {
    "indexes": "index",
    "policies": "policy",
    "statistics": "statistics object",
    "database": "the database's character set or collation",
}


def compare_tables(
    recorded: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]], *, exact: bool
) -> list[str]:
    """Rows and contents of each table.

    :param recorded: the manifest's tables: ``rows``, maybe ``checksum``, and ``rows_are`` where a count is none of the
        snapshot.
    :param found: ``rows`` and maybe ``checksum`` of the copy's tables.
    :param exact: whether the manifest's counts are; estimates are never compared.
    """
    differences = [f"table {name} is missing" for name in sorted(recorded.keys() - found.keys())]
    differences += [f"table {name} is not in the manifest" for name in sorted(found.keys() - recorded.keys())]
    for name in sorted(recorded.keys() & found.keys()):
        before, now = recorded[name], found[name]
        if not exact or "rows_are" in before:
            continue
        if before["rows"] != now["rows"]:
            differences.append(f"table {name} has {now['rows']} rows, its manifest says {before['rows']}")
        elif before.get("checksum", now.get("checksum")) != now.get("checksum"):
            differences.append(f"table {name} has its {now['rows']} rows, but not their content: the checksum differs")
    return differences


def not_compared(recorded: Mapping[str, Mapping[str, Any]], rows_are: str) -> list[str]:
    """What the comparison of tables can't say, and why."""
    if rows_are != "exact":
        return [f"rows are not compared: the manifest has {rows_are or 'no counts'}"]
    notes = []
    if beside := sorted(name for name, table in recorded.items() if "rows_are" in table):
        notes.append(f"rows of {first_few(beside)} are not compared: counted outside of the snapshot")
    unsummed = sorted(name for name, table in recorded.items() if "checksum" not in table and "rows_are" not in table)
    if unsummed:
        notes.append(f"content of {first_few(unsummed)} is not compared: no checksum in the manifest")
    without = {name: table["checksum_without"] for name, table in recorded.items() if table.get("checksum_without")}
    notes += [f"FLOAT columns of {name} are not compared: {', '.join(map(str, c))}" for name, c in without.items()]
    return notes


def compare_catalogues(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Differences between the source's objects and the copy's, and what could not be compared.

    Definitions are printed by the server, and another release prints some of them otherwise: then only names are
    compared, of the kinds that every release has.
    """
    if not recorded:
        return [], ["objects are not compared: the manifest has no catalogue"]
    alike = recorded.get("release") == found.get("release")
    notes = []
    differences: list[str] = []
    unread: list[str] = []
    left_out: list[str] = []
    for kind in sorted({*recorded, *found} - {"release"}):
        before, now = recorded.get(kind, {}), found.get(kind, {})
        if alike or kind in KINDS_OF_ALL_RELEASES:
            differences += _compare_kind(kind, before, now, definitions=alike)
        elif before or now:
            left_out.append(kind)
        if alike:
            both = sorted(before.keys() & now.keys())
            unread += [f"{_what(kind)} {name}" for name in both if "" in (before[name], now[name])]
    if not alike:
        notes.append(
            f"objects are compared by name only{f', {first_few(left_out)} not at all' if left_out else ''}: recorded "
            f"on {recorded.get('release')}, restored on {found.get('release')}"
        )
    if unread:
        notes.append(f"compared by name only, since an account may not read what defines them: {first_few(unread)}")
    return differences, notes


def _compare_kind(kind: str, recorded: Mapping[str, str], found: Mapping[str, str], *, definitions: bool) -> list[str]:
    what = _what(kind)
    differences = [f"{what} {name} is missing" for name in sorted(recorded.keys() - found.keys())]
    differences += [f"{what} {name} was not there" for name in sorted(found.keys() - recorded.keys())]
    for name in sorted(recorded.keys() & found.keys()) if definitions else ():
        if recorded[name] and found[name] and recorded[name] != found[name]:
            differences.append(f"{what} {name} differs".replace("  ", " "))
    return differences


def _what(kind: str) -> str:
    return SINGULAR.get(kind, kind.removesuffix("s"))
