"""How the tables of one database are shared among several dumps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.dump_split import LARGE_SHARE, LEAST_SHARE, WORTH_BYTES, split_tables

MB = 1_000_000


def mb(**sizes: int) -> dict[str, int]:
    return {name: size * MB for name, size in sizes.items()}


@pytest.mark.parametrize(
    ("sizes", "streams", "extra"),
    [
        (mb(events=600, visits=500, users=200, roles=1), 2, (["events"],)),
        (mb(a=100, b=100), 2, (["a"],)),
        (mb(a=100, b=100, c=100), 3, (["b"], ["a"])),
        (mb(a=50, b=40, c=30, d=20), 2, (["a", "d"],)),
    ],
    ids=["the largest goes", "halves", "thirds", "in turns"],
)
def test_the_largest_tables_are_shared_out_evenly(
    sizes: dict[str, int], streams: int, extra: tuple[list[str], ...]
) -> None:
    assert split_tables(sizes, streams) == extra


@pytest.mark.parametrize(
    ("sizes", "streams"),
    [
        ({}, 2),
        (mb(a=30, b=30), 2),
        (mb(a=500, b=500), 1),
        (mb(a=1000), 2),
        (mb(a=1000, b=50), 2),
        ({f"t{number}": MB for number in range(1000)}, 2),
    ],
    ids=["no table", "too small", "one stream is wanted", "one table", "one outweighs all", "only small ones"],
)
def test_nothing_is_shared_out_where_it_is_no_use(sizes: dict[str, int], streams: int) -> None:
    assert split_tables(sizes, streams) == ()


def test_fewer_streams_are_made_where_there_is_not_enough_for_all() -> None:
    assert split_tables(mb(a=500, b=450, c=5), 8) == (["a"],)


def test_a_table_that_stays_weighs_on_the_main_stream() -> None:
    assert split_tables(mb(old=500, a=300, b=200), 2, stays={"old"}) == (["a", "b"],)


def test_tables_that_make_a_stream_write_text_come_together() -> None:
    """One of them makes the whole stream slower: the others had better go elsewhere."""
    tables = mb(attendance=400, audit=399, documents=200)
    assert split_tables(tables, 2) == (["attendance"],)
    assert split_tables(tables, 2, as_text={"audit"}) == (["attendance", "documents"],)
    assert split_tables(tables, 2, as_text={"audit", "documents"}) == (["attendance"],)
    assert split_tables(mb(a=400, b=300, c=200, settings=1), 2, as_text={"settings"}) == (["a", "c"],)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 2000 * MB), max_size=200),
    st.integers(1, 8),
    st.sets(st.text(min_size=1, max_size=3), max_size=5),
    st.sets(st.text(min_size=1, max_size=3), max_size=5),
)
def test_every_split_is_sound(sizes: dict[str, int], streams: int, stays: set[str], as_text: set[str]) -> None:
    extra = split_tables(sizes, streams, stays=stays, as_text=as_text)
    moved = [name for share in extra for name in share]
    total = sum(sizes.values())
    assert len(moved) == len(set(moved))
    assert set(moved) <= set(sizes) - stays
    assert len(extra) < streams
    assert all(sizes[name] >= LARGE_SHARE * total for name in moved)
    assert all(len(share) <= 0.5 / LARGE_SHARE + 1 for share in extra)
    if extra:
        assert total >= WORTH_BYTES
        loads = [sum(sizes[name] for name in share) for share in extra]
        assert min(*loads, total - sum(loads)) >= LEAST_SHARE * total
