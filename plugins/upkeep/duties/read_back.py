"""Reading a backup back from its store: the manifest that can be trusted, the bytes that are those it speaks of."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest, StoredFile
from upkeep.domain.sealed import digest
from upkeep.duties.catalogue import PROOFS, Backup, read_manifest
from upkeep.duties.job import Job
from upkeep.duties.metered import Metered
from upkeep.duties.packing import identity_of, is_about_the_key, unpack
from upkeep.engines.feeding import feed
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import (
    ManifestBroken,
    ObjectDamaged,
    ObjectMissing,
    ProofFailed,
    RestoreUnavailable,
    ToolFailed,
)

log = logging.getLogger(__name__)

UNPACKED_FACTOR = 5
"""Plain bytes for each stored one, where no proof has counted them."""
DAMAGED = (
    "it was damaged in the store after it was written: don't rely on it, back up again, and have the storage checked"
)


def trusted_manifest(job: Job, backup: Backup) -> Manifest:
    """The manifest, if it is the very one that the ledger saw written. Errors: ``ManifestBroken``."""
    manifest, raw = read_manifest(job.store, backup.ref)
    if manifest.backup != backup.ref:
        raise ManifestBroken(
            f"the manifest of {backup.ref.backup_id} is that of {manifest.backup.site}/{manifest.backup.target} "
            f"{manifest.backup.backup_id}",
            hint="somebody copied it there: don't rely on this backup",
        )
    for record in job.ledger.acts(site=backup.ref.site, target=backup.ref.target, duty="back_up"):
        if record.detail.get("backup_id") != backup.ref.backup_id or record.finished is None:
            continue
        if record.finished.checksum and record.finished.checksum != digest(raw):
            raise ManifestBroken(
                f"the manifest of {backup.ref.backup_id} is sealed, but it is not the one that the ledger saw written",
                hint="somebody replaced it, or copied it: don't rely on this backup, find out who did it",
            )
    return manifest


@dataclass
class Waits:
    """How long a reader waited for the next chunk, in seconds altogether."""

    seconds: float = 0.0

    def over(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        following = iter(chunks)
        while True:
            begun = time.monotonic()
            chunk = next(following, None)
            self.seconds += time.monotonic() - begun
            if chunk is None:
                return
            yield chunk


class HashedReader:
    """A stored file's bytes in order, hashed on the way; ``finish`` reads what is left and compares."""

    def __init__(self, job: Job, key: str, file: StoredFile) -> None:
        self._key, self._file = key, file
        self._chunks = job.store.read(key)
        self._metered = Metered(key, "read back")
        self._damage: ObjectDamaged | ObjectMissing | None = None
        self.waits = Waits()

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._metered.over(self.waits.over(self._chunks))
        except (ObjectDamaged, ObjectMissing) as error:
            self._damage = error

    def finish(self) -> None:
        """Errors: ``ProofFailed`` when these are not the bytes that the manifest speaks of."""
        for _ in self:
            pass
        if isinstance(self._damage, ObjectMissing):
            raise ProofFailed(f"{self._key} is missing from the store", hint=DAMAGED) from self._damage
        if self._metered.size != self._file.size:
            raise ProofFailed(
                f"{self._key} has {self._metered.size} bytes, its manifest says {self._file.size}", hint=DAMAGED
            ) from self._damage
        if self._damage or not self._metered.matches(self._file):
            raise ProofFailed(f"{self._key} has another SHA-256 than its manifest says", hint=DAMAGED) from self._damage


class Streams:
    """The streams of one backup as they were dumped: fetched, decrypted, decompressed, and hashed on the way.

    Each may be read in a thread of its own, which has to live until it has read it. ``damage`` collects what was found
    wrong with the stored bytes themselves.
    """

    def __init__(self, job: Job, manifest: Manifest, identity: Endpoint | None) -> None:
        self._job, self._manifest, self._identity = job, manifest, identity
        self.damage: list[ProofFailed] = []
        self._waits: dict[str, tuple[Waits, Waits]] = {}

    def waited(self) -> tuple[float, float]:
        """How long whoever read waited for the store, and for decrypting and unpacking, in seconds; of several streams
        the one that was waited for longest. The store's slowness that nobody waited for doesn't count.
        """
        found = [(read.seconds, min(fetched.seconds, read.seconds)) for fetched, read in self._waits.values()]
        read, fetch = max(found, default=(0.0, 0.0))
        return fetch, read - fetch

    def read(self, stream: str) -> Generator[bytes, None, None]:
        """Errors: ``ProofFailed`` at the end of the stream, before the last chunk is believed; ``ToolFailed`` for a
        wrong key or a program that was killed; ``StoreUnreachable``.
        """
        file = next(file for file in self._manifest.files if file.stream == stream)
        reader = HashedReader(self._job, f"{self._manifest.backup.prefix}{file.name}", file)
        unpacked = Waits()
        self._waits[stream] = reader.waits, unpacked
        with ExitStack() as stack:
            commands = stack.enter_context(unpack(file.name, self._identity))
            pipeline = stack.enter_context(Pipeline(commands, feed=True))
            fed = feed(pipeline, iter(reader))
            try:
                yield from unpacked.over(pipeline.output())
                fed.result()
                pipeline.finish()
            except ToolFailed as error:
                fed.exception()  # waits
                if error.was_killed:
                    raise
                self._check(reader)
                raise unpacking_failed(error, file, self._identity) from error
            except BaseException:
                pipeline.kill()  # whoever reads gave up
                fed.exception()
                raise
            self._check(reader)

    def _check(self, reader: HashedReader) -> None:
        """A wrong hash outweighs whatever the unpacking said of the wrong bytes."""
        try:
            reader.finish()
        except ProofFailed as error:
            self.damage.append(error)
            raise


def key_of(job: Job, manifest: Manifest) -> Endpoint | None:
    """The private key that opens a backup; None for one that isn't encrypted. Errors: ``RestoreUnavailable``."""
    if not manifest.encrypted:
        return None
    if identity := identity_of(job):
        return identity
    raise RestoreUnavailable(
        f"{manifest.backup.backup_id} is encrypted, and the site names no identity_conn_id: nobody here can open it",
        hint="name the connection that holds the private key under encryption.identity_conn_id",
    )


def plain_bytes(job: Job, backup: Backup, manifest: Manifest) -> int:
    """What the structure proof counted; without one, a guess from what is stored."""
    prefix = f"{backup.ref.prefix}{PROOFS}"
    names = sorted(stored.key for stored in job.store.list(prefix))
    for key in reversed([name for name in names if name.endswith("-structure-pass.json")]):
        try:
            figures = json.loads(job.store.get(key))["figures"]
            return sum(int(figures[file.stream]["plain_bytes"]) for file in manifest.files)
        except (ValueError, KeyError, TypeError):
            log.warning("the proof %s can't be read", key)
    return manifest.size * UNPACKED_FACTOR


def unpacking_failed(error: ToolFailed, file: StoredFile, identity: Endpoint | None) -> ToolFailed | ProofFailed:
    """What a program that failed by itself to unpack a file says: something about the backup, or about the key."""
    if identity and is_about_the_key(error):
        return ToolFailed(
            f"{file.name} can't be opened with the private key of connection {identity.conn_id}: {error.message}",
            hint="this says nothing about the backup: put the private key of one of its recipients into the "
            "connection; after a change of keys, older backups need the old one",
            status=error.status,
            stderr=error.stderr,
        )
    return ProofFailed(f"it can't be unpacked: {error.message}", hint="don't rely on this backup: back up again")
