"""Restoring what is no database: a Redis, and folders.

Beside, a Redis is a file that any redis-server loads, and folders stand as ``<path>.restored-<backup>``. Over live, a
Redis's keys are swapped in by logical databases, and each folder by exchanging two names; what was live stays. Names
appear when what they name is whole, so that a killed run leaves nothing that looks like a restored copy.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from upkeep.domain.restoring import RestorePlan, TableLoss, Wish, restored_name
from upkeep.domain.units import human_bytes, human_seconds
from upkeep.duties.benches import FOLDER_FACTOR
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of, plain_bytes
from upkeep.duties.restore import Found, hold_name, last_act
from upkeep.errors import ProofFailed, RestoreRefused, RestoreUnavailable
from upkeep.ledger import Record
from upkeep.site import Cache, Cluster, Folder, Section

STEPS = {
    "cache": (
        "load the file into a throwaway redis-server on this worker",
        "copy its keys into empty logical databases of the live server (DUMP, RESTORE)",
        "make those live in one transaction (SWAPDB); what was live stays in them until FLUSHDB",
    ),
    "folder": (
        "unpack each path beside the live one and compare it with the archive",
        "exchange both names; what was live stays as <path>.replaced-<time>",
    ),
}
_SWAP = re.compile(r"exchange (.*) \((\d+:\d+)\) for (.*)")


def others_plan(job: Job, section: Section, found: Found, plan: RestorePlan) -> RestorePlan:
    """Errors: ``RestoreRefused`` for what can't be done with such a target; ``RestoreUnavailable``."""
    wish = plan.wish
    if isinstance(section, Cluster) or wish.destination not in ("beside", "over"):
        raise RestoreRefused(
            f"{section.name} can't be restored to {wish.destination}",
            hint=f"beside or over live; or by hand: upkeep show {job.site.name} {section.name} {found.backup_id}",
        )
    over = wish.destination == "over"
    waiver = ("nothing keeps applications from writing to it: only a waiver with a reason lets the restore go on",)
    if isinstance(section, Folder):
        from upkeep.engines.folder_live import newer_than

        remarks = []
        for path in _paths(found):
            count, newest, all_of_it = newer_than(path, found.backup.taken_at)
            at_least = "" if all_of_it else "at least "
            remarks.append(f"{path}: {at_least}{count:,} files written after the backup{newest and f', {newest}'}")
        into = ", ".join(str(_beside(path, found.backup_id)) for path in _paths(found))
        return replace(
            plan, into=f"over live, by way of {into}" if over else into,
            remarks=(*plan.remarks, *remarks, *(waiver if over else ())), steps=STEPS["folder"][: 2 if over else 1],
        )  # fmt: skip
    if not over:
        return replace(plan, into=str(_file(job, found, wish)), steps=("write the file, and count its keys",))
    from upkeep.engines.redis_live import RedisLive

    recorded = {
        int(name.removeprefix("db")): int(space["keys"])
        for name, space in found.manifest.contents.get("databases", {}).items()
    }
    live = RedisLive(job.connect(str(job.site.target(section.name).conn_id))).keys()
    losses = tuple(
        TableLoss(f"db{number}", recorded.get(number), live.get(number), note="keys, not rows")
        for number in sorted({*recorded, *live})
    )
    more = "live, the server holds both, the old and the new, until the old is flushed: twice the memory"
    return replace(
        plan, into="over the live Redis", losses=losses, remarks=(*plan.remarks, more, *waiver), steps=STEPS["cache"]
    )


def restore_other(job: Job, section: Section, found: Found, wish: Wish) -> dict[str, Any]:
    """Beside. Errors: ``ProofFailed``, ``RestoreUnavailable``, ``Busy``."""
    with job.ledger.hold(hold_name(job, section.name)):
        if isinstance(section, Folder):
            return _unpack_beside(job, found)
        return _write_file(job, section, found, _file(job, found, wish))


def bring_other_beside(job: Job, section: Section, found: Found) -> dict[str, Any]:
    """What a swap needs. A Redis has nothing to stand beside: its keys are brought in the swap itself."""
    if isinstance(section, Folder):
        with job.ledger.hold(hold_name(job, section.name)):
            if _begun(job, section.name, found.backup_id):
                return {"site": job.site.name, "target": section.name, "found": True}
            return _unpack_beside(job, found)
    return {"site": job.site.name, "target": section.name, "backup_id": found.backup_id}


def swap_other(job: Job, section: Section, found: Found, *, approver: str, waived: str) -> dict[str, Any]:
    """Put the copy in the place of what is live. Errors: as ``restore_other``."""
    if not approver:
        raise RestoreRefused(f"nobody approved the swap of {section.name}", hint="have a person approve it")
    with job.ledger.hold(hold_name(job, section.name)), job.hold(section.name):
        if isinstance(section, Folder):
            return _exchange_folders(job, found, approver, waived)
        if isinstance(section, Cache):
            return _swap_keys(job, section, found, approver, waived)
        raise RestoreRefused(f"{section.name} has nothing to swap with", hint="restore it by the line in its manifest")


