"""Log files and a Docker engine, and what the weekly clean-up may remove of them."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field, model_validator

from upkeep.site.fields import AbsolutePath, Strict

_NOT_ONLY_LOGS = frozenset(
    {"/", "//", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/usr", "/usr/local", "/var", "/var/lib"}
)
_NEVER_LOGS = (
    "/bin/", "/boot/", "/dev/", "/etc/", "/lib/", "/lib64/", "/proc/", "/run/", "/sbin/", "/sys/", "/usr/bin/",
    "/usr/lib/",
)  # fmt: skip


class LogFolder(Strict):
    """Log files below one folder, by name. Errors are lines that match one of ``errors`` (regular expressions).

    Files are only compressed or removed where ``keep_days`` or ``compress_over_mb`` says so. A folder below another one
    that is listed too goes by its own entry alone.
    """

    path: AbsolutePath = Field(description="absolute")
    patterns: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: ["*.log", "*.log.*"], description="of file names; default: *.log, *.log.*"
    )
    errors: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: [r"(?i)\b(error|fatal|critical|panic)\b"],
        description="what an error line looks like; default: error, fatal, critical or panic as words",
    )
    keep_days: int | None = Field(None, ge=1, description="files last written earlier than this are removed")
    compress_over_mb: float | None = Field(None, ge=0, description="larger files that nobody writes become .zst")
    compress_after_days: float = Field(1, ge=0, description="and that were last written at least this long ago")

    @property
    def is_cleaned(self) -> bool:
        return self.keep_days is not None or self.compress_over_mb is not None

    @model_validator(mode="after")
    def _holds_logs(self) -> LogFolder:
        place = os.path.normpath(self.path)
        if self.is_cleaned and (place in _NOT_ONLY_LOGS or f"{place}/".startswith(_NEVER_LOGS)):
            raise ValueError(
                f"{place} holds more than logs, and files would be removed from all of it: name its log folder"
            )
        return self


class Docker(Strict):
    """What the weekly clean-up may remove from a Docker engine. Volumes only where they carry ``volume_label``."""

    url: Annotated[str, Field(pattern=r"^(unix:///|https?://)[^@\s]+$")] = Field(
        "unix:///var/run/docker.sock", description="where its API is: unix:///..., http:// or https://"
    )
    images_h: int | None = Field(None, ge=1, description="unused images older than this many hours")
    containers_h: int | None = Field(None, ge=1, description="stopped containers older than this many hours")
    build_cache_h: int | None = Field(None, ge=1, description="build cache unused for this many hours")
    volume_label: str | None = Field(None, min_length=1, description="unused volumes with this label, key or key=value")
