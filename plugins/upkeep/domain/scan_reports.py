"""What scanners report, as findings that can be compared from month to month.

A finding's id is made of the scan's name and of what doesn't change while the trouble stands: no version, no count, no
date. All text comes from outside, some of it from the very host that is scanned: it is taken for text, made short and
printable, and XML in which anything is declared is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.parsers import expat

from upkeep.domain.findings import SEVERITIES, Finding, Inspection, Severity
from upkeep.domain.units import cut
from upkeep.errors import SourceError

MOST = 300
"""Findings of one scan; the most severe are kept."""
WORDS = 220
WHERE = 160

Parser = Callable[[str, bytes], Inspection]
"""From a scan's name and its report to what it found. Errors: ``SourceError`` for what is not such a report."""


def lynis_findings(scan: str, report: bytes) -> Inspection:
    """Lynis's ``report.dat``: ``warning[]=TEST|text|details|solution|``, one line each.

    Warnings are medium, suggestions low: Lynis says how a machine could be harder, not what is open.
    """
    inspection = Inspection()
    lines = [line.partition("=") for line in report.decode("utf-8", "replace").splitlines()]
    if not any(name == "lynis_version" for name, _, _ in lines):
        raise _no_report("lynis")
    severities: dict[str, Severity] = {"warning[]": "medium", "suggestion[]": "low"}
    for name, _, value in lines:
        if name in severities:
            parts = [part.strip().removeprefix("text:") for part in value.split("|")]
            test, text, details, solution = [*("" if part == "-" else part for part in parts), "", "", "", ""][:4]
            inspection.add(
                "host-audit",
                # One test tells several things, by their text or by the details; both may count something.
                _where(scan, test, re.sub(r"\d+", "#", details or text)),
                severities[name],
                _words(f"{test}: {text}" + (f" ({details})" if details else "")),
                _words(solution or f"lynis show details {test}"),
            )
        elif name in ("hardening_index", "lynis_tests_done") and value.isdigit():
            inspection.figures[f"{scan}_{name.removeprefix('lynis_')}"] = float(value)
    if not any(name == "finish" and value == "true" for name, _, value in lines):
        inspection.unread.append(f"{scan}: lynis did not get to its end")
    return _bounded(scan, inspection)


def nmap_findings(scan: str, report: bytes, *, ports: Iterable[int | str] | None = None) -> Inspection:
    """nmap's ``-oX``: every open port that isn't expected, and what its scripts call vulnerable.

    :param ports: those that may be open: 53 is that of TCP, ``53/udp`` another one. Without them each open port is low:
        nobody has said what is meant to be.
    """
    inspection = Inspection()
    reader = _NmapReader()
    _read_xml(report, reader)
    if not reader.is_nmap:
        raise _no_report("nmap")
    expected = set(ports or ())
    severity: Severity = "low" if ports is None else "medium"
    for host, protocol, port, service in reader.open_ports:
        listed = port if protocol == "tcp" else f"{port}/{protocol}"
        if listed not in expected:
            inspection.add(
                "open-port",
                _where(scan, host, f"{protocol}/{port}"),
                severity,
                _words(f"{protocol} port {port} of {host} is open: {service or 'nothing is known of its service'}"),
                f"close it, or list {listed} under ports of scan {scan} in the site file",
            )
    for host, place, script in reader.vulnerable:
        inspection.add(
            "vulnerable-service",
            _where(scan, host, place, script),
            "high",
            _words(f"{place} of {host} is vulnerable, says nmap's script {script}"),
            _words(f"nmap --script-help {script}, then update or close the service"),
        )
    inspection.figures = {f"{scan}_open_ports": len(reader.open_ports), f"{scan}_hosts_up": reader.hosts_up}
    if not reader.finished:
        inspection.unread.append(f"{scan}: nmap did not get to its end")
    if not reader.hosts_up:
        inspection.unread.append(f"{scan}: no host answered")
    return _bounded(scan, inspection)


