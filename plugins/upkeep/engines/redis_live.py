"""Putting a restored Redis in the place of the live one: keys are copied into spare logical databases, then swapped.

There is no renaming between servers. A throwaway server on this worker loads the file; ``DUMP`` and ``RESTORE`` bring
its keys into logical databases of the live server that are empty; one transaction of ``SWAPDB`` makes them live. What
was live is in the spare ones then, until somebody empties them.

A key says what a spare database is: who finds ``MARK_COPY`` may empty it, for it never was live.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import redis

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.domain.units import human_bytes
from upkeep.engines.redis_engine import RedisEngine
from upkeep.engines.redis_scratch import ScratchRedis
from upkeep.errors import RestoreRefused, RestoreUnavailable, SourceError

MARK_COPY = "upkeep:restoring"
MARK_OLD = "upkeep:replaced"
BATCH = 500
NEVER, EXPIRED = -1, -2
"""What PTTL says of a key without an end, and of one that is gone; RESTORE takes 0 for a key without an end."""
DEFAULT_DATABASES = 16
ROOM = 1.2
"""Times what the keys take in the throwaway server: another release may pack them otherwise, and work goes on."""
MORE_MEMORY = "raise maxmemory for the time that both stand there (CONFIG SET maxmemory), or restore beside"


class RedisLive:
    """Errors of every method: ``RestoreUnavailable``, ``RestoreRefused``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.secrets = endpoint.secrets()

    def keys(self) -> dict[int, int]:
        """Keys by logical database, those that only Upkeep's own copies hold left out."""
        return {number: count for number, (count, copy, old) in self._look().items() if count and not copy and not old}

    def kept(self, backup_id: str, run_id: str) -> dict[int, int]:
        """Where the old ones are after a swap for this backup in that run: logical database before -> now. What an
        earlier restore of the same backup replaced says nothing of this one.
        """
        found = {number: json.loads(old) for number, (_, _, old) in self._look().items() if old}
        swap = {"backup_id": backup_id, "run": run_id}
        return {int(old["was"]): number for number, old in found.items() if swap.items() <= old.items()}

    def room(self) -> str:
        """What it uses of the memory that it may use, in words; empty where it has no limit, or doesn't say."""
        with suppress(redis.RedisError), self._connected() as client:
            memory = client.info("memory")
            if limit := int(memory.get("maxmemory") or 0):
                policy = memory.get("maxmemory_policy", "unknown")
                return f"{human_bytes(memory['used_memory'])} of {human_bytes(limit)} are in use, policy {policy}"
        return ""

    def swap(self, scratch: ScratchRedis, loaded: Mapping[int, int], backup_id: str, run_id: str) -> dict[int, int]:
        """Returns where the old ones are now: logical database before -> now."""
        try:
            self._require_room(scratch)
            evicted = self._evicted()
            pairs = self._spares(loaded, backup_id)
            try:
                for number, spare in pairs.items():
                    if loaded.get(number):
                        self._copy(scratch, number, spare)
                if self._evicted() != evicted:
                    raise RestoreUnavailable(
                        f"Redis {self._where} has evicted keys while the restored ones were copied",
                        hint=f"nothing was swapped, but live keys may be among them; {MORE_MEMORY}",
                    )
            except BaseException:
                self._empty_copies()
                raise
            self._exchange(pairs, backup_id, run_id)
            return pairs
        except redis.RedisError as error:
            # The driver quotes the command, and with it a key and its value.
            words = str(error).rpartition("caused error: ")[2]
            raise RestoreUnavailable(
                f"can't swap on Redis {self._where}: {mask(words, self.secrets)}",
                hint=f"nothing was swapped; {MORE_MEMORY}"
                if "maxmemory" in words
                else "the account needs DUMP, RESTORE, SELECT, SWAPDB, FLUSHDB; the live server must not be older than "
                "this worker's redis-server; nothing was swapped",
            ) from None

    @property
    def _where(self) -> str:
        return self._endpoint.address(6379)

    def _require_room(self, scratch: ScratchRedis) -> None:
        """A server that is short of memory throws live keys away, or takes no more writes, whatever is copied there."""
        with self._connected() as client, scratch.connect() as copy:
            memory, need = client.info("memory"), int(copy.info("memory").get("used_memory_dataset") or 0)
        limit, used = int(memory.get("maxmemory") or 0), int(memory["used_memory"])
        if limit and used + need * ROOM > limit:
            raise RestoreRefused(
                f"Redis {self._where} uses {human_bytes(used)} of the {human_bytes(limit)} of its maxmemory, and the "
                f"restored keys take about {human_bytes(need)} beside the live ones",
                hint=MORE_MEMORY,
            )

    def _evicted(self) -> int:
        with self._connected() as client:
            return int(client.info("stats").get("evicted_keys") or 0)

    def _empty_copies(self) -> None:
        """What was copied and isn't going to be live takes memory that applications need."""
        with suppress(redis.RedisError, RestoreUnavailable):
            for number, (_, copy, _) in self._look().items():
                if copy:
                    with self._connected(number) as client:
                        client.flushdb()

    def _exchange(self, pairs: Mapping[int, int], backup_id: str, run_id: str) -> None:
        """All at once: nobody sees one logical database of then beside another one of now."""
        with self._connected() as client:
            transaction: Any = client.pipeline(transaction=True)
            for number, spare in pairs.items():
                transaction.execute_command("SELECT", spare)
                transaction.delete(MARK_COPY)
                transaction.execute_command("SWAPDB", number, spare)
                transaction.set(MARK_OLD, json.dumps({"was": number, "backup_id": backup_id, "run": run_id}))
            transaction.execute()

    def _spares(self, loaded: Mapping[int, int], backup_id: str) -> dict[int, int]:
        self._empty_copies()  # what a killed try had copied: it never was live
        looked = self._look()
        live = {number for number, (count, _, old) in looked.items() if count and not old}
        wanted = sorted(live | {number for number, count in loaded.items() if count})
        empty = [number for number, (count, _, _) in sorted(looked.items(), reverse=True) if count == 0]
        spares = [number for number in empty if number not in wanted]
        if len(spares) < len(wanted):
            raise RestoreRefused(
                f"the live Redis has {len(spares)} empty logical databases, {len(wanted)} are needed",
                hint="empty those that hold what an earlier restore replaced (they have the key upkeep:replaced), or "
                "raise `databases` in redis.conf",
            )
        pairs = dict(zip(wanted, spares, strict=False))
        for spare in pairs.values():
            with self._connected(spare) as client:
                client.set(MARK_COPY, backup_id)
        return pairs

    def _copy(self, scratch: ScratchRedis, number: int, spare: int) -> None:
        """Errors: ``RestoreUnavailable`` when not all keys arrive."""
        with scratch.connect(number) as source, self._connected(spare) as client:
            cursor = 0
            while True:
                cursor, keys = source.scan(cursor, count=BATCH)
                asked = source.pipeline(transaction=False)
                for key in keys:
                    asked.dump(key)
                    asked.pttl(key)
                answers = asked.execute()
                given: Any = client.pipeline(transaction=False)
                for key, value, left in zip(keys, answers[::2], answers[1::2], strict=True):
                    if value is not None and left != EXPIRED:  # it expired meanwhile
                        given.restore(key, 0 if left == NEVER else max(left, 1), value, replace=True)
                given.execute()
                if cursor == 0:
                    break
            there, wanted = int(client.dbsize()) - 1, int(source.dbsize())
        if there < wanted:
            raise RestoreUnavailable(
                f"only {there} of {wanted} keys of db{number} arrived in db{spare}",
                hint=f"nothing was swapped; {MORE_MEMORY}",
            )

    def _look(self) -> dict[int, tuple[int, str, str]]:
        """Of each logical database: keys, and the two marks."""
        try:
            with RedisEngine(self._endpoint).told("look into"):
                return self._look_into_each()
        except SourceError as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error

    def _look_into_each(self) -> dict[int, tuple[int, str, str]]:
        with self._connected() as client:
            if client.info("cluster").get("cluster_enabled"):
                raise RestoreRefused(
                    "the live Redis is a cluster, which has one logical database only: nothing can be swapped",
                    hint="restore the file beside, into a new cluster, and point the applications at it",
                )
            count = self._databases(client)
        found = {}
        for number in range(count):
            with self._connected(number) as client:
                marks: list[Any] = [client.get(mark) for mark in (MARK_COPY, MARK_OLD)]
                copy, old = (mark.decode() if mark else "" for mark in marks)
                found[number] = int(client.dbsize()), copy, old
        return found

    def _databases(self, client: Any) -> int:
        try:
            return int(client.config_get("databases")["databases"])
        except (redis.RedisError, KeyError):  # managed servers forbid CONFIG
            return DEFAULT_DATABASES

    @contextmanager
    def _connected(self, database: int = 0) -> Iterator[Any]:
        """A client of one logical database: a SELECT would only hold for one of its pool's connections."""
        with RedisEngine(self._endpoint).connect(database) as client:
            yield client
