"""A Docker engine through its API, over its unix socket or HTTP: what it holds, and removing one thing at a time.

Nothing is removed by force, and containers go without their volumes: what has come into use since it was looked at is
refused by the engine itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from upkeep.domain.clean_docker import STOPPED, CacheRecord, Container, Holdings, Image, Volume
from upkeep.errors import SourceError

NEWEST, OLDEST = (1, 47), (1, 24)
"""The releases of the API that this module was written for."""
BUILD_PRUNE_SINCE = (1, 39)
NEVER = datetime.min.replace(tzinfo=UTC)
CONNECT_S, ANSWER_S = 5.0, 180.0
"""Adding up what is on the disk takes a busy engine a minute or two."""


class Refused(Exception):
    """The engine did not remove one thing; its own words."""


class DockerApi:
    """One engine. Errors of every method: ``SourceError`` when it doesn't answer as a Docker engine does."""

    def __init__(self, url: str) -> None:
        self.url = url
        socket = url.removeprefix("unix://") if url.startswith("unix://") else None
        self._client = httpx.Client(
            base_url="http://docker" if socket else url.rstrip("/"),
            transport=httpx.HTTPTransport(uds=socket) if socket else None,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=False,  # it is an inside address: no proxy
        )
        self.api: tuple[int, int] = OLDEST
        self.release = ""

    def __enter__(self) -> DockerApi:
        try:
            self._negotiate()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._client.close()

    def holdings(self) -> Holdings:
        """All that the engine holds, with ages; one request more for each stopped container and each unused image."""
        usage = self._get("/system/df")
        with self._understood():
            containers = tuple(self._container(one) for one in usage.get("Containers") or ())
            used = {one.image_id for one in containers}
            return Holdings(
                containers=containers,
                images=tuple(self._image(one, one["Id"] in used) for one in usage.get("Images") or ()),
                cache=tuple(_cache(one) for one in usage.get("BuildCache") or ()),
                volumes=tuple(_volume(one) for one in usage.get("Volumes") or ()),
            )

    def containers(self) -> tuple[Container, ...]:
        """All of them, as they are now, without sizes."""
        listed = self._get("/containers/json", all="1")
        with self._understood():
            return tuple(self._container(one) for one in listed)

    def image(self, image_id: str) -> Image | None:
        """One image as it is now; None when it is gone."""
        found = self._inspect(f"/images/{quote(image_id, safe='')}/json")
        if found is None:
            return None
        with self._understood():
            tagged = moment((found.get("Metadata") or {}).get("LastTagTime") or "")
            built = moment(found.get("Created") or "")  # left out since API 1.44 where the build says nothing
            since, size = max(built, tagged), int(found.get("Size") or 0)
            return Image(found["Id"], _tags(found), since, size, came=tagged > NEVER)

    def container(self, container_id: str) -> tuple[str, datetime] | None:
        """Its state, and when it stopped or was created; None when it is gone."""
        found = self._inspect(f"/containers/{quote(container_id, safe='')}/json")
        if found is None:
            return None
        with self._understood():
            state = found["State"]
            return state["Status"], max(moment(found["Created"]), moment(state.get("FinishedAt") or ""))

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        found = self._inspect(f"/volumes/{quote(name, safe='')}")
        return None if found is None else found.get("Labels") or {}

    def layers_bytes(self) -> int:
        """What the layers of all images take up, each counted once."""
        return int(self._get("/system/df").get("LayersSize") or 0)

    def remove_container(self, container_id: str) -> None:
        """Errors: ``Refused``."""
        self._delete(f"/containers/{quote(container_id, safe='')}", v="0", force="0")

    def remove_image(self, image: Image) -> None:
        """Tag by tag: by its number an image of two names is only removed by force. Errors: ``Refused``."""
        for name in image.tags or (image.id,):
            self._delete(f"/images/{quote(name, safe='/:@')}", force="0", noprune="0")

    def remove_volume(self, name: str) -> None:
        """Errors: ``Refused``."""
        self._delete(f"/volumes/{quote(name, safe='')}", force="0")

    def prune_build_cache(self, hours: int) -> tuple[int, int]:
        """Remove what no build has used for so long; returns how many records went, and how many bytes.

        Records hang on one another, so the engine itself has to find the order. Errors: ``Refused``.
        """
        if self.api < BUILD_PRUNE_SINCE:
            raise Refused(f"this engine's API {_dotted(self.api)} can't remove build cache by age; 1.39 can")
        answer = self._ask("POST", "/build/prune", all="1", filters=f'{{"until":["{hours}h"]}}')
        if answer.status_code != 200:
            raise Refused(_words(answer))
        with self._understood():
            done = answer.json()
            return len(done.get("CachesDeleted") or ()), int(done.get("SpaceReclaimed") or 0)

    def _negotiate(self) -> None:
        """The newest release of the API that both sides know, from an address that has no release in it."""
        with self._understood():
            answer = self._ask("GET", "/version")
            if answer.status_code != 200:
                raise ValueError(f"HTTP {answer.status_code}")
            said = answer.json()
            theirs = _numbers(said["ApiVersion"])
            oldest = _numbers(said.get("MinAPIVersion") or "1.12")
            self.release = str(said.get("Version", ""))
        if theirs < OLDEST or oldest > NEWEST:
            raise SourceError(
                f"the Docker engine at {self.url} speaks API {_dotted(oldest)} to {_dotted(theirs)}, "
                f"Upkeep {_dotted(OLDEST)} to {_dotted(NEWEST)}",
                hint="update whichever is older",
            )
        self.api = min(theirs, NEWEST)

    def _container(self, listed: Mapping[str, Any]) -> Container:
        state, since = str(listed["State"]), None
        if state in STOPPED:
            found = self.container(listed["Id"])
            state, since = found if found else ("removing", None)
        names = listed.get("Names") or [listed["Id"][:12]]
        return Container(
            listed["Id"], names[0].removeprefix("/"), listed["ImageID"], state, since, int(listed.get("SizeRw") or 0)
        )

    def _image(self, listed: Mapping[str, Any], used: bool) -> Image:
        found = None if used else self.image(listed["Id"])  # its age only matters where nothing uses it
        built = datetime.fromtimestamp(int(listed["Created"]), UTC)
        size = int(listed.get("Size") or 0)
        since, came = (found.since, found.came) if found else (built, False)
        return Image(listed["Id"], _tags(listed), since, size, came)

    def _inspect(self, path: str) -> dict[str, Any] | None:
        answer = self._ask("GET", path)
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = self._body(answer)
        return found

    def _get(self, path: str, **query: str) -> Any:
        return self._body(self._ask("GET", path, **query))

    def _body(self, answer: httpx.Response) -> Any:
        with self._understood():
            if answer.status_code != 200:
                raise ValueError(f"HTTP {answer.status_code}: {_words(answer)}")
            return answer.json()

    def _delete(self, path: str, **query: str) -> None:
        answer = self._ask("DELETE", path, **query)
        if answer.status_code not in (200, 204, 404):  # 404: somebody was quicker
            raise Refused(_words(answer))

    def _ask(self, method: str, path: str, **query: str) -> httpx.Response:
        where = path if path == "/version" else f"/v{_dotted(self.api)}{path}"
        try:
            return self._client.request(method, where, params=query)
        except httpx.ConnectError as error:
            if "Permission denied" in str(error) or "Errno 13" in str(error):
                raise SourceError(
                    f"the Docker socket {self.url} refuses this worker: permission denied",
                    hint="add the worker's account to the group docker, which makes it as good as root, or take "
                    "docker out of the site file",
                ) from error
            raise SourceError(
                f"no Docker engine answers at {self.url}: {error}",
                hint="start it, fix docker.url in the site file, or run this task on the machine that has it",
            ) from error
        except httpx.HTTPError as error:
            raise SourceError(
                f"the Docker engine at {self.url} broke off: {error or type(error).__name__}",
                hint="look at its log (journalctl -u docker), then run this task again",
            ) from error

    def _understood(self) -> _Understood:
        return _Understood(self.url)


