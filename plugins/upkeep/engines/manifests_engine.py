"""The manifests of one namespace: every object that the account may list, as ``kubectl apply`` takes it back.

What the API lists isn't of one moment: kinds are listed one after the other. Its objects are laid down in a temporary
file without a name (an encrypted backup's Secrets must not stay behind when the task is killed), because the index that
comes first in the archive can only be written last.
"""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifests import (
    Surroundings,
    Verdict,
    cleaned,
    cleaned_namespace,
    judge,
    kind_left_out,
    place_of,
)
from upkeep.domain.sealed import digest
from upkeep.engines.base import Engine, Facts, Snapshot, Stream, StructureCheck
from upkeep.engines.kubernetes_api import connect_cluster, reason_of, told
from upkeep.engines.kubernetes_objects import Kind, ask, discover, pages
from upkeep.engines.manifest_text import to_yaml
from upkeep.engines.manifests_check import END, INDEX, ManifestsCheck
from upkeep.engines.pipeline import Command, Ended
from upkeep.engines.tools import require
from upkeep.errors import SourceError

STREAM = "manifests.tar"
FORMAT = 1
NAMESPACE = "namespace"
FOLDERS = (NAMESPACE, "large", "objects", "pods", "finished")
"""In the order in which they are taken back, but for the last, which is taken back by hand only."""
ANNOTATION = 250_000
"""Bytes of JSON that kubectl can keep in an annotation: 256 KiB, less what else stands there."""
AWAY = 503
"""Groups of their own may be served by a program in the cluster, which can be down: the rest is kept all the same."""
NOT_SERVED = (404, 405)
"""A kind that went away since discovery, or that lists nothing although it says so."""


