"""Programs that are fed while their output is read: two sides, so one of them has a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress

from upkeep.engines.background import in_background
from upkeep.engines.pipeline import Command, Ended, Pipeline


def feed(pipeline: Pipeline, chunks: Iterator[bytes]) -> Future[None]:
    """Write ``chunks`` into a pipeline while somebody else reads its output; the future has the error of getting them.

    A program that reads no more is no error here: its exit status says why. Whoever gives up reading has to ``kill``
    the pipeline, or the writing would wait for ever, and to wait for the future before the pipeline is closed.
    """

    def write() -> None:
        try:
            for chunk in chunks:
                try:
                    pipeline.write(chunk)
                except BrokenPipeError:
                    break
        finally:
            if isinstance(chunks, Generator):
                chunks.close()  # here: what it has open may end with the thread that opened it
            with suppress(BrokenPipeError):
                pipeline.stdin.close()

    return in_background(write, name=f"input of {pipeline.commands[0].name}")


class FedPipeline:
    """A pipeline that is fed from here, while ``take`` is given its output in another thread."""

    def __init__(self, commands: Sequence[Command], take: Callable[[bytes], object]) -> None:
        self._take = take
        self._pipeline = Pipeline(commands, feed=True)
        self._pipeline.__enter__()
        self._reads_on = True
        self._output = in_background(self._collect, name=f"output of {commands[-1].name}")

    def _collect(self) -> None:
        chunks = self._pipeline.output()
        try:
            for chunk in chunks:
                self._take(chunk)
        finally:
            for _ in chunks:  # programs whose output nobody reads would read no more either
                pass

    def feed(self, chunk: bytes) -> bool:
        """Whether it reads on. If not, it has seen enough, or its exit status says why: more is fed in vain.

        Errors: ``Stopped``.
        """
        self._pipeline.check()
        if self._reads_on:
            try:
                self._pipeline.write(chunk)
            except BrokenPipeError:
                self._reads_on = False
        return self._reads_on

    def close(self) -> list[Ended]:
        """Wait for the end. Errors: ``ToolFailed``, and those of ``take``."""
        try:
            with suppress(BrokenPipeError):
                self._pipeline.stdin.close()
            self._output.exception()  # waits; when a program failed, that goes first
            ended = self._pipeline.finish()
            self._output.result()
            return ended
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Nothing, where it was closed."""
        self._pipeline.kill()
        self._output.exception()  # what it reads from must not be closed under it
        self._pipeline.end()