def trivy_findings(scan: str, report: bytes) -> Inspection:
    """``trivy --format json``: vulnerable packages, wrong settings, and secrets that lie about.

    What can't be fixed yet counts one step less: nothing is gained by a red light that nobody can turn off.
    """
    content = _json("trivy", report)
    if "SchemaVersion" not in content:
        raise _no_report("trivy")
    inspection = Inspection()
    for result in _objects(content.get("Results")):
        place = _text(result, "Target")
        for one in _objects(result.get("Vulnerabilities")):
            inspection.findings.append(_vulnerable_package(scan, one))
        for one in _objects(result.get("Misconfigurations")):
            if one.get("Status", "FAIL") == "FAIL":
                inspection.add(
                    "misconfiguration",
                    _where(scan, _text(one, "ID"), place),
                    _trivy_severity(one),
                    _words(f"{place}: {_text(one, 'Title')} ({_text(one, 'ID')})"),
                    _words(_text(one, "Resolution") or _text(one, "PrimaryURL") or "see the report of trivy"),
                )
        for one in _objects(result.get("Secrets")):
            # Its "Match" is left out: trivy covers the secret in it, or so it says.
            inspection.add(
                "leaked-secret",
                _where(scan, _text(one, "RuleID"), place),
                _trivy_severity(one),
                _words(f"{place} holds a secret: {_text(one, 'Title')}"),
                "take it out, and replace it wherever it was valid",
            )
    return _bounded(scan, inspection)


def _vulnerable_package(scan: str, one: Mapping[str, Any]) -> Finding:
    severity, fixed = _trivy_severity(one), _text(one, "FixedVersion")
    package, name = _text(one, "PkgName"), _text(one, "VulnerabilityID")
    if not fixed and severity != "low":
        severity = SEVERITIES[SEVERITIES.index(severity) + 1]
    title, page = _text(one, "Title"), _text(one, "PrimaryURL")
    unmended = "no fixed release yet: leave it out, or shield it" + (f"; {page}" if page else "")
    return Finding(
        "vulnerable-package",
        _where(scan, name, package, _text(one, "PkgPath")),
        severity,
        _words(f"{package} {_text(one, 'InstalledVersion')} has {name}" + (f": {title}" if title else "")),
        _words(f"update {package} to {fixed}" if fixed else unmended),
    )


def _trivy_severity(one: Mapping[str, Any]) -> Severity:
    names: dict[str, Severity] = {"CRITICAL": "high", "HIGH": "high", "MEDIUM": "medium"}
    return names.get(_text(one, "Severity").upper(), "low")


def zap_findings(scan: str, report: bytes) -> Inspection:
    """ZAP's traditional JSON report: one finding for each kind of alert and site, whatever pages show it.

    Informational alerts and those that ZAP itself calls false positives (confidence 0) are left out.
    """
    content = _json("zap", report)
    if "@version" not in content or "site" not in content:
        raise _no_report("zap")
    inspection = Inspection()
    severities: dict[str, Severity] = {"3": "high", "2": "medium", "1": "low"}
    for site in _objects(content.get("site")):
        for alert in _objects(site.get("alerts")):
            severity = severities.get(_text(alert, "riskcode"))
            if severity is None or _text(alert, "confidence") == "0":
                continue
            pages = [_text(instance, "uri") for instance in _objects(alert.get("instances"))]
            where = f"{_text(alert, 'count') or len(pages)} times, such as {pages[0]}" if pages else "somewhere"
            inspection.add(
                "web-alert",
                _where(scan, _text(alert, "alertRef") or _text(alert, "pluginid"), _text(site, "@name")),
                severity,
                _words(f"{_text(site, '@name')}: {_text(alert, 'name') or _text(alert, 'alert')}, {where}"),
                _words(re.sub(r"<[^>]*>", " ", _text(alert, "solution")) or "see the report of ZAP"),
            )
    return _bounded(scan, inspection)


