"""Keys of every type for a Redis."""

from __future__ import annotations

import random
from typing import Any

import redis

from tests.servers.data.prose import chinese_name, identity, sentences

ALL_BYTES = bytes(range(256))


def fill_redis(client: redis.Redis, keys: int = 1_000, *, seed: int = 1) -> int:
    """``keys`` keys: sessions that expire, cached records, queues, sets, rankings, streams; the number of keys made."""
    chance = random.Random(seed)
    pool = sentences(chance, 2_000)
    writers = (_string, _session, _hash, _list, _set, _ranking, _stream)
    for start in range(0, keys, 1_000):
        pipe = client.pipeline(transaction=False)
        for number in range(start, min(start + 1_000, keys)):
            writers[number % len(writers)](pipe, number, chance, pool)
        pipe.execute()
    return keys


def fingerprint_redis(client: redis.Redis) -> dict[bytes, tuple[str, object, bool]]:
    """Type, content in an order of its own, and whether it expires, of every key."""
    readers: dict[str, Any] = {
        "string": client.get,
        "hash": lambda key: sorted(client.hgetall(key).items()),
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda key: [client.xrange(key), client.xinfo_groups(key)],
    }
    found = {}
    for key in client.scan_iter(count=1_000):
        answer: Any = client.type(key)
        kind = answer.decode()
        found[key] = (kind, readers[kind](key), client.pttl(key) > 0)
    return found


def _string(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.set(f"cache:page:{number}", ALL_BYTES if number % 5 == 0 else "".join(chance.choices(pool, k=8)))


def _session(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.set(f"session:{identity(chance)}", f"user-{number}", ex=chance.randrange(3_600, 86_400))


def _hash(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.hset(f"students:{number}", mapping={"name": chinese_name(chance), "status": "active", "编号": str(number)})


def _list(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.rpush(f"queue:{number}", *chance.choices(pool, k=chance.randrange(1, 200)))


def _set(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.sadd(f"present:{number}", *(chance.randrange(10_000) for _ in range(chance.randrange(1, 50))))


def _ranking(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    pipe.zadd(f"ranking:{number}", {chinese_name(chance): chance.uniform(-1e6, 1e6) for _ in range(20)})


def _stream(pipe: Any, number: int, chance: random.Random, pool: list[str]) -> None:
    key = f"events:班级:{number}"
    for entry in range(1, 6):
        pipe.xadd(key, {"event": chance.choice(pool)}, id=f"{1_700_000_000_000 + number}-{entry}")
    pipe.xgroup_create(key, "workers", id="0")
