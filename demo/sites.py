"""The sample site files with everything that leads off this machine moved below one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

CLOUD_ONLY = ("conn_id", "storage_class", "server_side_encryption")


def move_sites(samples: Path, place: Path, endpoints: str) -> tuple[Path, list[Path]]:
    """Write ``<place>/sites/*.yaml``; returns that folder and the folders the sites now want to back up.

    Store, spool, backed-up paths and endpoints (to below the URL ``endpoints``) change; names, rhythms, retention and
    connections stay the samples' own.
    """
    folder = place / "sites"
    folder.mkdir()
    (place / "store").mkdir(mode=0o700)  # Upkeep doesn't make it: a folder that isn't there may be a disk not mounted
    wanted: list[Path] = []
    for sample in sorted(samples.glob("*.yaml")):
        site = yaml.safe_load(sample.read_text(encoding="utf-8"))
        wanted += _move(site, place, endpoints)
        text = yaml.safe_dump(site, allow_unicode=True, sort_keys=False)
        (folder / sample.name).write_text(text, encoding="utf-8")
    return folder, wanted


def _move(site: dict[str, Any], place: Path, endpoints: str) -> list[Path]:
    kept = {key: value for key, value in site["store"].items() if key not in CLOUD_ONLY}
    site["store"] = {**kept, "url": f"file://{place}/store"}
    site["spool"] = f"{place}/spool"
    for endpoint in site.get("endpoints", []):
        endpoint["url"] = f"{endpoints}/{site['name']}/{endpoint['name']}"
    wanted: list[str] = []
    for section in site.get("folders", []):
        for key in ("paths", "optional_paths"):
            if key in section:
                section[key] = [f"{place}/host{path}" for path in section[key]]
                wanted += section[key]
    return [Path(path) for path in wanted]


def fill_folders(folders: Sequence[Path]) -> None:
    """Put the kind of thing there that such folders hold."""
    for folder in folders:
        (folder / "conf.d").mkdir(parents=True)
        (folder / "app.yaml").write_text("port: 3000\nlog_level: info\n名称: 演示\n", encoding="utf-8")
        (folder / "conf.d" / "limits.conf").write_text("max_connections = 200\n", encoding="utf-8")
        secret = folder / "secret.env"
        secret.touch(mode=0o600)
        secret.write_text("TOKEN=made-up\n", encoding="utf-8")
        (folder / "current").symlink_to("app.yaml")
