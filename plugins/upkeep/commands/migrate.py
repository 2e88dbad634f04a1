"""Migrating a database behind a backup."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from upkeep.commands.approving import approved, require_approver, typed
from upkeep.commands.base import Commands, add, job_of
from upkeep.domain.migration import ON_FAILURE
from upkeep.errors import MigrationFailed, MigrationRefused


def register(commands: Commands) -> None:
    migrating = add(commands, "migrate", migrate_database)
    migrating.add_argument("site")
    migrating.add_argument("database")
    migrating.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the SQL that is to run")
    migrating.add_argument(
        "--command", dest="command_label", metavar="RELEASE", help="run the site's migrations.command for this release"
    )
    migrating.add_argument("--rollback", type=Path, metavar="FILE", help="the SQL that takes it back; rehearsed too")
    migrating.add_argument("--on-failure", choices=ON_FAILURE, default="stop", help="default: stop")
    migrating.add_argument("--rehearse", action="store_true", help="only on the copy; nothing live is touched")
    migrating.add_argument(
        "--start-at", type=int, metavar="N", help="go on with statement N of one that was begun; 1: all of it again"
    )
    migrating.add_argument("--yes", action="store_true", help="don't ask")


def migrate_database(options: argparse.Namespace) -> int:
    """Rehearse a migration on a restored copy and say what it did; then, once it is typed, run it behind a backup.

    Exit status 1: it failed, and what was chosen for that was done.
    """
    from upkeep.duties.migrate import migrate, refuse_begun
    from upkeep.duties.migration_plan import Migration, plan_migration
    from upkeep.duties.rehearse_migration import rehearse_migration

    job = job_of(options.site)
    rollback = _sql_of(options.rollback) if options.rollback else ""
    if bool(options.file) == bool(options.command_label):
        raise MigrationRefused("there is no migration, or two", hint="name its FILE, or give --command RELEASE")
    text = _sql_of(options.file) if options.file else ""
    label, source = options.command_label or "", f"file {options.file}" if options.file else ""
    migration = Migration(options.database, text, rollback, options.on_failure, label, source)
    print("\n".join(plan_migration(job, migration).lines()))
    who = ""
    if not options.rehearse:
        who = require_approver(job, dag="migrate")
        refuse_begun(job, migration, start_at=options.start_at)
    try:
        if (options.start_at or 1) == 1 or options.rehearse:
            rehearsed = rehearse_migration(job, migration)
            print(f"rehearsed on {rehearsed['backup_id']}:")
            print("\n".join(f"  {line}" for line in rehearsed["rehearsal"]))
        if options.rehearse:
            return 0
        if not options.yes and not typed(options.database, to="run it"):
            print("nothing was done")
            return 1
        done = migrate(
            job, migration, approver=approved(who, options.database, asked=not options.yes), start_at=options.start_at
        )
    except MigrationFailed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def _sql_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationRefused(f"{file} can't be read: {error}", hint="check its name and encoding (UTF-8)") from error
