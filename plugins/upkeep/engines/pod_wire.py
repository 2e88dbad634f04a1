"""The API's websockets into a pod: bytes behind a channel number, as ``kubectl exec`` and ``port-forward`` see them.

Loads nothing of the client library, since each dump has a small program of its own that has to start fast.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import websocket
from websocket import ABNF, WebSocket

CONNECT_TIMEOUT_S = 15
QUIET_S = 20
"""A silent connection is asked for a sign of life this often, in seconds: proxies cut what is silent for a minute."""
SIGNS_MISSED = 4
"""After so many unanswered questions the network is taken for cut."""


class WireCut(Exception):
    """The connection was refused or broke off; the text says how."""


@dataclass(frozen=True)
class PodEndpoint:
    """Where a websocket leads, and how the API lets us in. Holds the account's token: never shown."""

    url: str
    headers: tuple[str, ...]
    tls: Mapping[str, Any]
    proxy: Mapping[str, Any]
    protocols: tuple[str, ...]
    quiet_s: float = QUIET_S

    def __repr__(self) -> str:
        return f"PodEndpoint({self.url.partition('?')[0]})"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PodEndpoint:
        fields = json.loads(text)
        return cls(**{**fields, "headers": tuple(fields["headers"]), "protocols": tuple(fields["protocols"])})

    def open(self) -> Wire:
        """Errors: ``WireCut`` with the API's own words."""
        wire = WebSocket(sslopt=dict(self.tls), skip_utf8_validation=True, enable_multithread=True)
        try:
            wire.connect(  # type: ignore[no-untyped-call]
                self.url,
                header=list(self.headers),
                subprotocols=list(self.protocols),
                timeout=CONNECT_TIMEOUT_S,
                **self.proxy,
            )
        except websocket.WebSocketBadStatusException as error:
            raise WireCut(f"the API refuses it: {_words(error)}") from error
        except (websocket.WebSocketException, OSError) as error:
            raise WireCut(f"the API can't be reached: {error}") from error
        wire.settimeout(self.quiet_s)
        return Wire(wire, self.quiet_s)


class Wire:
    """One open websocket. One thread may read while others write."""

    def __init__(self, wire: WebSocket, quiet_s: float) -> None:
        self._wire, self._quiet_s = wire, quiet_s

    def frames(self) -> Iterator[tuple[int, memoryview]]:
        """Channel and bytes of each frame until the other side closes in order. Errors: ``WireCut``."""
        missed = 0
        while True:
            try:
                opcode, frame = self._wire.recv_data_frame(control_frame=True)
            except websocket.WebSocketTimeoutException as error:
                missed += 1
                if missed >= SIGNS_MISSED:
                    raise WireCut(f"there was no sign of life for {missed * self._quiet_s:g} s") from error
                self._ask_for_life()
                continue
            except (websocket.WebSocketException, OSError) as error:
                raise WireCut(str(error) or type(error).__name__) from error
            missed = 0
            if opcode == ABNF.OPCODE_CLOSE:
                return
            if opcode in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data:
                data = memoryview(frame.data if isinstance(frame.data, bytes) else frame.data.encode())
                yield data[0], data[1:]

    def send(self, channel: int, data: bytes) -> None:
        """Errors: ``WireCut``."""
        try:
            self._wire.send_binary(bytes([channel]) + data)
        except (websocket.WebSocketException, OSError) as error:
            raise WireCut(str(error) or type(error).__name__) from error

    def _ask_for_life(self) -> None:
        try:
            self._wire.ping()
        except (websocket.WebSocketException, OSError) as error:
            raise WireCut(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Whoever reads it meets its end."""
        self._wire.shutdown()  # type: ignore[no-untyped-call]


def _words(error: websocket.WebSocketBadStatusException) -> str:
    """The API's own sentence: its Status object has one."""
    body = error.resp_body or b""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.status_code}"
