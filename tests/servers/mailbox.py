"""A mail server and a web hook that keep what they are sent."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as smtplib speaks to send one mail."""

    def handle(self) -> None:
        self._say("220 mailbox")
        while line := self.rfile.readline():
            verb = line.split(b" ")[0].strip().upper()
            if verb == b"DATA":
                self._say("354 go on")
                self.server.mails.append(self._mail())  # type: ignore[attr-defined]  # the server below has them
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            self._say("250 ok")

    def _mail(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        found: EmailMessage = message_from_bytes(b"".join(lines), policy=policy.default)
        return found

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """Its port, and the mails that came."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp)
    mails: list[EmailMessage] = []
    server.mails = mails  # type: ignore[attr-defined]  # handed to the handlers
    with _serving(server):
        yield server.server_address[1], mails


_ANSWERS = {
    "/broken": (500, b""),
    "/moved": (302, b""),
    "/dingtalk": (200, b'{"errcode": 310000, "errmsg": "sign not match"}'),
    "/feishu": (200, b'{"code": 19001, "data": {}, "msg": "incoming webhook access token invalid"}'),
    "/fine": (200, b'{"code": 200, "msg": "success"}'),
    "/wecom": (200, b'{"errcode": 0, "errmsg": "ok"}'),
}
"""Status and body by path; Slack's ``ok`` everywhere else."""


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(body)))  # type: ignore[attr-defined]  # the server below has them
        status, answer = _ANSWERS.get(self.path, (200, b"ok"))
        self.send_response(status)
        self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def web_hook() -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """Its port, and path and JSON of what was posted. The paths of ``_ANSWERS`` take nothing."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    posts: list[tuple[str, Any]] = []
    server.posts = posts  # type: ignore[attr-defined]  # handed to the handlers
    with _serving(server):
        yield server.server_address[1], posts


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
