"""An HTTP server that speaks the reading part of the Kubernetes API, for what the test bed can't do.

    with ApiServer(V1_36) as server:
        server.put("pods", pod())                                  # shapes: tests/servers/kubernetes_shapes.py
        server.put("pods", usage("web-7d4b9-x2x1z", web=("5m", "20Mi")), group="metrics.k8s.io")
        server.logs["web-7d4b9-x2x1z", "web", False] = "the last line"
        server.forbidden.add("nodes")                              # as RBAC would: 403 with a Status
        check(server.endpoint())                                   # an Endpoint with the one token that it takes

Discovery (``/api``, ``/apis``, ``/apis/<group>/<version>``), lists of a namespace and of the cluster with ``limit`` and
``continue``, field selectors on ``type`` and ``involvedObject.*``, logs of containers; plain HTTP, GET only. A release
is the set of groups that it serves: only what is in it exists. What is ``away`` is registered and answers 503, as an
aggregated API without its server; ``expired`` makes the next ``continue`` fail with 410. Every path that was asked for
stands in ``asked``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers.kubernetes_shapes import Shape
from upkeep.domain.endpoint import Endpoint

TOKEN = "wire-token-Zq7"
Groups = Mapping[str, Sequence[str]]

_COMMON: Groups = {"apps": ["v1"], "batch": ["v1"], "networking.k8s.io": ["v1"]}
V1_16: Groups = {**_COMMON, "batch": ["v1", "v1beta1"], "policy": ["v1beta1"]}
"""Before EndpointSlices."""
V1_20: Groups = {**_COMMON, "discovery.k8s.io": ["v1beta1"], "policy": ["v1beta1"], "metrics.k8s.io": ["v1beta1"]}
V1_22: Groups = {**_COMMON, "discovery.k8s.io": ["v1", "v1beta1"], "policy": ["v1", "v1beta1"]}
V1_36: Groups = {**_COMMON, "discovery.k8s.io": ["v1"], "policy": ["v1"], "metrics.k8s.io": ["v1beta1"]}
"""The beta versions are gone; Endpoints are still there, and warned of."""

_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired", 503: "ServiceUnavailable"}


class ApiServer:
    def __init__(self, groups: Groups = V1_36) -> None:
        self.groups = dict(groups)
        self.objects: dict[tuple[str, str], list[Shape]] = {}
        self.logs: dict[tuple[str, str, bool], str] = {}
        """By pod, container, and whether it is the log of the run before this one."""
        self.forbidden: set[str] = set()
        """Resources that the account may not read, ``pods/log`` among them."""
        self.lists_answer: dict[str, int] = {}
        """The HTTP status with which a resource's list fails, such as 429 of an API server that has too much to do."""
        self.away: set[str] = set()
        """Groups that are registered and don't answer."""
        self.expired = False
        self.asked: list[str] = []
        self._server: ThreadingHTTPServer | None = None

    def put(self, resource: str, *shapes: Shape, group: str = "") -> None:
        self.objects.setdefault((group, resource), []).extend(shapes)

    def endpoint(self, token: str = TOKEN) -> Endpoint:
        return Endpoint(conn_id="wire", kind="kubernetes", host=self.url, secret=token)

    @property
    def url(self) -> str:
        assert self._server is not None, "it is used in a with block"
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.asked.append(self.path)
                status, answer = api.answer(self.path, self.headers.get("Authorization", ""))
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, bytes) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        if authorization != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match parts.path.strip("/").split("/"):
            case ["api"]:
                return 200, {"kind": "APIVersions", "versions": ["v1"]}
            case ["apis"]:
                return 200, {"kind": "APIGroupList", "groups": [self._group(name) for name in self.groups]}
            case ["api", "v1", *rest]:
                return self._resource("", "v1", rest, query)
            case ["apis", group, version, *rest] if version in self.groups.get(group, ()):
                if group in self.away:
                    return _status(503, "the server is currently unable to handle the request")
                return self._resource(group, version, rest, query)
            case _:
                return _status(404, "the server could not find the requested resource")

    def _group(self, name: str) -> Shape:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self.groups[name]]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resource(self, group: str, version: str, rest: list[str], query: Mapping[str, str]) -> tuple[int, Any]:
        match rest:
            case []:
                return 200, {"kind": "APIResourceList", "groupVersion": f"{group}/{version}", "resources": []}
            case ["namespaces", _, "pods", pod, "log"]:
                return self._log(pod, query)
            case ["namespaces", _, resource] | [resource]:
                if resource in self.forbidden:
                    where = f'resource "{resource}" in API group "{group}"'
                    return _status(403, f"{resource} is forbidden: User cannot list {where}")
                if status := self.lists_answer.get(resource):
                    return _status(status, f"the list of {resource} failed")
                return self._list(group, version, resource, query)
            case _:
                return _status(404, "the server could not find the requested resource")

    def _list(self, group: str, version: str, resource: str, query: Mapping[str, str]) -> tuple[int, Any]:
        found = [one for one in self.objects.get((group, resource), []) if _chosen(one, query.get("fieldSelector", ""))]
        begin = int(query.get("continue", "0"))
        if begin and self.expired:
            self.expired = False
            return _status(410, "The provided continue parameter is too old")
        end = begin + int(query.get("limit", len(found) or 1))
        metadata = {"resourceVersion": "7", **({"continue": str(end)} if end < len(found) else {})}
        return 200, {
            "kind": "List", "apiVersion": f"{group}/{version}".lstrip("/"), "metadata": metadata,
            "items": found[begin:end] or None,
        }  # fmt: skip

    def _log(self, pod: str, query: Mapping[str, str]) -> tuple[int, Any]:
        if "pods/log" in self.forbidden:
            return _status(403, f'pods "{pod}" is forbidden: cannot get resource "pods/log"')
        before, container = query.get("previous") == "true", query.get("container", "")
        text = self.logs.get((pod, container, before))
        if text is None:
            which = "previous terminated container" if before else "container"
            return _status(400, f'{which} "{container}" in pod "{pod}" not found')
        lines = text.splitlines(keepends=True)[-int(query.get("tailLines", "1000")) :]
        return 200, "".join(lines).encode("utf-8", "surrogateescape")[: int(query.get("limitBytes", "1000000"))]


def _status(code: int, message: str) -> tuple[int, Shape]:
    return code, {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": _REASONS.get(code, "BadRequest"), "code": code,
    }  # fmt: skip


def _chosen(shape: Shape, selector: str) -> bool:
    for wanted in filter(None, selector.split(",")):
        path, _, value = wanted.partition("=")
        found: Any = shape
        for part in path.split("."):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        if found != value:
            return False
    return True
