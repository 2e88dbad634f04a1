"""Two connections of one database, of which one may do more: both have to lead to one server."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Literal

from upkeep.duties.job import Job
from upkeep.engines.restore_base import Restorer
from upkeep.errors import UpkeepError
from upkeep.resources import sql
from upkeep.site import Database

_MAINTENANCE = {"mysql": "", "postgres": "postgres"}
"""Where one logs in when the database itself may be gone."""


def require_same_server(
    job: Job,
    section: Database,
    setting: Literal["restore_conn_id", "migrate_conn_id"],
    restorer: Restorer,
    refusal: type[UpkeepError],
) -> None:
    """By what the server says of itself; one in a pod is asked through it, wherever ``conn_id`` itself leads.

    Errors: ``refusal`` where there are two; ``SourceError`` where the nightly one can't be asked.
    """
    other = getattr(section, setting)
    if other in (None, section.conn_id) and not section.via:
        return
    if _identity(job, section) != restorer.identity():
        raise refusal(
            f"the connections {section.conn_id} and {other} of {section.name} lead to two servers",
            hint=f"{setting} is another account on the server of conn_id: fix it in the site file",
        )


def _identity(job: Job, section: Database) -> str:
    engine: Any = job.engine(section.name)
    engine.database = _MAINTENANCE[section.engine]
    with closing(engine.connect()) as connection, engine.told("ask who serves"), connection.cursor() as cursor:
        cursor.execute(sql(section.engine, "list_server"))
        return str(cursor.fetchone()["identity"])
