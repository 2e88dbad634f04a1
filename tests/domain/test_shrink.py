"""A backup that shrank too much fails; the units it is told in are read by people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.shrink import judge_size
from upkeep.domain.units import counted, human_bytes, human_seconds

MB = 1_000_000


@pytest.mark.parametrize(
    ("size", "earlier", "ok", "reason"),
    [
        pytest.param(
            41_200_000,
            [111_400_000],
            False,
            "41.2 MB, 63 % smaller than the last proven backup's 111.4 MB; the limit is 50 %",
            id="shrunk beyond the limit fails",
        ),
        pytest.param(
            50 * MB,
            [100 * MB],
            True,
            "50.0 MB, 50 % smaller than the last proven backup's 100.0 MB",
            id="shrunk by exactly the limit is fine",
        ),
        pytest.param(
            50 * MB - 1,
            [100 * MB],
            False,
            "50.0 MB, 50 % smaller than the last proven backup's 100.0 MB; the limit is 50 %",
            id="one byte less fails",
        ),
        pytest.param(
            103 * MB,
            [100 * MB],
            True,
            "103.0 MB, 3 % larger than the last proven backup's 100.0 MB",
            id="growth is reported",
        ),
        pytest.param(
            900 * MB,
            [100 * MB],
            True,
            "900.0 MB, 800 % larger than the last proven backup's 100.0 MB",
            id="growth has no limit",
        ),
        pytest.param(
            100 * MB + 1,
            [100 * MB],
            True,
            "100.0 MB, less than 0.1 % larger than the last proven backup's 100.0 MB",
            id="a change too small to show isn't called 0 %",
        ),
        pytest.param(
            100 * MB,
            [100 * MB],
            True,
            "100.0 MB, the same as the last proven backup's 100.0 MB",
            id="the same size is fine",
        ),
        pytest.param(
            40 * MB, [], True, "40.0 MB, the first: no earlier proven backup to compare with", id="the first is fine"
        ),
        pytest.param(
            90 * MB,
            [500 * MB, 100 * MB],
            True,
            "90.0 MB, 10 % smaller than the last proven backup's 100.0 MB",
            id="the last one is the measure, not the largest",
        ),
        pytest.param(
            40 * MB,
            [100 * MB, 0],
            False,
            "40.0 MB, 60 % smaller than the last proven backup's 100.0 MB; the limit is 50 %",
            id="an empty earlier backup is no measure, the one before it is",
        ),
        pytest.param(
            40 * MB,
            [0, 0],
            True,
            "40.0 MB, the first: no earlier proven backup to compare with",
            id="after empty ones only, it is the first",
        ),
        pytest.param(0, [], False, "0 B: even the backup of an empty database isn't empty", id="an empty one fails"),
        pytest.param(0, [0], False, "0 B: even the backup of an empty database isn't empty", id="again and again"),
    ],
)
def test_verdicts(size: int, earlier: list[int], ok: bool, reason: str) -> None:
    verdict = judge_size(size, earlier, max_shrink_pct=50)
    assert (verdict.ok, verdict.reason) == (ok, reason)


def test_the_change_is_signed_and_absent_without_a_measure() -> None:
    assert judge_size(75, [100], 50).change_pct == -25
    assert judge_size(125, [100], 50).change_pct == 25
    assert judge_size(100, [100], 50).change_pct == 0
    assert judge_size(100, [], 50).change_pct is None


def test_a_limit_of_zero_refuses_any_shrink_and_one_of_a_hundred_none() -> None:
    assert not judge_size(99, [100], 0).ok
    assert judge_size(1, [10**15], 100).ok


@pytest.mark.parametrize(("size", "earlier", "limit"), [(-1, [], 50), (1, [-1], 50), (1, [], -1), (1, [], 100.1)])
def test_figures_that_cannot_be_are_refused(size: int, earlier: list[int], limit: float) -> None:
    with pytest.raises(ValueError, match=r"below zero|between 0 and 100"):
        judge_size(size, earlier, limit)


@given(st.integers(1, 10**15), st.integers(1, 10**15), st.floats(0, 100))
def test_a_verdict_is_bad_exactly_when_more_than_the_limit_is_gone(size: int, last: int, limit: float) -> None:
    assert judge_size(size, [last], limit).ok == (100 * (last - size) / last <= limit)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (41_200_000, "41.2 MB"),
        (1_073_741_824, "1.1 GB"),
        (2 * 10**12, "2.0 TB"),
        (10**15, "1.0 PB"),
        (10**22, "10000.0 EB"),
        (-41_200_000, "-41.2 MB"),
    ],
)
def test_bytes_are_told_in_si_units(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0001, "0 s"),
        (0.0421, "42 ms"),
        (0.9996, "1 s"),
        (8.84, "8.8 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (95, "1 min 35 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (8012.5, "2 h 13 min"),
        (86_399.7, "1 d"),
        (93_600, "1 d 2 h"),
        (400 * 86_400, "400 d"),
        (-95, "-1 min 35 s"),
    ],
)
def test_spans_are_told_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@given(st.integers(0, 10**21))
def test_a_size_never_takes_more_than_five_digits(size: int) -> None:
    assert len(human_bytes(size)) <= len("999.9 MB") + 2


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(1, "row", "1 row"), (0, "row", "0 rows"), (1042, "day", "1,042 days"), (2, "entry", "2 entries")],
)
def test_counts_are_shown_with_their_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
