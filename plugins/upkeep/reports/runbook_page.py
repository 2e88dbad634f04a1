"""A runbook as one page of HTML: who is woken up has Airflow before them, and no checkout."""

from __future__ import annotations

import re

from upkeep.reports.html_page import template
from upkeep.resources import runbooks_folder

_NAME = re.compile(r"[a-z_]+")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")
"""A link to a file of the checkout, which isn't served."""


def runbook_page(name: str) -> str | None:
    """``name``: of the file, without its ``.md``. None where there is no such runbook here."""
    from markdown_it import MarkdownIt

    path = runbooks_folder() / f"{name}.md"
    if not _NAME.fullmatch(name) or not path.is_file():
        return None
    text = _OUTSIDE.sub(r"`\1`", path.read_text(encoding="utf-8"))
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return template("runbook.html.j2").render(name=name, body=body)
