"""The backups in a site's store."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from upkeep.commands.base import Commands, add, job_of
from upkeep.domain.backup import BackupRef
from upkeep.domain.units import human_bytes
from upkeep.errors import ObjectMissing

if TYPE_CHECKING:
    from upkeep.duties.job import Job


def register(commands: Commands) -> None:
    listing = add(commands, "backups", backups)
    listing.add_argument("site")
    listing.add_argument("target", nargs="?")
    listing.add_argument("--json", action="store_true")

    for name, command in (("show", show_backup), ("pin", pin_backup), ("unpin", unpin_backup)):
        one = add(commands, name, command)
        one.add_argument("site")
        one.add_argument("target")
        one.add_argument("backup_id")
        if command is pin_backup:
            one.add_argument("--reason", required=True)


def backups(options: argparse.Namespace) -> int:
    """What the store holds, and how far each backup has been proven."""
    from upkeep.duties.catalogue import read_catalogue, read_pin, stored_targets
    from upkeep.duties.waiting import waiting

    job = job_of(options.site)
    names = [target.name for target in job.site.targets]
    if options.target:
        wanted = [_target(job, options.target)]
    else:
        wanted = list(dict.fromkeys([*names, *stored_targets(job.store, job.site.name)]))
    rows: list[dict[str, Any]] = []
    for name in wanted:
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
        rows += [
            {"target": name, "backup_id": ref.backup_id, "standing": "waits in this machine's spool"}
            for ref in waiting(job, name)
        ]
    for row in rows:
        row["in_site_file"] = row["target"] in names
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        size = human_bytes(row["bytes"]) if "bytes" in row else ""
        pinned = f"  pinned by {row['pinned']}" if row.get("pinned") else ""
        former = "" if row["in_site_file"] else "  no longer in the site file"
        print(f"{row['target']:<20} {row['backup_id']}  {size:>10}  {row['standing']:<10}{pinned}{former}".rstrip())
    if not rows:
        print(f"no backups of {job.site.name} in {job.store.url}")
    return 0


def show_backup(options: argparse.Namespace) -> int:
    """The manifest of one backup, with the line that restores it."""
    from upkeep.duties.catalogue import read_manifest

    job = job_of(options.site)
    manifest, raw = read_manifest(job.store, _backup(job, options))
    print(raw.decode(), end="")
    print(f"\n# in a folder that holds {', '.join(file.name for file in manifest.files)}:\n{manifest.restore}")
    return 0


def pin_backup(options: argparse.Namespace) -> int:
    """Keep one backup whatever retention says."""
    from upkeep.duties.catalogue import pin

    job = job_of(options.site)
    ref = _backup(job, options)
    with job.ledger.record(job.act("pin", options.target, command=f"pin {ref.backup_id}")) as entry:
        entry.note(reason=options.reason)
        pin(job.store, ref, by=job.run.actor, reason=options.reason, at=job.now())
    return 0


def unpin_backup(options: argparse.Namespace) -> int:
    """Let retention decide about one backup again."""
    from upkeep.duties.catalogue import unpin

    job = job_of(options.site)
    ref = _backup(job, options)
    with job.ledger.record(job.act("unpin", options.target, command=f"unpin {ref.backup_id}")):
        unpin(job.store, ref)
    return 0


def _backup(job: Job, options: argparse.Namespace) -> BackupRef:
    """The backup that the options name. Errors: ``ObjectMissing``; ``SiteFileError``: no such target."""
    from upkeep.duties.catalogue import read_catalogue

    name = _target(job, options.target)
    if found := read_catalogue(job.store, job.site.name, name).find(options.backup_id):
        return found.ref
    raise ObjectMissing(
        f"the store {job.store.url} holds no backup {options.backup_id} of {job.site.name}/{name}",
        hint=f"upkeep backups {job.site.name} {name} lists what it holds",
    )


def _target(job: Job, name: str) -> str:
    """``name``: of the site's targets, or of one that it had and whose backups are there. Errors: ``SiteFileError``."""
    from upkeep.duties.catalogue import stored_targets

    if name in (target.name for target in job.site.targets) or name in stored_targets(job.store, job.site.name):
        return name
    return job.site.target(name).name
