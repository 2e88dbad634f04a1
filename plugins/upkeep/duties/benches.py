"""Where backups are restored to prove them: a scratch server for databases, a throwaway Redis, a folder of the worker.

Each bench refuses what it must not touch, restores one backup beside everything else, compares it, and takes it away.
A drill lets the copies of all targets stand before it asks them what the site wants to be true.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upkeep.domain.likeness import compare_catalogues, compare_tables, not_compared
from upkeep.domain.manifest import Manifest
from upkeep.domain.proving import is_foreign, is_scratch_of, scratch_name
from upkeep.domain.units import human_bytes
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams
from upkeep.duties.stamps import Stamps, read_stamps
from upkeep.engines.restore_base import Restorer
from upkeep.errors import ConnectionUnknown, RestoreUnavailable
from upkeep.site import Cache, Check, Cluster, Database

if TYPE_CHECKING:
    from upkeep.engines.redis_scratch import RdbKeys

SPACE_FACTOR = 2
"""Bytes of disk on a scratch server for each plain byte of a dump: rows, indexes and the server's log."""
FOLDER_FACTOR = 1.1
SESSIONS = 2
CHECK_LIMIT_S = 120


@dataclass
class Restored:
    """What came of one restore. ``seconds`` by phase; ``figures`` are counts; ``notes`` say what can't be said."""

    differences: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = round(time.monotonic() - begun, 3)

    def share_out(self, streams: Streams) -> None:
        """Of the time that loading took, what it waited for the store, and for decrypting and unpacking. These three
        run side by side, so their shares add up to what a clock shows: they say where a faster part would help.
        """
        fetch, decrypt = streams.waited()
        load = max(0.0, self.seconds["load"] - fetch - decrypt)
        self.seconds |= {"fetch": round(fetch, 3), "decrypt": round(decrypt, 3), "load": round(load, 3)}


class Bench(ABC):
    """For one target. Errors: ``RestoreUnavailable`` for all that says nothing about the backup."""

    secrets: tuple[str, ...] = ()

    def __init__(self, job: Job, target: str) -> None:
        self._job, self._target = job, target

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it restores to, for people."""

    @abstractmethod
    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        """Refuse to restore here what must not be; what can't be made sure of is noted.

        :param beside: plain bytes of other copies that are to stand here at the same time.
        """

    @abstractmethod
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> AbstractContextManager[None]:
        """Restore and compare; the copy stands until the block ends. Errors: ``ProofFailed`` when it can't be restored
        at all.
        """

    def ask(self, manifest: Manifest, restored: Restored) -> None:
        """Ask of the standing copy what the site wants to be true of it; what isn't is a difference."""
        return

    def stamps(self, manifest: Manifest) -> Stamps:
        """When the newest rows of the standing copy were written, and of the source what it says now."""
        return Stamps()

    def leftovers(self) -> list[str]:
        """What a killed run of this target left; call it under the target's hold."""
        return [name for name in self._names() if is_scratch_of(name, self._job.site.name, self._target)]

    def sweep(self, names: Collection[str]) -> None:
        """Take leftovers away."""
        for name in names:
            self._take_away(name)

    @abstractmethod
    def _names(self) -> list[str]: ...

    @abstractmethod
    def _take_away(self, name: str) -> None: ...

    @contextmanager
    def _taken_away(self, name: str, restored: Restored) -> Iterator[None]:
        """However the block ends. A copy that stays is swept next time, and doesn't change what was found."""
        try:
            yield
        except BaseException as error:
            try:
                self._take_away(name)
            except RestoreUnavailable as second:
                error.add_note(f"{name} stays on {self.place}: {second.message}; the next run takes it away")
            raise
        try:
            self._take_away(name)
        except RestoreUnavailable as error:
            restored.notes.append(f"{name} stays on {self.place}: {error.message}; the next run takes it away")

    def _name(self, manifest: Manifest) -> str:
        ref = manifest.backup
        return scratch_name(ref.site, ref.target, ref.backup_id)


