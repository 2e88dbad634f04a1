"""Programs with somebody at either end: whatever goes wrong at one, the other doesn't wait for ever and is told why."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from upkeep.engines import stopping
from upkeep.engines.background import in_background, meanwhile
from upkeep.engines.feeding import FedPipeline, feed
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.errors import Stopped, ToolFailed

CHUNK = bytes(1 << 20)
"""As much as a pipe takes, so that the second one waits for a reader."""
MANY = 32


def chunks(many: int = MANY) -> Iterator[bytes]:
    for _ in range(many):
        yield CHUNK


def nothing(chunk: bytes) -> None:
    pass


def test_what_goes_in_comes_out() -> None:
    taken = bytearray()
    program = FedPipeline([Command(["cat"]), Command(["cat"])], taken.extend)
    for chunk in (b"one ", b"", b"two"):
        program.feed(chunk)

    ended = program.close()
    program.abandon()

    assert bytes(taken) == b"one two"
    assert [each.status for each in ended] == [0, 0]


def test_whoever_takes_the_output_may_fail_without_stopping_the_program() -> None:
    def take(chunk: bytes) -> None:
        raise UnicodeError("not what was expected")

    program = FedPipeline([Command(["cat"])], take)
    for chunk in chunks():
        program.feed(chunk)

    with pytest.raises(UnicodeError, match="not what was expected"):
        program.close()


def test_a_program_that_failed_outweighs_what_its_output_did_to_the_reader() -> None:
    def take(chunk: bytes) -> None:
        raise UnicodeError("not what was expected")

    program = FedPipeline([Command(["sh", "-c", "echo half; echo 'no room' >&2; exit 3"])], take)

    with pytest.raises(ToolFailed, match="no room"):
        program.close()


def test_a_program_that_has_seen_enough_is_fed_in_vain() -> None:
    taken = bytearray()
    program = FedPipeline([Command(["head", "-c", "3"])], taken.extend)
    for chunk in chunks():
        program.feed(chunk)

    program.close()

    assert bytes(taken) == bytes(3)


def test_a_program_is_abandoned_in_the_middle() -> None:
    program = FedPipeline([Command(["sh", "-c", "cat; sleep 600"])], nothing)
    program.feed(CHUNK)

    program.abandon()

    with pytest.raises(ToolFailed):
        program.close()


def test_chunks_are_fed_while_the_output_is_read() -> None:
    with Pipeline([Command(["cat"])], feed=True) as pipeline:
        fed = feed(pipeline, chunks())
        size = sum(map(len, pipeline.output()))
        fed.result()

    assert size == MANY * len(CHUNK)


def test_an_error_of_the_chunks_ends_the_input_and_is_kept() -> None:
    def breaks_off() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the store is gone")

    with Pipeline([Command(["cat"])], feed=True) as pipeline:
        fed = feed(pipeline, breaks_off())
        read = b"".join(pipeline.output())

        with pytest.raises(ConnectionResetError, match="the store is gone"):
            fed.result()
    assert read == b"half"


def test_chunks_are_closed_in_their_own_thread_when_nobody_wants_them() -> None:
    closed_in: list[str] = []

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield CHUNK
        finally:
            closed_in.append(threading.current_thread().name)

    with pytest.raises(ToolFailed), Pipeline([Command(["cat"])], feed=True) as pipeline:
        fed = feed(pipeline, endless())
        next(pipeline.output())
        pipeline.kill()

        assert fed.exception(timeout=30) is None
    assert closed_in == ["input of cat"]


def test_what_runs_beside_a_block_ends_with_it() -> None:
    seen: list[bool] = []

    def look(over: threading.Event) -> None:
        seen.append(over.wait(30))

    with meanwhile(look, name="look"):
        assert not seen

    assert seen == [True]


def test_an_error_beside_a_block_comes_out_of_it() -> None:
    def look(over: threading.Event) -> None:
        raise LookupError("nothing to see")

    with pytest.raises(LookupError, match="nothing to see"), meanwhile(look, name="look"):
        pass
    with pytest.raises(KeyError, match="the block's own"), meanwhile(look, name="look"):
        raise KeyError("the block's own")


def test_an_answer_or_an_error_waits_until_somebody_asks() -> None:
    assert in_background(lambda: 42, name="answer").result() == 42
    assert isinstance(in_background(lambda: int("no number"), name="error").exception(), ValueError)


def test_a_broken_pipe_of_the_chunks_is_no_programs_end() -> None:
    def breaks_off() -> Iterator[bytes]:
        yield b"half"
        raise BrokenPipeError("the source is gone")

    with Pipeline([Command(["cat"])], feed=True) as pipeline:
        fed = feed(pipeline, breaks_off())
        assert b"".join(pipeline.output()) == b"half"

        with pytest.raises(BrokenPipeError, match="the source is gone"):
            fed.result()


def test_a_program_that_is_told_to_stop_is_fed_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    program = FedPipeline([Command(["cat"])], nothing)
    program.feed(CHUNK)
    monkeypatch.setattr(stopping, "_told", False)  # put back afterwards
    Pipeline.stop_all()

    with pytest.raises(Stopped):
        program.feed(CHUNK)
    program.abandon()
