"""An RDB file, as redis-check-rdb finds it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO

from upkeep.engines.pipeline import Command, run
from upkeep.engines.tools import require
from upkeep.errors import ProofFailed, ToolUnfit

NEWER = "Can't handle RDB format version|Unknown RDB format version"
"""What Redis's programs say of a file whose format they don't know yet: each second release has a new one."""

_COUNTED = ("keys read", "expires", "already expired")


@dataclass(frozen=True)
class RdbKeys:
    """All keys, those with an expiry, those whose time is over, and hashes with fields that expire (from 7.4 on)."""

    keys: int
    expires: int
    expired: int
    field_expires: int = 0


def count_keys(file: IO[bytes]) -> RdbKeys:
    """The keys of a whole file. Errors: ``ProofFailed`` when it isn't whole, ``ToolMissing``, ``ToolUnfit`` when the
    program is older than the file, ``ToolFailed`` when it was killed.
    """
    number = file.fileno()
    program = require("redis-check-rdb", package="redis-tools")
    # It says everything on standard output, and ends with 1 both for a damaged file and for one it can't judge. What it
    # says may quote a key: its words alone prove nothing.
    command = Command([program, f"/dev/fd/{number}"], pass_fds=(number,), ok_statuses=frozenset({0, 1}))
    output = bytearray()
    (ended,) = run([command], output.extend)
    said = output.decode("utf-8", "replace")
    if ended.status and (newer := re.search(rf"^\[offset \d+\] ((?:{NEWER}).*)", said, re.MULTILINE)):
        raise ToolUnfit(
            f"this worker's redis-check-rdb is older than the server that the file is from: {newer[1]}",
            hint="install redis-tools of the server's release on this worker; nothing is said about the backup",
        )
    found = [re.search(rf"^\[info\] (\d+) {words}$", said, re.MULTILINE) for words in _COUNTED]
    if ended.status or "RDB looks OK" not in said or None in found:
        error = re.search(r"--- RDB ERROR DETECTED ---\n(.*)", said)
        why = error[1] if error else said.strip()[-300:]
        raise ProofFailed(
            f"redis-check-rdb does not find the file whole: {why}", hint="don't rely on this backup: back up again"
        )
    fields = re.search(r"^\[info\] (\d+) subexpires$", said, re.MULTILINE)
    return RdbKeys(*(int(one[1]) for one in (*found, fields) if one))
