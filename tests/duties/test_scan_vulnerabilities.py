"""The month's scans: what is new is told once, what nobody could look at isn't gone, nothing missing stops a run."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from upkeep.duties.report import report_run
from upkeep.duties.scan_vulnerabilities import scan_vulnerabilities
from upkeep.engines import stopping
from upkeep.engines.pipeline import Pipeline
from upkeep.errors import Stopped
from upkeep.ledger import Record, verify
from upkeep.ledger.entry import DETAIL_CHARS

FIRST = datetime(2026, 9, 30, 17, 0, tzinfo=UTC)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("UPKEEP_PATH", str(folder))
    return folder


class Image:
    """What trivy says of an image: a script in its place that prints the vulnerabilities given."""

    def __init__(self, programs: Path) -> None:
        self.program = programs / "trivy"
        self.report = programs / "report.json"
        self.holds()

    def holds(self, **severities: str) -> None:
        found = [
            {"VulnerabilityID": name, "PkgName": "openssl", "FixedVersion": "3.1", "Severity": severity}
            for name, severity in severities.items()
        ]
        self.report.write_text(json.dumps({"SchemaVersion": 2, "Results": [{"Vulnerabilities": found}]}))
        self.program.write_text(f"#!/bin/sh\ncat {self.report}\n")
        self.program.chmod(0o755)


@pytest.fixture
def image(programs: Path) -> Image:
    return Image(programs)


@pytest.fixture
def site(sites: SiteFactory, tmp_path: Path) -> SiteFactory:
    sites.paths(tmp_path)
    sites.settings["scans"] = [{"name": "image", "tool": "trivy", "target": "shop:1.0"}]
    return sites


@pytest.fixture
def ports() -> Iterator[list[socket.socket]]:
    """Two servers on loopback."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]


def month(site: SiteFactory, number: int = 0, **options: Any) -> dict[str, Any]:
    at = FIRST + timedelta(days=30 * number)
    return scan_vulnerabilities(site.job(f"month-{number}", now=lambda: at), **options)


def last(site: SiteFactory) -> Record:
    ledger = site.job().ledger
    (record,) = ledger.acts("kindergarten", duty="scan_vulnerabilities", limit=1, newest_first=True)
    return record


def words(findings: list[dict[str, str]]) -> list[str]:
    return [finding["what"].split()[-1] for finding in findings]


def test_open_ports_are_new_then_stand_and_are_gone_when_they_are_closed(
    site: SiteFactory, ports: list[socket.socket]
) -> None:
    numbers = [port.getsockname()[1] for port in ports]
    args = ["-sT", "-p", ",".join(map(str, numbers))]
    site.settings["scans"] = [
        {"name": "ports", "tool": "nmap", "target": "127.0.0.1", "args": args, "ports": numbers[:1]}
    ]
    first, second = month(site, 0), month(site, 1)
    ports[1].close()
    third = month(site, 2)
    assert [(one["severity"], one["what"].split(" is open")[0]) for one in first["new"]] == [
        ("medium", f"tcp port {numbers[1]} of 127.0.0.1")
    ]
    assert (first["light"], second["light"], third["light"]) == ("amber", "amber", "green")
    assert (second["new"], second["counts"]["standing"], third["counts"]["gone"]) == ([], 1, 1)


def test_a_grave_vulnerability_is_red_in_the_month_in_which_it_appears(site: SiteFactory, image: Image) -> None:
    image.holds(OLD="MEDIUM")
    assert month(site, 0)["light"] == "amber"
    image.holds(OLD="MEDIUM", NEW="CRITICAL")
    second, third = month(site, 1), month(site, 2)
    assert (second["light"], third["light"]) == ("red", "amber")
    assert words(second["new"]) == ["NEW"]
    assert second["hint"] == "openssl has NEW: update openssl to 3.1"
    image.holds()
    assert month(site, 3)["summary"] == "2 gone"


def test_a_missing_program_is_said_and_what_it_had_found_is_not_gone(site: SiteFactory, image: Image) -> None:
    image.holds(OLD="MEDIUM")
    month(site, 0)
    image.program.unlink()
    found = month(site, 1)
    assert (found["light"], found["counts"]["unseen"], found["counts"]["gone"]) == ("amber", 1, 0)
    assert found["unread"][0].startswith("scan image needs trivy, which is not installed on this worker: install it")
    image.holds(OLD="MEDIUM")
    assert month(site, 2)["counts"]["standing"] == 1


def test_a_scan_that_fails_leaves_the_others_alone(site: SiteFactory, image: Image, programs: Path) -> None:
    image.holds(OLD="LOW")
    (programs / "nmap").write_text("#!/bin/sh\necho no route >&2; exit 1\n")
    (programs / "nmap").chmod(0o755)
    site.settings["scans"].insert(0, {"name": "ports", "tool": "nmap", "target": "127.0.0.1"})
    found = month(site)
    assert words(found["new"]) == ["OLD"]
    assert found["unread"] == ["ports: nmap ended with exit status 1: no route"]


def test_a_dry_run_says_what_it_would_run_and_is_no_scan(site: SiteFactory, image: Image) -> None:
    image.holds(OLD="HIGH")
    found = month(site, 0, dry_run=True)
    assert (found["light"], found["summary"]) == ("green", "dry run: 1 scan would be run")
    assert found["commands"][0].endswith("trivy image --format json --quiet --timeout 1800s -- shop:1.0")
    assert month(site, 1)["light"] == "amber", "the first scan of all is not red: nothing is new against nothing"


def test_a_site_without_scans_is_green(site: SiteFactory) -> None:
    site.settings["scans"] = []
    assert (month(site)["light"], month(site)["summary"]) == ("green", "the site names no scans")


def test_hundreds_of_findings_fit_the_ledger_and_are_compared_all_the_same(site: SiteFactory, image: Image) -> None:
    image.holds(**{f"CVE-{number}-{'x' * 80}": "MEDIUM" for number in range(250)})
    first, second = month(site, 0), month(site, 1)
    assert (first["counts"]["new"], second["counts"]["new"], second["counts"]["standing"]) == (250, 0, 250)
    record = last(site)
    assert record.detail["kept_in"] == "store" and "left_out" not in record.detail
    assert len(json.dumps(record.detail, ensure_ascii=False)) < DETAIL_CHARS
    assert verify(site.job().ledger).clean


def test_the_report_of_the_run_tells_what_is_new_and_is_red_for_what_is_grave(site: SiteFactory, image: Image) -> None:
    month(site, 0)
    image.holds(NEW="CRITICAL")
    month(site, 1)
    job = site.job("month-1", now=lambda: FIRST + timedelta(days=30))
    report = report_run(job, "monthly")
    page = job.store.get(report["page"].removeprefix(f"{job.store.url}/")).decode()
    assert report["ok"] is False
    assert "<h2>Vulnerabilities</h2>" in page and "openssl has NEW" in page and "update openssl to 3.1" in page


def test_a_task_that_is_told_to_stop_ends_its_scanner_and_is_recorded(
    site: SiteFactory, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_told", False)  # put back after the test
    image.program.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nsleep 300\n")

    def stop() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        Pipeline.stop_all()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped):
        month(site)
    assert last(site).state == "failed"
