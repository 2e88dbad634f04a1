"""A program that runs another one in a pod: its output, its errors and its exit status become this program's own.

Started by the pipeline like any client program (``python -m upkeep.engines.pod_exec /dev/fd/N``), so that a dump in a
pod is read, killed and judged as a local one. It only ends with 0 when the API said that the command did: a connection
that ends before is an error, however much has come.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from upkeep.engines.pod_wire import PodEndpoint, Wire, WireCut

STDIN, STDOUT, STDERR, STATUS = range(4)
NOT_RUN = 125
"""This program's exit status when the command's own isn't known, as env and docker have it."""
CHUNK = 1 << 16


def main(argv: list[str]) -> int:
    """``argv``: a file that holds what to run, as JSON, read once."""
    request = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    program, pod, stdin = request["program"], request["pod"], request["stdin"]
    try:
        wire = PodEndpoint.from_json(request["endpoint"]).open()
    except WireCut as error:
        return _failed(program, f"can't run in pod {pod}: {error}")
    if stdin is not None:
        threading.Thread(target=_feed, args=(wire, stdin), daemon=True).start()
    try:
        return _until_status(wire, program, pod, request.get("ready"))
    except WireCut as error:
        return _failed(program, f"the connection to pod {pod} was cut before its exit status came: {error}")


def _until_status(wire: Wire, program: str, pod: str, ready: int | None) -> int:
    for channel, data in wire.frames():
        if ready is not None:
            os.write(ready, b".")
            os.close(ready)
            ready = None
        if channel in (STDOUT, STDERR):
            _write(channel, data)
        elif channel == STATUS:
            return _status(json.loads(bytes(data)), program, pod)
    return _failed(program, f"the connection to pod {pod} was cut before its exit status came: it was closed")


def _status(status: dict[str, Any], program: str, pod: str) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    for cause in causes:
        if status.get("reason") == "NonZeroExitCode" and cause.get("reason") == "ExitCode":
            return int(cause["message"]) or NOT_RUN
    return _failed(program, f"can't run in pod {pod}: {status.get('message') or status}")


def _feed(wire: Wire, descriptor: int) -> None:
    """Hand on whatever comes, as late as it comes: a snapshot may hold it back."""
    try:
        with Path(f"/dev/fd/{descriptor}").open("rb", buffering=0) as source:  # from its beginning
            while chunk := source.read(CHUNK):
                wire.send(STDIN, chunk)
    except WireCut:
        return  # the reader meets the same, and tells


def _write(descriptor: int, data: memoryview) -> None:
    """A reader that is slow holds up the connection, and so the program in the pod."""
    while data:
        data = data[os.write(descriptor, data) :]


def _failed(program: str, words: str) -> int:
    """In the form of the program's own errors, so that this is taken for the reason."""
    sys.stderr.write(f"{program}: error: {words}\n")
    sys.stderr.flush()
    return NOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