# A Redis.


def _file(job: Job, found: Found, wish: Wish) -> Path:
    folder = Path(wish.folder) if wish.folder else Path(job.site.spool) / "restored"
    return folder / f"{restored_name(wish.target, found.backup_id)}.rdb"


def _write_file(job: Job, section: Section, found: Found, file: Path) -> dict[str, Any]:
    from upkeep.engines.redis_scratch import count_keys

    act = job.act("restore", section.name, command=f"load {found.backup_id} into {file}")
    result = {"site": job.site.name, "target": section.name, "backup_id": found.backup_id, "file": str(file)}
    if file.exists():
        return {**result, "found": True}
    begun = time.monotonic()
    with job.ledger.record(act) as entry:
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        part = file.with_suffix(".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _require_room(file.parent, plain_bytes(found.job, found.backup, found.manifest))
            with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as sink:
                with closing(streams.read("dump.rdb")) as chunks:
                    for chunk in chunks:
                        sink.write(chunk)
                sink.flush()
                counted = count_keys(sink)
                os.fsync(sink.fileno())
            part.rename(file)
        except OSError as error:
            raise RestoreUnavailable(f"can't write {file}: {error.strerror}", hint="see who owns its folder") from error
        finally:
            part.unlink(missing_ok=True)
        seconds = round(time.monotonic() - begun, 3)
        entry.note(
            backup_id=found.backup_id, bytes=found.manifest.size, keys=counted.keys, seconds=seconds, light="green",
            summary=f"{found.backup_id} lies in {file}: {counted.keys:,} keys, {human_seconds(seconds)}",
            hint=f"redis-server --dir {file.parent} --dbfilename {file.name} --port 0 --unixsocket /tmp/restored.sock",
        )  # fmt: skip
    return {**result, "found": False, "keys": counted.keys, "seconds": seconds}


def _swap_keys(job: Job, section: Cache, found: Found, approver: str, waived: str) -> dict[str, Any]:
    from upkeep.engines.redis_live import RedisLive
    from upkeep.engines.redis_scratch import count_keys, lay_down, scratch_redis

    live = RedisLive(job.connect(section.conn_id))
    result = {"site": job.site.name, "target": section.name, "backup_id": found.backup_id}
    command = f"swap in the keys of {found.backup_id}"
    last = last_act(job, section.name, "swap")
    same = last is not None and last.started.command == command
    begun_by = last.started.run_id if same and last is not None else ""
    kept_then = live.kept(found.backup_id, begun_by) if same else {}
    died_after = same and last is not None and last.state != "done" and kept_then
    if died_after or (same and last is not None and last.state == "done" and last.started.run_id == job.run.run_id):
        return {**result, "found": True, "old": {f"db{a}": f"db{b}" for a, b in kept_then.items()}}
    with job.ledger.record(job.act("swap", section.name, command=command, approver=approver)) as entry:
        entry.hide(*live.secrets)
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        recorded = found.manifest.contents.get("databases", {})
        databases = max((int(name.removeprefix("db")) for name in recorded), default=0) + 1
        with closing(streams.read("dump.rdb")) as chunks:
            file = lay_down(chunks)
        with closing(file):
            counted = count_keys(file)
            with scratch_redis(file, databases=databases) as scratch:
                loaded = scratch.keys()
                old = live.swap(scratch, loaded, found.backup_id, job.run.run_id)
        kept = {f"db{before}": f"db{now}" for before, now in old.items()}
        entry.note(
            backup_id=found.backup_id, old=kept, keys=sum(loaded.values()), waived={"writes": waived} if waived else {},
            light="green",
            summary=f"{sum(loaded.values()):,} of {counted.keys:,} keys of {found.backup_id} are live (the rest has "
            f"expired); what was live: {', '.join(f'{a} now in {b}' for a, b in kept.items()) or 'nothing'}",
            hint="; ".join(f"redis-cli -n {now} FLUSHDB" for now in old.values()),
        )  # fmt: skip
    return {**result, "found": False, "keys": sum(loaded.values()), "old": kept}


# Folders.


def _paths(found: Found) -> list[Path]:
    return [Path(path) for path in found.manifest.source["paths"]]


def _beside(path: Path, backup_id: str) -> Path:
    return path.with_name(f"{path.name}.restored-{backup_id}")


def _unpack_beside(job: Job, found: Found) -> dict[str, Any]:
    from upkeep.engines.folder_scratch import as_root, compare, extract

    target, contents = found.backup.ref.target, found.manifest.contents
    result = {"site": job.site.name, "target": target, "backup_id": found.backup_id}
    names = [str(_beside(path, found.backup_id)) for path in _paths(found)]
    if all(os.path.lexists(name) for name in names):
        return {**result, "found": True, "paths": names}
    begun = time.monotonic()
    act = job.act("restore", target, command=f"load {found.backup_id} into {', '.join(names)}")
    with job.ledger.record(act) as entry:
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        need = int(plain_bytes(found.job, found.backup, found.manifest) * FOLDER_FACTOR)
        for path in _paths(found):
            beside, member = _beside(path, found.backup_id), str(path).lstrip("/")
            if os.path.lexists(beside):
                continue
            stage = path.with_name(f".{path.name}.restoring-{found.backup_id}")
            try:
                _remove(stage)
                stage.mkdir(mode=0o700, parents=True)
                _require_room(stage, need)
                with closing(streams.read("files.tar")) as chunks:
                    extract(chunks, stage, [member])
                with closing(streams.read("files.tar")) as chunks:
                    different = compare(
                        chunks, stage, entries=int(contents["entries"]), listing=str(contents.get("listing", "")),
                        members=[member],
                    )  # fmt: skip
                if different:
                    raise ProofFailed(
                        f"what was unpacked of {found.backup_id} differs from its archive: {'; '.join(different[:5])}",
                        hint="take another backup",
                    )
                (stage / member).rename(beside)
            except OSError as error:
                raise RestoreUnavailable(f"can't restore {path}: {error}", hint="see who owns its folder") from error
            finally:
                with suppress(OSError):
                    _remove(stage)
        seconds = round(time.monotonic() - begun, 3)
        notes = [] if as_root() else ["owners are not restored: only root can give files to their owners"]
        entry.note(
            backup_id=found.backup_id, bytes=found.manifest.size, notes=notes, seconds=seconds, light="green",
            summary=f"{found.backup_id} stands as {', '.join(names)} after {human_seconds(seconds)}: "
            f"{contents['entries']:,} entries, as its archive has them",
        )  # fmt: skip
    return {**result, "found": False, "paths": names, "entries": contents["entries"], "seconds": seconds}


def _exchange_folders(job: Job, found: Found, approver: str, waived: str) -> dict[str, Any]:
    """Path by path. Which folder is the restored one is in the ledger before names change, by its inode: a killed
    exchange must not be turned back by the next run.
    """
    from upkeep.engines.folder_live import exchange, identity

    target, old = found.backup.ref.target, {}
    stamp = f"{job.now():%Y%m%dT%H%M%SZ}"
    for path in _paths(found):
        beside = _beside(path, found.backup_id)
        kept = path.with_name(f"{path.name}.replaced-{stamp}")
        last = _last_exchange(job, target, path)
        begun = _SWAP.fullmatch(last.started.command) if last and last.state != "done" else None
        if last and last.state == "done" and last.started.run_id == job.run.run_id:
            old[str(path)] = str(last.detail.get("old") or "")
            continue
        new = begun[2] if begun and begun[1] == str(beside) else identity(beside)
        if not new:
            raise RestoreRefused(f"{beside} is gone", hint="somebody removed it meanwhile: restore again")
        act = job.act("swap", target, command=f"exchange {beside} ({new}) for {path}", approver=approver)
        with job.ledger.record(act) as entry:
            if identity(path) == "":
                beside.rename(path)
            elif identity(path) != new:
                exchange(beside, path)
            if os.path.lexists(beside):
                beside.rename(kept)
            there = str(kept) if os.path.lexists(kept) else ""
            old[str(path)] = there
            entry.note(
                backup_id=found.backup_id, old=there, light="green", waived={"writes": waived} if waived else {},
                summary=f"{path} is {found.backup_id} now{there and f'; the old one stays as {there}'}",
                hint=f"when nobody misses anything any more: rm -r {there}" if there else "",
            )  # fmt: skip
    return {"site": job.site.name, "target": target, "backup_id": found.backup_id, "old": old, "found": False}


def _last_exchange(job: Job, target: str, path: Path) -> Record | None:
    return last_act(job, target, "swap", lambda record: record.started.command.endswith(f" for {path}"))


def _begun(job: Job, target: str, backup_id: str) -> bool:
    last = last_act(job, target, "swap")
    if last is None or last.state not in ("died", "failed"):
        return False
    begun = _SWAP.fullmatch(last.started.command)
    return begun is not None and begun[1].endswith(f".restored-{backup_id}")


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)


def _require_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise RestoreUnavailable(
            f"{folder} has {human_bytes(free)} of free disk, about {human_bytes(need)} are needed",
            hint="free space there, or restore elsewhere",
        )
