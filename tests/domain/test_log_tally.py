"""Counting kinds in bounded memory, and choosing the few that people read."""

from __future__ import annotations

import tracemalloc

import pytest

from upkeep.domain import log_tally
from upkeep.domain.log_tally import KINDS, Kind, Tally, key_of, remember, select


def kinds(*counts: int) -> list[Kind]:
    return [Kind(f"kind {number}", count, "", "a.log") for number, count in enumerate(counts)]


def test_lines_of_one_kind_are_counted_together_with_the_first_as_sample() -> None:
    tally = Tally()
    tally.add("ERROR user 7 is gone", "a.log")
    tally.add("ERROR user 8 is gone", "b.log")
    tally.add("ERROR disk is full", "b.log")
    first, second = tally.by_count()
    assert (first.text, first.count, first.sample, first.file) == (
        "ERROR user <n> is gone",
        2,
        "ERROR user 7 is gone",
        "a.log",
    )
    assert (second.text, second.count) == ("ERROR disk is full", 1)
    assert tally.files == {"a.log": 1, "b.log": 2}
    assert tally.lines == 3


def test_equal_lines_with_other_status_codes_stay_apart() -> None:
    tally = Tally()
    for status in (502, 404, 502):
        tally.add(f'10.0.0.7 - - [21/Nov/2026:02:00:03 +0800] "GET /x HTTP/1.1" {status} 157 "-"', "access.log")
    assert {kind.text: kind.count for kind in tally.by_count()} == {"GET /x HTTP 502": 2, "GET /x HTTP 404": 1}


def test_a_flood_of_different_messages_is_counted_in_bounded_memory() -> None:
    tally = Tally()
    tracemalloc.start()
    for number in range(KINDS + 3000):
        word = "".join(chr(ord("k") + int(digit)) for digit in str(number))
        tally.add(f"ERROR {word * 20} {'x' * 200}", "a.log")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(tally.kinds) == KINDS
    assert tally.lines == KINDS + 3000
    assert tally.beyond == 3000
    assert peak < 20_000_000


def test_the_memory_of_shapes_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tally, "_SHAPES", 10)
    tally = Tally()
    for letter in "abcdefghijklmnopqrstuvwxyz" * 2:
        tally.add(f"ERROR {letter}", "a.log")
    assert [kind.count for kind in tally.by_count()] == [2] * 26


def test_new_kinds_lead_but_only_a_few_of_them() -> None:
    everything = kinds(100, 90, 80, 70, 60, 50, 40, 30, 20, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
    known = {kind.key for kind in everything[:10]}
    told = select(everything, known)
    assert [(one.kind.count, one.new) for one in told] == [
        (9, True), (8, True), (7, True), (6, True), (5, True),
        (100, False), (90, False), (80, False), (70, False), (60, False),
    ]  # fmt: skip


def test_to_a_first_review_nothing_is_new() -> None:
    assert [one.new for one in select(kinds(3, 2), None)] == [False, False]


def test_when_few_are_new_the_most_frequent_fill_the_list() -> None:
    everything = kinds(*range(30, 0, -1))
    told = select(everything, {kind.key for kind in everything[:-1]})
    assert [one.kind.count for one in told] == [1, *range(30, 21, -1)]


def test_kinds_stay_known_until_newer_ones_need_the_room() -> None:
    old = {f"old {number}": "2026-11-01" for number in range(KINDS)} | {"recent": "2026-11-20"}
    known = remember(kinds(5, 3), old, "2026-11-21")
    assert len(known) == KINDS
    assert known[key_of("kind 0")] == known[key_of("kind 1")] == "2026-11-21"
    assert "recent" in known
