"""What takes too long is ended once, and whoever waited for it knows why it ended."""

from __future__ import annotations

import threading

from upkeep.engines.background import ended_after


def test_a_block_that_takes_longer_is_ended_and_told_so() -> None:
    ended = threading.Event()
    with ended_after(0.05, ended.set, name="end") as late:
        assert ended.wait(10)
        assert late.is_set()


def test_a_block_that_is_over_in_time_is_left_alone() -> None:
    ended = threading.Event()
    with ended_after(0.2, ended.set, name="end") as late:
        pass
    assert not ended.wait(0.3)
    assert not late.is_set()
