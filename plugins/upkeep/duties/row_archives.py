"""Archives of purged rows: written before the rows go, read back after a kill, restored when somebody wants them.

An archive lies in ``<site>/<database>/rows-<table>/<archive_id>/`` and goes through three states, each one object more:

1. ``part-00001.jsonl.zst[.age]``: rows on their way; without a manifest it is an orphan, and the next run removes it.
2. ``manifest.json``: committed. Its rows may be deleted from the table, and those that are gone may be because of it.
3. ``ended.json``: every row of it was dealt with; names those that were left in the table because they had changed.

Only one run at a time works on a table's archives: callers hold ``<site>/<database>/purge/<table>``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain

import upkeep
from upkeep.domain.backup import is_backup_id, new_backup_id, taken_at
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.manifest import StoredFile
from upkeep.domain.purge import PurgePlan
from upkeep.domain.row_archive import ENDED, Ending, Row, RowArchive, archives_folder, key_text
from upkeep.domain.tables import Table
from upkeep.duties.job import Job
from upkeep.duties.metered import Metered
from upkeep.duties.packing import identity_of, pack, packed_name, packing_tools, unpack, unpack_line
from upkeep.engines.feeding import feed
from upkeep.engines.pipeline import Pipeline
from upkeep.engines.row_purge import RowPurge
from upkeep.errors import ManifestBroken, ObjectDamaged, ObjectMissing, StoreError, StoreFull, StoreUnreachable

log = logging.getLogger(__name__)

PART = "part-00001.jsonl"
BLOCK = 1 << 18


class Archives:
    """The archives of one table."""

    def __init__(self, job: Job, database: str, table: str) -> None:
        self._job, self._database, self._table = job, database, table
        self.folder = archives_folder(job.site.name, database, table)
        self._newest: str | None = None

    def committed(self) -> tuple[list[RowArchive], dict[str, Ending]]:
        """Every archive with a manifest, in the order in which they were committed, and how those ended that did.

        Errors: ``ManifestBroken``.
        """
        found = {key: names for key, names in self._objects().items() if MANIFEST in names}
        endings = {key: self._ending(key) for key, names in found.items() if ENDED in names}
        return [self._manifest(archive_id) for archive_id in found], endings

    def unfinished(self) -> list[RowArchive]:
        """Archives that a killed run, or one whose window closed, committed and didn't end."""
        open_ids = [key for key, names in self._objects().items() if MANIFEST in names and ENDED not in names]
        return [self._manifest(archive_id) for archive_id in open_ids]

    def sweep(self) -> int:
        """Remove what never got a manifest; returns how many objects that were."""
        removed = len(self._job.store.sweep(self.folder))
        for archive_id, names in self._objects().items():
            if MANIFEST not in names and ENDED in names:
                log.error("%s%s has lost its manifest: it is left as it is", self.folder, archive_id)
            elif MANIFEST not in names:
                try:
                    for name in names:
                        self._job.store.delete(f"{self.folder}{archive_id}/{name}")
                except (StoreUnreachable, StoreFull):
                    raise
                except StoreError as error:  # a retention lock, keys that may not delete: no reason to keep rows
                    log.warning("the unfinished %s%s stays: %s", self.folder, archive_id, error.message)
                    continue
                removed += len(names)
                log.warning("removed %s%s, which a killed run left without a manifest", self.folder, archive_id)
        return removed

    def commit(
        self, plan: PurgePlan, table: Table, session: RowPurge, rows: Iterator[tuple[Row, bytes]]
    ) -> tuple[RowArchive, bytes] | None:
        """Stream rows, each with its line, into a new archive, read it back, and commit it.

        None when there was no row after all.
        """
        first_of_all = next(rows, None)
        if first_of_all is None:
            return None
        first, _ = first_of_all
        job = self._job
        archive_id = self._new_id()
        prefix = f"{self.folder}{archive_id}/"
        name = packed_name(PART, job.site.encryption)
        seen = _Seen(first)
        passing = seen.lines(chain([first_of_all], rows))
        try:
            file = self._store(prefix + name, name, passing)
            self.require_whole(prefix, file)
            archive = RowArchive(
                site=job.site.name,
                database=self._database,
                table=self._table,
                archive_id=archive_id,
                engine=table.engine,
                rule=plan.to_dict() | {"before": plan.before},
                columns=tuple(
                    {"name": c.name, "type": c.type, "form": c.form, "nullable": c.nullable} for c in table.kept_columns
                ),
                key=table.primary_key,
                rows=seen.rows,
                first=key_text(first, table.primary_key),
                last=key_text(seen.last, table.primary_key),
                oldest=str(first[plan.rule.column]),
                newest=str(seen.last[plan.rule.column]),
                bytes_of_lines=seen.bytes,
                files=(file,),
                source={"server": session.server, "table": table.label},
                tools=packing_tools(job.site.encryption),
                run=job.run.as_dict(),
                made_at=job.now().isoformat(timespec="microseconds"),
                restore=session.restore_line(table, table.kept_columns, unpack_line(name)),
                upkeep=upkeep.__version__,
            )
            sealed = archive.to_bytes()
            job.store.put(prefix + MANIFEST, sealed)
        except BaseException:
            # The manifest goes first: an archive that lost its part must not look committed.
            with suppress(StoreError):
                for object_name in (MANIFEST, name):
                    job.store.delete(prefix + object_name)
            raise
        return archive, sealed

    def end(self, archive: RowArchive, ending: Ending) -> None:
        self._job.store.put(archive.prefix + ENDED, ending.to_bytes())

    def require_whole(self, prefix: str, file: StoredFile) -> None:
        """Read a stored file back and compare it. Errors: ``ObjectDamaged``."""
        key = prefix + file.name
        metered = Metered(key, "read back")
        try:
            for _ in metered.over(self._job.store.read(key)):
                pass
        except ObjectMissing as error:
            raise _damaged(key, "it is missing") from error
        if not metered.matches(file):
            raise _damaged(key, f"it reads back as {metered.size} bytes that are not the {file.size} written")

    def lines(self, archive: RowArchive) -> Iterator[bytes]:
        """The lines of a whole archive. Errors: ``ObjectDamaged`` before the first line, ``ToolFailed``."""
        for file in archive.files:
            self.require_whole(archive.prefix, file)
        for file in archive.files:
            with unpack(file.name, identity_of(self._job)) as commands, Pipeline(commands, feed=True) as pipeline:
                stored = self._job.store.read(archive.prefix + file.name)
                with _fed(pipeline, stored):
                    yield from _split(pipeline.output())

    def _new_id(self) -> str:
        """Later than every other of the table, even when two fall into one second or the clock was set back: of two
        archives that hold a row the one with the later id is right."""
        moment = self._job.now()
        if self._newest is None:
            self._newest = max(self._objects(), default="")
        if self._newest:
            moment = max(moment, taken_at(self._newest) + timedelta(seconds=1))
        self._newest = new_backup_id(moment)
        return self._newest

    def _manifest(self, archive_id: str) -> RowArchive:
        key, store = f"{self.folder}{archive_id}/{MANIFEST}", self._job.store
        archive = RowArchive.from_bytes(store.get(key), f"{store.url}/{key}")
        if archive.prefix != f"{self.folder}{archive_id}/":
            raise ManifestBroken(
                f"the manifest {store.url}/{key} is that of {archive.prefix}",
                hint="somebody copied it there: don't restore from it, and take it out of that folder",
            )
        return archive

    def _ending(self, archive_id: str) -> Ending:
        key, store = f"{self.folder}{archive_id}/{ENDED}", self._job.store
        return Ending.from_bytes(store.get(key), f"{store.url}/{key}")

    def _store(self, key: str, name: str, lines: Iterator[bytes]) -> StoredFile:
        job = self._job
        commands = pack(job.site.compression, job.site.encryption)
        metered = Metered(key, "stored")
        with job.store.writer(key) as sink, Pipeline(commands, feed=True) as pipeline, _fed(pipeline, lines):
            for chunk in metered.over(pipeline.output()):
                sink.write(chunk)
        return StoredFile(name, PART, metered.size, metered.sha256)

    def _objects(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for stored in self._job.store.list(self.folder):
            archive_id, _, name = stored.key.removeprefix(self.folder).partition("/")
            if is_backup_id(archive_id):
                found.setdefault(archive_id, set()).add(name)
        return dict(sorted(found.items()))


class _Seen:
    """What passed on its way into an archive."""

    def __init__(self, first: Row) -> None:
        self.rows, self.bytes, self.last = 0, 0, first

    def lines(self, rows: Iterable[tuple[Row, bytes]]) -> Iterator[bytes]:
        for row, line in rows:
            self.rows, self.bytes, self.last = self.rows + 1, self.bytes + len(line), row
            yield line


@contextmanager
def _fed(pipeline: Pipeline, chunks: Iterable[bytes]) -> Iterator[None]:
    """Feed a pipeline while the block reads its output. At the end of the block every chunk was taken, or the error
    that stopped the feeding is raised here.
    """
    over = threading.Event()
    fed = feed(pipeline, _blocks(chunks, over))
    try:
        yield
    except BaseException:
        pipeline.kill()
        raise
    finally:
        over.set()
        fed.exception()  # waits
    fed.result()


def _blocks(chunks: Iterable[bytes], over: threading.Event) -> Iterator[bytes]:
    """``chunks``, most of them a line, in blocks; nothing more once nobody wants them."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        if over.is_set():
            return
        if len(waiting) >= BLOCK:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def _damaged(key: str, why: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"the archive {key} can't be relied on: {why}",
        hint="no row was deleted because of it just now; rows deleted in an earlier run are in the backups from before "
        "it. Have the storage checked, then move the archive's folder out of the store",
    )
