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
    """Who says yes before what is live is replaced or migrated."""

    approvers: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Airflow users; empty: whoever may answer in Airflow"
    )
    timeout_h: float = Field(1, gt=0, le=72, description="no answer within this time is a no")
