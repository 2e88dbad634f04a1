"""Up to which moment a restored copy holds what was written: what a disaster at a given time would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upkeep.domain.units import utc

CLOCKS_DIFFER = timedelta(minutes=1)
"""A database's clock and the worker's may differ by so much."""


@dataclass(frozen=True)
class Stamps:
    """The newest value of each time column, by its name.

    ``live``: the source's own newest value up to the backup's moment, asked now; None where it wasn't asked.
    ``remarks``: what could not be read, and how values without a zone were read.
    """

    copy: Mapping[str, datetime] = field(default_factory=dict)
    live: Mapping[str, datetime] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recovered:
    """``at``: everything written up to then came back; ``by``: what shows it."""

    at: datetime
    by: str


def recovered_until(stamps: Stamps, begun: datetime, ended: datetime) -> Recovered:
    """Judge by the newest row that came back.

    A column with values from after the backup holds plans (an expiry, a booking), not moments of writing, and shows
    nothing. Where nobody wrote for a while before the backup, the newest row is older than what was lost: the source
    itself is asked whether it wrote between the two, and if it didn't, the backup's own moment counts. Where it can't
    be asked, as after a disaster, the newest row does.

    :param begun: when the backup began; its snapshot is of a moment between that and ``ended``.
    """
    begun, ended = utc(begun, "a backup's begin"), utc(ended, "a backup's end")
    written = {
        name: moment for name, value in stamps.copy.items() if (moment := utc(value, name)) <= ended + CLOCKS_DIFFER
    }
    if not written:
        return Recovered(begun, "the backup's own moment: the copy has no column that shows when it was written to")
    name, newest = max(written.items(), key=lambda item: item[1])
    if newest >= begun:
        return Recovered(min(newest, ended), f"its newest row ({name})")
    if stamps.live is None:
        return Recovered(newest, f"its newest row ({name})")
    later = {name: moment for name, value in stamps.live.items() if name in written and (moment := value) > newest}
    if later:
        name = max(later, key=lambda name: later[name])
        return Recovered(newest, f"its newest row; the source has later ones from before the backup ({name})")
    return Recovered(begun, f"the backup's own moment: the source wrote nothing between its newest row ({name}) and it")
