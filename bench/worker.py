"""One duty in a process of its own, as a task runs it: the request on standard input, the figures on standard output.

A fresh process is the only one whose peak memory says something, and standard input shows in no ``ps``.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from bench import environment
from bench.measure import own_cpu_s, peak_mb
from upkeep.domain.endpoint import Endpoint
from upkeep.duties.back_up import back_up
from upkeep.duties.catalogue import read_catalogue, read_manifest
from upkeep.duties.job import Job, Run
from upkeep.duties.verify import verify
from upkeep.ledger import Ledger, default_url
from upkeep.site import Site

IN_A_TASK = ("airflow.sdk.execution_time.task_runner", "upkeep.operators.backups")
"""What a task's process has imported before our duty begins."""


@dataclass(frozen=True)
class Request:
    """A backup to make, from the connection ``source`` into the store at ``store``.

    ``folder`` takes the ledger and the spool. ``as_task`` imports Airflow first, as a task's process has done.
    """

    engine: Literal["mysql", "postgres"]
    source: Endpoint
    store: str
    folder: Path
    store_connection: Endpoint | None = None
    compression: Mapping[str, int] = field(default_factory=dict)
    path: str = ""
    verify: bool = False
    as_task: bool = False


def back_up_elsewhere(request: Request) -> dict[str, float]:
    """Run the whole duty in a new process. The times it returns are the duty's alone, without starting Python."""
    message = asdict(request) | {"folder": str(request.folder)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker"],
        input=json.dumps(message),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(UPKEEP_PATH=request.path, AIRFLOW_HOME=str(request.folder)),
        cwd=request.folder,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the backup of {request.source.conn_id} failed; what it said is above")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    message = json.load(sys.stdin)
    if message["as_task"]:
        for module in IN_A_TASK:
            import_module(module)

    logging.basicConfig(level=logging.ERROR)
    job = _job(message)
    start_mb = peak_mb()
    begun, used = time.perf_counter(), own_cpu_s()
    made = back_up(job, "docs")
    wall_s, cpu_s = time.perf_counter() - begun, own_cpu_s() - used
    (backup,) = read_catalogue(job.store, job.site.name, "docs").backups
    manifest, _ = read_manifest(job.store, backup.ref)
    figures = {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "size": made["bytes"],
        "start_mb": start_mb,
        "peak_mb": peak_mb(),
        "exact": float(manifest.rows_are == "exact"),
    }
    if message["verify"]:
        begun = time.perf_counter()
        verify(job, "docs", backup.ref.backup_id)
        figures |= {"verify_s": time.perf_counter() - begun, "verify_peak_mb": peak_mb()}
    for stored in list(job.store.list()):
        job.store.delete(stored.key)
    print(json.dumps(figures))


def _job(message: Mapping[str, Any]) -> Job:
    folder = Path(message["folder"])
    site = Site.model_validate(
        {
            "name": "bench",
            "title": "Benchmark",
            "timezone": "UTC",
            "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 3}},
            "store": {"url": message["store"], "conn_id": "store" if message["store_connection"] else None},
            "spool": str(folder / "spool"),
            "compression": message["compression"],
            "retention": {"keep_last": 3},
            "databases": [{"name": "docs", "engine": message["engine"], "conn_id": "source"}],
        }
    )
    connections = {"source": message["source"], "store": message["store_connection"]}
    return Job(
        site=site,
        run=Run("bench", actor="bench"),
        ledger=Ledger(default_url(folder)),
        connect=lambda conn_id: Endpoint(**connections[conn_id]),
        make_filesystem=_no_filesystem,
    )


def _no_filesystem(url: str, conn_id: str | None) -> tuple[Any, str]:
    raise ValueError(f"no benchmark uses {url} ({conn_id})")


if __name__ == "__main__":
    main()
