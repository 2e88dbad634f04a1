"""A local socket that leads to a port of a pod, as ``kubectl port-forward`` has it, without a port that others see."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from upkeep.engines.pod_wire import Wire, WireCut
from upkeep.errors import UpkeepError

DATA = 0
"""The channel of the bytes; on the other one, 1, the API says what went wrong."""
PORT_NUMBER = 2
"""Bytes with which the API begins each channel: the port's number."""
CHUNK = 1 << 16
LONGEST_FOLDER = 60
"""The path of a socket has at most 107 bytes."""
FIRST_WITHIN_S = 60


class Tunnel:
    """Pairs of a local socket and a websocket. ``said`` holds what the pod's side last said was wrong."""

    def __init__(self, open_wire: Callable[[], Wire]) -> None:
        self._open_wire = open_wire
        self.said = ""

    def connect(self) -> socket.socket:
        """One connection. It ends when either side ends it. Errors: ``WireCut``."""
        ours, theirs = socket.socketpair()
        try:
            self._join(theirs, self._open_wire())
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours

    def listen(self, name: str) -> Path:
        """A folder that only this account can enter, with a socket ``name`` in it, for libraries that want an address.

        A loopback port would be open to everybody on this worker, and databases in containers often trust whoever comes
        from their own loopback. It is gone when the first connection that was made through it ends, or this process.
        """
        usual = tempfile.gettempdir()
        folder = TemporaryDirectory(prefix="upkeep-tunnel-", dir=usual if len(usual) <= LONGEST_FOLDER else "/tmp")  # noqa: S108 - only the path's length matters, the folder is private
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(Path(folder.name) / name))
        listener.listen()
        listener.settimeout(FIRST_WITHIN_S)
        threading.Thread(target=self._accept, args=(listener, folder), name="pod tunnel", daemon=True).start()
        return Path(folder.name)

    def _accept(self, listener: socket.socket, folder: TemporaryDirectory[str]) -> None:
        def stop() -> None:
            folder.cleanup()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

        first = True
        with folder, listener, suppress(OSError):  # stopped, or nobody came
            while True:
                local, _ = listener.accept()
                try:
                    self._join(local, self._open_wire(), ended=stop if first else None)
                except (WireCut, UpkeepError, OSError) as error:
                    self.said = str(error)
                    local.close()
                    return
                if first:
                    listener.settimeout(None)
                first = False

    def _join(self, local: socket.socket, wire: Wire, *, ended: Callable[[], None] | None = None) -> None:
        threading.Thread(target=self._down, args=(wire, local, ended), name="from the pod", daemon=True).start()
        threading.Thread(target=_up, args=(local, wire), name="to the pod", daemon=True).start()

    def _down(self, wire: Wire, local: socket.socket, ended: Callable[[], None] | None) -> None:
        begun: set[int] = set()
        try:
            for channel, data in wire.frames():
                if channel not in begun:
                    begun.add(channel)
                    data = data[PORT_NUMBER:]
                if channel == DATA:
                    local.sendall(data)
                elif data:
                    self.said = bytes(data).decode("utf-8", "replace").strip()
                    return
        except WireCut as error:
            self.said = str(error)
        except OSError:
            return  # the database's client has gone
        finally:
            if ended:
                ended()
            with suppress(OSError):
                local.shutdown(socket.SHUT_RDWR)
            wire.close()


def _up(local: socket.socket, wire: Wire) -> None:
    with local, suppress(WireCut, OSError):  # the other direction meets the same, and tells
        while chunk := local.recv(CHUNK):
            wire.send(DATA, chunk)
    wire.close()
