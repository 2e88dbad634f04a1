"""Who said yes."""

from __future__ import annotations

import pytest

from upkeep.errors import NotApproved
from upkeep.operators.rollout import BY_HAND, approver_of

ANSWERED = {"responded_by_user": {"id": "7", "name": "李园长"}}


def test_whoever_answered_is_named() -> None:
    assert approver_of(ANSWERED, True, ["李园长"]) == "李园长"
    assert approver_of({"responded_by_user": {"id": "7"}}, True) == "7"


def test_marking_the_approval_as_success_goes_past_nobody_whom_the_site_names() -> None:
    with pytest.raises(NotApproved, match="李园长 answer"):
        approver_of(None, True, ["李园长"])


def test_where_the_site_names_nobody_it_counts_and_is_told() -> None:
    assert approver_of(None, True) == BY_HAND


def test_where_nobody_has_to_be_asked_nobody_is_named() -> None:
    assert approver_of(None, False, ["李园长"]) == ""
