"""Whether backups can be restored: one by one, or the whole site."""

from __future__ import annotations

import argparse
import json
import sys

from upkeep.commands.base import Commands, add, job_of
from upkeep.domain.backup import is_backup_id
from upkeep.errors import BackupError, GoalMissed


def register(commands: Commands) -> None:
    proving = add(commands, "prove", prove_backups)
    proving.add_argument("site")
    proving.add_argument("target")
    proving.add_argument("backup_id", nargs="?", metavar="BACKUP", help="default: those the site wants restored")
    proving.add_argument("--dry-run", action="store_true")

    drilling = add(commands, "drill", drill_site)
    drilling.add_argument("site")
    drilling.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of the site")
    drilling.add_argument("--random", action="store_true", help="from random proven backups, not the newest")
    drilling.add_argument(
        "--backup", type=_target_and_id, action="append", default=[], metavar="TARGET/ID", help="from this one instead"
    )
    drilling.add_argument("--dry-run", action="store_true")


def prove_backups(options: argparse.Namespace) -> int:
    """Restore backups of one target into its scratch server and compare them; exit status 1 for a bad one."""
    from upkeep.duties.prove import prove

    try:
        done = prove(job_of(options.site), options.target, dry_run=options.dry_run, backup_id=options.backup_id)
    except BackupError as error:
        print(f"BAD: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def drill_site(options: argparse.Namespace) -> int:
    """Rebuild a whole site in scratch, or some targets of it, and measure; exit status 1 for a bad backup or a goal
    missed.
    """
    from upkeep.duties.drill import drill

    try:
        done = drill(
            job_of(options.site),
            targets=options.targets,
            backups=dict(one.split("/", 1) for one in options.backup),
            pick="random" if options.random else None,
            dry_run=options.dry_run,
        )
    except (BackupError, GoalMissed) as error:
        print(f"BAD: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def _target_and_id(text: str) -> str:
    target, _, backup_id = text.partition("/")
    if not target or not is_backup_id(backup_id):
        raise argparse.ArgumentTypeError(f"{text!r} is not like app/20261121T020003Z-0a1b")
    return text
