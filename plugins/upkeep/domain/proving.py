"""Which backups the week restores to prove them, and what they are called on the scratch server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upkeep.domain.proof import ProofLevel
from upkeep.domain.retention import FUTURE_TOLERANCE, Candidate
from upkeep.domain.units import utc

SINCE = timedelta(days=8)
"""A week, and a day for a run that was late."""
MOST_LETTERS = 63
"""PostgreSQL cuts longer names without a word; MySQL takes one letter more."""
PREFIX = "upkeep_"
_ID = r"[0-9]{8}t[0-9]{6}z-[0-9a-f]{4}"
_ID_LETTERS = 21


@dataclass(frozen=True)
class Choice:
    """One backup, and why it is restored or not."""

    backup_id: str
    chosen: bool
    reason: str

    def __str__(self) -> str:
        return f"{'restore' if self.chosen else 'pass over'} {self.backup_id}: {self.reason}"


def choose_backups(
    backups: Sequence[Candidate], now: datetime, prove: str, *, has_key: bool = True
) -> tuple[Choice, ...]:
    """Decide about every backup of one target, newest first: the one that matters most has its turn first.

    :param prove: ``all``, ``newest``, or ``1/n``: the newest and those whose id falls to the sample, which is the same
        whoever asks and whenever.
    :param has_key: whether the site can open what it encrypts.
    """
    ordered = sorted(backups, key=lambda backup: (backup.taken_at, backup.backup_id), reverse=True)
    sound = [backup.backup_id for backup in ordered if not _unfit(backup, utc(now, "now"), has_key=has_key)]
    newest = sound[0] if sound else ""
    return tuple(_choice(backup, utc(now, "now"), prove, newest, has_key=has_key) for backup in ordered)


def _choice(backup: Candidate, now: datetime, prove: str, newest: str, *, has_key: bool) -> Choice:
    backup_id = backup.backup_id
    if why := _unfit(backup, now, has_key=has_key):
        return Choice(backup_id, False, why)
    if backup.level >= ProofLevel.RESTORED:
        return Choice(backup_id, False, f"{backup.level.label} already")
    if now - backup.taken_at > SINCE:
        return Choice(backup_id, False, f"older than {SINCE.days} days")
    if backup_id == newest:
        return Choice(backup_id, True, "the newest")
    if prove == "all":
        return Choice(backup_id, True, "not restored yet")
    if prove == "newest":
        return Choice(backup_id, False, "not the newest, and the site has only that restored (prove: newest)")
    every = int(prove.removeprefix("1/"))
    if in_sample(backup_id, every):
        return Choice(backup_id, True, f"falls to the sample (prove: {prove})")
    return Choice(backup_id, False, f"doesn't fall to the sample (prove: {prove})")


def _unfit(backup: Candidate, now: datetime, *, has_key: bool) -> str:
    """Why a backup can't be restored in a meaningful way; empty when it can."""
    if backup.failed:
        return "damaged: a proof failed"
    if backup.taken_at > now + FUTURE_TOLERANCE:
        return "dated in the future: check the clocks"
    if backup.level >= ProofLevel.STRUCTURE:
        return ""
    if not has_key:
        return "encrypted, and the site names no identity_conn_id: nobody here can open it"
    return f"reached {backup.level.label} only: it is verified first"


def in_sample(backup_id: str, every: int) -> bool:
    return int.from_bytes(hashlib.sha256(backup_id.encode()).digest()[:8], "big") % every == 0


def scratch_name(site: str, target: str, backup_id: str) -> str:
    """What a backup's database is called on a scratch server: no other backup's is called so."""
    return f"{_label(site, target)}{backup_id.lower()}"


def is_scratch_of(name: str, site: str, target: str) -> bool:
    """Whether a database was made for a backup of this very target, and not of one with a similar name."""
    return re.fullmatch(re.escape(_label(site, target)) + _ID, name) is not None


def is_foreign(name: str) -> bool:
    """Whether a database was made by somebody else than Upkeep."""
    return not name.startswith(PREFIX)


def _label(site: str, target: str) -> str:
    """``upkeep_<site>_<target>_``. Long names are cut, and ``a_b`` of ``c`` must not look like ``b_c`` of ``a``: a hash
    keeps them apart.
    """
    plain = f"{PREFIX}{site}_{target}_".lower()
    if len(plain) + _ID_LETTERS <= MOST_LETTERS and "_" not in site + target:
        return plain
    tail = f"_{hashlib.sha256(f'{site}/{target}'.encode()).hexdigest()[:8]}_"
    return plain[: MOST_LETTERS - _ID_LETTERS - len(tail)].rstrip("_") + tail
