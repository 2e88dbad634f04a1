"""Words and figures as people read them."""

from __future__ import annotations

import pytest

from upkeep.domain.units import cut, ends


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [("ab cd", 5, "ab cd"), ("ab cdef", 5, "ab c…"), ("ab cdef", 4, "ab…"), ("ab", 1, "…"), ("ab", 0, ""), ("", 0, "")],
)
def test_a_text_that_is_too_long_ends_with_an_ellipsis_and_keeps_its_limit(text: str, limit: int, shown: str) -> None:
    assert cut(text, limit) == shown


def test_of_a_long_list_the_ends_are_shown() -> None:
    assert ends("abcd", 4) == ["a", "b", "c", "d"]
    assert ends("abcde", 4) == ["a", "...", "e"]
