"""The command line: what an operator or an auditor needs when Airflow is not at hand."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from upkeep.commands import backups, evidence, grants, init, ledger, migrate, plans, prove, restore, sites, status
from upkeep.errors import UpkeepError

GROUPS = (sites, init, grants, status, backups, plans, prove, restore, migrate, ledger, evidence)
"""In the order of ``upkeep --help``. Each command imports its duty when it runs, so that asking for help is quick."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 something is wrong with what was looked at, 2 it could not be looked at, 130 it was
    stopped by hand.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    parser = argparse.ArgumentParser(prog="upkeep", description="Look after the systems described in the site files.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.register(commands)
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except UpkeepError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where something was asked
        print("\nERROR: stopped by hand\nHINT: upkeep ledger show has how far it got", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
