"""The record of every act: whether it is whole, and what it says."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from upkeep.commands.base import Commands, add, group, open_ledger

if TYPE_CHECKING:
    from upkeep.ledger import Head


def register(commands: Commands) -> None:
    book = group(commands, "ledger", "The record of every act.")
    checked = add(book, "verify", verify_ledger)
    checked.add_argument("site", nargs="?")
    checked.add_argument("--noted", type=noted_head, action="append", default=[], metavar="SITE:SEQ:HASH")
    shown = add(book, "show", show_ledger)
    shown.add_argument("site", nargs="?")
    shown.add_argument("--last", type=int, default=50, metavar="N")


def verify_ledger(options: argparse.Namespace) -> int:
    """Whether any row was altered, removed or reordered; --noted compares with a head that a report printed."""
    from upkeep.ledger import verify

    ledger = open_ledger()
    found = verify(ledger, options.site, noted=options.noted)
    for chain in found.chains:
        head = f"head {chain.head.site}:{chain.head.seq}:{chain.head.hash}" if chain.head else "no head"
        print(f"{'broken' if chain.problems else 'whole '}  {chain.site}: {chain.count} rows, {head}")
    for problem in found.problems:
        print(f"        {problem.site or 'database'}: {problem.what}")
    if not found.chains:
        print(f"the ledger {ledger.place} holds no rows yet")
    return 0 if found.clean else 1


def show_ledger(options: argparse.Namespace) -> int:
    """The last acts, newest last."""
    records = open_ledger().acts(site=options.site, limit=options.last, newest_first=True)
    for record in reversed(list(records)):
        row = record.started
        approved = f"  (approved by {row.approver})" if row.approver else ""
        where = f"{row.site}/{row.target}"
        line = f"{row.at[:19]}Z  {record.state:<8} {row.duty:<20} {where:<24} {row.actor}  {row.command}"
        print(line + approved)
    return 0


def noted_head(text: str) -> Head:
    """As a report or a page of evidence prints it."""
    from upkeep.ledger import Head

    site, seq, digest = text.split(":")
    return Head(site, int(seq), digest)
