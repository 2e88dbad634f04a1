"""What a site's database accounts may do, and what they still lack."""

from __future__ import annotations

import argparse

from upkeep.commands.base import Commands, add, job_of
from upkeep.engines.grants import FLAVOURS, PARTS, Names, grants, written
from upkeep.errors import SiteFileError


def register(commands: Commands) -> None:
    granting = add(commands, "grants", print_grants)
    granting.add_argument("flavour", choices=FLAVOURS, nargs="?")
    granting.add_argument("--site", metavar="SITE", help="look at the site's databases for what their accounts lack")
    granting.add_argument("--part", choices=PARTS, default="daily")
    granting.add_argument("--account", default="{account}", help="as it is to stand there: \"upkeep@'10.1.%%'\"")
    granting.add_argument("--database", default="{database}", metavar="NAME")
    granting.add_argument("--owner", default="{owner}", metavar="ROLE", help="PostgreSQL: whose the tables are")
    for option, rule in (("--purge", "a purge rule"), ("--tend", "upkeep"), ("--partitions", "a partition rule")):
        granting.add_argument(option, action="append", default=[], metavar="TABLE", help=f"a table with {rule}")


def print_grants(options: argparse.Namespace) -> int:
    """The statements that give an account what Upkeep's duties need, each with those duties; runs none of them.

    With --site: only those that the site's own accounts lack now; exit status 1 where there are any.
    """
    if options.site:
        return _print_lacking(options.site)
    if not options.flavour:
        raise SiteFileError("nobody said for which server", hint="upkeep grants mysql, or: upkeep grants --site NAME")
    tables = {"purge_rows": options.purge, "tend_tables": options.tend, "tend_partitions": options.partitions}
    names = Names(options.account, options.database, tables, options.owner)
    for grant in written(options.flavour, grants(options.flavour, options.part), names):
        print(grant.line)
    return 0


def _print_lacking(site: str) -> int:
    from upkeep.duties.first_look import look_at, look_at_restorer

    job = job_of(site)
    lacking = False
    for database in job.site.databases:
        looks = [("the site's duties need", look_at)]
        looks += [("restores need", look_at_restorer)] if database.restore_conn_id else []
        for what, look in looks:
            found = look(job, database.name)
            lacking = lacking or bool(found.lacking)
            said = f"lacks of what {what}:" if found.lacking else f"has all that {what}"
            print(f"{database.name} ({found.server}): {found.account} {said}")
            for grant in found.lacking:
                print(f"  {grant.line}")
    return 1 if lacking else 0
