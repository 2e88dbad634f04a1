"""The command line: what an operator or an auditor needs when Airflow is not at hand.

Connections come from ``AIRFLOW_CONN_<ID>`` like everywhere else in Airflow, as JSON or as a URI.
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from upkeep.connections import connection_from_environment, filesystem_from_environment
from upkeep.domain.backup import BackupRef, is_backup_id
from upkeep.domain.first_site import Asked, advice_on, site_text
from upkeep.domain.migration import ON_FAILURE
from upkeep.domain.restoring import Wish
from upkeep.domain.units import human_bytes
from upkeep.duties.catalogue import pin, read_catalogue, read_manifest, read_pin, unpin
from upkeep.duties.clean_docker import plan_clean_docker
from upkeep.duties.clean_logs import plan_clean_logs
from upkeep.duties.drill import drill
from upkeep.duties.first_look import first_plan, look_at, looked_at, missing
from upkeep.duties.forecast_capacity import plan_forecast
from upkeep.duties.forget import plan_forgetting
from upkeep.duties.job import Job, Run
from upkeep.duties.migrate import migrate, refuse_begun
from upkeep.duties.migration_plan import Migration, plan_migration
from upkeep.duties.prove import prove
from upkeep.duties.purge_rows import plan_purge
from upkeep.duties.rehearse_migration import rehearse_migration
from upkeep.duties.restore import plan_restore, restore
from upkeep.duties.restore_over import Waivers, let_write, restore_over
from upkeep.duties.restore_rows import restore_rows
from upkeep.duties.status import standings
from upkeep.duties.tend_partitions import plan_partitions
from upkeep.duties.tend_tables import plan_tables
from upkeep.engines.grants import FLAVOURS, PARTS, Names, grants, written
from upkeep.errors import (
    BackupError,
    ConnectionUnknown,
    GoalMissed,
    MigrationFailed,
    MigrationRefused,
    RestoreRefused,
    SiteFileError,
    SourceError,
    UpkeepError,
)
from upkeep.ledger import Head, Ledger, default_url, url_of, verify
from upkeep.resources import refuse_two_copies, sites_folder
from upkeep.settings import SITES, airflow_home, in_force, plugins_folder, table
from upkeep.site import NAME, Site, load_site, load_sites, site_from

CAPACITY_LINES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 something is wrong with what was looked at, 2 it could not be looked at."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except UpkeepError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2


def check(options: argparse.Namespace) -> int:
    """Every problem of every file, with its path in the file."""
    refuse_two_copies(plugins_folder())
    files = [Path(name) for name in options.files]
    if files:
        found = [_checked(path) for path in files]
        sites = [site for site in found if isinstance(site, Site)]
        broken = [error for error in found if isinstance(error, SiteFileError)]
    else:
        by_name, broken = load_sites(sites_folder())
        sites = list(by_name.values())
    for site in sites:
        names = ", ".join(f"{target.name} ({target.engine})" for target in site.targets)
        print(f"ok      {site.name}: {names}; store {site.store.url}")
    for error in broken:
        print(f"broken  {error}")
    return 1 if broken else 0


def schema(_: argparse.Namespace) -> int:
    """The JSON Schema of a site file, for editors."""
    print(json.dumps(Site.model_json_schema(), indent=2, ensure_ascii=False))
    return 0


def init(options: argparse.Namespace) -> int:
    """Look at a database and write a first site file for it; asks for what no option says. Changes nothing there."""
    name = _answer(options.name, "name of the system, such as shop", NAME)
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
    job = _job_for(site_from(site_text(asked), path))
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
        raise SiteFileError(
            f"{answer!r} is no answer to: {question}" if answer else f"nobody said: {question}",
            hint="give it as an option: upkeep init --help",
        )
    return answer


def print_grants(options: argparse.Namespace) -> int:
    """The statements that give an account what Upkeep's duties need, each with those duties; runs none of them.

    With --site: only those that the site's own accounts lack now; exit status 1 where there are any.
    """
    if options.site:
        return _print_lacking(_job(options.site))
    if not options.flavour:
        raise SiteFileError("nobody said for which server", hint="upkeep grants mysql, or: upkeep grants --site NAME")
    tables = {"purge_rows": options.purge, "tend_tables": options.tend, "tend_partitions": options.partitions}
    names = Names(options.account, options.database, tables, options.owner)
    for grant in written(options.flavour, grants(options.flavour, options.part), names):
        print(grant.line)
    return 0


def _print_lacking(job: Job) -> int:
    lacking = False
    for database in job.site.databases:
        found = look_at(job, database.name)
        lacking = lacking or bool(found.lacking)
        said = "lacks" if found.lacking else "has all that the site's duties need"
        print(f"{database.name} ({found.server}): {found.account} {said}")
        for grant in found.lacking:
            print(f"  {grant.line}")
    return 1 if lacking else 0


def config(options: argparse.Namespace) -> int:
    """Every environment variable and Airflow setting that Upkeep reads, and what is set here; never a secret."""
    if options.markdown:
        print(table())
        return 0
    for name, value, meaning in in_force():
        print(f"{name} = {value}\n    {meaning}")
    return 0


def backups(options: argparse.Namespace) -> int:
    """What the store holds, and how far each backup has been proven."""
    job = _job(options.site)
    names = [options.target] if options.target else [target.name for target in job.site.targets]
    rows: list[dict[str, Any]] = []
    for name in names:
        job.site.target(name)
        catalogue = read_catalogue(job.store, job.site.name, name)
        for backup in catalogue.backups:
            rows.append(
                {
                    "target": name,
                    "backup_id": backup.ref.backup_id,
                    "taken_at": backup.taken_at.isoformat(),
                    "bytes": backup.size,
                    "standing": backup.standing,
                    "pinned": read_pin(job.store, backup.ref) if backup.pinned else None,
                }
            )
        rows += [{"target": name, "backup_id": orphan, "standing": "unfinished"} for orphan in catalogue.orphans]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        size = human_bytes(row["bytes"]) if "bytes" in row else ""
        pinned = f"  pinned by {row['pinned']}" if row.get("pinned") else ""
        print(f"{row['target']:<20} {row['backup_id']}  {size:>10}  {row['standing']:<10}{pinned}".rstrip())
    if not rows:
        print(f"no backups of {job.site.name} in {job.store.url}")
    return 0


def show_backup(options: argparse.Namespace) -> int:
    """The manifest of one backup, with the line that restores it."""
    job = _job(options.site)
    manifest, raw = read_manifest(job.store, BackupRef(job.site.name, options.target, options.backup_id))
    print(raw.decode(), end="")
    print(f"\n# in a folder that holds {', '.join(file.name for file in manifest.files)}:\n{manifest.restore}")
    return 0


def pin_backup(options: argparse.Namespace) -> int:
    """Keep one backup whatever retention says."""
    job = _job(options.site)
    ref = BackupRef(job.site.name, options.target, options.backup_id)
    with job.ledger.record(job.act("pin", options.target, command=f"pin {ref.backup_id}")) as entry:
        entry.note(reason=options.reason)
        pin(job.store, ref, by=job.run.actor, reason=options.reason, at=job.now())
    return 0


def unpin_backup(options: argparse.Namespace) -> int:
    """Let retention decide about one backup again."""
    job = _job(options.site)
    ref = BackupRef(job.site.name, options.target, options.backup_id)
    with job.ledger.record(job.act("unpin", options.target, command=f"unpin {ref.backup_id}")):
        unpin(job.store, ref)
    return 0


def status(options: argparse.Namespace) -> int:
    """Each site's last report and the runs that are missing; with --max-age for an outside watchdog's exit status."""
    now, ledger = datetime.now(UTC), _ledger()
    sites = [_site(options.site)] if options.site else list(load_sites(sites_folder())[0].values())
    stale = False
    for site in sites:
        for standing in standings(site, ledger, now):
            too_old = bool(options.max_age) and standing.older_than(timedelta(hours=options.max_age), now)
            stale = stale or too_old
            last = (
                f"{standing.last.at:%Y-%m-%d %H:%M}Z {'ok' if standing.last.ok else 'RED'}"
                if standing.last
                else "never"
            )
            print(f"{site.name} {standing.rhythm}: last report {last}{', too old' if too_old else ''}")
            for entry in standing.missed:
                print(f"    missing {entry.what}")
    return 1 if stale else 0


def plan_retention(options: argparse.Namespace) -> int:
    """What retention would keep and remove now, with a reason for each; changes nothing."""
    job = _job(options.site)
    for name in [options.target] if options.target else [target.name for target in job.site.targets]:
        print("\n".join(plan_forgetting(job, name).lines()))
    return 0


def _databases(job: Job, options: argparse.Namespace) -> list[str]:
    return [options.database] if options.database else [database.name for database in job.site.databases]


def plan_purging(options: argparse.Namespace) -> int:
    """What each purge rule would delete now, or why it is refused and what to do about it; changes nothing."""
    job = _job(options.site)
    plans = [(name, plan) for name in _databases(job, options) for plan in plan_purge(job, name)]
    for name, plan in plans:
        print(f"{name}: " + "\n".join(plan.lines()))
    if not plans:
        print(f"site {job.site.name} has no purge rules")
    return 1 if any(plan.refusals for _, plan in plans) else 0


def plan_partitioning(options: argparse.Namespace) -> int:
    """Which partitions would be made, split, detached or dropped now, and what is left to people; changes nothing."""
    job = _job(options.site)
    plans = [(name, plan) for name in _databases(job, options) for plan in plan_partitions(job, name)]
    for name, plan in plans:
        print(f"{name}: " + "\n".join(plan.lines()))
    if not plans:
        print(f"site {job.site.name} has no partition rules")
    return 1 if any(plan.advice for _, plan in plans) else 0


def plan_tending(options: argparse.Namespace) -> int:
    """What each table needs now, what is refused and why, and what is in order; changes nothing."""
    job = _job(options.site)
    plans = [(name, plan_tables(job, name)) for name in _databases(job, options)]
    for name, plan in plans:
        print("\n".join(f"{name}: {line}" for line in plan.lines()))
    if not plans:
        print(f"site {job.site.name} has no databases")
    return 1 if any(plan.refused for _, plan in plans) else 0


def plan_cleaning_logs(options: argparse.Namespace) -> int:
    """What each log folder's rule would compress and remove now, and why the rest stays; changes nothing."""
    plans = plan_clean_logs(_job(options.site))
    for label, plan in plans.items():
        lines = [str(plan)] if isinstance(plan, SourceError) else list(plan.lines()) or ["nothing there"]
        print("\n  ".join([f"{label}:", *lines]))
    if not plans:
        print(f"no log folder of site {options.site} has keep_days or compress_over_mb")
    return 1 if any(isinstance(plan, SourceError) for plan in plans.values()) else 0


