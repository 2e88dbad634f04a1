"""From the programs of a snapshot into the store: compressed, encrypted, hashed, several files at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from upkeep.domain.backup import BackupRef
from upkeep.domain.manifest import StoredFile
from upkeep.duties.job import Job
from upkeep.duties.metered import Metered
from upkeep.duties.packing import pack, packed_name
from upkeep.engines.base import Engine, Snapshot, StartAgain, Stream
from upkeep.engines.pipeline import Ended, Pipeline, together
from upkeep.stores.base import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """One stream in the store: how the program that made it ended, and how long it took."""

    file: StoredFile
    ended: list[Ended]
    seconds: float


def store_snapshot(job: Job, ref: BackupRef, engine: Engine, store: Store, snapshot: Snapshot) -> list[Stored]:
    """Store every stream of a snapshot, at once or one after the other as it asks for.

    Errors: those of the first stream that failed; the others are ended.
    """
    if not snapshot.side_by_side:
        return [_store_together(job, ref, engine, store, [stream])[0] for stream in snapshot.streams]
    try:
        return _store_together(job, ref, engine, store, snapshot.streams)
    except StartAgain as reason:
        log.info("%s/%s: one stream instead of several: %s", ref.site, ref.target, reason.__cause__)
        return _store_together(job, ref, engine, store, snapshot.streams)


def _store_together(job: Job, ref: BackupRef, engine: Engine, store: Store, streams: Sequence[Stream]) -> list[Stored]:
    share = sum(not stream.is_small for stream in streams)
    packing = pack(job.site.compression, job.site.encryption, share=max(1, share))
    pipelines = [
        Pipeline([stream.command, *packing], secrets=engine.secrets, started=stream.started) for stream in streams
    ]
    failed = _FirstFailure(pipelines)

    def store_one(place: int) -> Stored | None:
        try:
            return _store_one(job, ref, store, streams[place].name, pipelines[place])
        except BaseException as error:  # carried over to the thread that waits for all
            failed.because_of(error)
            return None

    # The programs are started here, in the thread that outlives them (see Pipeline), and the first one is read here:
    # what interrupts this thread, such as a task's time limit, then ends a single stream at once.
    with together(pipelines):
        with ThreadPoolExecutor(max(1, len(streams) - 1), thread_name_prefix="upkeep-stream") as pool:
            try:
                others = [pool.submit(store_one, place) for place in range(1, len(streams))]
                stored = [store_one(0), *(other.result() for other in others)]
            except BaseException as error:
                failed.because_of(error)
        if failed.error:
            raise failed.error
        return [each for each in stored if each]


def _store_one(job: Job, ref: BackupRef, store: Store, stream: str, pipeline: Pipeline) -> Stored:
    begun = time.monotonic()
    name = packed_name(stream, job.site.encryption)
    metered = Metered(f"{ref.site}/{ref.target} {name}", "stored")
    with store.writer(ref.prefix + name) as sink:
        for chunk in metered.over(pipeline.output()):
            sink.write(chunk)
        ended = pipeline.finish()
    file = StoredFile(name, stream, metered.size, metered.sha256)
    return Stored(file, ended[:1], round(time.monotonic() - begun, 3))


class _FirstFailure:
    """Keeps the first of several errors, and ends every pipeline: the errors after it are its consequences."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines
        self.error: BaseException | None = None

    def because_of(self, error: BaseException) -> None:
        self.error = self.error or error
        for pipeline in self._pipelines:
            pipeline.kill()
