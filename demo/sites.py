"""The sample site files with everything that leads off this machine, or to its own files, moved below one folder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DOCKER_SOCKET = "docker.sock"
CLOUD_ONLY = ("conn_id", "storage_class", "server_side_encryption")
OLD_S = 45 * 86_400
"""Age of the oldest log: older than any sample keeps one."""


@dataclass
class MovedSites:
    """``files`` is the folder of site files; the others are the folders that these now expect."""

    files: Path
    configurations: list[Path] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)


def move_sites(samples: Path, place: Path, endpoints: str) -> MovedSites:
    """Write ``<place>/sites/*.yaml``.

    The store becomes a local folder, every path goes below ``<place>/host``, every endpoint below the URL
    ``endpoints``, the Docker engine becomes the socket ``<place>/docker.sock``, the cluster is left out; names,
    rhythms, retention and connections stay the samples' own.
    """
    moved = MovedSites(place / "sites")
    moved.files.mkdir()
    (place / "store").mkdir(mode=0o700)  # Upkeep doesn't make it: a folder that isn't there may be a disk not mounted
    for sample in sorted(samples.glob("*.yaml")):
        site = _below(f"{place}/host", yaml.safe_load(sample.read_text(encoding="utf-8")))
        kept = {key: value for key, value in site["store"].items() if key not in CLOUD_ONLY}
        site["store"] = {**kept, "url": f"file://{place}/store"}
        if "docker" in site:
            site["docker"]["url"] = f"unix://{place}/{DOCKER_SOCKET}"
        site.pop("cluster", None)  # the demo starts none
        for endpoint in site.get("endpoints", []):
            endpoint["url"] = f"{endpoints}/{site['name']}/{endpoint['name']}"
        for section in site.get("folders", []):
            paths = [*section["paths"], *section.get("optional_paths", [])]
            moved.configurations += [Path(path) for path in paths]
        moved.logs += [Path(section["path"]) for section in site.get("logs", [])]
        text = yaml.safe_dump(site, allow_unicode=True, sort_keys=False)
        (moved.files / sample.name).write_text(text, encoding="utf-8")
    return moved


def _below(root: str, value: Any) -> Any:
    """The same settings, every absolute path of them below ``root``."""
    if isinstance(value, dict):
        return {key: _below(root, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_below(root, item) for item in value]
    return f"{root}{value}" if isinstance(value, str) and value.startswith("/") else value


def fill_configurations(folders: Sequence[Path]) -> None:
    """Put the kind of thing there that such folders hold."""
    for folder in folders:
        (folder / "conf.d").mkdir(parents=True)
        (folder / "app.yaml").write_text("port: 3000\nlog_level: info\n名称: 演示\n", encoding="utf-8")
        (folder / "conf.d" / "limits.conf").write_text("max_connections = 200\n", encoding="utf-8")
        secret = folder / "secret.env"
        secret.touch(mode=0o600)
        secret.write_text("TOKEN=made-up\n", encoding="utf-8")
        (folder / "current").symlink_to("app.yaml")


def fill_logs(folders: Sequence[Path]) -> None:
    """Logs of an application and of a web server, of a day with one kind of error; one of them is from long ago."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "app.log").write_text(
            "".join(f"2026-11-21T08:{minute:02d}:00Z INFO request {minute} served\n" for minute in range(60))
            + "".join(
                f"2026-11-21T09:{minute:02d}:00Z ERROR payment {minute} of 张三 refused\n" for minute in range(7)
            ),
            encoding="utf-8",
        )
        (folder / "access.log").write_text(
            "".join(f'10.0.0.{host} - - "GET /api/students HTTP/1.1" 200 512\n' for host in range(1, 60)),
            encoding="utf-8",
        )
        (folder / "error.log").write_text(
            "2026/11/21 08:00:00 [notice] 7#7: start worker processes\n", encoding="utf-8"
        )
        old = folder / "app.log.7"
        old.write_text("2026-09-01T08:00:00Z INFO request served\n" * 20_000, encoding="utf-8")
        os.utime(old, (time.time() - OLD_S,) * 2)
