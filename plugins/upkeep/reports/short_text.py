"""A report in a few lines, for logs and chats: what is red, what to do, and one line for each target."""

from __future__ import annotations

from collections.abc import Iterator

from upkeep.reports.attempts import one_line
from upkeep.reports.run_report import RunReport
from upkeep.reports.target_line import Status, TargetLine

LINES = 12
_NEWS = 3
"""Of the changes since the last run so many: a chat isn't the page."""
_WHY_CHARS = 240


def to_text(report: RunReport) -> str:
    """At most ``LINES`` lines, worst first; what doesn't fit is counted. No line ends with a line feed."""
    run = f"{report.run.rhythm} of {report.clock(report.made_at)} {report.timezone}"
    head = f"{report.status.name}: {report.site} {run}: {report.tally}"
    body = [*_remarks(report, Status.RED), *_news(report), *_remarks(report, Status.AMBER), *_targets(report)]
    room = LINES - 2
    if len(body) > room:
        body = [*body[: room - 1], f"... {len(body) - room + 1} more lines are on the page"]
    return "\n".join([head, *body, _anchor(report)])


def _news(report: RunReport) -> Iterator[str]:
    if report.since and (changes := report.since.changes):
        for change in changes[:_NEWS]:
            yield f"CHANGED {one_line(change.says, _WHY_CHARS)}"
        if len(changes) > _NEWS:
            yield f"CHANGED {len(changes) - _NEWS} more since the run of {report.clock(report.since.at)}"


def _remarks(report: RunReport, status: Status) -> Iterator[str]:
    for remark in report.remarks_of(status):
        why = f": {one_line(remark.why, _WHY_CHARS)}" if remark.why else ""
        yield f"{remark.status.name} {one_line(remark.title)}{why}"
        if remark.hint and remark.status is Status.RED:
            yield f"    HINT: {one_line(remark.hint, _WHY_CHARS)}"


def _targets(report: RunReport) -> Iterator[str]:
    for line in report.lines:
        yield f"- {line.target} {line.status.label}: {'; '.join(_facts(line))}"


def _facts(line: TargetLine) -> Iterator[str]:
    if line.size_words:
        yield f"{line.size_words} ({line.change_words})" if line.change_words else line.size_words
        yield f"proof {line.proof_words}" if line.proof else "no proof"
        yield from filter(None, (line.holds, line.time_words))
    else:
        yield one_line(line.reason)
    if not line.proven:
        yield line.earlier_words


def _anchor(report: RunReport) -> str:
    run = report.run
    who = f"by {' and '.join(run.actors)} " if run.actors else ""
    where = f"on {', '.join(run.hosts)}" if run.hosts else "without a trace in the ledger"
    chain = f"ledger row {report.head.seq}, {report.head.hash[:16]}" if report.head else "the ledger is empty"
    return one_line(f"run {run.run_id} {who}{where}; {chain}")
