"""Redis: the RDB over the wire, loaded again by the manifest's own line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import redis

from tests.duties.site_factory import SiteFactory
from tests.engines.restoring import AgeKey
from tests.servers.base import AWKWARD
from tests.servers.data.keys import fill_redis, fingerprint_redis
from tests.servers.launcher import launch
from tests.servers.places import free_port
from tests.servers.redis_server import RedisServer
from tests.servers.small_disk import small_disk
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest
from upkeep.duties.back_up import back_up
from upkeep.duties.verify import verify
from upkeep.engines.redis_engine import RdbCheck
from upkeep.engines.redis_scratch import count_keys
from upkeep.errors import ProofFailed, RestoreUnavailable, SourceError, ToolUnfit, UpkeepError

Restore = Callable[..., redis.Redis]


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """The session's server, empty before and after."""
    redis_server.connect().flushall()
    yield redis_server
    redis_server.connect().flushall()


@pytest.fixture
def restored(sites: SiteFactory, tmp_path: Path) -> Iterator[Restore]:
    """Run a backup's own line, which ends in a server that serves the copy."""
    running: list[subprocess.Popen[bytes]] = []

    def restore(manifest: Manifest, key: AgeKey | None = None) -> redis.Redis:
        folder = sites.fetch(manifest, tmp_path / f"restore-{len(running)}")
        if key:
            (folder / "key.txt").write_text(key.file.read_text())
        port = free_port()
        line = f"{manifest.restore} --port {port} --bind 127.0.0.1 --save '' --enable-debug-command yes"
        with (folder / "output").open("wb") as output:
            running.append(launch(["sh", "-c", f"exec 2>&1; {line}"], output=output, folder=folder))
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
                return client
            except redis.RedisError:
                assert time.monotonic() < deadline, (folder / "output").read_text()
                time.sleep(0.05)

    yield restore
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)  # the shell and its server; ``launch`` gives them a group of their own
        process.wait()


@contextmanager
def acl_user(server: RedisServer, *rules: str, password: str = AWKWARD) -> Iterator[Endpoint]:
    client = server.connect()
    command(client, "ACL", "SETUSER", "nightly", "reset", "on", f">{password}", *rules)
    try:
        yield replace(server.endpoint(), user="nightly", secret=password)
    finally:
        command(client, "ACL", "DELUSER", "nightly")


def command(client: redis.Redis, *words: str | int) -> object:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]  # shipped without types


def test_keys_of_every_type_come_back_with_their_expiry(
    server: RedisServer, sites: SiteFactory, restored: Restore
) -> None:
    client = server.connect()
    fill_redis(client, 700)
    server.connect("3").set("in another database", b"\x00\xff")
    sites.cache(server)
    manifest = sites.back_up("sessions")
    assert verify(sites.job(), "sessions", manifest.backup.backup_id)["level"] == "structure"
    assert manifest.contents["databases"] == {"db0": {"keys": 700}, "db3": {"keys": 1}}
    copy = restored(manifest)
    assert copy.dbsize() == 700
    assert fingerprint_redis(copy) == fingerprint_redis(client)
    for key in client.scan_iter("session:*"):
        assert abs(int(copy.pexpiretime(key)) - int(client.pexpiretime(key))) <= 1
    assert (
        redis.Redis(port=copy.connection_pool.connection_kwargs["port"], db=3).get("in another database") == b"\x00\xff"
    )


def test_an_empty_redis_is_backed_up_and_restored(server: RedisServer, sites: SiteFactory, restored: Restore) -> None:
    sites.cache(server)
    manifest = sites.back_up("sessions")
    assert verify(sites.job(), "sessions", manifest.backup.backup_id)["level"] == "structure"
    assert manifest.contents["databases"] == {}
    assert restored(manifest).dbsize() == 0


def test_a_big_redis_comes_back_whole(server: RedisServer, sites: SiteFactory, restored: Restore) -> None:
    client = server.connect()
    command(client, "DEBUG", "POPULATE", 50_000, "key", 200)
    client.set("noise", os.urandom(20_000_000))
    sites.cache(server)
    manifest = sites.back_up("sessions")
    assert verify(sites.job(), "sessions", manifest.backup.backup_id)["level"] == "structure"
    copy = restored(manifest)
    assert copy.dbsize() == 50_001
    assert command(copy, "DEBUG", "DIGEST") == command(client, "DEBUG", "DIGEST")


