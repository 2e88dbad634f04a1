"""Where a backup of a database is restored to prove it: a database of its own on a server that holds nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from upkeep.domain.manifest import Manifest
from upkeep.domain.proving import is_foreign
from upkeep.domain.units import human_bytes
from upkeep.duties.database_copy import CHECK_LIMIT_S, SESSIONS, SPACE_FACTOR, compare_database, open_restorer
from upkeep.duties.job import Job
from upkeep.duties.read_back import Streams
from upkeep.duties.scratch import NoScratch, Restored, Scratch, require_disk, who_needs
from upkeep.duties.stamps import Stamps, read_stamps
from upkeep.errors import ConnectionUnknown, RestoreUnavailable
from upkeep.site import Check, Database


class DatabaseScratch(Scratch):
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
        notes = self.refuse_source(manifest)
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
                f"{self.place} has {human_bytes(free)} of free disk, {who_needs(manifest, beside)} about "
                f"{human_bytes(need)}",
                hint="free space there, or give it a larger disk",
            )
        if self._section.engine == "postgres":
            require_disk(tempfile.gettempdir(), plain_bytes, manifest)
        return notes

    def refuse_source(self, manifest: Manifest) -> list[str]:
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
                hint="name another server under scratch_conn_id: nothing is ever restored into a source; two of MySQL "
                "that go by one hostname and port need a server_id of their own each",
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
