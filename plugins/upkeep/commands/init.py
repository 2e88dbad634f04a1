"""A first site file for a database that runs already."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from upkeep.commands.base import Commands, add, job_for
from upkeep.domain.first_site import Asked, advice_on, site_text
from upkeep.errors import SiteFileError
from upkeep.settings import SITES


def register(commands: Commands) -> None:
    first = add(commands, "init", init)
    first.add_argument("name", nargs="?")
    first.add_argument("--engine", choices=("mysql", "postgres"))
    first.add_argument("--conn-id", metavar="ID", help="Airflow connection; its AIRFLOW_CONN_<ID> must be set here")
    first.add_argument("--database", metavar="NAME", help="default: the connection's schema")
    first.add_argument("--store", metavar="URL")
    first.add_argument("--store-conn-id", metavar="ID")
    first.add_argument(
        "--scratch-conn-id", metavar="ID", help="an empty server where backups are restored to prove them"
    )
    first.add_argument("--timezone", metavar="ZONE")
    first.add_argument("--title")
    first.add_argument("--spool", metavar="DIR", default="/var/spool/upkeep")
    first.add_argument("--folder", type=Path, metavar="DIR", help="default: UPKEEP_SITES, else ./sites")


def init(options: argparse.Namespace) -> int:
    """Look at a database and write a first site file for it; asks for what no option says. Changes nothing there."""
    from upkeep.duties.first_look import first_plan, look_at, looked_at, missing
    from upkeep.site import NAME, load_sites, site_from

    name = _answer(options.name, "name of the system: lower-case letters, digits, - and _, such as shop", NAME)
    path = (options.folder or Path(SITES.value or "sites")).absolute() / f"{name}.yaml"
    if path.exists() or name in (load_sites(path.parent)[0] if path.parent.is_dir() else {}):
        there = path if path.exists() else f"a site called {name} in {path.parent}"
        raise SiteFileError(f"{there} is there already", hint="choose another name, or change that file by hand")
    engine = _answer(options.engine, "mysql (or MariaDB) or postgres", "mysql|postgres")
    conn_id = _answer(options.conn_id, "Airflow connection to the database", ".+", f"{name}_{engine}")
    store = _answer(options.store, "URL of the folder or bucket for backups", ".+://.+", "file:///backup/upkeep")
    store_conn_id = options.store_conn_id or ""
    if not store.startswith("file:"):
        pattern = ".+" if store.startswith("oss:") else ".*"
        store_conn_id = _answer(options.store_conn_id, "Airflow connection to that bucket", pattern)
    asked = Asked(
        name=name,
        title=options.title or name,
        timezone=_answer(options.timezone, "time zone", ".+", "Asia/Shanghai"),
        engine=engine,
        conn_id=conn_id,
        database=options.database or "",
        store_url=store,
        store_conn_id=store_conn_id,
        scratch_conn_id=options.scratch_conn_id or "",
        spool=options.spool,
    )
    # Checked as check would, before the server is asked anything.
    job = job_for(site_from(site_text(asked), path))
    found = look_at(job, "app")
    looked = looked_at(found, asked.database or job.connect(asked.conn_id).schema or "app")
    text = site_text(asked, looked)
    site_from(text, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    print(f"found: {looked.in_words}; logged in as {found.account}")
    print(f"written: {path}")
    print("\nmissing before the first night:")
    lacking = [f"{one.what}\n      {one.remedy}" for one in missing(job, "app", found)] + advice_on(asked, looked)
    print("\n".join(f"  - {line}" for line in lacking) or "  nothing")
    print("\nfirst plan, if nothing is changed:")
    for line in first_plan(job, "app", datetime.now(UTC)):
        print(f"  {line}")
    print(f"\nnext: export UPKEEP_SITES={path.parent}; upkeep check; then {name}_daily in Airflow with Dry run on")
    return 0


def _answer(given: str | None, question: str, pattern: str, default: str = "") -> str:
    """An option's value, else what a person at the terminal answers. Errors: ``SiteFileError`` where nobody can."""
    if given is None and sys.stdin.isatty():
        given = input(f"{question}{f' [{default}]' if default else ''}: ").strip()
    answer = given or default
    if not re.fullmatch(pattern, answer):
        like = f", such as {default}" if default else ""
        raise SiteFileError(
            f"{answer!r} is not an answer to: {question}{like}" if answer else f"nobody said: {question}",
            hint="upkeep init --help names the option for each answer",
        )
    return answer
