"""A program run in a pod: its bytes, its status, and the pace of whoever reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.kubernetes_accounts import account
from tests.servers.kubernetes_cluster import Namespace
from tests.servers.kubernetes_exec_server import Dead, FakePod, PodServer
from upkeep.engines.pipeline import Pipeline, capture
from upkeep.engines.pod import Pod
from upkeep.engines.pod_wire import WireCut
from upkeep.engines.private_file import private_file
from upkeep.errors import ToolFailed


@pytest.fixture
def server() -> Iterator[PodServer]:
    with PodServer(pods=[FakePod("db-0", {"app": "db"})]) as server:
        yield server


@pytest.fixture
def pod(server: PodServer) -> Pod:
    return Pod(server.endpoint(), "kindergarten", "app=db")


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_every_byte_comes_through_as_it_is_and_input_goes_in(protocol: str, server: PodServer, pod: Pod) -> None:
    server.protocol = protocol
    octets = "".join(f"\\{byte:03o}" for byte in range(256))
    with pod.command(["printf", octets], program="printf") as command:
        assert capture(command) == bytes(range(256))
    with (
        private_file("secret\nrest of it\n") as stdin,
        pod.command(
            ["sh", "-c", 'read -r line; echo "[$line]"; read -r line; echo $line'], program="sh", stdin=stdin
        ) as command,
    ):
        assert capture(command) == b"[secret]\nrest of it\n"
    assert not any("secret" in word for argv in server.commands for word in argv)


@pytest.mark.parametrize("status", [1, 2, 77, 255])
def test_the_status_and_the_errors_are_those_of_the_program_in_the_pod(status: int, pod: Pod) -> None:
    script = f"echo some output; echo it went wrong >&2; exit {status}"
    with (
        pod.command(["sh", "-c", script], program="pg_dump") as command,
        pytest.raises(ToolFailed, match=f"pg_dump ended with exit status {status}: it went wrong") as caught,
    ):
        capture(command)
    assert caught.value.status == status


def test_much_output_passes_in_constant_memory_at_the_pace_of_its_reader(server: PodServer, pod: Pod) -> None:
    """A reader that stops stops the program in the pod: little of 300 MB has been made when nobody reads."""
    megabytes = 300
    progress = f"i=0; while [ $i -lt {megabytes} ]; do head -c 1000000 /dev/zero; i=$((i+1)); echo $i >&2; done"
    with pod.command(["sh", "-c", progress], program="head") as command, Pipeline([command]) as pipeline:
        output = pipeline.output()
        size = len(next(output))
        time.sleep(1.5)
        made = int(pipeline._tails[0]._kept.split()[-1])
        assert made < 50, "nobody has read meanwhile"
        child = pipeline.processes[0].pid
        peak = 0.0
        for chunk in output:
            size += len(chunk)
            peak = _peak_mb(child) or peak
    assert size == megabytes * 1_000_000
    assert 5 < peak < 80


def test_a_reader_that_gives_up_ends_the_program_in_the_pod(server: PodServer, pod: Pod) -> None:
    with pod.command(["sh", "-c", "while :; do echo more; done"], program="sh") as command:
        pipeline = Pipeline([command])
        with pytest.raises(KeyboardInterrupt), pipeline:
            next(pipeline.output())
            assert server.running == 1
            raise KeyboardInterrupt
    until = time.monotonic() + 10
    while server.running and time.monotonic() < until:
        time.sleep(0.05)
    assert server.running == 0


def test_a_program_that_is_silent_for_long_is_waited_for(pod: Pod) -> None:
    pod.quiet_s = 0.2
    with pod.command(["sh", "-c", "echo begun; sleep 2; echo done"], program="sh") as command:
        assert capture(command) == b"begun\ndone\n"


def test_a_network_that_has_died_is_noticed_although_nothing_was_closed(server: PodServer, pod: Pod) -> None:
    pod.quiet_s = 0.2
    server.fault = Dead(after=5)
    begun = time.monotonic()
    with (
        pod.command(["sh", "-c", "echo begun; sleep 60"], program="pg_dump") as command,
        pytest.raises(ToolFailed, match=r"the connection to pod db-0 was cut .*no sign of life for 0.8 s"),
    ):
        capture(command)
    assert time.monotonic() - begun < 20


def test_neither_token_nor_input_shows_in_the_process_list(server: PodServer, pod: Pod) -> None:
    with (
        private_file("the-password\n") as stdin,
        pod.command(["sh", "-c", "read -r line; echo there; sleep 60"], program="sh", stdin=stdin) as command,
    ):
        pipeline = Pipeline([command])
        pipeline.__enter__()
        try:
            next(pipeline.output())
            seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
        finally:
            pipeline.end()
    assert any(b"upkeep.engines.pod_exec" in line for line in seen)
    assert not any(server.token.encode() in line or b"the-password" in line for line in seen)


def test_a_real_api_server_lets_the_sample_account_in_and_no_other(namespace: Namespace, tmp_path: Path) -> None:
    """By TLS and token. The fake kubelet behind it knows no exec: its 404 shows that the API server passed it on."""
    namespace.deploy("db", "db:1")
    namespace.wait_until_available("db")
    for duty, told in (("read", r'cannot get resource "pods/exec"'), ("pod_exec", "HTTP 404")):
        real = Pod(account(namespace, duty, folder=tmp_path), namespace.name, "app=db")
        with real.command(["true"], program="true") as command, pytest.raises(ToolFailed, match=told):
            capture(command)
    with pytest.raises(WireCut, match="HTTP 404"):
        real.tunnel(5432).connect()


def _peak_mb(pid: int) -> float:
    """Peak memory of a process that still runs; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)
