"""The figures of the machines from a Prometheus that scrapes their node_exporter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from upkeep.domain.capacity import Measured
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.engines.degrading import degrading
from upkeep.engines.host_figures import PASSING_DEVICES
from upkeep.errors import SourceError

TIMEOUT_S = 10.0
MOST_SERIES = 500
"""Of each metric; a site whose Prometheus knows more machines names its ``instance``."""


@dataclass(frozen=True)
class _Query:
    """``label``: what tells the series of one machine apart, and follows its name in the target."""

    metric: str
    unit: str
    promql: str
    label: str = ""


_REAL = 'fstype!~"tmpfs|ramfs|squashfs|iso9660|overlay"'
_CARRYING = f'device!~"{PASSING_DEVICES}"'

# $only stands for the label that picks one machine. The first three are the ChronoRetrace manual's own queries. The
# increase of a counter is left to whoever reads the samples, as with a machine's own.
_QUERIES = (
    _Query("cpu_pct", "%", '100 - (avg by (instance) (rate(node_cpu_seconds_total{mode="idle"$only}[5m])) * 100)'),
    _Query(
        "memory_pct", "%", "(1 - (node_memory_MemAvailable_bytes{$only} / node_memory_MemTotal_bytes{$only})) * 100"
    ),
    _Query(
        "disk_pct",
        "%",
        f"100 - ((node_filesystem_avail_bytes{{{_REAL}$only}} * 100) / node_filesystem_size_bytes{{{_REAL}$only}})",
        "mountpoint",
    ),
    _Query("memory_available_bytes", "bytes", "node_memory_MemAvailable_bytes{$only}"),
    _Query("load_1m", "processes", "node_load1{$only}"),
    _Query("load_5m", "processes", "node_load5{$only}"),
    _Query("load_15m", "processes", "node_load15{$only}"),
    _Query(
        "disk_used_bytes",
        "bytes",
        f"node_filesystem_size_bytes{{{_REAL}$only}} - node_filesystem_free_bytes{{{_REAL}$only}}",
        "mountpoint",
    ),
    _Query("disk_free_bytes", "bytes", f"node_filesystem_avail_bytes{{{_REAL}$only}}", "mountpoint"),
    _Query(
        "inodes_pct",
        "%",
        # Some filesystems make inodes as they need them and report none.
        f"100 - node_filesystem_files_free{{{_REAL}$only}} * 100 / (node_filesystem_files{{{_REAL}$only}} > 0)",
        "mountpoint",
    ),
    _Query("network_in_bytes", "bytes since start", f"node_network_receive_bytes_total{{{_CARRYING}$only}}", "device"),
    _Query(
        "network_out_bytes", "bytes since start", f"node_network_transmit_bytes_total{{{_CARRYING}$only}}", "device"
    ),
)


def prometheus_figures(url: str, *, instance: str | None = None, account: Endpoint | None = None) -> Measured:
    """The same metrics as ``host_figures`` and ``disk_figures`` give, for every machine or for one ``instance``.

    :param account: login and password for basic authentication, or a password alone as a bearer token.
    :raises SourceError: Prometheus doesn't answer. A query that it refuses or knows nothing of is in ``unread``.
    """
    found = Measured()
    secrets = account.secrets() if account else ()
    with _client(url, account) as client:
        for query in _QUERIES:
            with degrading(found.unread, query.metric, ValueError, secrets):
                answer = _ask(client, _with_instance(query.promql, instance), secrets)
                figures = [(target, value) for target, value in _figures(answer, query.label) if math.isfinite(value)]
                if not figures:
                    raise ValueError(
                        f"Prometheus knows nothing of {f'instance {instance}' if instance else 'any machine'}"
                    )
                for target, value in sorted(figures)[:MOST_SERIES]:
                    found.add(query.metric, target, value, query.unit)
                if len(figures) > MOST_SERIES:
                    raise ValueError(f"{len(figures)} series, of which {MOST_SERIES} were kept: set host.instance")
    return found


def _client(url: str, account: Endpoint | None) -> httpx.Client:
    auth = httpx.BasicAuth(account.user, account.secret) if account and account.user else None
    headers = {"Authorization": f"Bearer {account.secret}"} if account and account.secret and not auth else {}
    # No redirects: they would carry the credentials elsewhere. No proxies of the environment: it is an inside address.
    return httpx.Client(base_url=url.rstrip("/") + "/", auth=auth, headers=headers, timeout=TIMEOUT_S, trust_env=False)


def _with_instance(promql: str, instance: str | None) -> str:
    only = f',instance="{instance}"' if instance else ""
    return promql.replace("$only", only).replace("{,", "{")


def _ask(client: httpx.Client, promql: str, secrets: tuple[str, ...]) -> list[dict[str, Any]]:
    """The series of an instant query. Errors: ``SourceError``; ``ValueError`` with Prometheus's own words."""
    try:
        answer = client.get("api/v1/query", params={"query": promql, "timeout": f"{TIMEOUT_S:g}s"})
    except httpx.HTTPError as error:
        raise SourceError(
            f"Prometheus at {client.base_url} does not answer: {mask(str(error) or type(error).__name__, secrets)}",
            hint="check host.prometheus_url in the site file, and that it runs",
        ) from error
    if answer.status_code in (401, 403) or answer.is_redirect:
        raise SourceError(
            f"Prometheus at {client.base_url} refuses the login: HTTP {answer.status_code}",
            hint="set host.conn_id in the site file to a connection with its login and password, or its token",
        )
    try:
        content = answer.json()
        if content["status"] == "success":
            series: list[dict[str, Any]] = content["data"]["result"]
            return series
        said = f"{content['errorType']}: {content['error']}"
    except (ValueError, LookupError, TypeError):
        raise SourceError(
            f"{client.base_url} answers HTTP {answer.status_code}, but not as Prometheus does",
            hint="host.prometheus_url is the address below which api/v1/query is found",
        ) from None
    raise ValueError(said)


def _figures(series: list[dict[str, Any]], label: str) -> Iterator[tuple[str, float]]:
    for one in series:
        labels = one["metric"]
        machine = str(labels.get("instance", "prometheus"))
        yield f"{machine}:{labels.get(label, '')}" if label else machine, float(one["value"][1])
