"""The record of every act: whether it is whole, and what it says."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from upkeep.commands.base import Commands, add, group, open_ledger

if TYPE_CHECKING:
    from upkeep.ledger import Head, Ledger

WHY_CHARS = 200


def register(commands: Commands) -> None:
    book = group(commands, "ledger", "The record of every act.")
    checked = add(book, "verify", verify_ledger)
    checked.add_argument("site", nargs="?")
    checked.add_argument("--noted", type=noted_head, action="append", default=[], metavar="SITE:SEQ:HASH")
    shown = add(book, "show", show_ledger)
    shown.add_argument("site", nargs="?")
    shown.add_argument("--last", type=_count, default=50, metavar="N", help="how many acts; default: 50")


def verify_ledger(options: argparse.Namespace) -> int:
    """Whether any row was altered, removed or reordered; --noted compares with a head that a report printed.

    Exit status 1 where one was, and for a site of which there is no row: nothing was proven.
    """
    from upkeep.ledger import verify

    ledger = open_ledger()
    found = verify(ledger, options.site, noted=options.noted)
    chains = [chain for chain in found.chains if chain.count or chain.problems]
    for chain in chains:
        head = f"head {chain.head.site}:{chain.head.seq}:{chain.head.hash}" if chain.head else "no head"
        print(f"{'broken' if chain.problems else 'whole '}  {chain.site}: {chain.count} rows, {head}")
    for problem in found.problems:
        print(f"        {problem.site or 'database'}: {problem.what}")
    if not chains:
        print(_nothing(ledger, options.site))
    return 0 if found.clean and (chains or not options.site) else 1


def show_ledger(options: argparse.Namespace) -> int:
    """The last acts, newest last; below one that failed, why."""
    from upkeep.reports.attempts import one_line, take_apart, visible

    ledger = open_ledger()
    records = ledger.acts(site=options.site, limit=options.last, newest_first=True)
    for record in reversed(records):
        row = record.started
        approved = f"  (approved by {row.approver})" if row.approver else ""
        where, command = f"{row.site}/{row.target}", one_line(row.command)
        line = f"{row.at[:19]}Z  {record.state:<8} {row.duty:<20} {where:<24} {row.actor}  {command}{approved}"
        print(visible(line))
        if record.finished and record.finished.error:
            print(f"      {one_line(take_apart(visible(record.finished.error)).why, WHY_CHARS)}")
    if not records:
        print(_nothing(ledger, options.site))
    return 0


def noted_head(text: str) -> Head:
    """As a report or a page of evidence prints it."""
    from upkeep.ledger import Head

    site, seq, digest = [*text.split(":"), "", ""][:3]
    if not seq.isdecimal() or not digest:
        raise argparse.ArgumentTypeError(f"{text!r} is not like shop:43:75c83441d29d..., as each report prints it")
    return Head(site, int(seq), digest)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of acts")
    return int(text)


def _nothing(ledger: Ledger, site: str | None) -> str:
    return f"the ledger {ledger.place} holds no rows{f' of {site}' if site else ''} yet"
