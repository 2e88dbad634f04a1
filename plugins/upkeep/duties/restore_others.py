"""Restoring what is not a database: by the kind of target."""

from __future__ import annotations

from typing import Any

from upkeep.domain.restoring import RestorePlan, RestoreRequest
from upkeep.duties.job import Job
from upkeep.duties.restore_folders import exchange_folders, exchange_was_begun, plan_folders, unpack_beside
from upkeep.duties.restore_place import hold_name
from upkeep.duties.restore_redis import file_of, plan_redis, swap_keys, swap_was_begun, write_file
from upkeep.duties.restore_source import Found
from upkeep.errors import RestoreRefused
from upkeep.site import Cache, Cluster, Folder, Section


def others_plan(job: Job, section: Section, found: Found, plan: RestorePlan) -> RestorePlan:
    """Errors: ``RestoreRefused`` for what can't be done with such a target; ``RestoreUnavailable``."""
    _require_a_way(job, section, found, plan.request)
    over = plan.request.destination == "over"
    if isinstance(section, Folder):
        return plan_folders(found, plan, over=over)
    return plan_redis(job, section, found, plan, over=over)


def restore_other(job: Job, section: Section, found: Found, request: RestoreRequest) -> dict[str, Any]:
    """Beside. Errors: as ``others_plan``; ``ProofFailed``; ``Busy``."""
    _require_a_way(job, section, found, request)
    with job.ledger.hold(hold_name(job, section.name)):
        if isinstance(section, Folder):
            return unpack_beside(job, found)
        return write_file(job, section, found, file_of(job, found, request))


def bring_other_beside(job: Job, section: Section, found: Found) -> dict[str, Any]:
    """What a swap needs. A Redis has nothing to stand beside: its keys are brought in the swap itself."""
    if isinstance(section, Folder):
        with job.ledger.hold(hold_name(job, section.name)):
            if other_was_begun(job, section, found):
                return {"site": job.site.name, "target": section.name, "found": True}
            return unpack_beside(job, found)
    return {"site": job.site.name, "target": section.name, "backup_id": found.backup_id}


def other_was_begun(job: Job, section: Section, found: Found) -> bool:
    """Whether a swap for this backup was begun and is not finished, or was made by this very run."""
    if isinstance(section, Folder):
        return exchange_was_begun(job, found)
    return isinstance(section, Cache) and swap_was_begun(job, section, found)


def swap_other(job: Job, section: Section, found: Found, *, approver: str, waived: str) -> dict[str, Any]:
    """Put the copy in the place of what is live. Errors: as ``restore_other``."""
    if not approver:
        raise RestoreRefused(f"nobody approved the swap of {section.name}", hint="have a person approve it")
    with job.ledger.hold(hold_name(job, section.name)), job.hold(section.name):
        if isinstance(section, Folder):
            return exchange_folders(job, found, approver, waived)
        if isinstance(section, Cache):
            return swap_keys(job, section, found, approver, waived)
        raise RestoreRefused(f"{section.name} has nothing to swap with", hint="restore it by the line in its manifest")


def _require_a_way(job: Job, section: Section, found: Found, request: RestoreRequest) -> None:
    """Errors: ``RestoreRefused``."""
    if isinstance(section, Cluster) or request.destination not in ("beside", "over"):
        raise RestoreRefused(
            f"{section.name} can't be restored to {request.destination}",
            hint=f"beside or over live; or by hand: upkeep show {job.site.name} {section.name} {found.backup_id}",
        )
