"""Ends a test process that hangs, after it has printed where each of its threads is.

pytest-timeout fails a test that takes too long, so that its servers are stopped and the next one has its turn. But once
a test has failed, for whatever reason, it watches over neither the clean-up nor the second chance (``--reruns``), and a
hang there would last until somebody ends the run, with nothing to read.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

import pytest

LIMIT_S = 700
"""For all of a test: twice what pytest-timeout allows, and time to clean up."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    watchdog = threading.Timer(LIMIT_S, _end, [item])
    watchdog.name, watchdog.daemon = "watchdog", True
    watchdog.start()
    try:
        return (yield)
    finally:
        watchdog.cancel()


def _end(item: pytest.Item) -> None:
    try:
        if capture := item.config.pluginmanager.getplugin("capturemanager"):
            capture.suspend_global_capture()  # standard error is what it was
        print(f"\n{item.nodeid} hangs: this process is ended", file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(file=2)
    finally:
        os._exit(1)