class DatabaseBench(Bench):
    def __init__(self, job: Job, target: str, section: Database) -> None:
        super().__init__(job, target)
        self._section = section
        if section.scratch_conn_id is None:
            raise NoScratch(
                f"{job.site.name}/{target} has no scratch server, so its backups are never restored",
                hint="name one under scratch_conn_id in the site file: an empty server that holds nothing else",
            )
        self._restorer = open_restorer(job, section.engine, section.scratch_conn_id)
        self.secrets = self._restorer.secrets

    @property
    def place(self) -> str:
        return f"the scratch server of connection {self._section.scratch_conn_id}"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        notes = self._refuse_source(manifest)
        if foreign := sorted(name for name in self._restorer.databases() if is_foreign(name)):
            raise RestoreUnavailable(
                f"{self.place} holds databases that Upkeep did not make: {', '.join(foreign[:5])}",
                hint="a scratch server holds nothing else, for a restored copy can fill its disk: name another one "
                "under scratch_conn_id, or move these away",
            )
        need, free = (plain_bytes + beside) * SPACE_FACTOR, self._restorer.free_bytes()
        if free is None:
            notes.append("nobody can say how much disk is free on the scratch server")
        elif free < need:
            raise RestoreUnavailable(
                f"{self.place} has {human_bytes(free)} of free disk, {_who_needs(manifest, beside)} about "
                f"{human_bytes(need)}",
                hint="free space there, or give it a larger disk",
            )
        if self._section.engine == "postgres":
            _require_disk(tempfile.gettempdir(), plain_bytes, manifest)
        return notes

    def _refuse_source(self, manifest: Manifest) -> list[str]:
        """By what the servers say of themselves: one server has many names and addresses."""
        scratch = self._restorer.identity()
        if not scratch:
            raise RestoreUnavailable(
                f"{self.place} doesn't say who it is, so nobody can make sure that it isn't the source",
                hint="let its account read the server's identity (PostgreSQL: pg_control_system)",
            )
        notes: list[str] = []
        live = self._live_identity(notes)
        if scratch in (live, manifest.source.get("identity")):
            raise RestoreUnavailable(
                f"{self.place} is the very server that {self._job.site.name}/{self._target} is backed up from "
                f"({scratch}), whatever name leads there",
                hint="name another server under scratch_conn_id: nothing is ever restored into a source",
            )
        return notes

    def _live_identity(self, notes: list[str]) -> str:
        """Who the source says it is now; empty where it can't be asked."""
        if self._section.via:
            notes.append("the source is in a pod: it is told apart by what it said of itself when it was backed up")
            return ""
        try:
            return open_restorer(self._job, self._section.engine, self._section.conn_id).identity()
        except (RestoreUnavailable, ConnectionUnknown) as error:
            notes.append(f"the source could not be asked who it is now: {error.message}")
            return ""

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        name = self._name(manifest)
        with self._taken_away(name, restored):
            with restored.timed("load"), tempfile.TemporaryDirectory(prefix="upkeep-") as folder:
                loaded = self._restorer.load(manifest, name, streams.read, folder=Path(folder), jobs=SESSIONS)
            restored.share_out(streams)
            restored.seconds = {f"load: {phase}": spent for phase, spent in loaded.seconds.items()} | restored.seconds
            restored.notes += loaded.notes
            with restored.timed("verify"):
                compare_database(self._restorer, self._section.engine, manifest, name, restored)
                if self._section.engine == "mysql":
                    self._compare_grants(manifest, name, streams, restored)
            yield

    def _compare_grants(self, manifest: Manifest, name: str, streams: Streams, restored: Restored) -> None:
        """PostgreSQL's are in its archive, and its catalogue has them."""
        from upkeep.engines.mysql_accounts import GRANTS
        from upkeep.engines.mysql_grants_proof import compare_grants

        if "grants" not in manifest.contents:
            restored.notes.append("accounts and rights are not compared: the backup has none")
        if GRANTS not in {file.stream for file in manifest.files}:
            return
        with closing(streams.read(GRANTS)) as chunks, closing(self._restorer.connect(name)) as connection:
            compared = compare_grants(connection, manifest, name, chunks)
        restored.differences += compared.differences
        restored.notes += compared.notes
        restored.figures["rights"] = compared.rights

    def ask(self, manifest: Manifest, restored: Restored) -> None:
        from upkeep.engines.copies import run_checks

        checks: list[Check] = self._section.checks
        ok = not restored.differences
        with closing(self._restorer.connect(self._name(manifest))) as connection:
            restored.differences += run_checks(connection, self._section.engine, checks, CHECK_LIMIT_S, ok=ok)
        restored.figures["checks"] = len(checks)

    def stamps(self, manifest: Manifest) -> Stamps:
        return read_stamps(self._job, self._section, self._restorer, manifest, self._name(manifest))

    def leftovers(self) -> list[str]:
        """None on a server that may be the source: nothing is ever dropped there, whatever it is called."""
        scratch = self._restorer.identity()
        return super().leftovers() if scratch and scratch != self._live_identity([]) else []

    def _names(self) -> list[str]:
        return self._restorer.databases()

    def _take_away(self, name: str) -> None:
        self._restorer.drop(name)


