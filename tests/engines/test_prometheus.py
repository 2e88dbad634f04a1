"""Prometheus's HTTP API: from a server that speaks it, and from the real program where there is one.

``UPKEEP_PROMETHEUS`` names Debian's ``prometheus``; without it and without one on PATH those tests are skipped.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.prometheus_speaker import Answer, Speaker, one_machine, vector
from tests.servers.places import free_port
from upkeep.domain.capacity import Measured
from upkeep.domain.endpoint import Endpoint
from upkeep.engines.prometheus import prometheus_figures
from upkeep.errors import SourceError

Speak = Callable[[Callable[[str], Answer]], Speaker]


@pytest.fixture
def speak() -> Iterator[Speak]:
    made: list[Speaker] = []

    def start(say: Callable[[str], Answer]) -> Speaker:
        made.append(Speaker(say))
        return made[-1]

    yield start
    for speaker in made:
        speaker.close()


def figures(measured: Measured) -> dict[tuple[str, str], float]:
    return {reading.key: reading.value for reading in measured.readings}


def test_every_metric_of_a_machine_is_asked_for_and_named_by_instance_and_mount_point(speak: Speak) -> None:
    found = prometheus_figures(speak(one_machine).url)
    assert found.unread == []
    assert figures(found)["cpu_pct", "db1:9100"] == 12.5
    assert figures(found)["disk_pct", "db1:9100:/"] == 1000
    assert figures(found)["network_in_bytes", "db1:9100:eth0"] == 1000
    assert {reading.metric for reading in found.readings} == {
        "cpu_pct", "memory_pct", "memory_available_bytes", "load_1m", "load_5m", "load_15m", "disk_pct",
        "disk_used_bytes", "disk_free_bytes", "inodes_pct", "network_in_bytes", "network_out_bytes",
    }  # fmt: skip


def test_the_queries_are_the_manuals_own(speak: Speak) -> None:
    speaker = speak(one_machine)
    prometheus_figures(speaker.url)
    asked = [query for query, _ in speaker.asked]
    assert '100 - (avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])) * 100)' in asked
    assert "(1 - (node_memory_MemAvailable_bytes{} / node_memory_MemTotal_bytes{})) * 100" in asked
    assert any(query.startswith("100 - ((node_filesystem_avail_bytes{") for query in asked)


def test_an_instance_is_asked_for_alone_in_every_selector(speak: Speak) -> None:
    speaker = speak(one_machine)
    prometheus_figures(speaker.url + "/", instance="db1:9100")
    for query, _ in speaker.asked:
        assert query.count('instance="db1:9100"') == query.count("{"), query


def test_what_prometheus_does_not_know_is_said_and_the_rest_is_kept(speak: Speak) -> None:
    found = prometheus_figures(speak(lambda query: vector() if "load" in query else one_machine(query)).url)
    assert found.unread == [f"load_{m}m (Prometheus knows nothing of any machine)" for m in (1, 5, 15)]
    assert "cpu_pct" in {reading.metric for reading in found.readings}


def test_a_value_that_is_no_figure_is_left_out(speak: Speak) -> None:
    def say(query: str) -> Answer:
        return vector(({"instance": "a"}, "NaN"), ({"instance": "b"}, "+Inf"), ({"instance": "c"}, "5"))

    assert {reading.target.rstrip(":") for reading in prometheus_figures(speak(say).url).readings} == {"c"}


def test_a_refused_query_is_told_in_prometheuss_own_words(speak: Speak) -> None:
    def say(query: str) -> Answer:
        if "load1" in query and "load15" not in query:
            return 422, {"status": "error", "errorType": "execution", "error": "query timed out"}
        return one_machine(query)

    assert prometheus_figures(speak(say).url).unread == ["load_1m (execution: query timed out)"]


def test_more_machines_than_are_kept_is_said(speak: Speak) -> None:
    found = prometheus_figures(speak(lambda _: vector(*(({"instance": f"m{n}"}, "1") for n in range(501)))).url)
    assert len([reading for reading in found.readings if reading.metric == "cpu_pct"]) == 500
    assert "cpu_pct (501 series, of which 500 were kept: set host.instance)" in found.unread


def test_a_login_becomes_basic_authentication_and_a_bare_password_a_token(speak: Speak) -> None:
    speaker = speak(one_machine)
    prometheus_figures(speaker.url, account=Endpoint("p", user="upkeep", secret="天@:"))
    prometheus_figures(speaker.url, account=Endpoint("p", secret="t0ken"))
    basic, token = speaker.asked[0][1]["Authorization"], speaker.asked[-1][1]["Authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "upkeep:天@:"
    assert token == "Bearer t0ken"


def test_a_closed_door_names_the_setting_and_shows_no_secret(speak: Speak) -> None:
    with pytest.raises(SourceError, match=r"host\.conn_id") as raised:
        prometheus_figures(speak(lambda _: (401, b"who?")).url, account=Endpoint("p", secret="t0ken"))
    assert "t0ken" not in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"status": "success"}'])
def test_what_is_not_prometheus_is_said(speak: Speak, body: bytes) -> None:
    with pytest.raises(SourceError, match="but not as Prometheus does"):
        prometheus_figures(speak(lambda _: (200, body)).url)


def test_a_redirect_is_not_followed(speak: Speak) -> None:
    speaker = speak(lambda _: (302, b""))
    with pytest.raises(SourceError, match="HTTP 302"):
        prometheus_figures(speaker.url)


def test_no_answer_is_said_with_the_address() -> None:
    with pytest.raises(SourceError, match="does not answer") as raised:
        prometheus_figures(f"http://127.0.0.1:{free_port()}")
    assert "HINT: check host.prometheus_url" in str(raised.value)


EXPORTER = """node_cpu_seconds_total{{cpu="0",mode="idle"}} {idle}
node_cpu_seconds_total{{cpu="0",mode="user"}} {busy}
node_memory_MemTotal_bytes 1000
node_memory_MemAvailable_bytes 250
node_load1 0.5
node_load5 1.25
node_load15 2
node_filesystem_size_bytes{{device="/dev/vda",fstype="ext4",mountpoint="/"}} 1000
node_filesystem_free_bytes{{device="/dev/vda",fstype="ext4",mountpoint="/"}} 200
node_filesystem_avail_bytes{{device="/dev/vda",fstype="ext4",mountpoint="/"}} 130
node_filesystem_files{{device="/dev/vda",fstype="ext4",mountpoint="/"}} 100
node_filesystem_files_free{{device="/dev/vda",fstype="ext4",mountpoint="/"}} 40
node_filesystem_size_bytes{{device="/dev/vdb",fstype="btrfs",mountpoint="/data"}} 1000
node_filesystem_free_bytes{{device="/dev/vdb",fstype="btrfs",mountpoint="/data"}} 500
node_filesystem_avail_bytes{{device="/dev/vdb",fstype="btrfs",mountpoint="/data"}} 500
node_filesystem_files{{device="/dev/vdb",fstype="btrfs",mountpoint="/data"}} 0
node_filesystem_files_free{{device="/dev/vdb",fstype="btrfs",mountpoint="/data"}} 0
node_filesystem_size_bytes{{device="tmpfs",fstype="tmpfs",mountpoint="/run"}} 10
node_filesystem_avail_bytes{{device="tmpfs",fstype="tmpfs",mountpoint="/run"}} 0
node_network_receive_bytes_total{{device="eth0"}} 123456
node_network_transmit_bytes_total{{device="eth0"}} 654321
node_network_receive_bytes_total{{device="lo"}} 99
node_network_transmit_bytes_total{{device="lo"}} 99
node_network_receive_bytes_total{{device="veth1a2b"}} 99
node_network_transmit_bytes_total{{device="veth1a2b"}} 99
"""


class _Exporter(BaseHTTPRequestHandler):
    """A node_exporter whose one processor is idle three quarters of the time."""

    begun = time.monotonic()

    def do_GET(self) -> None:
        passed = time.monotonic() - self.begun
        body = EXPORTER.format(idle=passed * 0.75, busy=passed * 0.25).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def real_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a real Prometheus and the instance it scrapes."""
    program = os.environ.get("UPKEEP_PROMETHEUS") or shutil.which("prometheus")
    if not program:
        pytest.skip("prometheus isn't installed: apt-get install prometheus, or name it in UPKEEP_PROMETHEUS")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    exporter = ThreadingHTTPServer(("127.0.0.1", 0), _Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    instance, port = f"127.0.0.1:{exporter.server_port}", free_port()
    (folder / "prometheus.yml").write_text(
        "scrape_configs:\n- job_name: node\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
        f"  static_configs:\n  - targets: ['{instance}']\n"
    )
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for_two_scrapes(url, process, folder / "log")
        yield url, instance
    finally:
        process.kill()
        process.wait()
        exporter.shutdown()
        exporter.server_close()


def _wait_for_two_scrapes(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            answer = httpx.get(f"{url}/api/v1/query", params={"query": "rate(node_cpu_seconds_total[1m])"})
            if answer.json()["data"]["result"]:
                return
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"no second scrape within 60 s: {log.read_text()}")


def test_the_real_prometheus_understands_every_query(real_prometheus: tuple[str, str]) -> None:
    url, instance = real_prometheus
    found = prometheus_figures(url, instance=instance)
    assert found.unread == []
    readings = figures(found)
    # Not 25 yet: a rate over five minutes takes the time before this Prometheus was started for busy.
    manual = '100 - (avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])) * 100)'
    answer = httpx.get(f"{url}/api/v1/query", params={"query": manual}).json()
    assert readings.pop(("cpu_pct", instance)) == pytest.approx(float(answer["data"]["result"][0]["value"][1]), abs=2)
    assert readings == {
        ("memory_pct", instance): 75,
        ("memory_available_bytes", instance): 250,
        ("load_1m", instance): 0.5,
        ("load_5m", instance): 1.25,
        ("load_15m", instance): 2,
        ("disk_pct", f"{instance}:/"): 87,
        ("disk_pct", f"{instance}:/data"): 50,
        ("disk_used_bytes", f"{instance}:/"): 800,
        ("disk_used_bytes", f"{instance}:/data"): 500,
        ("disk_free_bytes", f"{instance}:/"): 130,
        ("disk_free_bytes", f"{instance}:/data"): 500,
        ("inodes_pct", f"{instance}:/"): 60,
        ("network_in_bytes", f"{instance}:eth0"): 123456,
        ("network_out_bytes", f"{instance}:eth0"): 654321,
    }


def test_the_real_prometheus_knows_nothing_of_another_machine(real_prometheus: tuple[str, str]) -> None:
    found = prometheus_figures(real_prometheus[0], instance="elsewhere:9100")
    assert found.readings == []
    assert found.unread[0] == "cpu_pct (Prometheus knows nothing of instance elsewhere:9100)"
    assert len(found.unread) == 12
