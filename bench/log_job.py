"""A job about one folder of log files, alone in a process of its own: its memory is what is measured."""

from __future__ import annotations

from pathlib import Path

from tests.plain_site import plain_job, plain_site
from upkeep.duties.job import Job


def log_job(folder: Path, **rule: object) -> Job:
    """``rule``: settings of the log files, which lie in ``folder/logs``; everything else goes below ``folder`` too."""
    for place in ("store", "data"):
        (folder / place).mkdir(exist_ok=True)
    folders, logs = [{"name": "data", "paths": [f"{folder}/data"]}], [{"path": f"{folder}/logs", **rule}]
    return plain_job(plain_site(folder, name="bench", folders=folders, logs=logs), folder, "bench")
