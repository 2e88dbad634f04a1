"""Operators of a migration by hand; the rehearsal's result before a person's eyes, then a backup, then the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from upkeep.domain.migration import ON_FAILURE, within
from upkeep.duties.job import Job
from upkeep.duties.migrate import refuse_begun, run_migration, secure_migration
from upkeep.duties.migration_plan import Migration, plan_migration
from upkeep.duties.rehearse_migration import SHOWN_CHARS, rehearse_migration
from upkeep.errors import MigrationFailed, MigrationRefused, NoFreshBackup
from upkeep.operators.approval import PersonApprovalOperator, approver_of
from upkeep.operators.base import UpkeepOperator, is_dry
from upkeep.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context

DECIDED: tuple[type[BaseException], ...] = (MigrationRefused, MigrationFailed, NoFreshBackup)
"""A second try meets these again; a person has to act first."""
IN_STORE = "_migrations/"
"""Below the site's folder in the store: where files lie that a form names without a leading slash."""


def migrate_form(site: Site) -> dict[str, Param]:
    names = [database.name for database in site.databases]
    return {
        "database": Param(names[0], type="string", enum=names, title="Database", description="What to migrate."),
        "migration": Param(
            None, type=["null", "string"], format="multiline", title="Migration",
            description="The SQL that is to run. It is rehearsed on a restored copy first.",
        ),
        "migration_file": Param(
            None, type=["null", "string"], pattern=r"^[^\0]+\.sql$", title="Or a file with it",
            description=f"A path on the worker, or without a leading slash below {site.name}/{IN_STORE} in the store.",
        ),
        "release": Param(
            None, type=["null", "string"], title="Or the site's own command, for release",
            description="Runs migrations.command of the site file; the same release is not migrated twice.",
        ),
        "rollback": Param(
            None, type=["null", "string"], format="multiline", title="Rollback script",
            description="The SQL that takes it back, from any half of it; it is rehearsed too.",
        ),
        "on_failure": Param(
            "stop", type="string", enum=list(ON_FAILURE), title="On failure",
            values_display={
                "rollback": "rollback: run the rehearsed rollback script",
                "restore": "RESTORE: the backup made right before it takes the live database's place",
                "stop": "stop: leave it as it is and say what ran",
            },
            description="Chosen now, not at night.",
        ),
        "start_at": Param(
            None, type=["null", "integer"], minimum=1, title="Start at statement",
            description="Only for a migration that was begun, or done, before: it says so itself. 1: all of it again.",
        ),
    }  # fmt: skip


class RehearseMigrationOperator(UpkeepOperator):
    """Run it on a restored copy of last night's backup; one that goes on half-way was rehearsed when it was begun."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        migration, start_at = _migration(job, context), _start_at(context)
        if not is_dry(context):
            refuse_begun(job, migration, start_at=start_at)
        if start_at and start_at > 1:
            plan = plan_migration(job, migration)
            told = [f"rehearsed when it was begun; goes on at {start_at}"]
            return {"sha256": plan.digest, "plan": within(plan.lines(), SHOWN_CHARS), "rehearsal": told}
        return rehearse_migration(job, migration)


class ApproveMigrationOperator(PersonApprovalOperator):
    """Ask a person, with the rehearsal before their eyes. No answer in time is a no; a no fails the run."""

    template_fields = (*PersonApprovalOperator.template_fields, "rehearsal")

    def __init__(self, *, site: Site, rehearsal: Any, **kwargs: Any) -> None:
        super().__init__(
            subject=f"{site.title}: may the live database be migrated?",
            approvers=site.approval.approvers,
            timeout_h=site.approval.timeout_h,
            **kwargs,
        )
        self.rehearsal = rehearsal

    def execute(self, context: Context) -> Any:
        if is_dry(context):
            raise AirflowSkipException("only a rehearsal was asked for")
        self.body = as_text((*self.rehearsal["plan"], "the rehearsal:", *self.rehearsal["rehearsal"]))
        return super().execute(context)


class SecureMigrationOperator(UpkeepOperator):
    """Have a proven backup that is younger than the rehearsal."""

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        return secure_migration(job, _migration(job, context), start_at=_start_at(context))


class RunMigrationOperator(UpkeepOperator):
    """Run it on the live database; when it fails, what the form chose."""

    template_fields: Sequence[str] = ("approval", "rehearsal")

    def __init__(self, *, approval: Any, rehearsal: Any, **kwargs: Any) -> None:
        # No retries: what was begun goes on only when a person says where.
        super().__init__(**{**kwargs, "retries": 0})
        self.approval, self.rehearsal = approval, rehearsal

    def work(self, job: Job, context: Context) -> dict[str, Any]:
        approver = approver_of(self.approval, True, job.site.approval.approvers)
        migration = _migration(job, context)
        if plan_migration(job, migration).digest != self.rehearsal["sha256"]:
            # Somebody may have rehearsed the other one too, but nobody approved it.
            raise MigrationRefused(
                f"the migration of {migration.target} was changed since it was approved", hint="start it anew"
            )
        return run_migration(job, migration, approver=approver, start_at=_start_at(context))


def as_text(lines: Iterable[str]) -> str:
    """For Airflow, which shows Markdown: SQL is full of its signs, and must read as it runs."""
    text = "\n".join(lines)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}\n{text}\n{fence}"


def _migration(job: Job, context: Context) -> Migration:
    """What the form asks for. Errors: ``MigrationRefused``, ``ObjectMissing``."""
    params = context["params"]
    text, file = str(params.get("migration") or ""), str(params.get("migration_file") or "")
    release = str(params.get("release") or "")
    if [bool(text.strip()), bool(file), bool(release)].count(True) != 1:
        raise MigrationRefused(
            "the form has no migration, or more than one", hint="give its SQL, the file that holds it, or a release"
        )
    return Migration(
        str(params["database"]), _read(job, file) if file else text, str(params.get("rollback") or ""),
        params["on_failure"], release, f"file {file}" if file else "" if release else "the form",
    )  # fmt: skip


def _read(job: Job, file: str) -> str:
    try:
        if file.startswith("/"):
            return Path(file).read_text(encoding="utf-8")
        return job.store.get(f"{job.site.name}/{IN_STORE}{file}").decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationRefused(
            f"{file} can't be read on {job.run.host}: {error}", hint="check its name, mode and encoding (UTF-8)"
        ) from error


def _start_at(context: Context) -> int | None:
    start_at = context["params"].get("start_at")
    return int(start_at) if start_at is not None else None
