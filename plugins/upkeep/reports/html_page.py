"""A report as one page of HTML: self-contained, for browsers, phones and mail clients."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from upkeep.domain.units import human_bytes, human_seconds
from upkeep.reports.run_report import RunReport
from upkeep.reports.target_line import Status

_TEMPLATES = Path(__file__).with_name("templates")


def to_html(report: RunReport) -> str:
    return template("run_report.html.j2").render(
        report=report, reds=report.remarks_of(Status.RED), ambers=report.remarks_of(Status.AMBER)
    )


@cache
def template(name: str) -> Template:
    """A page's template; what is put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,  # for every file: the suffix .j2 would not switch it on
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"human_bytes": human_bytes, "human_seconds": human_seconds}
    return environment.get_template(name)
