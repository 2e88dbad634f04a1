"""What the commands share: how one is listed, and how it gets a site, a job and the ledger.

Connections come from ``AIRFLOW_CONN_<ID>`` like everywhere else in Airflow, as JSON or as a URI.
"""

from __future__ import annotations

import argparse
import inspect
import os
import pwd
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from upkeep.connections import connection_from_environment, filesystem_from_environment
from upkeep.errors import ConnectionUnknown, LedgerUnavailable, SiteFileError
from upkeep.resources import sites_folder
from upkeep.settings import SUDO_USER, airflow_home

if TYPE_CHECKING:
    from upkeep.duties.job import Job
    from upkeep.ledger import Ledger
    from upkeep.site import Site

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command is added: below ``upkeep``, or below one of its groups."""


def add(under: Commands, name: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """List ``command`` with the first paragraph of its docstring, all of which is its help. Returns its parser, for its
    arguments.
    """
    says = inspect.getdoc(command) or ""
    added = under.add_parser(name, help=says.partition("\n\n")[0], description=says)
    added.set_defaults(command=command)
    return added


def group(under: Commands, name: str, says: str) -> Commands:
    """A command that only holds others: ``upkeep plan WHAT``."""
    return under.add_parser(name, help=says).add_subparsers(required=True, metavar="WHAT")


def job_of(site: str) -> Job:
    return job_for(site_of(site))


def job_for(site: Site) -> Job:
    from upkeep.duties.job import Job, Run

    return Job(
        site=site,
        run=Run(run_id=f"cli-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}", actor=account(), trigger="cli"),
        ledger=open_ledger(),
        connect=connection_from_environment,
        make_filesystem=filesystem_from_environment,
    )


def account() -> str:
    """Who runs the command, for the ledger. Not ``getpass.getuser``: that believes what the environment says."""
    uid = os.getuid()
    if uid == 0 and SUDO_USER.value:
        return SUDO_USER.value
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's arbitrary number
        return f"uid {uid}"


def site_of(name: str) -> Site:
    from upkeep.site import load_sites

    sites, broken = load_sites(sites_folder())
    if name not in sites:
        for error in broken:
            print(f"broken  {error}", file=sys.stderr)
        raise SiteFileError(
            f"no usable file in {sites_folder()} describes site {name!r}",
            hint=f"known sites: {', '.join(sites) or 'none'}; UPKEEP_SITES names another folder",
        )
    return sites[name]


def open_ledger() -> Ledger:
    from upkeep.ledger import Ledger, default_url, url_of

    try:
        return Ledger(url_of(connection_from_environment("upkeep_ledger")))
    except ConnectionUnknown:
        home = airflow_home()
    try:
        home.mkdir(parents=True, exist_ok=True)  # as Airflow would: upkeep may be what runs first on a machine
    except OSError as error:
        raise LedgerUnavailable(
            f"the ledger can't be kept in {home}: {error.strerror}",
            hint="set AIRFLOW_HOME as Airflow has it, or make a connection upkeep_ledger",
        ) from error
    return Ledger(default_url(home))