class _Understood:
    """Turns an answer that isn't what the API promises into a ``SourceError``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, (ValueError, LookupError, TypeError, AttributeError)):
            raise SourceError(
                f"{self._url} does not answer as a Docker engine does: {error}",
                hint="check docker.url in the site file: is it another service's address?",
            ) from error


def moment(text: str) -> datetime:
    """``2026-10-01T02:00:00.123456789+08:00``; the year 1, which is Go's word for never, when there is none."""
    if not text or text.startswith("0001-"):
        return NEVER
    # Nanoseconds are more than Python takes.
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text).replace("Z", "+00:00")).astimezone(UTC)


def _tags(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(tag for tag in found.get("RepoTags") or () if tag != "<none>:<none>")


def _cache(found: Mapping[str, Any]) -> CacheRecord:
    used = max(moment(found.get("LastUsedAt") or ""), moment(found["CreatedAt"]))
    return CacheRecord(found["ID"], bool(found.get("InUse")), used, int(found.get("Size") or 0))


def _volume(found: Mapping[str, Any]) -> Volume:
    usage = found.get("UsageData") or {}
    users = usage.get("RefCount", -1)
    return Volume(
        found["Name"], found.get("Labels") or {}, users if users >= 0 else None, max(0, int(usage.get("Size") or 0))
    )


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {answer.status_code}"


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
