"""Operators of the nightly backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.duties.back_up import back_up
from upkeep.duties.forget import forget
from upkeep.duties.fresh_backup import check_backup
from upkeep.duties.job import Job
from upkeep.duties.verify import verify
from upkeep.operators.base import UpkeepOperator, is_dry, skip_unless_chosen

if TYPE_CHECKING:
    from airflow.sdk import Context


class BackUpTargetOperator(UpkeepOperator):
    """Back up one target; skipped when the form chose others. A retry finds what an earlier try already finished."""

    template_fields = ("target",)

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(map_index_template="{{ task.target }}", **kwargs)
        self.target = target

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.target)
        return back_up(job, self.target, dry_run=is_dry(context))


class CheckBackupOperator(UpkeepOperator):
    """Fail unless one target has a fresh, proven backup."""

    template_fields = ("target",)

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        skip_unless_chosen(context, self.target)
        return check_backup(job, self.target)


class BackupStepOperator(UpkeepOperator):
    """One step behind the backup of a target. ``backup``: what ``BackUpTargetOperator`` returned."""

    template_fields = ("target", "backup")

    def __init__(self, *, target: str, backup: Any, **kwargs: Any) -> None:
        super().__init__(map_index_template="{{ task.target }}", **kwargs)
        self.target = target
        self.backup = backup


class VerifyBackupOperator(BackupStepOperator):
    """Read the backup back from the store and look through it."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        if is_dry(context):
            return dict(self.backup)
        return verify(job, self.target, self.backup["backup_id"])


class ApplyRetentionOperator(BackupStepOperator):
    """Remove the backups of the target that no rule keeps; only behind tonight's proven backup."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return forget(job, self.target, self.backup.get("backup_id"), dry_run=is_dry(context))
