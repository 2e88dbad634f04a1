"""The forecast as one page of HTML with its plots inside: made to be mailed, and to be opened years later."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from zoneinfo import ZoneInfo

from upkeep.domain.capacity_plan import CapacityPlan, Line
from upkeep.reports.attempts import visible
from upkeep.reports.html_page import template
from upkeep.site import Site

PLOTS = 40
LISTED = 300


def capacity_page(plan: CapacityPlan, site: Site, *, now: datetime) -> str:
    """Below 1 MB whatever the site has: so many plots, so many lines, and a word on what was left out."""
    # Drawn here, where a task that draws is: the library takes a second to load.
    from upkeep.reports.plots import draw_line

    pictures: list[tuple[Line, str]] = [
        (line, b64encode(draw_line(line, now=now)).decode()) for line in plan.shown(PLOTS)
    ]
    listed = plan.shown(LISTED)
    page = template("capacity.html.j2").render(
        plan=plan,
        site=site.name,
        title=site.title,
        timezone=site.timezone,
        made_at=f"{now.astimezone(ZoneInfo(site.timezone)):%Y-%m-%d %H:%M}",
        soon=[line for line in plan.lines if line.light != "green"],
        pictures=pictures,
        listed=listed,
        left_out=len(plan.lines) - len(listed),
    )
    return visible(page)
