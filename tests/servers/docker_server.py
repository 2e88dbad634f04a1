"""A Docker engine as its clients see it: the API's own protocol over a unix socket, without containers behind it.

It answers the calls that Upkeep makes, in the forms of Docker 20.10 to 27 (API 1.24 to 1.47), keeps count of what is
there, and refuses what a real engine refuses, in its words.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NEVER = "0001-01-01T00:00:00Z"


def nano(moment: datetime) -> str:
    """As Go writes it, with more digits than Python reads."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z"


class DockerServer:
    """``requests`` are what was asked, method and path; ``before`` is called with each, to let things happen."""

    def __init__(self, socket: Path, *, api: str = "1.47", oldest: str = "1.24", now: datetime | None = None) -> None:
        self.socket, self.api, self.oldest = socket, api, oldest
        self.now = now or datetime.now(UTC)
        self.containers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.cache: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda *_: None
        self._server = _Server(str(socket), _Handler)
        self._server.engine = self

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def __enter__(self) -> DockerServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.socket.unlink(missing_ok=True)

    def container(self, name: str, image: str, *, state: str = "exited", hours: float = 0, created: float = 0) -> str:
        """``hours``: since it stopped; ``created``: hours since it was made, at least as many."""
        number = f"{len(self.containers) + 1:012x}{0:052x}"
        stopped = nano(self.now - timedelta(hours=hours)) if state in ("exited", "dead") else NEVER
        self.containers[number] = {
            "Id": number, "Name": f"/{name}", "Image": image, "SizeRw": 4096, "stopped": stopped, "state": state,
            "created": self.now - timedelta(hours=max(created, hours)),
        }  # fmt: skip
        return number

    def image(self, *tags: str, built: float, pulled: float | None = None, size: int = 50_000_000) -> str:
        """``built``, ``pulled``: hours ago; an image that was built here and never tagged was never pulled."""
        number = f"sha256:{len(self.images) + 0xA0:012x}{0:052x}"
        self.images[number] = {
            "tags": list(tags), "size": size, "built": self.now - timedelta(hours=built),
            "pulled": NEVER if pulled is None else nano(self.now - timedelta(hours=pulled)),
        }  # fmt: skip
        return number

    def volume(self, name: str, *, users: int | None = 0, **labels: str) -> None:
        usage = {"Size": 1_000_000, "RefCount": users} if users is not None else None
        self.volumes[name] = {
            "Name": name, "Driver": "local", "Mountpoint": f"/var/lib/docker/volumes/{name}/_data", "Scope": "local",
            "CreatedAt": "2026-10-01T10:00:00+08:00", "Labels": labels or None, "Options": None, "UsageData": usage,
        }  # fmt: skip

    def cached(self, number: str, *, hours: float, in_use: bool = False, size: int = 1_000_000) -> None:
        used = nano(self.now - timedelta(hours=hours))
        self.cache[number] = {
            "ID": number, "Type": "regular", "Description": "mount / from exec /bin/sh -c make", "InUse": in_use,
            "Shared": False, "Size": size, "CreatedAt": used, "LastUsedAt": used, "UsageCount": 1,
        }  # fmt: skip


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    engine: DockerServer


