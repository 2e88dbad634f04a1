"""Reports of scanners become findings that can be compared from month to month, whatever a scanned host put into them.

The samples beside this file: nmap's and lynis's as those programs write them, trivy's and ZAP's after
https://trivy.dev/latest/docs/configuration/reporting/ and
https://www.zaproxy.org/docs/desktop/addons/report-generation/report-traditional-json/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.domain.findings import Finding, Inspection
from upkeep.domain.scan_reports import (
    MOST,
    WHERE,
    WORDS,
    Parser,
    lynis_findings,
    nmap_findings,
    trivy_findings,
    zap_findings,
)
from upkeep.errors import SourceError

SAMPLES = Path(__file__).with_name("scan_reports")
PARSERS: dict[str, tuple[Parser, str]] = {
    "lynis": (lynis_findings, "lynis.dat"),
    "nmap": (nmap_findings, "nmap.xml"),
    "trivy": (trivy_findings, "trivy.json"),
    "zap": (zap_findings, "zap.json"),
}


def sample(tool: str) -> bytes:
    return (SAMPLES / PARSERS[tool][1]).read_bytes()


def found(tool: str, report: bytes | None = None) -> Inspection:
    return PARSERS[tool][0](tool, sample(tool) if report is None else report)


def by_id(inspection: Inspection) -> dict[str, Finding]:
    return {finding.id: finding for finding in inspection.findings}


def severities(inspection: Inspection) -> dict[str, str]:
    return {name: finding.severity for name, finding in by_id(inspection).items()}


def test_what_can_be_mended_in_an_image_counts_in_full_and_what_cant_counts_less() -> None:
    path = "usr/lib/python3/dist-packages/requests-2.28.1.egg-info"
    assert severities(found("trivy")) == {
        "vulnerable-package:trivy: CVE-2024-5535 openssl": "high",
        "vulnerable-package:trivy: CVE-2023-45853 zlib1g": "medium",  # critical, but nobody has fixed it yet
        "vulnerable-package:trivy: CVE-2024-0567 libgnutls30": "medium",
        "vulnerable-package:trivy: CVE-2011-3374 apt": "low",
        f"vulnerable-package:trivy: CVE-2024-35195 requests {path}": "low",
        "misconfiguration:trivy: DS002 Dockerfile": "high",
        "leaked-secret:trivy: aws-access-key-id /app/.env": "high",
    }
    openssl = by_id(found("trivy"))["vulnerable-package:trivy: CVE-2024-5535 openssl"]
    assert openssl.what == (
        "openssl 3.0.11-1~deb12u2 has CVE-2024-5535: openssl: SSL_select_next_proto buffer overread"
    )
    assert openssl.remedy == "update openssl to 3.0.15-1~deb12u1"


def test_a_secret_that_trivy_found_is_not_passed_on() -> None:
    told = json.dumps([finding.as_dict() for finding in found("trivy").findings])
    assert "AKIAABCDEFGHIJKLMNOP" not in told and "/app/.env holds a secret" in told


def test_each_kind_of_alert_of_a_web_site_is_one_finding_without_hints_and_false_alarms() -> None:
    alerts = by_id(found("zap"))
    assert {name: alert.severity for name, alert in alerts.items()} == {
        "web-alert:zap: 40012 http://localhost:8000": "high",
        "web-alert:zap: 10038-1 http://localhost:8000": "medium",
        "web-alert:zap: 10096 http://localhost:8000": "low",
    }
    assert alerts["web-alert:zap: 10038-1 http://localhost:8000"].what == (
        "http://localhost:8000: Content Security Policy (CSP) Header Not Set, 2 times, such as http://localhost:8000/"
    )
    assert alerts["web-alert:zap: 40012 http://localhost:8000"].remedy == (
        "Phase: Architecture and Design Use a vetted library."
    )


def test_open_ports_are_low_until_somebody_says_which_may_be_open() -> None:
    ports = {"open-port:nmap: db1 tcp/22", "open-port:nmap: db1 tcp/443", "open-port:nmap: db1 tcp/3306"}
    unsaid = severities(found("nmap"))
    assert {name for name, severity in unsaid.items() if severity == "low"} == ports
    said = severities(nmap_findings("nmap", sample("nmap"), ports=[22, 443]))
    assert {name: severity for name, severity in said.items() if name in ports} == {
        "open-port:nmap: db1 tcp/3306": "medium"
    }


def test_a_port_that_may_be_open_for_tcp_is_still_a_finding_for_udp() -> None:
    both = sample("nmap").replace(
        b'<port protocol="udp"', b'<port protocol="udp" portid="443"><state state="open"/></port><port protocol="udp"'
    )
    told = by_id(nmap_findings("nmap", both, ports=[22, 443, 3306]))
    udp = "open-port:nmap: db1 udp/443"
    assert [name for name in told if name.startswith("open-port")] == [udp]
    assert "list 443/udp under ports" in told[udp].remedy
    assert udp not in by_id(nmap_findings("nmap", both, ports=[22, 443, "443/udp", 3306]))


def test_a_service_that_nmaps_scripts_call_vulnerable_is_high() -> None:
    assert {name for name, severity in severities(found("nmap")).items() if severity == "high"} == {
        "vulnerable-service:nmap: db1 tcp/443 ssl-poodle",
        "vulnerable-service:nmap: db1 host smb-vuln-ms17-010",
    }
    assert found("nmap").figures == {"nmap_open_ports": 3, "nmap_hosts_up": 1}


def test_an_audit_of_the_machine_has_warnings_and_suggestions_each_once() -> None:
    assert severities(found("lynis")) == {
        "host-audit:lynis: PKGS-7392 Found one or more vulnerable packages.": "medium",
        "host-audit:lynis: NETW-2705 Couldn't find # responsive nameservers": "medium",
        "host-audit:lynis: SSH-7408 AllowTcpForwarding (set YES to NO)": "low",
        "host-audit:lynis: SSH-7408 MaxAuthTries (set # to #)": "low",
        "host-audit:lynis: AUTH-9286 Configure minimum password age in /etc/login.defs": "low",
        "host-audit:lynis: FILE-7524 See screen output or log file": "low",
        "host-audit:lynis: LYNIS This release is more than # months old. Check the website.": "low",
    }
    assert found("lynis").figures == {"lynis_hardening_index": 61, "lynis_tests_done": 243}
    chmod = by_id(found("lynis"))["host-audit:lynis: FILE-7524 See screen output or log file"]
    assert chmod.remedy == "Use chmod to change file permissions"


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [
        ("trivy", "3.0.11-1~deb12u2", "3.0.14-1"),
        ("trivy", "chronoretrace-backend:1.8.2", "chronoretrace-backend:1.9.0"),
        ("nmap", "9.2p1 Debian 2", "9.6"),
        ("lynis", "more than 4 months", "more than 5 months"),
        ("zap", '"count": "7"', '"count": "12"'),
    ],
)
def test_what_changes_while_the_trouble_stands_is_no_part_of_its_id(tool: str, old: str, new: str) -> None:
    report = sample(tool)
    assert old.encode() in report
    assert by_id(found(tool)).keys() == by_id(found(tool, report.replace(old.encode(), new.encode()))).keys()


@pytest.mark.parametrize("tool", PARSERS)
@pytest.mark.parametrize("report", [b"", b"no such image", b"{}", b"[]", b"<html/>", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_report_is_said(tool: str, report: bytes) -> None:
    with pytest.raises(SourceError, match=f"not a report of {tool}"):
        found(tool, report)


def test_xml_that_declares_entities_is_refused_before_it_grows() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE nmaprun [<!ENTITY l0 "ha">{laughs}]><nmaprun>&l9;</nmaprun>'
    outside = '<!DOCTYPE nmaprun [<!ENTITY x SYSTEM "file:///etc/passwd">]><nmaprun><host>&x;</host></nmaprun>'
    for hostile in (bomb, outside):
        with pytest.raises(SourceError, match="declares entities"):
            found("nmap", hostile.encode())


@pytest.mark.parametrize(
    ("tool", "cut", "words"),
    [
        ("lynis", b"finish=true\n", "did not get to its end"),
        ("nmap", b'exit="success"', None),
        ("nmap", b'<status state="up"', "no host answered"),
    ],
)
def test_a_scan_that_did_not_get_to_its_end_is_not_wholly_read(tool: str, cut: bytes, words: str | None) -> None:
    changed = {b'exit="success"': b'exit="error"', b'<status state="up"': b'<status state="down"'}.get(cut, b"")
    unread = found(tool, sample(tool).replace(cut, changed)).unread
    assert any((words or "did not get to its end") in why for why in unread)
    assert found(tool).unread == []


def test_text_of_a_hostile_host_is_made_short_and_printable() -> None:
    banner = "x" * 5000 + "\u202e"
    report = sample("nmap").decode().replace("OpenSSH", "\u202e&lt;script&gt;" + banner)
    (ssh,) = (one for one in found("nmap", report.encode()).findings if one.where.endswith("tcp/22"))
    assert len(ssh.what) <= WORDS and "\u202e" not in ssh.what


def test_a_long_place_keeps_an_id_of_its_own() -> None:
    vulnerability = {"VulnerabilityID": "CVE-1", "PkgName": "p", "Severity": "LOW"}
    paths = ["a/" * 300 + end for end in ("one", "two")]
    report = {
        "SchemaVersion": 2,
        "Results": [{"Vulnerabilities": [{**vulnerability, "PkgPath": one} for one in paths]}],
    }
    inspection = found("trivy", json.dumps(report).encode())
    assert len(by_id(inspection)) == 2
    assert all(len(finding.where) <= WHERE for finding in inspection.findings)


def test_the_most_severe_are_kept_and_the_rest_is_said_to_be_unread() -> None:
    each = [
        {"VulnerabilityID": f"CVE-{number}", "PkgName": "p", "FixedVersion": "2", "Severity": severity}
        for number, severity in enumerate(["LOW"] * MOST + ["HIGH"] * 5)
    ]
    inspection = found("trivy", json.dumps({"SchemaVersion": 2, "Results": [{"Vulnerabilities": each}]}).encode())
    assert [finding.severity for finding in inspection.findings] == ["high"] * 5 + ["low"] * (MOST - 5)
    assert inspection.unread == [f"trivy: {MOST + 5} findings, of which the {MOST} most severe are kept"]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Results", "Vulnerabilities", "site", "alerts", "instances", "riskcode", "Severity", "uri"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["trivy", "zap"]), JSON)
def test_no_report_whatever_its_shape_is_more_than_not_read(tool: str, content: Any) -> None:
    if isinstance(content, dict):
        content = {"SchemaVersion": 2, "@version": "2", "site": [], **content}
    try:
        inspection = found(tool, json.dumps(content).encode())
    except SourceError:
        return
    assert all(finding.where for finding in inspection.findings)
