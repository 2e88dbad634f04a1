"""Who said yes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from markdown_it import MarkdownIt

from upkeep.errors import NotApproved, RolloutRefused
from upkeep.operators.approval import BY_HAND, approver_of, as_list
from upkeep.operators.rollout import PlanActionOperator, RollOutOperator
from upkeep.site import Cluster

ANSWERED = {"responded_by_user": {"id": "7", "name": "李园长"}}


def test_whoever_answered_is_named() -> None:
    assert approver_of(ANSWERED, True, ["李园长"]) == "李园长"
    assert approver_of({"responded_by_user": {"id": "7"}}, True) == "7"


def test_marking_the_approval_as_success_goes_past_nobody_whom_the_site_names() -> None:
    with pytest.raises(NotApproved, match="李园长 answer"):
        approver_of(None, True, ["李园长"])


def test_what_follows_a_canary_needs_an_answer_of_its_own() -> None:
    cluster = Cluster(conn_id="shop_k8s", namespace="shop", approvers=["李园长"])
    job = cast("Any", SimpleNamespace(site=SimpleNamespace(cluster=cluster)))
    plan = {"strategy": "canary", "waves": [["api"], ["web"]], "changes": {}}
    roll_out = RollOutOperator(task_id="roll_out", site="shop", plan=plan, approval=ANSWERED, rest=None)
    with pytest.raises(NotApproved, match="李园长 answer"):
        roll_out.go_on(job, cast("Any", {"params": {}}))


@pytest.mark.parametrize("action", ["restart", "undo"])
def test_replicas_beside_another_action_than_scale_are_a_slip_of_whoever_filled_in_the_form(action: str) -> None:
    plan = PlanActionOperator(task_id="plan", site="shop")
    with pytest.raises(RolloutRefused, match=f"{action} api, and for 5 replicas"):
        plan.work(cast("Any", None), cast("Any", {"params": {"action": action, "deployment": "api", "replicas": 5}}))


def test_an_approver_reads_the_plan_as_it_is() -> None:
    """Markdown would take a bare <time> for a tag, and an indented line for a paragraph of its own."""
    lines = ["tables: 1 of 8", "  orders*_1: 20 rows", "3. kindergarten stays as kindergarten_replaced_<time>"]
    assert MarkdownIt("commonmark").render(as_list(lines)) == (
        "<ul>\n<li>tables: 1 of 8\n<ul>\n<li>orders*_1: 20 rows</li>\n</ul>\n</li>\n</ul>\n"
        '<ol start="3">\n<li>kindergarten stays as kindergarten_replaced_&lt;time&gt;</li>\n</ol>\n'
    )


def test_where_the_site_names_nobody_it_counts_and_is_told() -> None:
    assert approver_of(None, True) == BY_HAND


def test_where_nobody_has_to_be_asked_nobody_is_named() -> None:
    assert approver_of(None, False, ["李园长"]) == ""
