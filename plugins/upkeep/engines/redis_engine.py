"""Redis: the RDB file over the wire, as a replica would get it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.engines.base import Engine, Facts, Snapshot, Stream, StructureCheck
from upkeep.engines.pipeline import Command, Ended, hint_for
from upkeep.engines.rdb_file import count_keys
from upkeep.engines.tools import describe, require
from upkeep.errors import LoginRefused, RestoreUnavailable, SourceError

CONNECT_TIMEOUT_S = 10


class RedisEngine(Engine):
    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.secrets = endpoint.secrets()

    def connect(self, database: int = 0) -> redis.Redis:
        where = self.endpoint
        return redis.Redis(
            host=where.host or "localhost",
            port=where.port or 6379,
            db=database,
            username=where.user or None,
            password=where.secret or None,
            ssl=bool(where.extra.get("ssl")),
            ssl_ca_certs=where.extra.get("ssl_ca_certs"),
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the task has its own; a wrong password would be tried four times
        )

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with self.connect() as client:
            with self.told("look into"):
                snapshot = _RedisSnapshot(self, client.info())
            yield snapshot

    @contextmanager
    def told(self, verb: str) -> Iterator[None]:
        """Tell in a sentence what the server refuses in the block: can't <verb> Redis. Errors: ``SourceError``."""
        try:
            yield
        except redis.RedisError as error:
            words = mask(str(error), self.secrets)
            kind, hint = SourceError, hint_for(words, 1)
            # A client logs in when it first has something to ask.
            if isinstance(error, redis.AuthenticationError | redis.AuthenticationWrongNumberOfArgsError):
                kind, hint = LoginRefused, "check user and password of the Airflow connection"
            elif isinstance(error, NoPermissionError):
                hint = "let the account do it: docs/runbooks/daily.md has the ACL that is enough"
            raise kind(
                f"can't {verb} Redis {self.endpoint.address(6379)} (connection {self.endpoint.conn_id}): {words}",
                hint=hint,
            ) from error

    def restore_command(self, files: Mapping[str, str], facts: Facts) -> str:
        return f'{files["dump.rdb"]} > dump.rdb && redis-server --dir "$PWD" --dbfilename dump.rdb'

    def structure_check(self, stream: str, manifest: Mapping[str, Any]) -> StructureCheck:
        return RdbCheck()

    def command(self, *arguments: str) -> Command:
        where = self.endpoint
        argv = [
            require("redis-cli", package="redis-tools"),
            "-h",
            where.host or "localhost",
            "-p",
            str(where.port or 6379),
        ]
        if where.user:
            argv += ["--user", where.user]
        if where.extra.get("ssl"):
            argv += ["--tls"]
        if ca := where.extra.get("ssl_ca_certs"):
            argv += ["--cacert", str(ca)]
        return Command([*argv, *arguments], env={"REDISCLI_AUTH": where.secret} if where.secret else {})


class _RedisSnapshot(Snapshot):
    def __init__(self, engine: RedisEngine, info: Mapping[str, Any]) -> None:
        self._engine, self._info = engine, info
        self.streams = (Stream("dump.rdb", engine.command("--rdb", "-")),)

    def facts(self, ended: Mapping[str, list[Ended]]) -> Facts:
        info = self._info
        spaces = {key: value for key, value in info.items() if re.fullmatch(r"db\d+", key)}
        return Facts(
            source={
                "host": self._engine.endpoint.host,
                "port": self._engine.endpoint.port or 6379,
                "flavour": "redis",
                "version": str(info.get("redis_version", "")),
                "identity": str(info.get("run_id", "")),
            },
            tools={"dump": describe(require("redis-cli", package="redis-tools")).label},
            position={"replication_id": info.get("master_replid"), "offset": info.get("master_repl_offset")},
            contents={"databases": {name: {"keys": space["keys"]} for name, space in sorted(spaces.items())}},
            rows_are="counted a moment before the dump",
        )


class RdbCheck(StructureCheck):
    """``redis-check-rdb`` reads files only, so the RDB is laid down in a temporary file that has no name: an encrypted
    backup's contents must not stay behind when the task is killed.

    It ends with a CRC64 of the rest, which the program compares. Behind it may stand the 40 letters that mark the end
    of what a server sends from memory: redis-cli leaves them there, and whoever reads the file stops before them.
    """

    def __init__(self) -> None:
        with _room():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by abandon
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        with _room():
            self._file.write(chunk)

    def close(self) -> dict[str, Any]:
        try:
            with _room():
                self._file.flush()
            return {"plain_bytes": self._size, "keys": count_keys(self._file).keys}
        finally:
            self.abandon()

    def abandon(self) -> None:
        with suppress(OSError):  # the disk that is full can't take the rest at the end either
            self._file.close()


@contextmanager
def _room() -> Iterator[None]:
    """A worker's full disk says nothing about the backup. Errors: ``RestoreUnavailable``."""
    try:
        yield
    except OSError as error:
        raise RestoreUnavailable(
            f"an RDB can't be laid down in {tempfile.gettempdir()} of this worker to be looked into: {error.strerror}",
            hint="free space there, or set TMPDIR of the worker to a larger disk, then run the task again",
        ) from error
