"""What an auditor asks for, as files to hand over."""

from __future__ import annotations

import argparse
from pathlib import Path

from upkeep.commands.base import Commands, add, job_of
from upkeep.commands.ledger import noted_head


def register(commands: Commands) -> None:
    exporting = add(commands, "evidence", export)
    exporting.add_argument("site")
    exporting.add_argument("--from", dest="since", metavar="DATE", help="the first day; default: a year back")
    exporting.add_argument("--to", dest="until", metavar="DATE", help="the last day, counted whole; default: today")
    exporting.add_argument("--target", metavar="NAME", help="only this one; default: all of the site")
    exporting.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page; its JSON goes beside it")
    exporting.add_argument(
        "--noted",
        type=noted_head,
        action="append",
        default=[],
        metavar="SITE:SEQ:HASH",
        help="a head that was printed before",
    )


def export(options: argparse.Namespace) -> int:
    """One page for auditors: backups taken and missing, proofs, failures, removals, changes; from the ledger alone.

    Exit status 1 when the ledger is broken: the page is written all the same, and says where.
    """
    from upkeep.duties.export_evidence import export_evidence

    done = export_evidence(
        job_of(options.site),
        options.out,
        since=options.since,
        until=options.until,
        target=options.target,
        noted=options.noted,
    )
    print(done["verdict"])
    for problem in done["problems"]:
        print(f"  {problem}")
    print(f"head    {done['head'] or 'none'}")
    print(f"sha256  {done['sha256']}  {done['page']}")
    print(f"sha256  {done['json_sha256']}  {done['json']}")
    return 0 if done["whole"] else 1