class CacheBench(Bench):
    @property
    def place(self) -> str:
        return "a throwaway redis-server on this worker"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        from upkeep.engines.redis_scratch import MEMORY_FACTOR

        _require_disk(tempfile.gettempdir(), plain_bytes, manifest)
        need, free = (plain_bytes + beside) * MEMORY_FACTOR, _free_memory()
        if free is not None and free < need:
            raise RestoreUnavailable(
                f"this worker has {human_bytes(free)} of free memory, a Redis for "
                f"{_who_needs(manifest, beside)} about {human_bytes(need)}",
                hint="give the worker more memory, or run this task on another one",
            )
        return []

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        """Keys have to be as many as redis-check-rdb counts in the file, those left out whose time is over.

        The manifest's own counts are from a moment before the dump, while keys came and went: the drift is only told.
        """
        from upkeep.engines.redis_scratch import count_keys, lay_down, scratch_redis

        recorded = {
            int(name.removeprefix("db")): int(space["keys"])
            for name, space in manifest.contents.get("databases", {}).items()
        }
        begun = time.monotonic()
        with closing(streams.read("dump.rdb")) as chunks:
            file = lay_down(chunks)
        with closing(file):
            counted = count_keys(file)
            with scratch_redis(file, databases=max(recorded, default=0) + 1) as server:
                restored.seconds["load"] = round(time.monotonic() - begun, 3)
                restored.share_out(streams)
                with restored.timed("verify"):
                    keys, expired = server.keys(), server.expired()
                    sample = {f"db{database}": server.sample(database) for database in keys}
                    self._compare(restored, recorded, counted, keys, expired)
                restored.figures = {
                    "keys": sum(keys.values()),
                    "expired": expired,
                    "with_expiry": counted.expires,
                    "databases": {f"db{database}": count for database, count in keys.items()},
                    "drift_since_counted": {
                        f"db{database}": keys.get(database, 0) - recorded.get(database, 0)
                        for database in sorted({*keys, *recorded})
                        if keys.get(database, 0) != recorded.get(database, 0)
                    },
                    "sample": sample,
                }
                yield

    def _compare(
        self,
        restored: Restored,
        recorded: Mapping[int, int],
        counted: RdbKeys,
        keys: Mapping[int, int],
        expired: int | None,
    ) -> None:
        there = sum(keys.values())
        missing = counted.keys - there - (expired or 0)
        # A release that doesn't count what expires leaves it open whether a key with an expiry expired or was lost.
        if missing < 0 or missing > (0 if expired is not None else counted.expires):
            restored.differences.append(
                f"the restored Redis has {there} keys and {expired or 0} expired ones, the file holds {counted.keys}"
            )
        if empty := sorted(database for database in recorded if recorded[database] and database not in keys):
            words = ", ".join(f"db{database}" for database in empty)
            if counted.expires < sum(recorded[database] for database in empty):
                restored.differences.append(f"nothing came back of {words}, and too few keys expire to explain it")

    def _names(self) -> list[str]:
        return []  # the kernel ends the server with its task, and its file has no name

    def _take_away(self, name: str) -> None:
        return


