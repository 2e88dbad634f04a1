"""The site files: whether they hold, what may stand in them, and what else is set here."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from upkeep.commands.base import Commands, add
from upkeep.resources import refuse_two_copies, sites_folder
from upkeep.settings import in_force, plugins_folder, table


def register(commands: Commands) -> None:
    checked = add(commands, "check", check)
    checked.add_argument("files", type=Path, nargs="*", metavar="FILE", help="default: all of UPKEEP_SITES")
    described = add(commands, "schema", schema)
    described.add_argument("--markdown", action="store_true", help="as docs/site_file.md has it")
    settings = add(commands, "config", config)
    settings.add_argument("--markdown", action="store_true", help="as docs/configuration.md has it")


def check(options: argparse.Namespace) -> int:
    """Every problem of every file, with its path in the file."""
    from upkeep.site import load_files, load_sites

    refuse_two_copies(plugins_folder())
    sites, broken = load_files(options.files) if options.files else load_sites(sites_folder())
    for site in sites.values():
        names = ", ".join(f"{target.name} ({target.engine})" for target in site.targets)
        print(f"ok      {site.name}: {names}; store {site.store.url}")
    for error in broken:
        print(f"broken  {error}")
    return 1 if broken else 0


def schema(options: argparse.Namespace) -> int:
    """The JSON Schema of a site file, for editors."""
    from upkeep.site import Site
    from upkeep.site.reference import reference

    if options.markdown:
        print(reference())
        return 0
    print(json.dumps(Site.model_json_schema(), indent=2, ensure_ascii=False))
    return 0


def config(options: argparse.Namespace) -> int:
    """Every environment variable and Airflow setting that Upkeep reads, and what is set here; never a secret."""
    if options.markdown:
        print(table())
        return 0
    for name, value, meaning in in_force():
        print(f"{name} = {value}\n    {meaning}")
    return 0
