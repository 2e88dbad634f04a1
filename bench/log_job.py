"""A job about one folder of log files, alone in a process of its own: its memory is what is measured."""

from __future__ import annotations

from pathlib import Path

from upkeep.connections import connection_from_environment, filesystem_from_environment
from upkeep.duties.job import Job, Run
from upkeep.ledger import Ledger, default_url
from upkeep.site import Site


def log_job(folder: Path, **rule: object) -> Job:
    """``rule``: settings of the log files, which lie in ``folder/logs``; everything else goes below ``folder`` too."""
    for place in ("store", "data"):
        (folder / place).mkdir(exist_ok=True)
    site = Site.model_validate(
        {
            "name": "bench",
            "title": "bench",
            "timezone": "Asia/Shanghai",
            "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
            "store": {"url": f"file://{folder}/store"},
            "spool": f"{folder}/spool",
            "retention": {"daily": 1},
            "folders": [{"name": "data", "paths": [f"{folder}/data"]}],
            "logs": [{"path": f"{folder}/logs", **rule}],
        }
    )
    ledger = Ledger(default_url(folder))
    return Job(site, Run("bench"), ledger, connection_from_environment, filesystem_from_environment)
