"""Updates that wait to be installed, security updates first of all, where the machine has apt."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from upkeep.domain.findings import Inspection
from upkeep.domain.units import counted, first_few
from upkeep.engines.pipeline import Command, capture
from upkeep.errors import ToolError

STALE = timedelta(days=7)
NAMED = 10

# Inst libssl3 [3.0.11-1] (3.0.15-1 Debian-Security:12/stable-security [amd64]); a package that is new has no [old].
_INSTALLED = re.compile(r"^Inst (\S+) \[([^\]]+)\] \((\S+) ([^)]*)\)", re.MULTILINE)


def waiting_updates(
    *, now: datetime, program: str = "apt-get", options: Sequence[str] = (), lists: Path = Path("/var/lib/apt/lists")
) -> Inspection:
    """What ``apt-get upgrade`` would bring from a security archive; it is only asked, and takes no lock.

    :param options: more for apt-get, such as ``-o Dir=/a/root``.
    :param lists: apt's package lists; old ones know nothing of new updates.
    """
    inspection = Inspection()
    if not shutil.which(program):
        return inspection
    try:
        waiting = [update for update in _asked(program, options) if update.of_security]
    except ToolError as error:
        inspection.unread.append(f"security updates ({error.message})")
        return inspection
    inspection.figures = {"security_updates": len(waiting)}
    if waiting:
        inspection.add(
            "security-updates",
            "apt",
            "medium",
            f"{counted(len(waiting), 'security update')} wait: {_named(waiting)}",
            "apt-get update && apt-get upgrade, then restart what needs it (needrestart)",
        )
    asked = _last_update(lists)
    if asked is None or now - asked > STALE:
        since = "never" if asked is None else f"not since {asked:%Y-%m-%d}"
        inspection.add(
            "stale-package-lists",
            "apt",
            "low",
            f"apt has asked for updates {since}: what waits isn't known",
            "apt-get update, and install unattended-upgrades so that it happens daily",
        )
    return inspection


def pending_updates(*, program: str = "apt-get") -> Inspection:
    """All that ``apt-get upgrade`` would bring, from whatever archive: one finding, security updates named first."""
    inspection = Inspection()
    if not shutil.which(program):
        return inspection
    try:
        waiting = sorted(_asked(program), key=lambda update: not update.of_security)
    except ToolError as error:
        inspection.unread.append(f"package updates ({error.message})")
        return inspection
    of_security = sum(update.of_security for update in waiting)
    inspection.figures = {"updates": len(waiting), "security_updates": of_security}
    if waiting:
        inspection.add(
            "package-updates",
            "apt",
            "medium" if of_security else "low",
            f"{counted(len(waiting), 'package update')} wait, {of_security} of them for security: {_named(waiting)}",
            "apt-get update && apt-get upgrade in a window, then restart what needs it (needrestart)",
        )
    return inspection


class _Update(NamedTuple):
    package: str
    old: str
    new: str
    archive: str

    @property
    def of_security(self) -> bool:
        return "security" in self.archive.lower()


def _asked(program: str, options: Sequence[str] = ()) -> list[_Update]:
    """Errors: ``ToolError``."""
    argv = [program, *options, "-s", "-o", "Debug::NoLocking=true", "-o", "APT::Get::Show-User-Simulation-Note=false",
            "--with-new-pkgs", "upgrade"]  # fmt: skip
    said = capture(Command(argv, env={"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}))
    return [_Update(*found) for found in _INSTALLED.findall(said.decode("utf-8", "replace"))]


def _named(updates: Sequence[_Update]) -> str:
    return first_few([f"{update.package} {update.old} -> {update.new}" for update in updates], NAMED)


def _last_update(lists: Path) -> datetime | None:
    """apt dates the lists as their archive does; the folders it works in are touched whenever it asks."""
    moments = [path.stat().st_mtime for path in (lists, lists / "partial") if path.is_dir()]
    return datetime.fromtimestamp(max(moments), UTC) if moments and any(lists.glob("*_*")) else None