class FolderBench(Bench):
    """The copy lies below the worker's folder for temporary files, readable by its account alone, and is removed.

    The content is compared with what the archive recorded: the archive's own SHA-256 is in the manifest, and the
    ledger knows that of the manifest.
    """

    @property
    def place(self) -> str:
        return f"{tempfile.gettempdir()} of this worker"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        _require_disk(tempfile.gettempdir(), int((plain_bytes + beside) * FOLDER_FACTOR), manifest)
        return []

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        from upkeep.engines.folder_scratch import as_root, compare, extract

        name, contents = self._name(manifest), manifest.contents
        folder = Path(tempfile.gettempdir()) / name
        with self._taken_away(name, restored):
            try:
                folder.mkdir(mode=0o700)
            except OSError as error:
                raise RestoreUnavailable(
                    f"can't make the folder {folder}: {error.strerror}", hint="see who owns it, or set TMPDIR"
                ) from error
            with restored.timed("load"), closing(streams.read("files.tar")) as chunks:
                extract(chunks, folder)
            restored.share_out(streams)
            with restored.timed("verify"), closing(streams.read("files.tar")) as chunks:
                restored.differences += compare(
                    chunks, folder, entries=int(contents["entries"]), listing=str(contents.get("listing", ""))
                )
            if not as_root():
                restored.notes.append("owners and modes are not compared: only root can give files to their owners")
            if "listing" not in contents:
                restored.notes.append(
                    "names and attributes are compared with the archive's only: the manifest lists none"
                )
            restored.figures = {"entries": int(contents["entries"])}
            yield

    def _names(self) -> list[str]:
        return [path.name for path in Path(tempfile.gettempdir()).iterdir()]

    def _take_away(self, name: str) -> None:
        folder = Path(tempfile.gettempdir()) / name
        if not folder.exists():
            return
        try:
            for inner, _, _ in os.walk(folder):
                Path(inner).chmod(0o700)  # folders that nobody may write to hold their files fast
            shutil.rmtree(folder)
        except OSError as error:
            raise RestoreUnavailable(f"{folder} can't be removed: {error}", hint="remove it by hand") from error


class NoScratch(RestoreUnavailable):
    """The site gives a target no place for test restores: its own choice, so a remark rather than a failure."""


def bench_of(job: Job, target: str) -> Bench:
    """Errors: ``NoScratch``, ``ConnectionUnknown``."""
    section = job.site.section(target)
    if isinstance(section, Database):
        return DatabaseBench(job, target, section)
    if isinstance(section, Cache):
        return CacheBench(job, target)
    if isinstance(section, Cluster):
        from upkeep.duties.cluster_bench import ClusterBench

        return ClusterBench(job, target, section)
    return FolderBench(job, target)


def compare_database(
    restorer: Restorer,
    engine: str,
    manifest: Manifest,
    name: str,
    restored: Restored,
    only: Collection[str] = (),
) -> None:
    """Compare what was loaded as database ``name`` with what its manifest says; differences are added to ``restored``.

    :param only: the tables whose rows were loaded; none means all.
    """
    from upkeep.engines.copies import look_at_mysql, look_at_postgres

    recorded = dict(manifest.contents.get("tables", {}))
    with closing(restorer.connect(name)) as connection:
        if engine == "mysql":
            copy = look_at_mysql(connection, name, manifest)
        else:
            copy = look_at_postgres(connection, manifest)
    tables = copy.tables
    if only:
        recorded = {table: facts for table, facts in recorded.items() if table in only}
        tables = {table: facts for table, facts in tables.items() if table in only}
    restored.differences += compare_tables(recorded, tables, exact=manifest.rows_are == "exact")
    # Foreign keys and views with rows of their own need all tables.
    catalogue: Mapping[str, Any] = {} if only else manifest.contents.get("catalogue", {})
    differences, notes = compare_catalogues(catalogue, copy.catalogue)
    restored.differences += differences
    restored.notes += [*not_compared(recorded, manifest.rows_are), *([] if only else notes)]
    restored.figures |= {
        "tables": len(tables),
        "rows": sum(int(table["rows"]) for table in tables.values()),
        "checksums": sum("checksum" in table for table in recorded.values()),
        "objects": sum(len(kind) for kind in copy.catalogue.values() if isinstance(kind, Mapping)),
    }


def open_restorer(job: Job, engine: str, conn_id: str, *, live: bool = False) -> Restorer:
    endpoint = job.connect(conn_id)
    if engine == "mysql":
        from upkeep.engines.mysql_restore import MySqlRestorer

        return MySqlRestorer(endpoint, live=live)
    from upkeep.engines.postgres_restore import PostgresRestorer

    return PostgresRestorer(endpoint, live=live)


def _who_needs(manifest: Manifest, beside: int) -> str:
    return f"{manifest.backup.backup_id} {'and what is to stand beside it need' if beside else 'needs'}"


def _require_disk(folder: str, need: int, manifest: Manifest) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise RestoreUnavailable(
            f"{folder} on this worker has {human_bytes(free)} of free disk, "
            f"{manifest.backup.backup_id} needs about {human_bytes(need)}",
            hint="free space there, or let TMPDIR lead to a larger disk",
        )


def _free_memory() -> int | None:
    """What the kernel could give to a new program, in bytes; None where it doesn't say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    return None
