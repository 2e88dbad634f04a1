"""Who lets a change of what is live pass, where nobody answers in Airflow: whoever types the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upkeep.commands.base import account
from upkeep.errors import NotApproved

if TYPE_CHECKING:
    from upkeep.duties.job import Job


def require_approver(job: Job, *, dag: str) -> str:
    """The account that runs the command, as the machine knows it. ``dag``: what asks a person instead.

    Errors: ``NotApproved`` where the site names approvers and this account isn't one of them.
    """
    who, approvers = account(), job.site.approval.approvers
    if approvers and who not in approvers:
        raise NotApproved(
            f"{who} runs the command, and site {job.site.name} names others as approvers: {', '.join(approvers)}",
            hint=f"start {job.site.name}_{dag} in Airflow and let one of them answer; with Airflow down, let one of "
            "them run the command under an account of that name",
        )
    return who


def typed(word: str, *, to: str) -> bool:
    """Whether the person at the terminal types ``word``; False where there is no terminal to type at."""
    try:
        return input(f"type {word} to {to}: ").strip() == word
    except EOFError:
        print()
        return False


def approved(who: str, word: str, *, asked: bool) -> str:
    """``who`` with how it was approved, for the ledger."""
    return f"{who}, on the command line ({f'typed {word}' if asked else '--yes: nobody was asked'})"
