"""Where a backup of a Redis is restored to prove it: a throwaway redis-server on this worker."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from upkeep.domain.manifest import Manifest
from upkeep.domain.units import human_bytes
from upkeep.duties.read_back import Streams
from upkeep.duties.scratch import Restored, Scratch, require_disk, who_needs
from upkeep.engines.host_figures import UNREADABLE, memory
from upkeep.errors import RestoreUnavailable

if TYPE_CHECKING:
    from upkeep.engines.rdb_file import RdbKeys


class CacheScratch(Scratch):
    @property
    def place(self) -> str:
        return "a throwaway redis-server on this worker"

    def check(self, manifest: Manifest, plain_bytes: int, *, beside: int = 0) -> list[str]:
        from upkeep.engines.redis_scratch import MEMORY_FACTOR

        require_disk(tempfile.gettempdir(), plain_bytes, manifest)
        need, free = (plain_bytes + beside) * MEMORY_FACTOR, _free_memory()
        if free is not None and free < need:
            raise RestoreUnavailable(
                f"this worker has {human_bytes(free)} of free memory, a Redis for "
                f"{who_needs(manifest, beside)} about {human_bytes(need)}",
                hint="give the worker more memory, or run this task on another one",
            )
        return []

    @contextmanager
    def standing(self, manifest: Manifest, streams: Streams, restored: Restored) -> Iterator[None]:
        """Keys have to be as many as redis-check-rdb counts in the file, those left out whose time is over.

        The manifest's own counts are from a moment before the dump, while keys came and went: the drift is only told.
        """
        from upkeep.engines.redis_scratch import count_keys, lay_down, scratch_redis

        recorded = recorded_keys(manifest)
        begun = time.monotonic()
        with closing(streams.read("dump.rdb")) as chunks:
            file = lay_down(chunks)
        with closing(file):
            counted = count_keys(file)
            with scratch_redis(file, databases=max(recorded, default=0) + 1) as server:
                restored.seconds["load"] = round(time.monotonic() - begun, 3)
                restored.share_out(streams)
                with restored.timed("verify"):
                    before, keys, expired = server.expired(), server.keys(), server.expired()
                    sample = {f"db{database}": server.sample(database) for database in keys}
                    self._compare(restored, recorded, counted, keys, (before, expired))
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
        expired: tuple[int | None, int | None],
    ) -> None:
        """``expired``: how many had before ``keys`` were counted and after it, for they go on expiring meanwhile."""
        there = sum(keys.values())
        # A release that doesn't count what expires leaves it open whether a key with an expiry expired or was lost.
        # A hash whose last field expires goes with it, and isn't counted among the expired keys.
        least, most = expired[0] or 0, counted.expires if expired[1] is None else expired[1] + counted.field_expires
        if not least <= counted.keys - there <= most:
            restored.differences.append(
                f"the restored Redis has {there} keys and {expired[1] or 0} expired ones, the file holds {counted.keys}"
            )
        if empty := sorted(database for database in recorded if recorded[database] and database not in keys):
            words = ", ".join(f"db{database}" for database in empty)
            restored.notes.append(f"{words} had keys a moment before the dump, and has none in it: emptied meanwhile")

    def _names(self) -> list[str]:
        return []  # the kernel ends the server with its task, and its file has no name

    def _take_away(self, name: str) -> None:
        return


def recorded_keys(manifest: Manifest) -> dict[int, int]:
    """By logical database, as the source counted them a moment before the dump."""
    databases = manifest.contents.get("databases", {})
    return {int(name.removeprefix("db")): int(space["keys"]) for name, space in databases.items()}


def _free_memory() -> int | None:
    """What the kernel could give to a new program, in bytes; None where it doesn't say."""
    with suppress(*UNREADABLE):
        return memory()[1]
    return None
