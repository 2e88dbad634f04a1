"""What the security review looks at, and what is scanned for vulnerabilities."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from upkeep.site.fields import AbsolutePath, Name, Strict


class Security(Strict):
    """What the security review looks at besides the site's folders, databases and caches."""

    paths: list[AbsolutePath] = Field(
        default_factory=list, description="reviewed for files anyone can change and keys anyone can read"
    )
    certificates: list[AbsolutePath] = Field(default_factory=list, description="files, or folders of them")
    tls_endpoints: list[Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):\d{1,5}$")]] = Field(
        default_factory=list, description="host:port whose certificate is read; https endpoints are read anyway"
    )
    certificate_days: int = Field(21, ge=0, description="report a certificate that ends sooner")
    ports: list[Annotated[int, Field(ge=1, le=65535)]] | None = Field(
        None, description="TCP ports that may be open on the worker; without the list each is told, and none warned of"
    )
    failed_logins: int = Field(
        20, ge=1, description="report an address with so many failed logins since the last check"
    )


_HOLDS_SECRET = re.compile(r"-*[\w.-]*(password|passwd|token|api[._-]?key)(=|$)", re.IGNORECASE)

Port = Annotated[int, Field(ge=1, le=65535)] | Annotated[str, Field(pattern=r"^[1-9]\d{0,4}/(udp|sctp)$")]


class Scan(Strict):
    """One look for vulnerabilities, by a program that the worker has. ``args`` ask for more than its own defaults."""

    name: Name
    tool: Literal["lynis", "nmap", "trivy", "zap"] = Field(
        description="lynis audits the worker itself, nmap looks for open ports, trivy for known vulnerabilities in an "
        "image or a folder, zap attacks a web site"
    )
    target: str | None = Field(
        None, min_length=1, description="nmap: a host; trivy: an image, or what its command wants; zap: a URL"
    )
    args: list[str] = Field(
        default_factory=list, description="more for the program; trivy: its command first, default: image"
    )
    ports: list[Port] | None = Field(
        None, description="nmap: those that may be open, of TCP or as 53/udp; any other is a finding"
    )
    timeout_s: int = Field(1800, ge=1, le=6 * 3600, description="after which it is ended and counts as not looked at")

    @model_validator(mode="after")
    def _has_a_target(self) -> Scan:
        if (self.target is None) != (self.tool == "lynis"):
            wants = "audits the worker itself: it takes no target" if self.tool == "lynis" else "needs a target"
            raise ValueError(f"{self.tool} {wants}")
        if self.target and self.target.startswith("-"):
            raise ValueError(f"target {self.target!r} would be taken for an option: those belong in args")
        if self.tool == "zap" and not re.fullmatch(r"https?://[^@\s]+", self.target or ""):
            raise ValueError("zap needs a URL without credentials, such as https://shop.example/")
        if told := next((arg for arg in self.args if _HOLDS_SECRET.match(arg)), None):
            raise ValueError(
                f"{told.partition('=')[0]} would stand in the list of processes, the log and the ledger: programs take "
                "such things from the worker's environment (trivy: TRIVY_PASSWORD, TRIVY_TOKEN)"
            )
        if self.ports is not None and self.tool != "nmap":
            raise ValueError("ports is for nmap only")
        return self