class _Gone(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        engine, split = self.server.engine, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        versioned = re.fullmatch(r"/v(\d+\.\d+)(/.*)", split.path)
        path = unquote(versioned[2] if versioned else split.path)
        engine.requests.append((method, path))
        engine.before(method, path)
        if versioned and (why := self._misfit(versioned[1])):
            return self._say(400, {"message": why})
        try:
            return self._say(*self._act(method, path, query))
        except (_Gone, KeyError):
            return self._say(404, {"message": f"No such thing: {path}"})

    def _misfit(self, version: str) -> str:
        engine = self.server.engine
        asked, newest, oldest = (tuple(map(int, one.split("."))) for one in (version, engine.api, engine.oldest))
        if asked > newest:
            return f"client version {version} is too new. Maximum supported API version is {engine.api}"
        if asked < oldest:
            return f"client version {version} is too old. Minimum supported API version is {engine.oldest}"
        return ""

    def _say(self, status: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Api-Version", self.server.engine.api)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _act(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        engine = self.server.engine
        section, _, rest = path.removeprefix("/").partition("/")
        match method, section:
            case "GET", "version":
                return 200, {
                    "Version": "27.3.1", "ApiVersion": engine.api, "MinAPIVersion": engine.oldest, "Os": "linux",
                }  # fmt: skip
            case "GET", "system":
                return 200, self._usage()
            case "GET", "containers":
                return 200, self._listed() if rest == "json" else self._inspected(rest.removesuffix("/json"))
            case "DELETE", "containers":
                assert query == {"v": "0", "force": "0"}
                if engine.containers[rest]["state"] == "running":
                    return 409, {"message": f'cannot remove container "{rest[:12]}": container is running'}
                del engine.containers[rest]
                return 204, None
            case "GET", "images":
                return 200, self._image(rest.removesuffix("/json"))
            case "DELETE", "images":
                return self._remove_image(rest)
            case "GET", "volumes":
                return 200, {key: value for key, value in engine.volumes[rest].items() if key != "UsageData"}
            case "DELETE", "volumes":
                if (engine.volumes[rest]["UsageData"] or {}).get("RefCount"):
                    return 409, {"message": f"remove {rest}: volume is in use"}
                del engine.volumes[rest]
                return 204, None
            case "POST", "build":
                return 200, self._prune_cache(json.loads(query["filters"]))
        raise _Gone

    def _listed(self) -> list[dict[str, Any]]:
        return [
            {
                "Id": one["Id"], "Names": [one["Name"]], "Image": "an/image", "ImageID": one["Image"],
                "Created": int(one["created"].timestamp()), "State": one["state"], "Status": "...", "Labels": {},
            }
            for one in self.server.engine.containers.values()
        ]  # fmt: skip

    def _inspected(self, number: str) -> dict[str, Any]:
        one = self.server.engine.containers[number]
        return {
            "Id": number, "Created": nano(one["created"]), "Name": one["Name"], "Image": one["Image"],
            "State": {"Status": one["state"], "Running": one["state"] == "running", "FinishedAt": one["stopped"]},
        }  # fmt: skip

    def _image(self, number: str) -> dict[str, Any]:
        one = self.server.engine.images[number]
        return {
            "Id": number, "RepoTags": one["tags"], "Size": one["size"], "Metadata": {"LastTagTime": one["pulled"]},
            **({"Created": nano(one["built"])} if one["built"].year > 1970 else {}),
        }  # fmt: skip

    def _usage(self) -> dict[str, Any]:
        engine = self.server.engine
        return {
            "LayersSize": sum(one["size"] for one in engine.images.values()) * 8 // 10,
            "Images": [
                {
                    "Id": number, "ParentId": "", "RepoTags": one["tags"] or ["<none>:<none>"], "Size": one["size"],
                    "Created": int(one["built"].timestamp()), "SharedSize": 0, "Containers": 0, "Labels": None,
                }
                for number, one in engine.images.items()
            ] or None,
            "Containers": [
                {**one, "SizeRw": engine.containers[one["Id"]]["SizeRw"]} for one in self._listed()
            ],
            "Volumes": list(engine.volumes.values()),
            "BuildCache": list(engine.cache.values()),
        }  # fmt: skip

    def _remove_image(self, name: str) -> tuple[int, Any]:
        engine = self.server.engine
        number = next((key for key, one in engine.images.items() if name == key or name in one["tags"]), None)
        if number is None:
            raise _Gone
        tags = engine.images[number]["tags"]
        if name == number and len(tags) > 1:
            return 409, {
                "message": f"conflict: unable to delete {number[7:19]} (must be forced) - image is referenced in "
                "multiple repositories"
            }
        users = [one for one in engine.containers.values() if one["Image"] == number]
        if users and len(tags) <= 1:
            return 409, {
                "message": f'conflict: unable to remove repository reference "{name}" (must force) - container '
                f"{users[0]['Id'][:12]} is using its referenced image {number[7:19]}"
            }
        if len(tags) > 1:
            tags.remove(name)
            return 200, [{"Untagged": name}]
        del engine.images[number]
        return 200, [{"Untagged": name}, {"Deleted": number}]

    def _prune_cache(self, filters: dict[str, list[str]]) -> dict[str, Any]:
        engine = self.server.engine
        limit = engine.now - timedelta(hours=int(filters["until"][0].removesuffix("h")))
        gone = [one for one in engine.cache.values() if not one["InUse"] and one["LastUsedAt"] < nano(limit)]
        for one in gone:
            del engine.cache[one["ID"]]
        return {"CachesDeleted": [one["ID"] for one in gone] or None, "SpaceReclaimed": sum(o["Size"] for o in gone)}
