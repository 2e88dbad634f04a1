"""Putting back what is lost: rows, a backup, or the right to write."""

from __future__ import annotations

import argparse
import json

from upkeep.commands.approving import approved, require_approver, typed
from upkeep.commands.base import Commands, add, group, job_of
from upkeep.domain.restoring import RestoreRequest, moment_of


def register(commands: Commands) -> None:
    restores = group(commands, "restore", "Put something back.")
    rows = add(restores, "rows", restore_purged)
    for name in ("site", "database", "table"):
        rows.add_argument(name)
    rows.add_argument("--archive", action="append", metavar="ID", help="only these; default: all of the table's")
    rows.add_argument("--into", metavar="TABLE", help="another table of the same columns")
    rows.add_argument("--dry-run", action="store_true")

    back = add(restores, "backup", restore_backup)
    back.add_argument("site")
    back.add_argument("target")
    which = back.add_mutually_exclusive_group()
    which.add_argument("--backup", metavar="ID", help="default: the newest that is proven")
    which.add_argument("--before", metavar="TIME", help="the newest proven before this, in the site's time zone")
    back.add_argument("--to", choices=("beside", "scratch", "over"), default="beside", help="default: beside")
    back.add_argument("--table", action="append", metavar="NAME", help="beside, with the rows of these tables only")
    back.add_argument("--folder", metavar="PATH", help="a Redis: where its file goes")
    back.add_argument("--waive-stop", metavar="REASON", help="over live although applications may write meanwhile")
    back.add_argument("--waive-backup", metavar="REASON", help="over live without a fresh backup of what is live")
    back.add_argument("--yes", action="store_true", help="don't ask")
    back.add_argument("--dry-run", action="store_true", help="only the plan")
    resume = add(restores, "resume", resume_writes)
    resume.add_argument("site")
    resume.add_argument("target")
    resume.add_argument("--finish-swap", action="store_true", help="finish a swap that was begun first; needs no store")


def restore_purged(options: argparse.Namespace) -> int:
    """Put purged rows back from their archives; rows that are in the table stay as they are there."""
    from upkeep.duties.restore_rows import restore_rows

    done = restore_rows(
        job_of(options.site),
        options.database,
        options.table,
        options.archive or "all",
        into_table=options.into,
        dry_run=options.dry_run,
    )
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def restore_backup(options: argparse.Namespace) -> int:
    """Say what a restore would do and what would be lost; then, with --yes or once it is typed, do it."""
    from upkeep.duties.restore import plan_restore, restore
    from upkeep.duties.restore_over import Waivers, restore_over

    job = job_of(options.site)
    request = RestoreRequest(
        options.target,
        "tables" if options.table and options.to == "beside" else options.to,
        backup_id=options.backup,
        before=None if options.before is None else moment_of(options.before, job.site.timezone),
        tables=tuple(options.table or ()),
        folder=options.folder or "",
    )
    plan = plan_restore(job, request)
    print("\n".join(plan.lines()))
    if options.dry_run:
        return 0
    over = request.destination == "over"
    who = require_approver(job, dag="restore") if over else ""
    # Over live, a habit of answering yes must not be enough.
    word = options.target if over else "yes"
    if not options.yes and not typed(word, to="go on"):
        print("nothing was done")
        return 1
    request = plan.request
    if over:
        waivers = Waivers(backup=options.waive_backup or "", writes=options.waive_stop or "")
        done = restore_over(job, request, approver=approved(who, word, asked=not options.yes), waivers=waivers)
    else:
        done = restore(job, request)
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def resume_writes(options: argparse.Namespace) -> int:
    """Let applications write again after a restore over live that was given up before its swap, or killed in it."""
    from upkeep.duties.restore_over import finish_swap, let_write

    job = job_of(options.site)
    if options.finish_swap:
        done = finish_swap(
            job,
            options.target,
            approver=lambda: approved(require_approver(job, dag="restore"), "--finish-swap", asked=True),
        )
    else:
        done = let_write(job, options.target)
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0
