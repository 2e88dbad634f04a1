"""What people read about a run: built from the ledger alone, told as Markdown, HTML or a few lines of text.

    report = build_run_report(site, run_id, "daily", ledger, now, expected_targets, waiting)
    report.ok, report.headline
    to_markdown(report), to_html(report), to_text(report)

Nothing here reads a clock, a store or Airflow: the same ledger and the same moment give the same page.
"""

from __future__ import annotations

from upkeep.reports.build_run_report import build_run_report
from upkeep.reports.html_page import to_html
from upkeep.reports.markdown_page import to_markdown
from upkeep.reports.run_report import Run, RunReport, Step, Window
from upkeep.reports.short_text import to_text
from upkeep.reports.target_line import Proven, Remark, Removal, Status, TargetLine

__all__ = [
    "Proven",
    "Remark",
    "Removal",
    "Run",
    "RunReport",
    "Status",
    "Step",
    "TargetLine",
    "Window",
    "build_run_report",
    "to_html",
    "to_markdown",
    "to_text",
]
