"""The two doors into a pod that the test cluster lacks: exec and port-forward, as the Kubernetes API speaks them.

A pod here is a name with labels; what is run in it is a real local process with nothing but a ``PATH``, and its ports
are those of this machine. Behind the websocket's protocol (``v4.channel.k8s.io``, ``v5``) each message begins with a
channel: 0 standard input, 1 output, 2 errors, 3 the status as JSON; for port-forward 0 data and 1 errors, each begun
with the port's number.

server.fault = Cut(after=100_000)      # the connection breaks in the middle
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from upkeep.domain.endpoint import Endpoint

CHUNK = 32 << 10


@dataclass(frozen=True)
class Cut:
    """The connection is reset after so many bytes of output."""

    after: int


@dataclass(frozen=True)
class Dead:
    """After so many bytes of output nothing comes any more, not even an answer, and nothing is closed."""

    after: int


@dataclass(frozen=True)
class NoStatus:
    """The connection is closed in order, but the exit status is never told."""


@dataclass(frozen=True)
class Refused:
    """As when RBAC forbids it."""

    door: str = "exec"


Fault = Cut | Dead | NoStatus | Refused


@dataclass
class FakePod:
    name: str
    labels: dict[str, str]
    ready: bool = True
    containers: Sequence[str] = ("db",)


@dataclass
class PodServer:
    """Use as a context manager. ``commands`` are the command lines that were asked for, as the API's log has them."""

    path: Sequence[str] = ("/usr/bin", "/bin")
    pods: list[FakePod] = field(default_factory=list)
    protocol: str = "v4.channel.k8s.io"
    fault: Fault | None = None
    commands: list[list[str]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """The only ports that a tunnel reaches; all where there is none."""
    running: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def __enter__(self) -> PodServer:
        self._loop = asyncio.new_event_loop()
        begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(begun,), daemon=True)
        self._thread.start()
        if not begun.wait(10):
            raise RuntimeError("the pod server did not begin")
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def endpoint(self) -> Endpoint:
        return Endpoint("cluster", kind="kubernetes", host=f"http://127.0.0.1:{self.port}", secret=self.token)

    def _run(self, begun: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._begin())
        begun.set()
        self._loop.run_forever()

    async def _begin(self) -> None:
        app = web.Application(middlewares=[self._who])
        root = "/api/v1/namespaces/{namespace}/pods"
        app.router.add_get(root, self._list)
        app.router.add_get(root + "/{name}/exec", self._exec)
        app.router.add_get(root + "/{name}/portforward", self._forward)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def _end(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _who(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refusal(401, "Unauthorized")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list(self, request: web.Request) -> web.Response:
        wanted = dict(one.split("=", 1) for one in request.query.get("labelSelector", "").split(",") if one)
        chosen = [pod for pod in self.pods if wanted.items() <= pod.labels.items()]
        return web.json_response({"kind": "PodList", "metadata": {}, "items": [_manifest(pod) for pod in chosen]})

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        argv = request.query.getall("command")
        self.commands.append(argv)
        if isinstance(self.fault, Refused) and self.fault.door == "exec":
            return _forbidden("exec")
        assert request.query["container"] == "db"
        wire = web.WebSocketResponse(protocols=[self.protocol], max_msg_size=0, writer_limit=CHUNK)
        await wire.prepare(request)
        assert wire.ws_protocol == self.protocol, "the client doesn't speak this version"
        await wire.send_bytes(b"\x01")  # the API tells at once that it is there
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": os.pathsep.join(self.path), "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            await wire.send_bytes(b"\x03" + json.dumps(_status_not_run(argv, error)).encode())
            await wire.close()
            return wire
        self.running += 1
        feeding = asyncio.create_task(self._feed(wire, process, wanted="stdin" in request.query))
        try:
            cut = await self._hand_out(request, wire, process, feeding)
        finally:
            feeding.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.running -= 1
        if not cut:
            await wire.close()
        return wire

    async def _feed(self, wire: web.WebSocketResponse, process: asyncio.subprocess.Process, *, wanted: bool) -> None:
        stdin = process.stdin
        assert stdin
        if not wanted:
            stdin.close()
        async for message in wire:
            if message.type == WSMsgType.BINARY and message.data[:1] == b"\x00":
                stdin.write(message.data[1:])
                await stdin.drain()
        process.kill()  # the client has gone: the container's runtime closes what the program writes to

    async def _hand_out(
        self,
        request: web.Request,
        wire: web.WebSocketResponse,
        process: asyncio.subprocess.Process,
        feeding: asyncio.Task[None],
    ) -> bool:
        """Whether a fault has cut the connection."""
        assert process.stdout and process.stderr
        errors = asyncio.create_task(_copy(process.stderr, wire, 2))
        sent = 0
        while chunk := await process.stdout.read(CHUNK):
            await wire.send_bytes(b"\x01" + chunk)
            sent += len(chunk)
            if isinstance(self.fault, Cut) and sent >= self.fault.after and request.transport:
                request.transport.abort()
                return True
            if isinstance(self.fault, Dead) and sent >= self.fault.after:
                feeding.cancel()  # whoever reads answers pings
                while request.transport and not request.transport.is_closing():
                    await asyncio.sleep(0.05)
                return True
        await errors
        status = await process.wait()
        if not isinstance(self.fault, NoStatus):
            await wire.send_bytes(b"\x03" + json.dumps(_status(status)).encode())
        return False

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if isinstance(self.fault, Refused) and self.fault.door == "portforward":
            return _forbidden("portforward")
        port = int(request.query["ports"])
        wire = web.WebSocketResponse(protocols=["v4.channel.k8s.io"], max_msg_size=0, writer_limit=CHUNK)
        await wire.prepare(request)
        for channel in (0, 1):
            await wire.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
        try:
            if self.ports and port not in self.ports:
                raise ConnectionRefusedError("connection refused")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            await wire.send_bytes(b"\x01" + f"failed to connect to localhost:{port} inside the pod: {error}".encode())
            await wire.close()
            return wire
        down = asyncio.create_task(_copy(reader, wire, 0, close=True))
        async for message in wire:
            if message.type == WSMsgType.BINARY:
                writer.write(message.data[1:])
                await writer.drain()
        writer.close()
        down.cancel()
        return wire


async def _copy(source: asyncio.StreamReader, wire: web.WebSocketResponse, channel: int, close: bool = False) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(CHUNK):
            await wire.send_bytes(bytes([channel]) + chunk)
        if close:
            await wire.close()


def _status(code: int) -> dict[str, Any]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _status_not_run(argv: Sequence[str], error: OSError) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f'exec failed: unable to start container process: exec: "{argv[0]}": executable file not found in '
        f"$PATH: {error.strerror}",
        "reason": "InternalError",
        "code": 500,
    }


def _forbidden(door: str) -> web.Response:
    user = "system:serviceaccount:kindergarten:upkeep"
    return _refusal(403, f'pods "db-0" is forbidden: User "{user}" cannot get resource "pods/{door}" in API group ""')


def _refusal(code: int, message: str) -> web.Response:
    status = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return web.json_response(status, status=code)


def _manifest(pod: FakePod) -> dict[str, Any]:
    return {
        "metadata": {"name": pod.name, "labels": pod.labels},
        "spec": {"containers": [{"name": name} for name in pod.containers]},
        "status": {"conditions": [{"type": "Ready", "status": str(pod.ready)}]},
    }
