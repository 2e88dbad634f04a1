"""A Redis of our own that lives for one test restore: it loads an RDB, is looked at, and leaves nothing behind."""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import redis

from upkeep.engines import rdb_file
from upkeep.engines.background import in_background
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.engines.rdb_file import NEWER, RdbKeys
from upkeep.engines.restore_refusals import tool_unusable
from upkeep.engines.tools import require
from upkeep.errors import ProofFailed, RestoreUnavailable, ToolError, ToolFailed, ToolMissing

SAMPLE_KEYS = 10_000
"""Of each database, for types and times to live."""
LOOK_EVERY_S = 0.05
LOG_KEPT = 16 << 10
MEMORY_FACTOR = 4
"""Bytes of memory for each byte of an RDB, whose values are packed tighter than a server keeps them."""
LEAST_DATABASES = 16

_NOT_ITS_FAULT = {
    NEWER: "install a redis-server of the source's release or newer on this worker",
    "module": "the backup holds values of a Redis module, and this worker's redis-server has no such module: prove it "
    "elsewhere",
    "more than": "report this: the throwaway server was given too few databases",
    "Out Of Memory|out of memory": "give the worker more memory, or prove the backup on another one",
}


class ScratchRedis:
    """A server that has loaded the file."""

    def __init__(self, socket: Path, password: str, databases: int) -> None:
        self._socket, self._password, self._databases = socket, password, databases

    def connect(self, database: int = 0) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), password=self._password, db=database, socket_timeout=60)

    def keys(self) -> dict[int, int]:
        """Keys by database, those that never expire and those whose time isn't over."""
        counts = {}
        for database in range(self._databases):
            with self.connect(database) as client:
                if count := int(client.dbsize()):
                    counts[database] = count
        return counts

    def expired(self) -> int | None:
        """Keys whose time was over when the file was loaded, or since; None on a release that doesn't count them."""
        with self.connect() as client:
            info: Mapping[str, Any] = client.info()
        loading = info.get("rdb_last_load_keys_expired")
        return None if loading is None else int(loading) + int(info.get("expired_keys", 0))

    def sample(self, database: int) -> dict[str, Any]:
        """Types of up to ``SAMPLE_KEYS`` keys, and the share of them that will expire."""
        types: Counter[str] = Counter()
        with_ttl = seen = 0
        with self.connect(database) as client:
            for keys in _batches(client, SAMPLE_KEYS):
                pipe = client.pipeline(transaction=False)
                for key in keys:
                    pipe.type(key)
                    pipe.pttl(key)
                answers = pipe.execute()
                types.update(kind.decode() for kind in answers[::2] if kind != b"none")
                with_ttl += sum(1 for left in answers[1::2] if left >= 0)
                seen += len(keys)
        return {"sampled": seen, "types": dict(sorted(types.items())), "ttl_pct": round(100 * with_ttl / max(seen, 1))}


def lay_down(chunks: Iterable[bytes]) -> IO[bytes]:
    """The file, without a name: what an encrypted backup holds must not stay behind when the task is killed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def count_keys(file: IO[bytes]) -> RdbKeys:
    """Errors: ``ProofFailed`` when the file isn't whole, ``RestoreUnavailable`` when this worker can't tell."""
    try:
        return rdb_file.count_keys(file)
    except ToolError as error:
        raise tool_unusable(error) from error


@contextmanager
def scratch_redis(file: IO[bytes], *, databases: int = LEAST_DATABASES) -> Iterator[ScratchRedis]:
    """A redis-server with nothing but ``file`` in it, behind a socket in a folder of its own and a random password.

    The kernel ends it with this process; what then is left is a folder with a socket and a link that leads nowhere.
    Errors: ``RestoreUnavailable`` when this worker can't run one that takes the file, ``ProofFailed`` when it finds the
    file damaged.
    """
    try:
        program = require("redis-server", package="redis-server")
    except ToolMissing as error:
        raise RestoreUnavailable(error.message, hint=error.hint) from error
    password = secrets.token_urlsafe(24)
    number = file.fileno()
    databases = max(databases, LEAST_DATABASES)
    with tempfile.TemporaryDirectory(prefix="upkeep-redis-") as name:
        folder = Path(name)
        (folder / "dump.rdb").symlink_to(f"/proc/self/fd/{number}")
        command = Command([program, "-"], pass_fds=(number,), env={"LC_ALL": "C.UTF-8"})
        pipeline = Pipeline([command], secrets=(password,), feed=True)
        pipeline.__enter__()  # not a with block: at its end the server still runs, and is killed
        log = _Log(pipeline)
        try:
            pipeline.write(_settings(folder, password, databases).encode())
            pipeline.stdin.close()
            server = ScratchRedis(folder / "sock", password, databases)
            _wait_until_loaded(server, pipeline, log)
            yield server
        except redis.RedisError as error:
            raise RestoreUnavailable(
                f"the throwaway redis-server broke off after it had loaded the backup: {error}",
                hint="look for the kernel's out-of-memory killer in this worker's log, then run the task again",
            ) from error
        finally:
            pipeline.kill()
            log.join()
            pipeline.end()


def _settings(folder: Path, password: str, databases: int) -> str:
    lines = {
        "port": "0",
        "unixsocket": f'"{folder}/sock"',
        "unixsocketperm": "700",
        "dir": f'"{folder}"',
        "dbfilename": "dump.rdb",
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
        "logfile": '""',
        "databases": str(databases),
        "requirepass": password,
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _wait_until_loaded(server: ScratchRedis, pipeline: Pipeline, log: _Log) -> None:
    """However long it takes; it ends when the server does, or the task."""
    while pipeline.processes[0].poll() is None:
        try:
            with server.connect() as client:
                if not client.info("persistence").get("loading"):
                    return
        except redis.RedisError:
            pass  # it isn't up yet, or still loads
        time.sleep(LOOK_EVERY_S)
    log.join()
    said = log.text()
    try:
        pipeline.finish()
    except ToolFailed as error:
        if error.was_killed:
            raise RestoreUnavailable(
                f"the throwaway redis-server was ended: {error.message}", hint=error.hint
            ) from error
    reason = next(
        (line for line in reversed(said.splitlines()) if re.search("#|error|fatal", line, re.I)), "no message"
    )
    for pattern, hint in _NOT_ITS_FAULT.items():
        if re.search(pattern, said):
            raise RestoreUnavailable(f"this worker's redis-server can't load the backup: {reason}", hint=hint)
    raise ProofFailed(f"redis-server does not load the file: {reason}", hint="don't rely on this backup: back up again")


class _Log:
    """Takes what the server prints, so that it never waits for a reader; keeps the end."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._kept = bytearray()
        self._ended = in_background(lambda: self._read(pipeline), name="log of redis-server")

    def _read(self, pipeline: Pipeline) -> None:
        for chunk in pipeline.output():
            self._kept += chunk
            del self._kept[:-LOG_KEPT]

    def join(self) -> None:
        self._ended.exception()  # when the task is told to stop, whoever waits for the server says so

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


def _batches(client: redis.Redis, most: int) -> Iterator[list[Any]]:
    cursor, seen = 0, 0
    while seen < most:
        cursor, keys = client.scan(cursor, count=1000)
        if keys:
            seen += len(keys)
            yield keys
        if cursor == 0:
            return
