"""Apply retention to one target: a pure plan first, then one recorded removal at a time."""

from __future__ import annotations

import logging
from typing import Any

from upkeep.domain.backup import BackupRef
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.retention import Decision, RetentionPlan, Tonight, plan_retention
from upkeep.domain.units import human_bytes
from upkeep.duties.catalogue import Catalogue, candidates, read_catalogue, read_pin
from upkeep.duties.job import Job, require_hold
from upkeep.errors import ObjectHeld

log = logging.getLogger(__name__)


def plan_forgetting(job: Job, target: str, backup_id: str | None = None) -> RetentionPlan:
    """What retention would do now. ``backup_id``: tonight's backup; without one, the newest stands for it."""
    job.site.target(target)
    catalogue = read_catalogue(job.store, job.site.name, target)
    policy = job.site.retention.policy(job.site.timezone)
    return plan_retention(candidates(job.store, catalogue), policy, job.now(), _tonight(job, catalogue, backup_id))


def forget(job: Job, target: str, backup_id: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove the backups of ``target`` that no rule keeps, unless tonight's (``backup_id``) isn't proven.

    Of each backup the manifest goes first: a crash after it leaves an orphan, never something that still looks whole.
    A backup that the store holds back (WORM) is reported as held and stays as it is.
    """
    act = job.act("apply_retention", target, command="dry run" if dry_run else "remove what no rule keeps")
    with job.ledger.record(act) as entry, job.hold(target) as hold:
        plan = plan_forgetting(job, target, backup_id)
        for line in plan.lines():
            log.info("%s", line)
        removed: list[Decision] = []
        held: dict[str, str] = {}
        for decision in () if dry_run else plan.removes:
            ref = BackupRef(job.site.name, target, decision.backup_id)
            if pinned := read_pin(job.store, ref):
                log.info("%s was pinned since the plan was made (%s): kept", ref.backup_id, pinned)
                continue
            require_hold(job, target, hold)
            try:
                _remove(job, ref, decision)
                removed.append(decision)
            except ObjectHeld as error:
                log.warning("%s is held by the store: %s", ref.backup_id, error.message)
                held[ref.backup_id] = error.message
        entry.note(kept=len(plan.keeps), left=len(plan.leaves), removed=len(removed), held=len(held))
        return {
            "site": job.site.name,
            "target": target,
            "dry_run": dry_run,
            "kept": len(plan.keeps),
            "left": len(plan.leaves),
            "removed": {decision.backup_id: decision.why for decision in removed},
            "would_remove": {decision.backup_id: decision.why for decision in plan.removes} if dry_run else {},
            "held": held,
            "freed": human_bytes(sum(decision.backup.size for decision in removed)),
        }


def _remove(job: Job, ref: BackupRef, decision: Decision) -> None:
    with job.ledger.record(job.act("forget", ref.target, command=f"remove {ref.backup_id}")) as entry:
        entry.note(backup_id=ref.backup_id, bytes=decision.backup.size, reasons=list(decision.reasons))
        job.store.delete(ref.prefix + MANIFEST)
        # A proof is younger than its backup, and so is its lock (WORM): it stays as an orphan, and the backup is gone.
        left = [stored.key for stored in list(job.store.list(ref.prefix)) if not _deleted(job, stored.key)]
        if left:
            entry.note(left=len(left))


def _deleted(job: Job, key: str) -> bool:
    try:
        job.store.delete(key)
    except ObjectHeld as error:
        log.info("%s stays until a later night: %s", key, error.message)
        return False
    return True


def _tonight(job: Job, catalogue: Catalogue, backup_id: str | None) -> Tonight:
    past = [backup for backup in catalogue.backups if backup.taken_at <= job.now()]
    newest = catalogue.find(backup_id) if backup_id else (past[-1] if past else None)
    if newest is None:
        return "not run"
    # As far as a night can prove it: where the site counts from restored on, that comes with the week.
    counts_from = min(job.site.retention.policy(job.site.timezone).counts_from, ProofLevel.STRUCTURE)
    return "proven" if is_proven(newest.level, newest.failure is not None, counts_from=counts_from) else "failed"
