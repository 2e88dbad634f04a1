"""Work in a thread of its own whose error isn't lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], *, name: str) -> Future[T]:
    """Begin ``work``; what it gives, or its error, is in the future.

    Not an executor: Python waits for an executor's threads before it ends, and one that asks a dead disk never does.
    """
    future: Future[T] = Future()

    def carry_out() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=carry_out, name=name, daemon=True).start()
    return future


@contextmanager
def meanwhile(work: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """``work`` beside the block, at whose end its event is set and it is waited for. Its error comes out of the block,
    unless that has one of its own.
    """
    over = threading.Event()
    beside = in_background(lambda: work(over), name=name)
    try:
        yield
    finally:
        over.set()
        beside.exception()
    beside.result()


@contextmanager
def ended_after(seconds: float, end: Callable[[], None], *, name: str) -> Iterator[threading.Event]:
    """``end`` is called when the block takes longer, and the event that the block is given says so. Once the block is
    left, ``end`` isn't at work any more.
    """
    late = threading.Event()

    def watch(over: threading.Event) -> None:
        if not over.wait(seconds):
            late.set()
            end()

    with meanwhile(watch, name=name):
        yield late