class _NmapReader:
    """Hears the elements of nmap's XML one by one; see ``nmap.dtd``."""

    def __init__(self) -> None:
        self.is_nmap = self.finished = False
        self.hosts_up = 0
        self.open_ports: list[tuple[str, str, int, str]] = []
        """Host, protocol, port and what is known of the service."""
        self.vulnerable: list[tuple[str, str, str]] = []
        """Host, ``tcp/443`` or ``host``, script."""
        self._host = ""
        self._up = self._open = False
        self._port = ("", 0)
        self._service = ""
        self._script = ""
        self._text: list[str] | None = None
        """The value of a script's ``state`` while it is read; None elsewhere."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "nmaprun":
                self.is_nmap = True
            case "host":
                self._host, self._up = "", False
            case "status":
                self._up = attributes.get("state") == "up"
                self.hosts_up += self._up
            case "address" if attributes.get("addrtype") != "mac":
                self._host = self._host or _words(attributes.get("addr", ""))
            case "hostname" if attributes.get("type") == "user":
                self._host = _words(attributes.get("name", ""))  # what the site file calls it
            case "port":
                number = attributes.get("portid", "")
                self._port = _words(attributes.get("protocol", "")), int(number) if number.isdigit() else 0
                self._open, self._service = False, ""
            case "state":
                self._open = attributes.get("state") == "open"
            case "service":
                known = (attributes.get(part, "") for part in ("name", "product", "version"))
                self._service = _words(" ".join(filter(None, known)))
            case "script":
                self._script = _words(attributes.get("id", ""))
            case "elem" if attributes.get("key") == "state" and self._script:
                self._text = []
            case "finished":
                self.finished = attributes.get("exit", "success") == "success"

    def text(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        match name:
            case "port":
                if self._open:
                    self.open_ports.append((self._host, *self._port, self._service))
                self._port = ("", 0)
            case "script":
                self._script = ""
            case "elem" if self._text is not None:
                # Nmap's library "vulns": VULNERABLE, VULNERABLE (Exploitable), LIKELY VULNERABLE, NOT VULNERABLE.
                if re.match(r"(LIKELY )?VULNERABLE", "".join(self._text).strip()):
                    place = f"{self._port[0]}/{self._port[1]}" if self._port[1] else "host"
                    self.vulnerable.append((self._host, place, self._script))
                self._text = None


def _read_xml(report: bytes, reader: _NmapReader) -> None:
    """Errors: ``SourceError``, also for a document that declares entities: expanded, a few bytes become gigabytes."""

    def refuse(*_: object) -> int:
        raise SourceError(
            "the XML of nmap declares entities, which nmap never does",
            hint="somebody else wrote it: look at the scanned host, and at nmap on this worker",
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(report, True)
    except expat.ExpatError as error:
        raise _no_report("nmap") from error


def _json(tool: str, report: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(report)
    except (ValueError, RecursionError):
        raise _no_report(tool) from None
    if not isinstance(content, dict):
        raise _no_report(tool)
    return content


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Those of a list that are objects; trivy writes null for an empty list."""
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return _printable(value) if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _words(text: str) -> str:
    """One short, printable line."""
    return cut(_printable(text), WORDS)


def _printable(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _where(scan: str, *parts: str) -> str:
    """The changeless part of an id; a long one is told from others like it by the hash of all of it."""
    whole = f"{scan}: " + " ".join(filter(None, map(_printable, parts)))
    return whole if len(whole) <= WHERE else f"{whole[: WHERE - 11]}~{hashlib.sha256(whole.encode()).hexdigest()[:10]}"


def _bounded(scan: str, inspection: Inspection) -> Inspection:
    """The most severe ``MOST``. The rest is said to be unread, so that nothing of it counts as gone."""
    each = {finding.id: finding for finding in sorted(inspection.findings, key=_least_first)}
    worst = sorted(each.values(), key=_least_first, reverse=True)
    inspection.findings = worst[:MOST]
    if len(worst) > MOST:
        inspection.unread.append(f"{scan}: {len(worst)} findings, of which the {MOST} most severe are kept")
    return inspection


def _least_first(finding: Finding) -> tuple[int, str]:
    return -SEVERITIES.index(finding.severity), finding.id


def _no_report(tool: str) -> SourceError:
    return SourceError(
        f"what {tool} wrote is not a report of {tool}",
        hint="run its command from the task's log by hand and look at what it writes",
    )