class ManifestsEngine(Engine):
    """``with_secrets``: keep Secrets. Only ask for it when the backup is encrypted."""

    def __init__(self, endpoint: Endpoint, namespace: str, *, with_secrets: bool = False) -> None:
        self.endpoint, self.namespace, self.with_secrets = endpoint, namespace, with_secrets
        self.secrets = endpoint.secrets()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Errors: ``SourceError``, ``ConnectionUnknown``."""
        with tempfile.TemporaryFile() as head, tempfile.TemporaryFile() as body:
            with (
                connect_cluster(self.endpoint) as api,
                told(self.endpoint, f"list the objects of namespace {self.namespace}"),
            ):
                gathered = _Gathered(self, api)
                gathered.lay_down(body)
            gathered.write_index(head)
            yield _ManifestsSnapshot(gathered, head, body)

    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        """Into a folder of its own: what an earlier try or another backup left there would be applied as well. The mark
        at the archive's end is looked for, since tar takes one that was cut between two entries for whole. An account
        that may neither change, see nor make a namespace goes on: whether it is there, the next step tells.

        By the server's side only where it must be: kubectl keeps what it applied in an annotation, which is limited;
        on the other side control characters in texts are refused or changed (kubectl 1.32, server 1.20).
        """
        namespace = shlex.quote(self.namespace)
        kubectl = f"kubectl --namespace={namespace} apply --recursive"
        there = facts.contents["folders"]
        small = "".join(f' --filename="$restored/{name}"' for name in ("objects", "pods") if name in there)
        its_own = 'kubectl apply --recursive --filename="$restored/namespace" || ' if NAMESPACE in there else ""
        lines = [
            'restored=$(mktemp -d "$PWD/restored.XXXXXX")',
            f'{files[STREAM]} | tar --extract --directory="$restored"',
            f'test -e "$restored/{END}"',
            f"{{ {its_own}kubectl get namespace {namespace} || kubectl create namespace {namespace} || true; }}",
            *([f'{kubectl} --server-side --force-conflicts --filename="$restored/large"'] if "large" in there else []),
            *([f"{kubectl}{small}"] if small else []),
        ]
        return " && ".join(lines)

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        return ManifestsCheck(index=str(manifest["contents"]["index"]))


class _Gathered:
    """One pass over the namespace; what it keeps in memory is a line for each object, and one page of objects."""

    def __init__(self, engine: ManifestsEngine, api: client.ApiClient) -> None:
        self.engine, self._api = engine, api
        self.warnings: list[str] = []
        self.version = str(ask(api, "GET", "/version")["gitVersion"])
        self.entries: list[dict[str, Any]] = []
        self.left_out: list[dict[str, str]] = []
        self.kinds_left_out: dict[str, str] = {}
        self.forbidden: list[str] = []
        self.index_digest = ""
        self._around = Surroundings()
        self._kinds = self._look_around()

    def _look_around(self) -> list[Kind]:
        """Whose every object is, before the first one is judged. Errors: ``SourceError`` when nothing may be listed."""
        engine, listable = self.engine, []
        for kind in discover(self._api, self.warnings):
            if reason := kind_left_out(kind.group, kind.kind, with_secrets=engine.with_secrets):
                self.kinds_left_out[f"{kind.plural}.{kind.group}".rstrip(".")] = reason
                continue
            try:
                for page in pages(self._api, kind, engine.namespace, metadata_only=True):
                    for item in page:
                        self._around.uids.add(str(item["metadata"].get("uid")))
            except ApiException as error:
                if error.status == 403:
                    self.forbidden.append(f"{kind.plural}.{kind.group}".rstrip("."))
                    self.warnings.append(
                        f"{kind.plural} are missing: the account may not list them; add the rule {kind.rule}"
                    )
                elif error.status == AWAY and kind.group:
                    self.warnings.append(f"{kind.plural} are missing: the server of {kind.group} is away")
                elif error.status not in NOT_SERVED:
                    raise
                continue
            listable.append(kind)
        if not self._around.uids:
            raise SourceError(
                f"namespace {engine.namespace} shows nothing to the account of connection {engine.endpoint.conn_id}"
                + (f"; {len(self.forbidden)} kinds are forbidden to it" if self.forbidden else ""),
                hint="check the namespace in the site file; include/kubernetes/backup.yaml has the rights needed",
            )
        # Services first: they say which Endpoints the cluster fills in.
        return sorted(listable, key=lambda kind: (kind.group, kind.kind) != ("", "Service"))

    def lay_down(self, body: IO[bytes]) -> None:
        with tarfile.open(fileobj=body, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            self._keep_namespace(archive)
            for kind in self._kinds:
                try:
                    for page in pages(self._api, kind, self.engine.namespace, warnings=self.warnings):
                        for item in page:
                            self._keep({**item, "apiVersion": kind.api_version, "kind": kind.kind}, kind, archive)
                except ApiException as error:
                    raise SourceError(
                        f"can't list {kind.plural} of namespace {self.engine.namespace} to the end (connection "
                        f"{self.engine.endpoint.conn_id}): {reason_of(error)}",
                        hint="the list began well: run the task again",
                    ) from error
            _add(archive, END, b"")
        body.flush()

    def _keep_namespace(self, archive: tarfile.TarFile) -> None:
        name = self.engine.namespace
        try:
            found = ask(self._api, "GET", f"/api/v1/namespaces/{name}")
        except ApiException as error:
            if error.status != 403:
                raise
            self.warnings.append(
                "labels and annotations of the namespace itself are missing: the account may not get it; add the rule "
                '{apiGroups: [""], resources: [namespaces], verbs: [get]}'
            )
            return
        if clean := cleaned_namespace(found):
            line = {"apiVersion": "v1", "kind": "Namespace", "name": name}
            self._lay(archive, place_of("", "Namespace", name, folder=NAMESPACE), line, clean)

    def _keep(self, item: dict[str, Any], kind: Kind, archive: tarfile.TarFile) -> None:
        name = str(item["metadata"]["name"])
        if (kind.group, kind.kind) == ("", "Service") and (item.get("spec") or {}).get("selector"):
            self._around.selecting_services.add(name)
        verdict = judge(item, self._around)
        line = {"apiVersion": kind.api_version, "kind": kind.kind, "name": name}
        if not verdict.place:
            self.left_out.append({**line, "reason": verdict.reason})
            return
        clean = cleaned(item)
        path = place_of(kind.group, kind.kind, name, folder=_folder(verdict, clean))
        more = {"reason": verdict.reason, "volume": _volume(item, kind)}
        self._lay(archive, path, line, clean, **{key: value for key, value in more.items() if value})

    def _lay(
        self, archive: tarfile.TarFile, path: str, line: Mapping[str, str], clean: dict[str, Any], **more: str
    ) -> None:
        content = to_yaml(clean)
        self.entries.append({"path": path, **line, "sha256": digest(content), **more})
        _add(archive, path, content)

    def write_index(self, head: IO[bytes]) -> None:
        index = {
            "format": FORMAT,
            "namespace": self.engine.namespace,
            "server": self.version,
            "objects": self.entries,
            "left_out": self.left_out,
            "kinds_left_out": self.kinds_left_out,
            "forbidden": self.forbidden,
        }
        content = json.dumps(index, ensure_ascii=False, indent=1).encode() + b"\n"
        self.index_digest = digest(content)
        member = _member(INDEX, content)
        head.write(member.tobuf(tarfile.PAX_FORMAT))
        head.write(content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        head.flush()

    @property
    def folders(self) -> list[str]:
        return [name for name in FOLDERS if any(entry["path"].startswith(f"{name}/") for entry in self.entries)]


class _ManifestsSnapshot(Snapshot):
    def __init__(self, gathered: _Gathered, head: IO[bytes], body: IO[bytes]) -> None:
        self._gathered = gathered
        parts = (head.fileno(), body.fileno())
        self.streams = (
            Stream(STREAM, Command([require("cat", package="coreutils"), *map(_path, parts)], pass_fds=parts)),
        )

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        found = self._gathered
        objects = [entry for entry in found.entries if not entry["path"].startswith(f"{NAMESPACE}/")]
        kinds = Counter(f"{entry['apiVersion']}/{entry['kind']}" for entry in objects)
        reasons = Counter(f"{line['kind']}: {line['reason']}" for line in found.left_out)
        finished = sum(entry["path"].startswith("finished/") for entry in found.entries)
        return Facts(
            source={
                "connection": found.engine.endpoint.conn_id,
                "namespace": found.engine.namespace,
                "flavour": "kubernetes",
                "version": found.version,
            },
            tools={},
            contents={
                "objects": len(objects),
                "kinds": dict(sorted(kinds.items())),
                "folders": found.folders,
                "index": found.index_digest,
                "left_out": dict(sorted(reasons.items())),
                "kinds_left_out": found.kinds_left_out,
                "forbidden": found.forbidden,
                "finished": finished,
            },
            rows_are="listed kind after kind, not all at one moment",
            warnings=found.warnings,
        )


def _folder(verdict: Verdict, manifest: Mapping[str, Any]) -> str:
    text = json.dumps(manifest, ensure_ascii=False)
    size = len(text.encode()) + 5 * sum(text.count(sign) for sign in "<>&")  # which Go writes as \\u003c and so on
    return "large" if verdict.place == "objects" and size > ANNOTATION else verdict.place


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_member(name, content), io.BytesIO(content))


def _member(name: str, content: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    return member


def _path(descriptor: int) -> str:
    return f"/dev/fd/{descriptor}"


def _volume(item: Mapping[str, Any], kind: Kind) -> str:
    """Where a claim's data lies: they aren't in this backup, and a claim that is taken back asks for a new volume."""
    return str((item.get("spec") or {}).get("volumeName") or "") if kind.plural == "persistentvolumeclaims" else ""
