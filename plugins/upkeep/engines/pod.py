"""One pod of a cluster, chosen by its labels: programs run in it, and its ports are reached, through the API."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from upkeep.domain.endpoint import Endpoint
from upkeep.engines.kubernetes_api import connect_cluster, told
from upkeep.engines.kubernetes_objects import ask
from upkeep.engines.pipeline import Command, capture
from upkeep.engines.pod_tunnel import Tunnel
from upkeep.engines.pod_wire import QUIET_S, PodEndpoint, Wire
from upkeep.engines.private_file import private_file
from upkeep.engines.tools import Tool, tool_from
from upkeep.errors import SourceError, ToolFailed, ToolMissing

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
EXEC = ("v5.channel.k8s.io", "v4.channel.k8s.io")
FORWARD = ("v4.channel.k8s.io",)
NOT_THERE = (126, 127)
"""Exit statuses of a shell for a program that can't be run or isn't there."""


class Pod:
    """Looked for once, when it is first needed. Errors: ``SourceError`` when its labels don't pick exactly one."""

    quiet_s: float = QUIET_S

    def __init__(self, cluster: Endpoint, namespace: str, selector: str, container: str | None = None) -> None:
        self._cluster, self._namespace, self._selector, self._container = cluster, namespace, selector, container
        self.secrets = cluster.secrets()

    @property
    def where(self) -> str:
        """Which pod is meant, before it is looked for."""
        return f"pod {self._namespace}/{self._selector}"

    @property
    def label(self) -> str:
        return f"pod {self._namespace}/{self._found[0]}"

    @cached_property
    def _found(self) -> tuple[str, str]:
        """Name and container."""
        what = f"list the pods of namespace {self._namespace} with {self._selector}"
        with connect_cluster(self._cluster) as api, told(self._cluster, what):
            path = f"/api/v1/namespaces/{self._namespace}/pods"
            pods = ask(api, "GET", path, {"labelSelector": self._selector}).get("items") or []
        ready = [pod for pod in pods if _is_ready(pod)]
        if len(ready) != 1:
            names = ", ".join(str(pod["metadata"]["name"]) for pod in (ready or pods))
            found = f"{len(ready)} ready pods ({names})" if ready else f"no ready pod (not ready: {names or 'none'})"
            raise SourceError(
                f"{self._selector} picks {found} in namespace {self._namespace}, not exactly one",
                hint="name a label that only the primary has under via.pod_selector in the site file"
                if ready
                else "kubectl get pods shows why a pod isn't ready; if none is listed, fix via.pod_selector",
            )
        return str(ready[0]["metadata"]["name"]), self._pick_container(ready[0])

    def _pick_container(self, pod: Mapping[str, Any]) -> str:
        names = [str(container["name"]) for container in pod["spec"]["containers"]]
        chosen = self._container or (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
        if chosen is None and len(names) == 1:
            chosen = names[0]
        if chosen not in names:
            raise SourceError(
                f"pod {pod['metadata']['name']} has the containers {', '.join(names)}"
                + (f", none is called {chosen}" if chosen else ""),
                hint="name one of them under via.container in the site file",
            )
        return str(chosen)

    @contextmanager
    def command(
        self, argv: Sequence[str], *, program: str, stdin: int | None = None, ready: int | None = None
    ) -> Iterator[Command]:
        """A command that runs ``argv`` in the pod, for as long as the block lasts.

        :param program: what it is, for people.
        :param stdin: a descriptor whose content goes to the command's standard input. Its end isn't told: the API of
            most clusters has no way to. Passwords go here, since ``argv`` is visible in the pod and in the API's log.
        :param ready: a descriptor that is written to when the pod's side answers.
        """
        name, container = self._found
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin is not None else []
        query += [("command", word) for word in argv]
        with self._pod_endpoint(name, "exec", query, EXEC) as endpoint:
            request = {"endpoint": endpoint.to_json(), "program": program, "pod": name, "stdin": stdin, "ready": ready}
            with private_file(json.dumps(request)) as file:
                yield Command(
                    # Not -I: it would hide the environment's certificates and proxies as well.
                    [sys.executable, "-P", "-m", "upkeep.engines.pod_exec", f"/dev/fd/{file}"],
                    env={"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)},
                    pass_fds=tuple(number for number in (file, stdin, ready) if number is not None),
                    program=program,
                )

    def find_tool(self, names: Sequence[str]) -> Tool:
        """The first of these programs that the container has. Errors: ``ToolMissing``, ``ToolUnfit``."""
        for name in names:
            try:
                with self.command([name, "--version"], program=name) as command:
                    said = capture(command, secrets=self.secrets, limit=1 << 16)
            except ToolFailed as error:
                if error.status in NOT_THERE or re.search("not found|no such file", error.stderr, re.IGNORECASE):
                    continue
                raise
            return tool_from(name, said.decode("utf-8", "replace"))
        raise ToolMissing(
            f"the container {self._found[1]} of {self.label} has no {' or '.join(names)}",
            hint="name the container of the database itself under via.container; its image has the client programs",
        )

    def tunnel(self, port: int) -> Tunnel:
        """To a port of the pod's own loopback. Errors: ``SourceError`` when there is no such pod."""
        name, _ = self._found
        return Tunnel(lambda: self._open(name, port))

    def _open(self, name: str, port: int) -> Wire:
        with self._pod_endpoint(name, "portforward", [("ports", str(port))], FORWARD) as endpoint:
            return endpoint.open()

    @contextmanager
    def _pod_endpoint(
        self, name: str, verb: str, query: list[tuple[str, str]], protocols: tuple[str, ...]
    ) -> Iterator[PodEndpoint]:
        """The certificates that it names are there until the block ends."""
        with connect_cluster(self._cluster) as api:
            settings = api.configuration
            headers: dict[str, str] = {}
            api.update_params_for_auth(headers, [], ["BearerToken"])
            tls: dict[str, Any] = {"cert_reqs": 2 if settings.verify_ssl else 0}
            tls |= {
                key: value
                for key, value in (
                    ("ca_certs", settings.ssl_ca_cert),
                    ("certfile", settings.cert_file),
                    ("keyfile", settings.key_file),
                    ("check_hostname", settings.assert_hostname),
                    ("server_hostname", settings.tls_server_name),
                )
                if value is not None
            }
            path = f"/api/v1/namespaces/{self._namespace}/pods/{name}/{verb}"
            yield PodEndpoint(
                url=f"{re.sub('^http', 'ws', settings.host)}{path}?{urlencode(query)}",
                headers=tuple(f"{name}: {value}" for name, value in headers.items()),
                tls=tls,
                proxy=_proxy(settings.proxy),
                protocols=protocols,
                quiet_s=self.quiet_s,
            )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _proxy(url: str | None) -> dict[str, Any]:
    if not url:
        return {}
    found = re.fullmatch(r"(?:(https?)://)?(?:([^:@]+):([^@]*)@)?([^:/]+)(?::(\d+))?/?", url)
    if not found:
        return {}
    kind, user, password, host, port = found.groups()
    proxy: dict[str, Any] = {"http_proxy_host": host, "http_proxy_port": int(port or 80), "proxy_type": kind or "http"}
    return {**proxy, "http_proxy_auth": (user, password)} if user else proxy
