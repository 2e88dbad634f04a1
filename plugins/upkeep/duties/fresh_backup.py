"""The rule in front of every act that can lose data: a proven backup, young enough."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.retention import FUTURE_TOLERANCE
from upkeep.domain.units import human_seconds
from upkeep.duties.catalogue import Backup, read_catalogue
from upkeep.duties.job import Job
from upkeep.errors import NoFreshBackup

MAX_AGE = timedelta(hours=26)
"""A nightly backup and two hours of grace: older than this, rows could be lost that no backup holds."""


def require_fresh_backup(job: Job, target: str, refused: str) -> str:
    """The id of the target's newest backup, if it is proven and young enough.

    Proven as far as a night can prove it: where the site counts from ``restored`` on, the newest backup has to wait for
    the week's restore, and nothing could ever be done behind it.

    :param refused: what is not done without one, as in ``no row of shop/app is deleted``; begins the error.
    :raises NoFreshBackup: there is none.
    """
    now = job.now()
    backups = [
        b for b in read_catalogue(job.store, job.site.name, target).backups if b.taken_at <= now + FUTURE_TOLERANCE
    ]
    if not backups:
        raise NoFreshBackup(f"{refused}: it has no backup", hint="back it up and verify that, then run this task again")
    newest = backups[-1]
    backup_id = newest.ref.backup_id
    counts_from = min(job.site.retention.policy(job.site.timezone).counts_from, ProofLevel.STRUCTURE)
    if not is_proven(newest.level, newest.failure is not None, counts_from=counts_from):
        raise NoFreshBackup(
            f"{refused}: its newest backup {backup_id} is {newest.standing}; "
            f"proven means {counts_from.label} or better",
            hint="fix what failed in the last back_up or verify task and clear it, then clear this one",
        )
    if (age := now - newest.taken_at) > MAX_AGE:
        raise NoFreshBackup(
            f"{refused}: its newest proven backup {backup_id} is {human_seconds(age.total_seconds())} old, "
            f"more than {human_seconds(MAX_AGE.total_seconds())}",
            hint="find out why there is no newer one, back it up and verify that, then run this task again",
        )
    return backup_id


def ended_at(job: Job, backup: Backup) -> datetime:
    """When the backup was made, by the ledger: where one takes hours, none could be young if its age counted from its
    beginning. One whose end the ledger doesn't know, of a killed task, counts from its beginning.
    """
    act = job.last_act(
        "back_up",
        backup.ref.target,
        lambda one: one.detail.get("backup_id") == backup.ref.backup_id and not one.detail.get("found"),
    )
    ended = datetime.fromisoformat(act.finished.at) if act and act.finished else backup.taken_at
    return max(ended, backup.taken_at)


def newest_told(job: Job, target: str) -> str:
    """How far and how old the newest backup is, for an error that says why it isn't enough."""
    backups = read_catalogue(job.store, job.site.name, target).backups
    if not backups:
        return "it has no backup"
    age = human_seconds((job.now() - ended_at(job, backups[-1])).total_seconds())
    return f"its newest, {backups[-1].ref.backup_id}, is {backups[-1].standing} and was finished {age} ago"


def check_backup(job: Job, target: str) -> dict[str, Any]:
    """Say in the ledger whether a target has a fresh, proven backup. Errors: ``NoFreshBackup``."""
    with job.ledger.record(job.act("require_backup", target, command="look for a fresh backup")) as entry:
        where = f"{job.site.name}/{target}"
        backup_id = require_fresh_backup(job, target, f"nothing that could lose data is done to {where}")
        entry.note(backup_id=backup_id, light="green", summary=f"{backup_id} is proven and fresh")
    return {"site": job.site.name, "target": target, "backup_id": backup_id}
