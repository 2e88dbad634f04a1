"""An HTTP server that speaks Prometheus's query API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]


class Speaker:
    """An HTTP server that answers each query with what ``say`` makes of it; ``asked`` holds queries and headers."""

    def __init__(self, say: Callable[[str], Answer]) -> None:
        self.say = say
        self.asked: list[tuple[str, dict[str, str]]] = []
        speaker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if not parts.path.endswith("/api/v1/query"):
                    self._answer(404, {"not": "here"})
                    return
                query = parse_qs(parts.query)["query"][0]
                speaker.asked.append((query, dict(self.headers)))
                self._answer(*speaker.say(query))

            def _answer(self, status: int, content: Any) -> None:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def vector(*series: tuple[dict[str, str], str]) -> Answer:
    result = [{"metric": labels, "value": [1763748000.1, value]} for labels, value in series]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


def one_machine(query: str) -> Answer:
    if "cpu" in query:
        return vector(({"instance": "db1:9100"}, "12.5"))
    return vector(({"instance": "db1:9100", "mountpoint": "/", "device": "eth0"}, "1e3"))
