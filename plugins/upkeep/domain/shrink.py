"""Whether a backup is suspiciously small against the last proven one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upkeep.domain.units import human_bytes


@dataclass(frozen=True)
class SizeVerdict:
    """``change_pct`` is negative for a shrink, positive for growth, None when there was nothing to compare with."""

    ok: bool
    reason: str
    change_pct: float | None = None


def judge_size(size: int, earlier_sizes: Sequence[int], max_shrink_pct: float) -> SizeVerdict:
    """Compare a new backup with the last proven one.

    :param size: bytes of the new backup.
    :param earlier_sizes: bytes of the target's earlier *proven* backups, oldest first. The last that isn't empty is
        the measure. A shrunk backup that is whole counts as proven too, so after a planned purge the alarm rings once.
    :param max_shrink_pct: the share that a backup may lose from one night to the next; exactly as much is still fine.
    """
    if size < 0 or any(earlier < 0 for earlier in earlier_sizes):
        raise ValueError(f"a size below zero: {size} against {list(earlier_sizes)}")
    if not 0 <= max_shrink_pct <= 100:
        raise ValueError(f"max_shrink_pct {max_shrink_pct:g} is not between 0 and 100")
    if size == 0:
        return SizeVerdict(False, "0 B: even the backup of an empty database isn't empty")

    shown = human_bytes(size)
    last = next((earlier for earlier in reversed(earlier_sizes) if earlier), None)
    if last is None:
        return SizeVerdict(True, f"{shown}, the first: no earlier proven backup to compare with")

    change = 100 * (size - last) / last
    against = f"the last proven backup's {human_bytes(last)}"
    if size == last:
        return SizeVerdict(True, f"{shown}, the same as {against}", 0.0)
    if change > 0:
        return SizeVerdict(True, f"{shown}, {_percent(change)} larger than {against}", change)
    ok = -change <= max_shrink_pct
    limit = "" if ok else f"; the limit is {_percent(max_shrink_pct)}"
    return SizeVerdict(ok, f"{shown}, {_percent(-change)} smaller than {against}{limit}", change)


def _percent(share: float) -> str:
    if 0 < share < 0.1:
        return "less than 0.1 %"
    return f"{share:.1f}".removesuffix(".0") + " %"
