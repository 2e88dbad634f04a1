"""Who is told, and who is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from upkeep.site.fields import ConnId, Strict


class Notify(Strict):
    """Who is told of a run. The connection's type says how: smtp, apprise, or a webhook that takes {"text": ...}."""

    conn_id: ConnId
    when: Literal["red", "amber", "always"] = Field("amber", description="from which light on")


class Approval(Strict):
    """Who says yes before what is live is replaced or migrated; for rollouts ``cluster`` says it."""

    approvers: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="who may answer; empty: whoever may in Airflow. The simple auth manager compares user names. FAB "
        'compares its numeric user id, as text: list name and id, [li.si, "3"] (airflow users list). The command line '
        "compares the machine's account",
    )
    timeout_h: float = Field(1, gt=0, le=72, description="no answer within this time is a no")
