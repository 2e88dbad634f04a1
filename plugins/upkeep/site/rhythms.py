"""When maintenance may work."""

from __future__ import annotations

from typing import Annotated

from croniter import croniter
from pydantic import AfterValidator, Field

from upkeep.site.fields import Strict


def _valid_cron(expression: str) -> str:
    if len(expression.split()) != 5 or not croniter.is_valid(expression):
        raise ValueError(f"{expression!r} is not a cron expression of five fields such as '0 2 * * *'")
    return expression


class Rhythm(Strict):
    """When maintenance of one rhythm may start, and for how long it may work."""

    at: Annotated[str, AfterValidator(_valid_cron)] = Field(description="cron expression in the site's time zone")
    length_h: float = Field(gt=0, le=24, description="how long the window stays open, in hours")


class Rhythms(Strict):
    """Which DAGs run by the clock, and when."""

    daily: Rhythm
    weekly: Rhythm | None = Field(None, description="default: there is no <site>_weekly")
    monthly: Rhythm | None = Field(None, description="default: there is no <site>_monthly")
