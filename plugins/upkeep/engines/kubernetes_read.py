"""Plain reads of a cluster's API: JSON as it comes, whatever release of Kubernetes speaks.

The client library's own types refuse what a release older or newer than the library leaves out or adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.engines.kubernetes_api import TIMEOUT_S
from upkeep.engines.kubernetes_objects import ask

PAGE = 500
"""Objects in one answer."""
GONE = 410
"""The list's moment is too old to go on from: it has to be begun again."""
TURNS = 3


def read_bytes(api: client.ApiClient, path: str, query: Mapping[str, Any]) -> bytes:
    """What isn't JSON: a log. Errors: the client library's own; ``told`` makes sense of them."""
    answer = api.call_api(
        path, "GET", query_params=list(query.items()), header_params={"Accept": "*/*"}, auth_settings=["BearerToken"],
        _preload_content=False, _return_http_data_only=True, _request_timeout=TIMEOUT_S,
    )  # fmt: skip
    return bytes(answer.data)


def list_objects(api: client.ApiClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every object of one kind, page by page. Errors: the client library's own."""
    for turn in range(1, TURNS + 1):
        try:
            return list(_pages(api, path, query))
        except ApiException as error:
            if error.status != GONE or turn == TURNS:
                raise
    raise AssertionError("the last turn returns or raises")


def _pages(api: client.ApiClient, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    more: dict[str, Any] = {}
    while True:
        page = ask(api, "GET", path, {"limit": PAGE, **query, **more})
        yield from page.get("items") or ()
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        more = {"continue": token}


def path_of(resource: str, namespace: str = "", *, group: str = "", version: str = "v1") -> str:
    """``/apis/apps/v1/namespaces/shop/deployments``; group ``""`` is the core group."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{quote(namespace, safe='')}/{resource}" if namespace else f"{root}/{resource}"


def served_versions(api: client.ApiClient) -> dict[str, list[str]]:
    """The versions of each named group, the server's favourite first. Every account may ask this."""
    found = {}
    for group in ask(api, "GET", "/apis").get("groups") or ():
        favourite = (group.get("preferredVersion") or {}).get("version")
        versions = [str(one["version"]) for one in group.get("versions") or ()]
        found[str(group["name"])] = sorted(versions, key=lambda version: version != favourite)
    return found


@contextmanager
def degrading_to(unread: list[str], kind: str, resource: str, group: str = "", verb: str = "list") -> Iterator[None]:
    """What the API doesn't give is said in ``unread``, a missing right as the rule that gives it, and the rest is read.

    An account that isn't known at all, or a server that doesn't answer, isn't a missing right, and is raised.
    """
    try:
        yield
    except ApiException as error:
        if error.status in (0, 401) or error.status is None:
            raise
        unread.append(f"{kind} ({_why(error, resource, group, verb)})")


def _why(error: ApiException, resource: str, group: str, verb: str) -> str:
    if error.status == 403:
        return f'forbidden: no rule has verb {verb}, resource {resource}, apiGroup "{group}"'
    if error.status == 404:
        return "this cluster doesn't serve it"
    return f"HTTP {error.status} {error.reason}"
