"""How a whole site is rebuilt each month, and what that is judged by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from upkeep.site.fields import Name, Strict


class Goals(Strict):
    """How soon the whole site must stand again after a disaster, and how much of it may be lost."""

    rto_min: float = Field(gt=0, description="minutes from the start of a rebuild until the site's checks hold")
    rpo_h: float = Field(gt=0, description="hours between the newest recovered row and the disaster")


class Drill(Strict):
    """How the monthly drill rebuilds the site."""

    order: list[Name] = Field(
        default_factory=list,
        description="targets in the order they need each other; those left out come after, as "
        "databases, caches, folders",
    )
    backups: Literal["newest", "random"] = Field(
        "newest", description="of each target's proven backups; random also finds an old one that can't be restored"
    )
