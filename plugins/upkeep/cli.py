"""The command line: what an operator or an auditor needs when Airflow is not at hand."""

from __future__ import annotations

import argparse
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence

from upkeep import __version__
from upkeep.commands import backups, evidence, grants, init, ledger, migrate, plans, prove, restore, sites, status
from upkeep.errors import UpkeepError

GROUPS = (sites, init, grants, status, backups, plans, prove, restore, migrate, ledger, evidence)
"""In the order of ``upkeep --help``. Each command imports its duty when it runs, so that asking for help is quick."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 something is wrong with what was looked at, 2 it could not be looked at, 130 it was
    stopped by hand, 141 whoever read what it prints went away.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Chinese shows escapes, no traceback
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    parser = argparse.ArgumentParser(prog="upkeep", description="Look after the systems described in the site files.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.register(commands)
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # Python writes what is left when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UpkeepError as error:
        notes = (f"NOTE: {note}" for note in getattr(error, "__notes__", ()))
        print(f"ERROR: {error}", *notes, sep="\n", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where something was asked
        print("\nERROR: stopped by hand\nHINT: upkeep ledger show has how far it got", file=sys.stderr)
        return 130


def _reader_is_gone() -> bool:
    """As with ``upkeep backups | head -1``; a pipe to a program or a server breaks otherwise too."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


if __name__ == "__main__":
    sys.exit(main())
