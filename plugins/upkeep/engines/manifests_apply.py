"""An archive of manifests applied with the server's dry run: all of the API's checks, and nothing changes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.kubernetes_api import connect_cluster, reason_of, told
from upkeep.engines.kubernetes_objects import Kind, ask, kinds_of
from upkeep.engines.manifests_check import read_archive

FIELD_MANAGER = "upkeep"
APPLY = "application/apply-patch+yaml; charset=utf-8"
"""With its charset the client library leaves the body alone; without, it would make JSON of it a second time."""
_UNLIKE = re.compile(
    "immutable|may not be chang|forbidden: updates to|cannot be changed|may not change|field can ?not be less than"
    "|cannot change roleRef",
    re.IGNORECASE,
)
"""What the API says of a change that it never takes: the object in the cluster differs, and would have to go first."""


@dataclass
class Applied:
    """``refused``: objects that the API would not take back, with its reason. ``notes``: what could not be tried."""

    objects: int = 0
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def not_tried(self) -> int:
        return len(self.notes)


def may_apply(endpoint: Endpoint, namespace: str) -> bool:
    """Whether the account may patch at all: the API authorises a dry run as if it were meant.

    Errors: ``SourceError``.
    """
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": namespace, "verb": "patch", "resource": "configmaps"}},
    }
    with connect_cluster(endpoint) as api, told(endpoint, f"ask what the account may do in {namespace}"):
        answer = ask(api, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool(answer["status"].get("allowed"))


def dry_run(endpoint: Endpoint, namespace: str, chunks: Iterator[bytes], *, index: str) -> Applied:
    """Apply each object of the archive, finished ones included and the namespace itself not, without changing anything.

    Errors: ``ProofFailed`` when the archive itself is broken; ``SourceError`` when the cluster is away.
    """
    found = Applied()
    with connect_cluster(endpoint) as api, told(endpoint, f"apply to namespace {namespace} with a dry run"):
        applier = _Applier(api, namespace, found)
        for content, manifest in read_archive(cast("IO[bytes]", _Chunks(chunks)), index=index):
            # What the API itself said of the namespace it will take; a proof should not need the right to change that.
            if (manifest["apiVersion"], manifest["kind"]) != ("v1", "Namespace"):
                applier.apply(content, manifest)
    return found


class _Applier:
    def __init__(self, api: client.ApiClient, namespace: str, found: Applied) -> None:
        self._api, self._namespace, self._found = api, namespace, found
        self._kinds: dict[str, dict[str, Kind]] = {}

    def apply(self, content: bytes, manifest: dict[str, Any]) -> None:
        kind, name = str(manifest["kind"]), str(manifest["metadata"]["name"])
        what = f"{kind} {name}"
        served = self._served(str(manifest["apiVersion"])).get(kind)
        if served is None:
            self._found.refused.append(f"{what}: the cluster no longer serves {manifest['apiVersion']} {kind}")
            return
        try:
            # By force: this asks whether the object is taken, not who manages its fields.
            query = {"dryRun": "All", "fieldManager": FIELD_MANAGER, "force": "true"}
            path = served.path(self._namespace, name)
            ask(self._api, "PATCH", path, query, body=content, content_type=APPLY)
            self._found.objects += 1
        except ApiException as error:
            if not 400 <= (error.status or 0) < 500 or error.status in (401, 408, 429):
                raise
            # What the API says of a Secret may quote it.
            reason = str(error.reason) if kind == "Secret" else reason_of(error)
            if error.status == 403:
                self._found.notes.append(f"{what} could not be tried: {reason}")
            elif _UNLIKE.search(reason_of(error)):
                self._found.notes.append(f"{what} differs today in what never changes, so it was not tried: {reason}")
            else:
                self._found.refused.append(f"{what} is refused: {reason}")

    def _served(self, api_version: str) -> dict[str, Kind]:
        if api_version not in self._kinds:
            group, _, version = api_version.rpartition("/")
            try:
                kinds = kinds_of(self._api, group, version)
            except ApiException as error:
                if error.status != 404:
                    raise
                kinds = []
            self._kinds[api_version] = {kind.kind: kind for kind in kinds}
        return self._kinds[api_version]


class _Chunks(io.RawIOBase):
    """Chunks as a file, which tarfile wants."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def read(self, size: int = -1) -> bytes:
        kept = [self._rest]
        have = len(self._rest)
        while size < 0 or have < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            kept.append(chunk)
            have += len(chunk)
        whole = b"".join(kept)
        self._rest = whole[size:] if size >= 0 else b""
        return whole[:size] if size >= 0 else whole
