"""Restoring a Redis: beside, as a file that any redis-server loads; over live, by swapping logical databases.

The file's name appears when it is whole, so that a killed run leaves nothing that looks like a restored copy.
"""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upkeep.domain.restoring import RestorePlan, RestoreRequest, TableLoss, restored_name
from upkeep.domain.units import human_seconds
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams, key_of, plain_bytes
from upkeep.duties.restore_place import WAIVER_NEEDED
from upkeep.duties.restore_source import Found
from upkeep.duties.scratch import require_disk
from upkeep.duties.scratch_cache import recorded_keys
from upkeep.duties.whole_file import appear, hidden_file, remove_left, writing
from upkeep.errors import RestoreUnavailable
from upkeep.site import Cache, Section

if TYPE_CHECKING:
    from upkeep.engines.redis_live import RedisLive

STEPS = (
    "load the file into a throwaway redis-server on this worker",
    "copy its keys into empty logical databases of the live server (DUMP, RESTORE)",
    "make those live in one transaction (SWAPDB); what was live stays in them until FLUSHDB",
)


def plan_redis(job: Job, section: Section, found: Found, plan: RestorePlan, *, over: bool) -> RestorePlan:
    """Where the file would go, or what the live Redis holds beside the backup. Errors: ``RestoreUnavailable``."""
    if not over:
        return replace(plan, into=str(file_of(job, found, plan.request)), steps=("write the file, and count its keys",))
    from upkeep.engines.redis_live import RedisLive

    recorded = recorded_keys(found.manifest)
    server = RedisLive(job.connect(str(job.site.target(section.name).conn_id)))
    live = server.keys()
    losses = tuple(
        TableLoss(f"db{number}", recorded.get(number), live.get(number), note="keys, not rows")
        for number in sorted({*recorded, *live})
    )
    more = "live, the server holds both, the old and the new, until the old is flushed: twice the memory"
    more += f" ({room})" if (room := server.room()) else ""
    return replace(
        plan, into="over the live Redis", losses=losses, remarks=(*plan.remarks, more, WAIVER_NEEDED), steps=STEPS
    )


def file_of(job: Job, found: Found, request: RestoreRequest) -> Path:
    folder = Path(request.folder) if request.folder else Path(job.site.spool) / "restored"
    return folder / f"{restored_name(request.target, found.backup_id)}.rdb"


def write_file(job: Job, section: Section, found: Found, file: Path) -> dict[str, Any]:
    """Errors: ``ProofFailed`` for a file that is damaged, ``RestoreUnavailable``."""
    from upkeep.engines.redis_scratch import count_keys

    act = job.act("restore", section.name, command=f"load {found.backup_id} into {file}")
    result = {"site": job.site.name, "target": section.name, "backup_id": found.backup_id, "file": str(file)}
    if file.exists():
        return {**result, "found": True}
    begun = time.monotonic()
    with job.ledger.record(act) as entry:
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        with writing(file, RestoreUnavailable):
            file.parent.mkdir(parents=True, exist_ok=True)
            remove_left(file)  # no other run is at it now
            need = plain_bytes(found.job, found.backup, found.manifest)
            require_disk(str(file.parent), need, found.manifest, otherwise="restore elsewhere")
            with hidden_file(file) as sink:
                with closing(streams.read("dump.rdb")) as chunks:
                    for chunk in chunks:
                        sink.write(chunk)
                sink.flush()
                counted = count_keys(sink)
                appear(sink, file)
        seconds = round(time.monotonic() - begun, 3)
        entry.note(
            backup_id=found.backup_id, bytes=found.manifest.size, keys=counted.keys, seconds=seconds, light="green",
            summary=f"{found.backup_id} lies in {file}: {counted.keys:,} keys, {human_seconds(seconds)}",
            hint=f"redis-server --dir {shlex.quote(str(file.parent))} --dbfilename {shlex.quote(file.name)} --port 0 "
            "--unixsocket /tmp/restored.sock",
        )  # fmt: skip
    return {**result, "found": False, "keys": counted.keys, "seconds": seconds}


def swap_was_begun(job: Job, section: Cache, found: Found) -> bool:
    """Whether nothing is left to be done: a swap is one transaction."""
    from upkeep.engines.redis_live import RedisLive

    return _kept(job, RedisLive(job.connect(section.conn_id)), section, found) is not None


def _kept(job: Job, live: RedisLive, section: Cache, found: Found) -> dict[int, int] | None:
    """Where the old ones are after the last swap, if that was this one: of this run, or one that died after it."""
    last = job.last_act("swap", section.name)
    if last is None or last.started.command != _command(found):
        return None
    kept = live.kept(found.backup_id, last.started.run_id)
    mine = last.state == "done" and last.started.run_id == job.run.run_id
    return kept if mine or (last.state != "done" and kept) else None


def _command(found: Found) -> str:
    return f"swap in the keys of {found.backup_id}"


def swap_keys(job: Job, section: Cache, found: Found, approver: str, waived: str) -> dict[str, Any]:
    """What was live stays in other logical databases. Errors: as ``write_file``."""
    from upkeep.engines.redis_live import RedisLive
    from upkeep.engines.redis_scratch import count_keys, lay_down, scratch_redis

    live = RedisLive(job.connect(section.conn_id))
    result = {"site": job.site.name, "target": section.name, "backup_id": found.backup_id}
    if (old := _kept(job, live, section, found)) is not None:
        return {**result, "found": True, "old": {f"db{a}": f"db{b}" for a, b in old.items()}}
    command = _command(found)
    with job.ledger.record(job.act("swap", section.name, command=command, approver=approver)) as entry:
        entry.hide(*live.secrets)
        streams = Streams(found.job, found.manifest, key_of(found.job, found.manifest))
        databases = max(recorded_keys(found.manifest), default=0) + 1
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
