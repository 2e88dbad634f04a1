"""Restoring folders: beside, as ``<path>.restored-<backup>``; over live, by exchanging two names. What was live stays.

A name appears when what it names is whole, so that a killed run leaves nothing that looks like a restored copy.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from upkeep.domain.restoring import RestorePlan
from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of, plain_bytes
from upkeep.duties.restore_place import WAIVER_NEEDED
from upkeep.duties.restore_source import Found
from upkeep.duties.scratch import require_disk
from upkeep.duties.scratch_folder import FOLDER_FACTOR
from upkeep.duties.whole_file import hint_for
from upkeep.errors import ProofFailed, RestoreRefused, RestoreUnavailable
from upkeep.ledger import Record

STEPS = (
    "unpack each path beside the live one and compare it with the archive",
    "exchange both names; what was live stays as <path>.replaced-<time>",
)
_SWAP = re.compile(r"exchange (.*) \((\d+:\d+)\) for (.*)")


def plan_folders(found: Found, plan: RestorePlan, *, over: bool) -> RestorePlan:
    """Where each path would go, and what was written to the live one since the backup."""
    from upkeep.engines.folder_live import newer_than

    remarks = []
    for path in _paths(found):
        count, newest, all_of_it = newer_than(path, found.backup.taken_at)
        at_least = "" if all_of_it else "at least "
        remarks.append(f"{path}: {at_least}{count:,} files written after the backup{newest and f', {newest}'}")
    into = ", ".join(str(_beside(path, found.backup_id)) for path in _paths(found))
    return replace(
        plan, into=f"over live, by way of {into}" if over else into,
        remarks=(*plan.remarks, *remarks, *((WAIVER_NEEDED,) if over else ())), steps=STEPS[: 2 if over else 1],
    )  # fmt: skip


def unpack_beside(job: Job, found: Found) -> dict[str, Any]:
    """What stands there already is compared with the archive once more: somebody may have taken files out of it.

    Errors: ``ProofFailed`` for an archive that is damaged, or for a copy that differs from it; ``RestoreUnavailable``.
    """
    from upkeep.engines.folder_scratch import as_root, extract, remove_tree

    target, contents = found.backup.ref.target, found.manifest.contents
    result = {"site": job.site.name, "target": target, "backup_id": found.backup_id}
    names = [str(_beside(path, found.backup_id)) for path in _paths(found)]
    there_already = all(os.path.lexists(name) for name in names)
    begun = time.monotonic()
    act = job.act("restore", target, command=f"load {found.backup_id} into {', '.join(names)}")
    with job.ledger.record(act) as entry:
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        need = int(plain_bytes(found.job, found.backup, found.manifest) * FOLDER_FACTOR)
        for path in _paths(found):
            beside, member = _beside(path, found.backup_id), str(path).lstrip("/")
            stage = path.with_name(f".{path.name}.restoring-{found.backup_id}")
            try:
                remove_tree(stage)
                stage.mkdir(mode=0o700, parents=True)
                if os.path.lexists(beside):
                    _require_alike(found, streams, stage, beside, member)
                    continue
                require_disk(str(stage), need, found.manifest, otherwise="restore elsewhere")
                with closing(streams.read("files.tar")) as chunks:
                    extract(chunks, stage, [member])
                if different := _differences(found, streams, stage, member):
                    raise ProofFailed(
                        f"what was unpacked of {found.backup_id} differs from its archive: {'; '.join(different[:5])}",
                        hint="take another backup",
                    )
                (stage / member).rename(beside)
            except OSError as error:
                raise RestoreUnavailable(f"can't restore {path}: {error}", hint=hint_for(error)) from error
            finally:
                with suppress(OSError):
                    remove_tree(stage)
        seconds = round(time.monotonic() - begun, 3)
        notes = [] if as_root() else ["owners are not restored: only root can give files to their owners"]
        entry.note(
            backup_id=found.backup_id, bytes=found.manifest.size, notes=notes, seconds=seconds, light="green",
            summary=f"{found.backup_id} stands as {', '.join(names)} after {human_seconds(seconds)}: "
            f"{contents['entries']:,} entries, as its archive has them",
        )  # fmt: skip
    return {**result, "found": there_already, "paths": names, "entries": contents["entries"], "seconds": seconds}


def _differences(found: Found, streams: Streams, stage: Path, member: str) -> list[str]:
    from upkeep.engines.folder_scratch import compare

    contents = found.manifest.contents
    with closing(streams.read("files.tar")) as chunks:
        return compare(
            chunks, stage, entries=int(contents["entries"]), listing=str(contents.get("listing", "")), members=[member]
        )


def _require_alike(found: Found, streams: Streams, stage: Path, beside: Path, member: str) -> None:
    """It is compared where the archive has it, below ``stage``, for a moment. Errors: ``ProofFailed``."""
    (stage / member).parent.mkdir(parents=True)
    beside.rename(stage / member)
    try:
        different = _differences(found, streams, stage, member)
    finally:
        (stage / member).rename(beside)
    if different:
        raise ProofFailed(
            f"{beside} is no longer what was unpacked of {found.backup_id}: {'; '.join(different[:5])}",
            hint=f"give it another name, mv {shlex.quote(str(beside))} ..., and restore again",
        )


def exchange_folders(job: Job, found: Found, approver: str, waived: str) -> dict[str, Any]:
    """Path by path. Which folder is the restored one is in the ledger before names change, by its inode: a killed
    exchange must not be turned back by the next run, and one that broke off between two paths is gone on with.
    """
    from upkeep.engines.folder_live import exchange, identity

    target, old = found.backup.ref.target, {}
    exchanged = _exchanged(job, found)
    for path in _paths(found):
        beside = _beside(path, found.backup_id)
        last = _last_exchange(job, target, path)
        begun = _SWAP.fullmatch(last.started.command) if last and last.state != "done" else None
        if (done := exchanged.get(path)) and done.started.run_id == job.run.run_id:
            old[str(path)] = str(done.detail.get("old") or "")
            continue
        if done:
            new = _SWAP.fullmatch(done.started.command)[2]  # type: ignore[index]  # _exchanged has matched it
        else:
            new = begun[2] if begun and begun[1] == str(beside) else identity(beside)
        if not new:
            raise RestoreRefused(f"{beside} is gone", hint="somebody removed it meanwhile: restore again")
        act = job.act("swap", target, command=f"exchange {beside} ({new}) for {path}", approver=approver)
        with job.ledger.record(act) as entry:
            there = str(done.detail.get("old") or "") if done else ""
            if not done:
                if identity(path) == "":
                    beside.rename(path)
                elif identity(path) != new:
                    exchange(beside, path)
                if os.path.lexists(beside):
                    there = str(beside.rename(_free_name(path, job)))
            old[str(path)] = there
            entry.note(
                backup_id=found.backup_id, old=there, light="green", waived={"writes": waived} if waived else {},
                summary=f"{path} is {found.backup_id} now{there and f'; the old one stays as {there}'}",
                hint=f"when nobody misses anything any more: rm -r {shlex.quote(there)}" if there else "",
            )  # fmt: skip
    return {"site": job.site.name, "target": target, "backup_id": found.backup_id, "old": old, "found": False}


def exchange_was_begun(job: Job, found: Found) -> bool:
    """Whether the last exchange was one for this backup that is not finished, or was made by this very run."""
    last = job.last_act("swap", found.backup.ref.target)
    begun = last and _SWAP.fullmatch(last.started.command)
    if last is None or not begun or not begun[1].endswith(f".restored-{found.backup_id}"):
        return False
    return last.state in ("died", "failed") or bool(_exchanged(job, found))


def _exchanged(job: Job, found: Found) -> dict[Path, Record]:
    """Paths already exchanged for this backup by the last exchange, and unchanged since. Empty where an earlier run has
    done all of them: then this is another restore.
    """
    from upkeep.engines.folder_live import identity

    target, paths = found.backup.ref.target, _paths(found)
    last = job.last_act("swap", target)
    if last is None:
        return {}
    done = {}
    for path in paths:
        act = _last_exchange(job, target, path)
        if act is None or act.state != "done" or act.started.run_id != last.started.run_id:
            continue
        command = _SWAP.fullmatch(act.started.command)
        if command and command[1] == str(_beside(path, found.backup_id)) and identity(path) == command[2]:
            done[path] = act
    return {} if len(done) == len(paths) and last.started.run_id != job.run.run_id else done


def _free_name(path: Path, job: Job) -> Path:
    """For what was live. Two restores in one second must not take the same."""
    name = f"{path.name}.replaced-{job.now():%Y%m%dT%H%M%SZ}"
    names = (path.with_name(f"{name}{number}") for number in ("", *(f"-{more}" for more in range(2, 100))))
    return next(one for one in names if not os.path.lexists(one))


def _paths(found: Found) -> list[Path]:
    return [Path(path) for path in found.manifest.source["paths"]]


def _beside(path: Path, backup_id: str) -> Path:
    return path.with_name(f"{path.name}.restored-{backup_id}")


def _last_exchange(job: Job, target: str, path: Path) -> Record | None:
    return job.last_act("swap", target, lambda record: record.started.command.endswith(f" for {path}"))
