"""What must answer, and how full it may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from upkeep.site.fields import ConnId, Name, Strict


class HttpEndpoint(Strict):
    """A URL that must answer."""

    name: Name
    url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$", description="without credentials")]
    expect_status: int = Field(200, ge=100, le=599, description="the HTTP status that means it is well")
    latency_ms: int = Field(2000, ge=1, description="a slower answer is amber")
    timeout_s: float = Field(10, gt=0, le=60, description="no whole answer by then is red")
    certificate_days: int = Field(21, ge=0, description="https: warn when the certificate ends sooner")


class Thresholds(Strict):
    """Shares of a resource, in percent, from which on it is reported."""

    cpu_pct: int = Field(80, ge=1, le=100, description="of all processors")
    memory_pct: int = Field(85, ge=1, le=100, description="of the machine's memory")
    disk_pct: int = Field(85, ge=1, le=100, description="of a file system's space")
    inodes_pct: int = Field(85, ge=1, le=100, description="of its inodes")
    connections_pct: int = Field(80, ge=1, le=100, description="of the connections that a database takes")


class Host(Strict):
    """Where the figures of the machines come from: the worker's own, or a Prometheus that scrapes node_exporter."""

    prometheus_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = Field(
        None, description="without credentials; its API is below /api/v1"
    )
    instance: str | None = Field(
        None, pattern=r'^[^"\\\s]+$', description="the instance label of the one machine meant; default: all of them"
    )
    conn_id: ConnId | None = Field(
        None, description="login and password for basic authentication, or a password alone as a bearer token"
    )

    @model_validator(mode="after")
    def _speaks_of_prometheus(self) -> Host:
        if not self.prometheus_url and (self.instance or self.conn_id):
            raise ValueError("instance and conn_id say how to ask Prometheus: set prometheus_url as well")
        return self
