"""Every kind of object a cluster serves, found by discovery, and its objects a page at a time as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.engines.kubernetes_api import TIMEOUT_S

PAGE = 50
"""Objects in one answer: 50 of the largest that etcd takes are 75 MB, of ordinary ones half a megabyte."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True)
class Kind:
    """One namespaced kind that can be listed."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def rule(self) -> str:
        """What a Role has to allow, as an operator would write it."""
        return f"{{apiGroups: [{self.group or chr(34) * 2}], resources: [{self.plural}], verbs: [list]}}"

    def path(self, namespace: str, name: str = "") -> str:
        root = f"/apis/{self.group}" if self.group else "/api"
        return f"{root}/{self.version}/namespaces/{namespace}/{self.plural}" + (f"/{quote(name)}" if name else "")


def ask(
    api: client.ApiClient,
    method: str,
    path: str,
    query: Mapping[str, Any] | None = None,
    *,
    accept: str = "application/json",
    body: Any = None,
    content_type: str = "application/json",
) -> dict[str, Any]:
    """One request, and its answer as JSON. Errors: ``ApiException``, urllib3's."""
    answer = api.call_api(
        path,
        method,
        query_params=list((query or {}).items()),
        header_params={"Accept": accept, "Content-Type": content_type},
        body=body,
        auth_settings=["BearerToken"],
        _preload_content=False,
        _request_timeout=TIMEOUT_S,
    )
    response = answer[0] if isinstance(answer, tuple) else answer
    found: dict[str, Any] = json.loads(response.data)
    return found


def discover(api: client.ApiClient, warnings: list[str]) -> list[Kind]:
    """Every namespaced kind that has ``list``, each in its group's preferred version or the next that has it.

    A group whose server is away (an aggregated API, say) is a warning: its objects are missing.

    Errors: ``ApiException`` when the list of groups can't be read.
    """
    groups = [("", ["v1"])]
    for group in ask(api, "GET", "/apis")["groups"]:
        preferred = group["preferredVersion"]["version"]
        versions = [version["version"] for version in group["versions"]]
        groups.append((group["name"], [preferred, *(version for version in versions if version != preferred)]))
    kinds: dict[tuple[str, str], Kind] = {}
    for group, versions in groups:
        for version in versions:
            try:
                served = kinds_of(api, group, version)
            except ApiException as error:
                warnings.append(
                    f"{group or 'core'}/{version} can't be read, so its objects are missing: {error.reason}"
                )
                continue
            for found in served:
                kinds.setdefault((group, found.plural), found)
    # Up to Kubernetes 1.21 ``extensions`` serves the Ingresses of networking.k8s.io a second time.
    elsewhere = {plural for group, plural in kinds if group != "extensions"}
    return [kind for (group, plural), kind in sorted(kinds.items()) if group != "extensions" or plural not in elsewhere]


def kinds_of(api: client.ApiClient, group: str, version: str) -> list[Kind]:
    """The namespaced kinds of one version that have ``list``. Errors: ``ApiException``, 404 when it isn't served."""
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return [
        Kind(group, version, resource["kind"], resource["name"])
        for resource in ask(api, "GET", path)["resources"]
        if resource["namespaced"] and "list" in resource["verbs"] and "/" not in resource["name"]
    ]


def pages(
    api: client.ApiClient, kind: Kind, namespace: str, *, metadata_only: bool = False, warnings: list[str] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """All objects of one kind in one namespace. Errors: ``ApiException``.

    A list that takes longer than the cluster keeps its past (5 minutes) goes on with what there is now: a warning.
    """
    query: dict[str, Any] = {"limit": PAGE}
    accept = METADATA_ONLY if metadata_only else "application/json"
    while True:
        try:
            answer = ask(api, "GET", kind.path(namespace), query, accept=accept)
        except ApiException as error:
            if error.status != 410 or not (later := _goes_on_at(error)) or query.get("continue") == later:
                raise
            told = f"the list of {kind.plural} is not of one moment: it took too long"
            if warnings is not None and told not in warnings:
                warnings.append(told)
            query["continue"] = later
            continue
        yield answer.get("items") or []  # null where there are none
        query["continue"] = (answer.get("metadata") or {}).get("continue")
        if not query["continue"]:
            return


def _goes_on_at(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["metadata"]["continue"])
    except (ValueError, KeyError, TypeError):
        return ""
