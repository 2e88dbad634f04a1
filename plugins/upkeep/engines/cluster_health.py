"""What check_cluster reads of one namespace. Read only, and only lists: ``include/kubernetes/read.yaml`` is enough.

Discovery says which version of EndpointSlice there is: v1 from 1.21 on, v1beta1 up to 1.24, before 1.17 only Endpoints.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.domain.cluster_health import ClusterObjects, SecretCertificate
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.pod_health import ClusterFinding
from upkeep.engines.kubernetes_api import connect_cluster, told
from upkeep.engines.kubernetes_read import degrading_to, list_objects, path_of, read_bytes, served_versions
from upkeep.engines.security_certificates import name_of

SLICES = "discovery.k8s.io"
LOG_BYTES = 16_384
"""Of a container's log, before its last lines are taken."""
MOST_EVENTS = 50

_KINDS = (
    ("pods", ""), ("services", ""), ("persistentvolumeclaims", ""), ("deployments", "apps"), ("statefulsets", "apps"),
    ("daemonsets", "apps"), ("jobs", "batch"),
)  # fmt: skip
_OF_NOBODY = frozenset({"nodes"})
"""Kinds that belong to no namespace."""


@contextmanager
def reading_cluster(endpoint: Endpoint, namespace: str) -> Iterator[ClusterReading]:
    """Errors: ``ConnectionUnknown``."""
    with connect_cluster(endpoint) as api:
        yield ClusterReading(api, endpoint, namespace)


class ClusterReading:
    """One namespace of one cluster, as one account may see it."""

    def __init__(self, api: client.ApiClient, endpoint: Endpoint, namespace: str) -> None:
        self.api = api
        self.endpoint = endpoint
        self.namespace = namespace

    def objects(self, leave_out: Sequence[str] = ()) -> ClusterObjects:
        """Every kind that is looked at; a kind that the account may not list is told by the rule that it lacks.

        Errors: ``SourceError`` when the API doesn't answer, or not to this account.
        """
        seen = ClusterObjects()
        with told(self.endpoint, f"read namespace {self.namespace}"):
            for kind, group in _KINDS:
                if kind not in leave_out:
                    self._take(seen, kind, kind, group)
            if "services" not in leave_out:
                self._take_endpoints(seen)
            if "nodes" not in leave_out:
                self._take(seen, "nodes", "nodes", "")
            if "certificates" not in leave_out:
                self._take_certificates(seen)
        return seen

    def last_lines(self, finding: ClusterFinding, lines: int) -> list[str]:
        """The last lines of a failing container, as they are: the caller masks them. None where there are none.

        Errors: ``SourceError``; a log that the API doesn't have is no error but a line that says so.
        """
        said: list[str] = []
        path = f"{path_of('pods', self.namespace)}/{finding.name}/log"
        query: dict[str, Any] = {"container": finding.log_of, "tailLines": lines, "limitBytes": LOG_BYTES}
        reading = f"read the log of {finding.subject}"
        with told(self.endpoint, reading), degrading_to(said, "log", "pods/log", verb="get"):
            text = self._log(path, query, finding.before_restart)
            said += text.decode("utf-8", "replace").splitlines()[-lines:]
        return said

    def last_event(self, finding: ClusterFinding) -> str:
        """The newest event of what has no other words for its trouble; empty without one. Errors: ``SourceError``."""
        kind = {"pod": "Pod", "persistentvolumeclaim": "PersistentVolumeClaim"}[finding.kind]
        chosen = f"involvedObject.kind={kind},involvedObject.name={finding.name}"
        said: list[str] = []
        with told(self.endpoint, f"read the events of {finding.subject}"), degrading_to(said, "events", "events"):
            events = list_objects(self.api, path_of("events", self.namespace), fieldSelector=chosen)[-MOST_EVENTS:]
            # A pod's ordinary events only tell that it was placed; a claim's may be all that there is.
            telling = [one for one in events if one.get("type") == "Warning" or finding.kind != "pod"]
            if telling:
                newest = max(telling, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
                said.append(f"{newest.get('reason', '')}: {newest.get('message', '')}")
        return said[0] if said else ""

    def _log(self, path: str, query: dict[str, Any], before_restart: bool) -> bytes:
        if before_restart:
            try:
                return read_bytes(self.api, path, {**query, "previous": "true"})
            except ApiException as error:
                if error.status not in (400, 404, 500):  # what ran before has been removed from its node
                    raise
        return read_bytes(self.api, path, query)

    def _take(self, seen: ClusterObjects, kind: str, resource: str, group: str, version: str = "v1") -> None:
        namespace = "" if resource in _OF_NOBODY else self.namespace
        with degrading_to(seen.unread, kind, resource, group):
            path = path_of(resource, namespace, group=group, version=version)
            seen.items[kind] = self._listed(seen, kind, path)

    def _listed(self, seen: ClusterObjects, kind: str, path: str, **query: str) -> list[Any]:
        try:
            found = list_objects(self.api, path, **query)
        except ApiException as error:
            seen.answers[kind] = error.status or 0
            raise
        seen.answers[kind] = 200
        return found

    def _take_endpoints(self, seen: ClusterObjects) -> None:
        versions: list[str] = []
        with degrading_to(seen.unread, "API groups", "/apis", "", "get"):
            versions = served_versions(self.api).get(SLICES, [])
        version = next((one for one in ("v1", "v1beta1") if one in versions), None)
        if version:
            self._take(seen, "endpointslices", "endpointslices", SLICES, version)
        else:
            self._take(seen, "endpoints", "endpoints", "")

    def _take_certificates(self, seen: ClusterObjects) -> None:
        """Only the certificates stay; the keys beside them are dropped with the answer."""
        with degrading_to(seen.unread, "certificates", "secrets"):
            path = path_of("secrets", self.namespace)
            for secret in self._listed(seen, "certificates", path, fieldSelector="type=kubernetes.io/tls"):
                name = str(secret["metadata"]["name"])
                try:
                    pem = base64.b64decode((secret.get("data") or {}).get("tls.crt") or "")
                    first = min(x509.load_pem_x509_certificates(pem), key=lambda one: one.not_valid_after_utc)
                    found = SecretCertificate(name, name_of(first), first.not_valid_after_utc)
                except ValueError:
                    seen.unread.append(f"certificate in secret {name} (its tls.crt is not a certificate)")
                    continue
                seen.certificates.append(found)
