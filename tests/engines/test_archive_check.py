"""What the listing of an archive says of its tables."""

from __future__ import annotations

import time

import pytest

from upkeep.engines.archive_check import tables_missing


def listing(*entries: str) -> str:
    lines = [f"{number}; 0 {16384 + number} TABLE DATA {entry}\n" for number, entry in enumerate(entries, 3000)]
    return ";\n; Archive created at 2026-11-22\n;\n" + "".join(lines)


@pytest.mark.parametrize(
    ("schema", "name"),
    [("public", "a"), ("my schema", "my table"), ("odd.schema", "t"), ("public", "t.with.dots"), ("s", "two\nlines")],
)
def test_a_table_is_found_whatever_its_name(schema: str, name: str) -> None:
    shown = listing(f"{schema} {name} the owner".replace("\n", " "))
    assert tables_missing(shown, [f"{schema}.{name}"]) == []


def test_a_table_whose_name_begins_alike_is_another_one() -> None:
    shown = listing("public students owner", "public student_notes owner")
    assert tables_missing(shown, ["public.student", "public.students", "other.students"]) == [
        "public.student",
        "other.students",
    ]


def test_ten_thousand_partitions_are_looked_through_in_a_moment() -> None:
    tables = [f"public.prices_{number:05}" for number in range(10_000)]
    shown = listing(*(f"{table.replace('.', ' ')} owner" for table in tables[1:]))
    begun = time.monotonic()
    assert tables_missing(shown, tables) == ["public.prices_00000"]
    assert time.monotonic() - begun < 3