def plan_running_out(options: argparse.Namespace) -> int:
    """When each sampled figure reaches its limit, and what would change it; exit status 1 where that is soon."""
    plan = plan_forecast(_job(options.site))
    print(f"{options.site}: {plan.light}: {plan.summary}")
    for line in plan.shown(len(plan.lines) if options.all else CAPACITY_LINES):
        name = f"{line.metric:<16} {line.target:<28} {line.now:>10} {line.limit:>6}"
        print(f"{name}  {line.forecast.words if line.limit else '':<32} {line.month}".rstrip())
        print("\n".join(f"      {words}" for words in (line.basis, *line.forecast.remarks, *line.changes)))
    for words in (*(odd.words for odd in plan.odd_backups), *plan.replicas):
        print(words)
    return 1 if plan.light != "green" else 0


def plan_cleaning_docker(options: argparse.Namespace) -> int:
    """What would be removed from the site's Docker engine now, and why the rest stays; changes nothing."""
    job = _job(options.site)
    for item in plan_clean_docker(job):
        print(item.line())
    if job.site.docker is None:
        print(f"site {job.site.name} names no Docker engine")
    return 0


def prove_backups(options: argparse.Namespace) -> int:
    """Restore backups of one target into its scratch server and compare them; exit status 1 for a bad one."""
    try:
        done = prove(_job(options.site), options.target, dry_run=options.dry_run, backup_id=options.backup_id)
    except BackupError as error:
        print(f"BAD: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def drill_site(options: argparse.Namespace) -> int:
    """Rebuild a whole site in scratch, or some targets of it, and measure; exit status 1 for a bad backup or a goal
    missed.
    """
    try:
        done = drill(
            _job(options.site),
            targets=options.targets,
            backups=dict(one.split("/", 1) for one in options.backup),
            pick="random" if options.random else None,
            dry_run=options.dry_run,
        )
    except (BackupError, GoalMissed) as error:
        print(f"BAD: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def restore_purged(options: argparse.Namespace) -> int:
    """Put purged rows back from their archives; rows that are in the table stay as they are there."""
    done = restore_rows(
        _job(options.site),
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
    job = _job(options.site)
    wish = Wish(
        options.target,
        "tables" if options.table else options.to,
        backup_id=options.backup,
        before=_moment(options.before, job.site.timezone),
        tables=tuple(options.table or ()),
        folder=options.folder or "",
    )
    plan = plan_restore(job, wish)
    print("\n".join(plan.lines()))
    if options.dry_run:
        return 0
    over = wish.destination == "over"
    # Over live, a habit of answering yes must not be enough.
    word = options.target if over else "yes"
    if not options.yes and input(f"type {word} to go on: ").strip() != word:
        print("nothing was done")
        return 1
    wish = plan.wish
    if over:
        waivers = Waivers(backup=options.waive_backup or "", writes=options.waive_stop or "")
        done = restore_over(job, wish, approver=job.run.actor, waivers=waivers)
    else:
        done = restore(job, wish)
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def resume_writes(options: argparse.Namespace) -> int:
    """Let applications write again after a restore over live that was given up before its swap."""
    print(json.dumps(let_write(_job(options.site), options.target), indent=2, ensure_ascii=False))
    return 0


def migrate_database(options: argparse.Namespace) -> int:
    """Rehearse a migration on a restored copy and say what it did; then, once it is typed, run it behind a backup.

    Exit status 1: it failed, and what was chosen for that was done.
    """
    job = _job(options.site)
    rollback = _sql_of(options.rollback) if options.rollback else ""
    if bool(options.file) == bool(options.command_label):
        raise MigrationRefused("there is no migration, or two", hint="name its FILE, or give --command RELEASE")
    text = _sql_of(options.file) if options.file else ""
    migration = Migration(options.database, text, rollback, options.on_failure, options.command_label or "")
    print("\n".join(plan_migration(job, migration).lines()))
    if not options.rehearse:
        refuse_begun(job, migration, start_at=options.start_at)
    try:
        if (options.start_at or 1) == 1 or options.rehearse:
            rehearsed = rehearse_migration(job, migration)
            print(f"rehearsed on {rehearsed['backup_id']}:")
            print("\n".join(f"  {line}" for line in rehearsed["rehearsal"]))
        if options.rehearse:
            return 0
        if not options.yes and input(f"type {options.database} to run it: ").strip() != options.database:
            print("nothing was done")
            return 1
        done = migrate(job, migration, approver=job.run.actor, start_at=options.start_at)
    except MigrationFailed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 0


def verify_ledger(options: argparse.Namespace) -> int:
    """Whether any row was altered, removed or reordered; --noted compares with a head that a report printed."""
    ledger = _ledger()
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
    records = _ledger().acts(site=options.site, limit=options.last, newest_first=True)
    for record in reversed(list(records)):
        row = record.started
        print(f"{row.at[:19]}Z  {record.state:<8} {row.duty:<13} {row.site}/{row.target}  {row.actor}  {row.command}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upkeep", description="Look after the systems described in the site files.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(under: Any, name: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = under.add_parser(name, help=command.__doc__, description=command.__doc__)
        added.set_defaults(command=command)
        return added

    add(verbs, "check", check).add_argument("files", nargs="*", metavar="FILE", help="default: all of UPKEEP_SITES")
    add(verbs, "schema", schema)
    add(verbs, "config", config).add_argument("--markdown", action="store_true", help="as docs/configuration.md has it")

    first = add(verbs, "init", init)
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

    granting = add(verbs, "grants", print_grants)
    granting.add_argument("flavour", choices=FLAVOURS, nargs="?")
    granting.add_argument("--site", metavar="SITE", help="look at the site's databases for what their accounts lack")
    granting.add_argument("--part", choices=PARTS, default="daily")
    granting.add_argument("--account", default="{account}", help="as it is to stand there: \"upkeep@'10.1.%%'\"")
    granting.add_argument("--database", default="{database}", metavar="NAME")
    granting.add_argument("--owner", default="{owner}", metavar="ROLE", help="PostgreSQL: whose the tables are")
    for option, rule in (("--purge", "a purge rule"), ("--tend", "upkeep"), ("--partitions", "a partition rule")):
        granting.add_argument(option, action="append", default=[], metavar="TABLE", help=f"a table with {rule}")

    standing = add(verbs, "status", status)
    standing.add_argument("site", nargs="?")
    standing.add_argument(
        "--max-age", type=float, metavar="HOURS", help="exit 1 when a good report is older or missing"
    )

    listing = add(verbs, "backups", backups)
    listing.add_argument("site")
    listing.add_argument("target", nargs="?")
    listing.add_argument("--json", action="store_true")

    for name, command in (("show", show_backup), ("pin", pin_backup), ("unpin", unpin_backup)):
        one = add(verbs, name, command)
        one.add_argument("site")
        one.add_argument("target")
        one.add_argument("backup_id")
        if command is pin_backup:
            one.add_argument("--reason", required=True)

    plans = verbs.add_parser("plan", help="Say what would be done, and why.").add_subparsers(
        required=True, metavar="WHAT"
    )
    retention = add(plans, "retention", plan_retention)
    retention.add_argument("site")
    retention.add_argument("target", nargs="?")

    purging = add(plans, "purge", plan_purging)
    purging.add_argument("site")
    purging.add_argument("database", nargs="?")

    partitioning = add(plans, "partitions", plan_partitioning)
    partitioning.add_argument("site")
    partitioning.add_argument("database", nargs="?")

    tending = add(plans, "tables", plan_tending)
    tending.add_argument("site")
    tending.add_argument("database", nargs="?")

    add(plans, "clean-logs", plan_cleaning_logs).add_argument("site")
    add(plans, "clean-docker", plan_cleaning_docker).add_argument("site")
    capacity = add(plans, "capacity", plan_running_out)
    capacity.add_argument("site")
    capacity.add_argument("--all", action="store_true", help=f"more than the first {CAPACITY_LINES} figures")

    proving = add(verbs, "prove", prove_backups)
    proving.add_argument("site")
    proving.add_argument("target")
    proving.add_argument("backup_id", nargs="?", metavar="BACKUP", help="default: those the site wants restored")
    proving.add_argument("--dry-run", action="store_true")

    drilling = add(verbs, "drill", drill_site)
    drilling.add_argument("site")
    drilling.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of the site")
    drilling.add_argument("--random", action="store_true", help="from random proven backups, not the newest")
    drilling.add_argument(
        "--backup", type=_target_and_id, action="append", default=[], metavar="TARGET/ID", help="from this one instead"
    )
    drilling.add_argument("--dry-run", action="store_true")

    restores = verbs.add_parser("restore", help="Put something back.").add_subparsers(required=True, metavar="WHAT")
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

    migrating = add(verbs, "migrate", migrate_database)
    migrating.add_argument("site")
    migrating.add_argument("database")
    migrating.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the SQL that is to run")
    migrating.add_argument(
        "--command", dest="command_label", metavar="RELEASE", help="run the site's migrations.command for this release"
    )
    migrating.add_argument("--rollback", type=Path, metavar="FILE", help="the SQL that takes it back; rehearsed too")
    migrating.add_argument("--on-failure", choices=ON_FAILURE, default="stop", help="default: stop")
    migrating.add_argument("--rehearse", action="store_true", help="only on the copy; nothing live is touched")
    migrating.add_argument(
        "--start-at", type=int, metavar="N", help="go on with statement N of one that was begun; 1: all of it again"
    )
    migrating.add_argument("--yes", action="store_true", help="don't ask")

    book = verbs.add_parser("ledger", help="The record of every act.").add_subparsers(required=True, metavar="WHAT")
    checked = add(book, "verify", verify_ledger)
    checked.add_argument("site", nargs="?")
    checked.add_argument("--noted", type=_head, action="append", default=[], metavar="SITE:SEQ:HASH")
    shown = add(book, "show", show_ledger)
    shown.add_argument("site", nargs="?")
    shown.add_argument("--last", type=int, default=50, metavar="N")
    return parser


def _sql_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationRefused(f"{file} can't be read: {error}", hint="check its name and encoding (UTF-8)") from error


def _moment(text: str | None, zone: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RestoreRefused(f"{text!r} is not a time", hint="write it as 2026-11-21T18:30, or with +08:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))


def _target_and_id(text: str) -> str:
    target, _, backup_id = text.partition("/")
    if not target or not is_backup_id(backup_id):
        raise argparse.ArgumentTypeError(f"{text!r} is not like app/20261121T020003Z-0a1b")
    return text


def _head(text: str) -> Head:
    site, seq, digest = text.split(":")
    return Head(site, int(seq), digest)


def _checked(path: Path) -> Site | SiteFileError:
    try:
        return load_site(path)
    except SiteFileError as error:
        return error


def _job(site: str) -> Job:
    return _job_for(_site(site))


def _job_for(site: Site) -> Job:
    return Job(
        site=site,
        run=Run(run_id=f"cli-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}", actor=getpass.getuser(), trigger="cli"),
        ledger=_ledger(),
        connect=connection_from_environment,
        make_filesystem=filesystem_from_environment,
    )


def _site(name: str) -> Site:
    sites, broken = load_sites(sites_folder())
    if name not in sites:
        for error in broken:
            print(f"broken  {error}", file=sys.stderr)
        raise SiteFileError(
            f"no usable file in {sites_folder()} describes site {name!r}",
            hint=f"known sites: {', '.join(sites) or 'none'}; UPKEEP_SITES names another folder",
        )
    return sites[name]


def _ledger() -> Ledger:
    try:
        return Ledger(url_of(connection_from_environment("upkeep_ledger")))
    except ConnectionUnknown:
        return Ledger(default_url(airflow_home()))


if __name__ == "__main__":
    sys.exit(main())
