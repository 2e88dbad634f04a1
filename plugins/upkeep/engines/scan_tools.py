"""Runs the scanners that a site names, each within its time, and has their reports read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from upkeep.domain.findings import Inspection
from upkeep.domain.scan_reports import Parser, lynis_findings, nmap_findings, trivy_findings, zap_findings
from upkeep.domain.units import human_bytes, human_seconds
from upkeep.engines.background import ended_after
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.engines.tools import find_all
from upkeep.errors import SourceError, ToolFailed, ToolMissing
from upkeep.site import Scan

MOST_BYTES = 64 << 20
"""Of a report: it is read into memory."""
ZAP_NAMES = ("zap.sh", "zaproxy", "owasp-zap")


@dataclass(frozen=True)
class _Tool:
    names: tuple[str, ...]
    found_at: str
    parse: Parser
    arguments: Callable[[Scan, str], list[str]]
    """What follows the program's name; the text is the file it shall write."""
    writes: str = ""
    """The file's name, whose ending ZAP goes by; empty for a tool that writes its report to its output."""


def scan_command(scan: Scan, report: str = "REPORT") -> list[str]:
    """The command line of a scan. Errors: ``ToolMissing``."""
    tool = _TOOLS[scan.tool]
    programs = find_all(tool.names)
    if not programs:
        raise ToolMissing(
            f"scan {scan.name} needs {tool.names[0]}, which is not installed on this worker",
            hint=f"{tool.found_at}, or put its folder into UPKEEP_PATH",
        )
    return [programs[0], *tool.arguments(scan, report)]


def run_scan(scan: Scan) -> Inspection:
    """Run one scan to its end and read its report.

    :raises ToolMissing: the worker doesn't have the program.
    :raises ToolFailed: it ended badly.
    :raises SourceError: it took too long, or wrote no report that could be read.
    """
    tool = _TOOLS[scan.tool]
    parse = partial(nmap_findings, ports=scan.ports) if scan.tool == "nmap" else tool.parse
    with tempfile.TemporaryDirectory(prefix="upkeep-scan-") as folder:  # 0700: a report tells where to break in
        report = Path(folder) / tool.writes
        said = _run(scan, scan_command(scan, str(report)), keep=not tool.writes)
        return parse(scan.name, _read(scan, report) if tool.writes else said)


def _run(scan: Scan, argv: list[str], *, keep: bool) -> bytes:
    """Its output, where that is the report. A scanner starts others: all of its session is ended with it."""
    said = bytearray()
    try:
        with (
            Pipeline([Command(argv, foreign=True)]) as pipeline,
            ended_after(scan.timeout_s, pipeline.kill, name="ends a scan") as late,
        ):
            for chunk in pipeline.output():
                if keep:
                    said += chunk
                    if len(said) > MOST_BYTES:
                        raise _too_large(scan)
            pipeline.finish()
    except ToolFailed as error:
        if late.is_set():
            raise SourceError(
                f"scan {scan.name} was ended after {human_seconds(scan.timeout_s)}",
                hint="raise its timeout_s in the site file, or let its args ask for less",
            ) from error
        raise
    return bytes(said)


def _read(scan: Scan, report: Path) -> bytes:
    with suppress(FileNotFoundError), report.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _too_large(scan)
        return content
    raise SourceError(
        f"scan {scan.name} ended well but wrote no report", hint="run its command from the task's log by hand"
    )


def _too_large(scan: Scan) -> SourceError:
    return SourceError(
        f"the report of scan {scan.name} has more than {human_bytes(MOST_BYTES)}", hint="let its args ask for less"
    )


def _lynis(scan: Scan, report: str) -> list[str]:
    # Without root's rights it looks at what an ordinary account can see.
    rights = [] if os.geteuid() == 0 else ["--pentest"]
    quiet = ["--quiet", "--quick", "--no-colors", "--no-log", "--report-file", report]
    return ["audit", "system", *rights, *quiet, *scan.args]


def _nmap(scan: Scan, _: str) -> list[str]:
    return ["-oX", "-", "--no-stylesheet", "--noninteractive", *scan.args, "--", str(scan.target)]


def _trivy(scan: Scan, _: str) -> list[str]:
    # Its own limit is five minutes, fewer than a first download of its database may take.
    command, *more = scan.args or ["image"]
    return [command, "--format", "json", "--quiet", "--timeout", f"{scan.timeout_s}s", *more, "--", str(scan.target)]


def _zap(scan: Scan, report: str) -> list[str]:
    home = str(Path(report).with_name("home"))
    return ["-cmd", "-dir", home, *scan.args, "-quickurl", str(scan.target), "-quickout", report]


_TOOLS = {
    "lynis": _Tool(("lynis",), "apt-get install lynis", lynis_findings, _lynis, writes="report.dat"),
    "nmap": _Tool(("nmap",), "apt-get install nmap", nmap_findings, _nmap),
    "trivy": _Tool(("trivy",), "install it from https://trivy.dev", trivy_findings, _trivy),
    "zap": _Tool(ZAP_NAMES, "install it from https://www.zaproxy.org", zap_findings, _zap, writes="report.json"),
}
