"""Scanners are run as the site says, end with their time, and get nothing that is none of their business."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from upkeep.engines.scan_tools import run_scan, scan_command
from upkeep.errors import SourceError, ToolFailed, ToolMissing
from upkeep.site import Scan

SAMPLES = Path(__file__).parents[1] / "domain" / "scan_reports"

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script of a name where programs are looked for first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("UPKEEP_PATH", str(folder))

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def scan(**settings: Any) -> Scan:
    return Scan.model_validate({"name": "month", **settings})


def test_nmap_finds_the_port_that_somebody_listens_on(listening: int) -> None:
    inspection = run_scan(scan(tool="nmap", target="127.0.0.1", args=["-sT", "-p", f"{listening},1"]))
    assert [finding.id for finding in inspection.findings] == [f"open-port:month: 127.0.0.1 tcp/{listening}"]
    assert (inspection.unread, inspection.figures["month_hosts_up"]) == ([], 1)


def test_nmap_is_content_with_a_port_that_may_be_open(listening: int) -> None:
    inspection = run_scan(scan(tool="nmap", target="127.0.0.1", args=["-sT", "-p", str(listening)], ports=[listening]))
    assert inspection.findings == []


def test_nmap_says_that_a_host_is_unknown() -> None:
    inspection = run_scan(scan(tool="nmap", target="no-such-host.invalid", args=["-sn"]))
    assert inspection.unread == ["month: no host answered"]


def test_lynis_audits_this_machine() -> None:
    args = ["--no-plugins", "--tests-from-group", "authentication"]
    inspection = run_scan(scan(tool="lynis", args=args))
    assert inspection.unread == []
    assert inspection.figures["month_tests_done"] > 10
    assert all(finding.where.startswith("month: ") for finding in inspection.findings)


def test_trivy_is_told_the_time_it_has_and_its_command(program: Program, tmp_path: Path) -> None:
    program("trivy", f'echo "$@" > {tmp_path}/said; cat {SAMPLES}/trivy.json')
    assert len(run_scan(scan(tool="trivy", target="shop:1.0", timeout_s=900)).findings) == 7
    assert (tmp_path / "said").read_text().strip() == "image --format json --quiet --timeout 900s -- shop:1.0"
    run_scan(scan(tool="trivy", target="/srv/shop", args=["fs", "--scanners", "vuln"]))
    assert (tmp_path / "said").read_text().startswith("fs --format json --quiet --timeout 1800s --scanners vuln -- ")


def test_zap_writes_into_a_folder_that_nobody_else_reads_and_that_is_gone_afterwards(
    program: Program, tmp_path: Path
) -> None:
    program("zap.sh", f'for last; do :; done; stat -c %a "$(dirname "$last")" > {tmp_path}/mode\n'
                      f'echo "$@" > {tmp_path}/said; cp {SAMPLES}/zap.json "$last"')  # fmt: skip
    inspection = run_scan(scan(tool="zap", target="http://localhost:8000"))
    assert len(inspection.findings) == 3
    assert (tmp_path / "mode").read_text().strip() == "700"
    said = (tmp_path / "said").read_text().split()
    assert said[-4:-1] == ["-quickurl", "http://localhost:8000", "-quickout"]
    assert not Path(said[-1]).parent.exists()


def test_a_scanner_sees_no_connection_of_airflow(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", "mysql://root:geheim@db1/shop")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "geheim")
    monkeypatch.setenv("TRIVY_TOKEN", "its own")
    program("trivy", f"env > {tmp_path}/env; tr '\\0' ' ' < /proc/$PPID/cmdline >> {tmp_path}/env; "
                     f"cat {SAMPLES}/trivy.json")  # fmt: skip
    run_scan(scan(tool="trivy", target="shop:1.0"))
    seen = (tmp_path / "env").read_text()
    assert "TRIVY_TOKEN=its own" in seen
    assert "geheim" not in seen and "AIRFLOW_CONN_SHOP_MYSQL=" not in seen


def test_a_scan_is_ended_after_its_time_with_all_that_it_started(program: Program, tmp_path: Path) -> None:
    program("nmap", f"sleep 300 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"scan month was ended after 1 s\nHINT: raise its timeout_s"):
        run_scan(scan(tool="nmap", target="127.0.0.1", timeout_s=1))
    assert time.monotonic() - begun < 60
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "(sleep) Z" in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("what the scanner had started went on")


def test_a_scanner_that_fails_is_told_with_its_last_words(program: Program) -> None:
    program("trivy", "echo 'FATAL unable to find the specified image' >&2; exit 1")
    with pytest.raises(ToolFailed, match="exit status 1: FATAL unable to find the specified image"):
        run_scan(scan(tool="trivy", target="gone:1.0"))


def test_a_scanner_that_writes_no_report_is_told(program: Program) -> None:
    program("zap.sh", "exit 0")
    with pytest.raises(SourceError, match="ended well but wrote no report"):
        run_scan(scan(tool="zap", target="http://localhost:8000"))


@pytest.mark.parametrize("tool", ["lynis", "nmap", "trivy", "zap"])
def test_a_missing_program_is_named_with_where_it_is_found(
    tool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UPKEEP_PATH", raising=False)
    target = None if tool == "lynis" else "http://localhost"
    with pytest.raises(ToolMissing, match=f"scan month needs {tool}.*is not installed"):
        scan_command(scan(tool=tool, target=target))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tool": "nmap"}, "needs a target"),
        ({"tool": "lynis", "target": "db1"}, "takes no target"),
        ({"tool": "nmap", "target": "--script=evil"}, "taken for an option"),
        ({"tool": "zap", "target": "localhost"}, "needs a URL"),
        ({"tool": "zap", "target": "http://me:secret@localhost/"}, "without credentials"),
        ({"tool": "trivy", "target": "shop:1", "ports": [22]}, "for nmap only"),
        ({"tool": "trivy", "target": "shop:1", "args": ["image", "--password=x"]}, "--password would stand"),
        ({"tool": "zap", "target": "http://localhost", "args": ["-config", "api.key=x"]}, "api.key would stand"),
        ({"tool": "nessus", "target": "db1"}, "lynis"),
    ],
)
def test_a_scan_that_cannot_work_is_refused_with_the_site_file(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scan(**settings)
