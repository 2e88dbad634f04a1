"""One pool of one slot for each server that is dumped, so that two dumps never compete for it.

Airflow doesn't make pools from DAG files, and a task whose pool is missing never starts (the DAG's page warns of it).
So they are made when a scheduler starts; a server that is added later needs a restart of the scheduler or
``airflow pools set <name> 1 ""``.
"""

from __future__ import annotations

import logging

from airflow.listeners import hookimpl

from upkeep.resources import sites_folder
from upkeep.site import load_sites

log = logging.getLogger(__name__)


def pool_of(server: str) -> str:
    return f"upkeep_{server}"


def group_of(server: str) -> str:
    """The task group's id: the prefix keeps a connection called ``report`` apart from the task, and a connection id may
    hold dots, which Airflow keeps for itself.
    """
    return f"backups_{server.replace('.', '-dot-')}"


@hookimpl
def on_starting(component: object) -> None:
    """Airflow calls this when one of its long-running components starts; only those can reach its database."""
    from airflow.jobs.job import Job as AirflowJob

    if isinstance(component, AirflowJob):
        make_pools()


def make_pools() -> list[str]:
    """Make the pools that are missing; what somebody has set stays. Returns the new ones' names."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    sites, _ = load_sites(sites_folder())
    wanted = sorted({pool_of(server) for site in sites.values() for server in site.servers()})
    made = []
    for name in wanted:
        try:
            with create_session() as session:
                if session.scalar(select(Pool).where(Pool.pool == name)) is None:
                    session.add(
                        Pool(pool=name, slots=1, description="Upkeep: one dump at a time", include_deferred=False)
                    )
                    made.append(name)
        except IntegrityError:  # another component, starting at the same moment, was faster
            log.debug("pool %s was made by another component", name)
    return made