def test_the_proof_counts_the_keys(server: RedisServer, sites: SiteFactory) -> None:
    fill_redis(server.connect(), 70)
    sites.cache(server)
    manifest = sites.back_up("sessions")
    verify(sites.job(), "sessions", manifest.backup.backup_id)
    [proof] = (sites.folder / "store" / manifest.backup.prefix / "proofs").iterdir()
    assert '"keys": 70' in proof.read_text()


# The account.


def test_a_user_that_may_only_replicate_and_look_is_enough(server: RedisServer, sites: SiteFactory) -> None:
    fill_redis(server.connect(), 7)
    with acl_user(server, "+info", "+sync", "+psync", "+replconf", "+ping") as endpoint:
        sites.cache(server, endpoint=endpoint)
        manifest = sites.back_up("sessions")
    assert verify(sites.job(), "sessions", manifest.backup.backup_id)["level"] == "structure"


def test_a_user_that_may_not_replicate_is_an_error_and_no_backup(server: RedisServer, sites: SiteFactory) -> None:
    with acl_user(server, "+info", "+ping") as endpoint:
        sites.cache(server, endpoint=endpoint)
        with pytest.raises(UpkeepError, match=r"(?i)noperm|permission") as caught:
            back_up(sites.job(), "sessions")
    assert "grant the account the missing privilege" in caught.value.hint
    assert AWKWARD not in str(caught.value)
    assert not list((sites.folder / "store").rglob("manifest.json"))


@pytest.mark.parametrize("password", [AWKWARD, " lead and trail ", "%(x)s ${HOME} `id`", "\\n\"'"])
def test_any_password_reaches_both_the_engine_and_the_program(
    server: RedisServer, sites: SiteFactory, password: str
) -> None:
    with acl_user(server, "+@all", password=password) as endpoint:
        sites.cache(server, endpoint=endpoint)
        assert sites.back_up("sessions").files


def test_a_redis_without_a_password_is_backed_up(sites: SiteFactory) -> None:
    with RedisServer(requirepass=False) as server:
        fill_redis(server.connect(), 7)
        sites.cache(server)
        assert sites.back_up("sessions").contents["databases"] == {"db0": {"keys": 7}}


def test_a_wrong_password_is_an_error_that_names_the_connection_and_no_secret(
    server: RedisServer, sites: SiteFactory
) -> None:
    sites.cache(server, endpoint=replace(server.endpoint(), secret="not the password"))
    with pytest.raises(SourceError, match="connection_0") as caught:
        back_up(sites.job(), "sessions")
    assert "check user and password" in caught.value.hint
    assert "not the password" not in str(caught.value)


def test_a_server_that_is_down_is_an_error_that_says_so(sites: SiteFactory) -> None:
    server = RedisServer()
    server.port = free_port()
    sites.cache(server)
    with pytest.raises(SourceError, match="connection_0") as caught:
        back_up(sites.job(), "sessions")
    assert "check that the server runs" in caught.value.hint


def test_nothing_secret_stands_on_the_command_line(server: RedisServer, sites: SiteFactory) -> None:
    sites.cache(server)
    with sites.job().engine("sessions").snapshot() as snapshot:
        [stream] = snapshot.streams
        assert server.password not in " ".join(stream.command.argv)
        assert server.password not in repr(stream.command)


# What is not whole.


def test_a_server_that_dies_while_it_sends_is_an_error_and_no_backup(sites: SiteFactory) -> None:
    with RedisServer() as server:
        server.connect().set("noise", os.urandom(60_000_000))
        sites.cache(server)
        job = sites.job()
        writer = job.store.writer

        @contextmanager
        def killing(key: str) -> Iterator[Any]:
            with writer(key) as sink:
                real = sink.write

                def write(chunk: bytes) -> None:
                    if key.endswith("dump.rdb.zst") and server.running:
                        server.kill()
                    real(chunk)

                sink.write = write  # type: ignore[method-assign]
                yield sink

        job.store.writer = killing  # type: ignore[method-assign]
        with pytest.raises(UpkeepError) as caught:
            back_up(job, "sessions")
    assert "redis-cli" in str(caught.value)
    assert not list((sites.folder / "store").rglob("manifest.json"))


