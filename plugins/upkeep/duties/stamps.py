"""When the rows of a restored copy were written: asked of the copy and, where it answers, of its source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from upkeep.domain.manifest import Manifest
from upkeep.domain.recovery import Stamps
from upkeep.duties.job import Job
from upkeep.engines.restore_base import Restorer
from upkeep.errors import ConnectionUnknown, RestoreUnavailable, SourceError
from upkeep.site import Database

log = logging.getLogger(__name__)

__all__ = ["Stamps", "read_stamps"]


def read_stamps(job: Job, section: Database, restorer: Restorer, manifest: Manifest, name: str) -> Stamps:
    """Columns that an index leads to, and those by which the site purges or partitions.

    A value without a time zone is read as the source's server writes its NOW(); where that can't be asked, in the
    site's time zone. The source gets one short query for each column, answered by an index.

    Errors: ``RestoreUnavailable`` when the copy can't be read.
    """
    from upkeep.engines.newest_rows import newest_rows

    named = {(rule.table, rule.column) for rule in section.purge}
    named |= {(rule.table, rule.column) for rule in section.partitions}
    remarks: list[str] = []
    begun = datetime.fromisoformat(manifest.started_at)
    zone: Any = ZoneInfo(job.site.timezone)
    live: Mapping[str, datetime] | None = None
    try:
        engine: Any = job.engine(section.name)
        with closing(engine.connect()) as connection:
            found = newest_rows(connection, section.engine, named, until=begun, zone=None)
            zone, live = found.zone, found.newest
            remarks += found.unread
    except (SourceError, ConnectionUnknown, RestoreUnavailable) as error:
        remarks.append(f"the source can't be asked what it wrote: {error.message}")
    with closing(restorer.connect(name)) as connection:
        copy = newest_rows(connection, section.engine, named, until=None, zone=zone)
    if copy.without_zone:
        remarks.append(f"times without a zone ({', '.join(copy.without_zone[:3])}) are read in {zone}")
    for remark in [*remarks, *copy.unread]:
        log.info("%s: %s", section.name, remark)
    return Stamps({column: at.astimezone(UTC) for column, at in copy.newest.items()}, live, (*remarks, *copy.unread))
