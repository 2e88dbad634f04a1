"""A report as one page of Markdown: GitHub's dialect, readable as plain text too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from upkeep.domain.units import human_bytes, human_seconds
from upkeep.reports.attempts import one_line
from upkeep.reports.run_report import RunReport
from upkeep.reports.section import Item
from upkeep.reports.since_last import Since
from upkeep.reports.target_line import Remark, Status, TargetLine

_SPECIAL = re.compile(
    r"[\\`*\[\]<>|~&$#]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word an underscore means nothing: audit_logs stays as it is
    r"|(?<=\w):(?=//)|(?<=www)\.",  # nobody's table name becomes a link
    re.IGNORECASE,
)
_TICKS = re.compile("`+")


def to_markdown(report: RunReport) -> str:
    return "\n\n".join(_blocks(report)) + "\n"


def escape(text: str) -> str:
    """On one line, and nothing in it is Markdown or HTML any more. Not for the beginning of a line."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], one_line(text))


def code(text: str, *, in_table: bool = False) -> str:
    """A code span. In a table a pipe would end the cell even there."""
    text = one_line(text)
    ticks = "`" * (max(map(len, _TICKS.findall(text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    span = f"{ticks}{pad}{text}{pad}{ticks}" if text else "(none)"
    return span.replace("|", "\\|") if in_table else span


def fenced(text: str) -> str:
    """A block of text as it is; its fence is longer than any in the text."""
    ticks = "`" * max(3, max(map(len, _TICKS.findall(text)), default=0) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _blocks(report: RunReport) -> Iterator[str]:
    yield f"# {escape(report.title)}: {report.run.rhythm} run of {report.clock(report.made_at)} {report.timezone}"
    yield f"**{report.status.name}:** {escape(report.summary)}"
    if reds := report.remarks_of(Status.RED):
        yield "## Needs action"
        for remark, line in report.told_with(reds):
            yield from _red(remark, line)
    if report.since:
        yield f"## Since the run of {report.clock(report.since.at)}"
        yield _listed(_since(report.since)) if report.since.changes else "Nothing changed its light or its size."
    if ambers := report.remarks_of(Status.AMBER):
        yield "## Worth a look"
        yield _listed(_amber(remark) for remark in ambers)
    if report.changed:
        yield "## In the store"
        yield _listed(_changes(report))
    if report.lines:
        yield "## Targets"
        yield _table(_TARGETS, [_target_cells(line) for line in report.lines])
    if positions := [line for line in report.lines if line.position or line.position_missing]:
        yield "Where each source's log stood, for point-in-time recovery:"
        yield _listed(_position(line) for line in positions)
    for section in report.sections:
        yield f"## {section.title}"
        yield escape(section.summary)
        if section.table:
            yield _table(section.table.heading, [[escape(cell) for cell in row] for row in section.table.rows])
        if section.items:
            yield _listed(_item(item) for item in section.items)
    if report.steps:
        yield "## Other steps"
        yield _listed(f"{escape(f'{step.duty} of {step.target}')}: {escape(step.outcome)}" for step in report.steps)
    yield "## The run"
    yield _listed(f"{fact.name}: {code(fact.value) if fact.exact else escape(fact.value)}" for fact in report.facts)
    yield escape(report.anchor_words)


def _red(remark: Remark, line: TargetLine | None) -> Iterator[str]:
    yield f"### {escape(remark.title)}"
    why = remark.why.strip()
    if "\n" in why:
        yield fenced(why)
    elif why:
        yield f"Why: {escape(why)}"
    if remark.hint:
        yield f"**HINT:** {escape(remark.hint)}"
    if line:
        yield f"Until then: {escape(line.earlier_words)}."


def _amber(remark: Remark) -> str:
    subject = f"**{escape(remark.subject)}** " if remark.subject else ""
    why = f": {escape(remark.why)}" if remark.why else ""
    hint = f" (HINT: {escape(remark.hint)})" if remark.hint else ""
    return f"{subject}{escape(remark.what)}{why}{hint}"


def _since(since: Since) -> Iterator[str]:
    return (f"**{change.status.label}** {escape(change.says)}" for change in since.changes)


def _item(item: Item) -> str:
    subject = f" {escape(item.subject)}" if item.subject else ""
    more = f" ({escape(item.more)})" if item.more else ""
    return f"**{escape(item.label)}**{subject}: {escape(item.says)}{more}"


def _changes(report: RunReport) -> Iterator[str]:
    for line, removal in report.removed:
        size = f" ({human_bytes(removal.size)})" if removal.size is not None else ""
        reasons = escape("; ".join(removal.reasons) or "the ledger has no reason")
        yield f"**{escape(line.target)}**: removed {code(removal.backup_id)}{size}: {reasons}"
    for line, removal in report.held:
        yield f"**{escape(line.target)}**: the store holds {code(removal.backup_id)} back: {escape(removal.held)}"
    for line in report.lines:
        name = f"**{escape(line.target)}**"
        yield from (f"{name}: shipped {code(backup_id)} from the spool" for backup_id in line.shipped)
        yield from (f"{name}: removed the unfinished {code(backup_id)} of a killed run" for backup_id in line.swept)
        for late in line.proven_late:
            yield f"{name}: proved the older {code(late.backup_id)} ({late.level.label})"


_TARGETS = ("Target", "Status", "Backup", "Size", "Change", "Time", "Proof", "Holds")


def _target_cells(line: TargetLine) -> Sequence[str]:
    status = line.status.label
    return (
        escape(f"{line.target} ({line.engine})" if line.engine else line.target),
        f"**{status}**: {escape(line.reason)}" if line.status is not Status.GREEN else status,
        code(line.backup_id, in_table=True) if line.there else "",
        line.size_words,
        line.change_words,
        line.time_words,
        _proof(line),
        escape(line.holds_words),
    )


def _proof(line: TargetLine) -> str:
    took = f" in {human_seconds(line.proof_seconds)}" if line.proof_seconds is not None else ""
    return f"{line.proof_words}{took}" if line.proof else ""


def _position(line: TargetLine) -> str:
    position = code(line.position) if line.position else f"none: {escape(line.position_missing)}"
    return f"**{escape(line.target)}**: {position}"


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (heading, ["---"] * len(heading), *rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