@pytest.fixture
def stored(server: RedisServer, sites: SiteFactory) -> bytes:
    fill_redis(server.connect(), 700)
    sites.cache(server)
    manifest = sites.back_up("sessions")
    path = sites.folder / "store" / manifest.backup.prefix / manifest.files[0].name
    return subprocess.run(["zstd", "-d", "-c", path], check=True, capture_output=True).stdout


@pytest.fixture
def rdb(stored: bytes) -> bytes:
    """The RDB alone. redis-cli leaves the 40 letters behind it that mark the end of what a server sends from memory."""
    assert re.fullmatch(rb"[0-9a-f]{40}", stored[-40:])
    return stored[:-40]


def judge(content: bytes) -> dict[str, Any]:
    check = RdbCheck()
    for start in range(0, len(content), 10_000):
        check.feed(content[start : start + 10_000])
    return check.close()


def test_the_check_accepts_a_whole_file_with_the_end_marker_and_without(stored: bytes, rdb: bytes) -> None:
    assert judge(stored) == {"plain_bytes": len(stored), "keys": 700}
    assert judge(rdb) == {"plain_bytes": len(rdb), "keys": 700}


@pytest.mark.parametrize(
    "damage",
    [
        lambda rdb: rdb[: len(rdb) // 2],
        lambda rdb: rdb[:-1],
        lambda rdb: rdb[:-9],
        lambda rdb: b"",
        lambda rdb: b"not an rdb at all",
        lambda rdb: rdb[: len(rdb) // 2] + bytes([rdb[len(rdb) // 2] ^ 1]) + rdb[len(rdb) // 2 + 1 :],
    ],
    ids=["half", "one byte short", "no checksum", "empty", "something else", "a flipped bit"],
)
def test_the_check_refuses_a_damaged_file_and_cleans_up(
    rdb: bytes, damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(ProofFailed, match="redis-check-rdb") as caught:
        judge(damage(rdb))
    assert "don't rely on this backup" in caught.value.hint
    assert not list((tmp_path / "temporary").iterdir())


def test_a_worker_whose_redis_tools_are_older_than_the_server_says_nothing_about_the_backup(rdb: bytes) -> None:
    """Redis 7.2 writes a format that the redis-check-rdb of 7.0 doesn't know, 7.4 another one."""
    newer = rdb.replace(rdb[:9], b"REDIS0099", 1)
    with pytest.raises(ToolUnfit, match=r"older than the server.*: Can't handle RDB format version 99\n") as caught:
        judge(newer)
    assert "install redis-tools" in caught.value.hint
    with TemporaryFile() as file:
        file.write(newer)
        file.flush()
        with pytest.raises(RestoreUnavailable, match="RDB format version 99"):
            count_keys(file)


def test_a_worker_without_room_for_the_check_says_so_and_nothing_about_the_backup(
    server: RedisServer, sites: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_redis(server.connect(), 7000)
    sites.cache(server)
    manifest = sites.back_up("sessions")
    with small_disk(tmp_path / "small", 1), monkeypatch.context() as patched:
        patched.setattr("tempfile.tempdir", str(tmp_path / "small"))
        with pytest.raises(RestoreUnavailable, match=r"/small of this worker .*No space left") as raised:
            verify(sites.job(), "sessions", manifest.backup.backup_id)
        assert "TMPDIR" in raised.value.hint
    assert verify(sites.job(), "sessions", manifest.backup.backup_id)["level"] == "structure"


def test_a_check_that_does_not_say_that_all_is_well_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "redis-check-rdb"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '[offset 0] Checking RDB file'\n")
    program.chmod(0o755)
    monkeypatch.setenv("UPKEEP_PATH", str(program.parent))
    with pytest.raises(ProofFailed, match=r"does not find the file whole: .*Checking RDB file"):
        judge(b"anything")


def test_an_encrypted_backup_is_restored_with_the_private_key_and_stock_tools(
    server: RedisServer, sites: SiteFactory, key: AgeKey, restored: Restore
) -> None:
    fill_redis(server.connect(), 70)
    sites.cache(server)
    sites.encrypted(key.public)
    copy = restored(sites.back_up("sessions"), key)
    assert fingerprint_redis(copy) == fingerprint_redis(server.connect())
