"""Security updates that wait to be installed, where the machine has apt."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from upkeep.domain.findings import Looked
from upkeep.engines.pipeline import Command, capture
from upkeep.errors import ToolError

STALE = timedelta(days=7)
NAMED = 10

# Inst libssl3 [3.0.11-1] (3.0.15-1 Debian-Security:12/stable-security [amd64]); a package that is new has no [old].
_INSTALLED = re.compile(r"^Inst (\S+) \[([^\]]+)\] \((\S+) ([^)]*)\)", re.MULTILINE)


def waiting_updates(
    *, now: datetime, program: str = "apt-get", options: Sequence[str] = (), lists: Path = Path("/var/lib/apt/lists")
) -> Looked:
    """What ``apt-get upgrade`` would bring from a security archive; it is only asked, and takes no lock.

    :param options: more for apt-get, such as ``-o Dir=/a/root``.
    :param lists: apt's package lists; old ones know nothing of new updates.
    """
    looked = Looked()
    if not shutil.which(program):
        return looked
    argv = [program, *options, "-s", "-o", "Debug::NoLocking=true", "-o", "APT::Get::Show-User-Simulation-Note=false",
            "--with-new-pkgs", "upgrade"]  # fmt: skip
    try:
        said = capture(Command(argv, env={"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}))
    except ToolError as error:
        looked.unread.append(f"security updates ({error.message})")
        return looked
    waiting = [found for found in _INSTALLED.findall(said.decode("utf-8", "replace")) if "security" in found[3].lower()]
    looked.figures = {"security_updates": len(waiting)}
    if waiting:
        named = ", ".join(f"{package} {old} -> {new}" for package, old, new, _ in waiting[:NAMED])
        more = f" and {len(waiting) - NAMED} more" if len(waiting) > NAMED else ""
        looked.add(
            "security-updates",
            "apt",
            "medium",
            f"{len(waiting)} security update{'s' if len(waiting) != 1 else ''} wait: {named}{more}",
            "apt-get update && apt-get upgrade, then restart what needs it (needrestart)",
        )
    asked = _last_update(lists)
    if asked is None or now - asked > STALE:
        since = "never" if asked is None else f"not since {asked:%Y-%m-%d}"
        looked.add(
            "stale-package-lists",
            "apt",
            "low",
            f"apt has asked for updates {since}: what waits isn't known",
            "apt-get update, and install unattended-upgrades so that it happens daily",
        )
    return looked


def _last_update(lists: Path) -> datetime | None:
    """apt dates the lists as their archive does; the folders it works in are touched whenever it asks."""
    moments = [path.stat().st_mtime for path in (lists, lists / "partial") if path.is_dir()]
    return datetime.fromtimestamp(max(moments), UTC) if moments and any(lists.glob("*_*")) else None
