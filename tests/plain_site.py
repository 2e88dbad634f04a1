"""The least that a site and a job need, all of it below one folder; tests and benchmarks add what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upkeep.connections import connection_from_environment, filesystem_from_environment
from upkeep.duties.job import Job, Run
from upkeep.ledger import Ledger, default_url
from upkeep.site import Site


def plain_site(folder: Path, **sections: Any) -> Site:
    """Its store is ``folder/store``, which has to be there."""
    return Site.model_validate(
        {
            "name": "shop",
            "title": "商店",
            "timezone": "Asia/Shanghai",
            "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
            "store": {"url": f"file://{folder}/store"},
            "spool": f"{folder}/spool",
            "retention": {"daily": 2},
            **sections,
        }
    )


def plain_job(site: Site, folder: Path, run_id: str, **changes: Any) -> Job:
    """``folder`` has the ledger. ``changes``: attributes of the job, its store too."""
    job = Job(
        site=site,
        run=Run(run_id=run_id, actor="tester", trigger="test"),
        ledger=Ledger(default_url(folder)),
        connect=connection_from_environment,
        make_filesystem=filesystem_from_environment,
    )
    for name, value in changes.items():
        setattr(job, name, value)
    return job
