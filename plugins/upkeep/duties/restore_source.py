"""Which backup is meant to be restored: from the store, or from the spool where it still waits for the store."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass

from upkeep.domain.backup import taken_at
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.domain.restoring import RestoreRequest, choose_backup
from upkeep.duties.catalogue import PROOFS, Backup, candidates, read_catalogue
from upkeep.duties.job import Job
from upkeep.duties.read_back import trusted_manifest
from upkeep.errors import ObjectMissing, StoreUnreachable, UpkeepError

log = logging.getLogger(__name__)

SAFETY = "secure_live"
"""The act that backs up what is live before it is replaced: its backup is only restored by name."""
LOOK_BACK = 50
"""Among how many acts, and backups, an earlier one is looked for."""


@dataclass(frozen=True)
class Found:
    """The backup that is meant. ``job`` reads from the store, or from the spool where it still waits."""

    job: Job
    backup: Backup
    manifest: Manifest
    source: str
    estimate_s: float | None
    passed_over: tuple[str, ...] = ()
    """Newer ones that earlier restores made of what they replaced."""

    @property
    def backup_id(self) -> str:
        return self.backup.ref.backup_id


def find_backup(job: Job, request: RestoreRequest) -> Found:
    """Errors: ``ObjectMissing``, ``ProofFailed`` and ``ManifestBroken`` for one that must not be relied on,
    ``StoreUnreachable`` when neither store nor spool has what is asked for.
    """
    site, target = job.site, request.target
    site.target(target)
    spooling = copy.copy(job)
    spooling.store = job.spool
    away: StoreUnreachable | None = None
    shelves: list[tuple[Job, str]] = [(job, f"the store {job.site.store.url}")]
    if job.spool.root.is_dir():
        shelves.append((spooling, f"the spool {job.spool.root} on {job.run.host}, where it waits for the store"))
    found: dict[str, tuple[Job, str, Backup]] = {}
    known = []
    for holder, label in shelves:
        try:
            catalogue = read_catalogue(holder.store, site.name, target)
        except StoreUnreachable as error:
            log.warning("the store is away: %s", error.message)
            away = error
            continue
        known += [one for one in candidates(holder.store, catalogue) if one.backup_id not in found]
        for backup in catalogue.backups:
            found.setdefault(backup.ref.backup_id, (holder, label, backup))
    safety = _safety_copies(job, target) if request.backup_id is None else set()
    passed_over = tuple(one.backup_id for one in known if one.backup_id in safety)
    known = [one for one in known if one.backup_id not in safety]
    counts_from = min(site.retention.policy(site.timezone).counts_from, ProofLevel.STRUCTURE)
    try:
        where = " and ".join(label for _, label in shelves)
        chosen = choose_backup(known, request, where=where, counts_from=counts_from)
    except ObjectMissing:
        if away:
            raise away from None
        raise
    holder, label, backup = found[chosen.backup_id]
    manifest = trusted_manifest(holder, backup)
    estimate = _estimate(job, [one for _, _, one in found.values()], backup)
    newer = tuple(one for one in passed_over if taken_at(one) > backup.taken_at)
    return Found(holder, backup, manifest, label, estimate, newer)


def _safety_copies(job: Job, target: str) -> set[str]:
    """Whoever asks for the newest doesn't mean what was so broken that it had to be replaced."""
    acts = job.ledger.acts(job.site.name, target=target, duty=SAFETY, limit=LOOK_BACK, newest_first=True)
    return {str(act.detail["backup_id"]) for act in acts if act.detail.get("backup_id")}


def _estimate(job: Job, backups: list[Backup], wanted: Backup) -> float | None:
    """By the last test restore of the target, from the proof beside it; a larger backup takes longer."""
    for backup in sorted(backups, key=lambda one: one.taken_at, reverse=True)[:LOOK_BACK]:
        if backup.level < ProofLevel.RESTORED or not backup.size:
            continue
        prefix = f"{backup.ref.prefix}{PROOFS}"
        try:
            keys = [stored.key for stored in job.store.list(prefix) if stored.key.endswith("-pass.json")]
            for key in sorted(keys, reverse=True):
                figures = json.loads(job.store.get(key))["figures"]
                if isinstance(figures.get("seconds"), dict):
                    return float(figures["seconds"]["total"]) * wanted.size / backup.size
        except (UpkeepError, ValueError, KeyError, TypeError) as error:
            log.warning("no estimate by the proofs in %s: %s", prefix, error)
    return None
