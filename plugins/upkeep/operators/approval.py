"""What every approval shares: a person is asked, silence is a no, and the ledger learns who said yes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from upkeep.errors import NotApproved
from upkeep.reports.markdown_page import escape

_NUMBERED = re.compile(r"\d+\. ")
BY_HAND = "somebody who marked the approval as success in Airflow"


class PersonApprovalOperator(ApprovalOperator):
    """Ask a person. No answer within ``timeout_h`` hours is a no; a no fails the run.

    ``approvers``: who may answer, by the id that Airflow compares (with FAB a number); empty: whoever may in Airflow.
    """

    def __init__(self, *, approvers: Sequence[str], timeout_h: float, **kwargs: Any) -> None:
        super().__init__(
            defaults=self.REJECT,
            fail_on_reject=True,
            assigned_users=[{"id": name, "name": name} for name in approvers] or None,
            response_timeout=timedelta(hours=timeout_h),
            retries=0,
            **kwargs,
        )


def as_list(lines: Iterable[str]) -> str:
    """A plan's lines for Airflow, which shows Markdown: letter by letter (a bare ``<time>`` would vanish as a tag),
    numbered steps by their numbers, and what is indented below what it belongs to.
    """
    shown = []
    for line in lines:
        indent, marker = " " * (len(line) - len(line.lstrip())), "" if _NUMBERED.match(line) else "- "
        shown.append(f"{indent}{marker}{escape(line)}")
    return "\n".join(shown)


def approver_of(approval: Mapping[str, Any] | None, needed: bool, approvers: Sequence[str] = ()) -> str:
    """Who said yes, for the ledger; empty where nobody had to.

    ``approvers``: those whom the site names. Errors: ``NotApproved`` when nobody answered although it names some:
    whoever may mark tasks in Airflow could else go past them.
    """
    who = (approval or {}).get("responded_by_user") or {}
    name = str(who.get("name") or who.get("id") or "")
    if needed and not name and approvers:
        raise NotApproved(
            "the approval was marked as success in Airflow, and nobody answered it",
            hint=f"clear the approval task and let one of {', '.join(approvers)} answer",
        )
    return name or (BY_HAND if needed else "")
