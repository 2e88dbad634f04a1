"""Removing a million old log files against ``find -delete``: python -m bench.clean [--files 1000000] [--folder /tmp]

Both have to look at every file's name, kind and age. Upkeep also counts by reason, keeps a list of what is gone in its
store, and writes to its ledger; the whole duty is measured. The files lie in one folder, or in a hundred, each inside
the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import Verdict, figures_of, markdown, own_cpu_s, peak_mb, tell

MOST_TIMES = 1.5
MOST_MB = 150
LEVELS = 100
AGE_S = 40 * 86_400

FIND = (
    "find", "{logs}", "-xdev", "-type", "f", "(", "-name", "*.log", "-o", "-name", "*.log.*", ")", "-mtime", "+30",
    "-delete",
)  # fmt: skip


def run(*, files: int = 1_000_000, rounds: int = 1, parent: str | None = None) -> list[Verdict]:
    """The contenders in turns, each on files made anew."""
    contenders: dict[str, Callable[[Path], dict[str, float]]] = {"find -delete": _find, "upkeep: clean_logs": _clean}
    verdicts: list[Verdict] = []
    for shape, levels in (("one folder", 1), (f"{LEVELS} levels deep", LEVELS)):
        costs: dict[str, list[dict[str, float]]] = {what: [] for what in contenders}
        for number in range(1, rounds + 1):
            for what, contender in contenders.items():
                with tempfile.TemporaryDirectory(prefix="upkeep-bench-", dir=parent) as name:
                    folder = Path(name)
                    _make_files(folder / "logs", files, levels)
                    cost = contender(folder)
                    left = sum(len(names) for _, _, names in os.walk(folder / "logs"))
                    assert left == 0, f"{what} left {left} files"
                    tell(f"  {shape}, round {number}/{rounds}: {what:<20} {cost['wall_s']:7.2f} s")
                    costs[what].append(cost)
        ours, find = costs["upkeep: clean_logs"], costs["find -delete"]
        times = statistics.median(one["wall_s"] / other["wall_s"] for one, other in zip(ours, find, strict=True))
        peak = max(cost["peak_mb"] for cost in ours)
        rows = [
            (what, f"{statistics.median(cost['wall_s'] for cost in each):.2f}",
             f"{statistics.median(cost['cpu_s'] for cost in each):.2f}")
            for what, each in costs.items()
        ]  # fmt: skip
        print(f"\n### Removing {files:,} log files, {shape}\n")
        print(f"{markdown(('contender', 'wall s (median)', 'processor s'), rows)}\n\n{peak:.0f} MB of memory.\n")
        verdicts += [
            Verdict(f"Cleaning {shape}", f"{times:.2f} of find -delete", f"at most {MOST_TIMES}", times <= MOST_TIMES),
            Verdict(f"Memory, {shape}", f"{peak:.0f} MB", f"below {MOST_MB}", peak < MOST_MB),
        ]
    return verdicts


def _make_files(logs: Path, files: int, levels: int) -> None:
    logs.mkdir()
    written = time.time() - AGE_S
    folder = os.open(logs, os.O_RDONLY)
    for level in range(levels):
        for number in range(files // levels):
            name = f"app-{number:07d}.log"
            file = os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=folder)
            os.write(file, b"2026-10-10 02:00:03 INFO all is well\n")
            os.utime(file, (written, written))
            os.close(file)
        if level + 1 < levels:
            os.mkdir("inner", dir_fd=folder)
            inner = os.open("inner", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
    os.close(folder)
    time.sleep(0.1)  # the scan must not begin within the tick of the kernel's clock that the last file came in


def _find(folder: Path) -> dict[str, float]:
    begun, before = time.perf_counter(), own_cpu_s()
    subprocess.run([part.format(logs=folder / "logs") for part in FIND], check=True)
    return {"wall_s": time.perf_counter() - begun, "cpu_s": own_cpu_s() - before, "peak_mb": 0}


def _clean(folder: Path) -> dict[str, float]:
    return figures_of("bench.clean", "--clean", str(folder))


def _clean_here(folder: Path) -> dict[str, float]:
    """The whole duty with ledger and store."""
    from bench.log_job import log_job
    from upkeep.duties.clean_logs import clean_logs

    job = log_job(folder, keep_days=30)
    begun, before = time.perf_counter(), own_cpu_s()
    result = clean_logs(job)
    cost = {"wall_s": time.perf_counter() - begun, "cpu_s": own_cpu_s() - before, "peak_mb": peak_mb()}
    return {**cost, "removed": result["removed"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.clean", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where the files are made; default: the folder for temporary files")
    parser.add_argument("--clean", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.clean:
        print(json.dumps(_clean_here(Path(given.clean))))
        return 0
    verdicts = run(files=given.files, rounds=given.rounds, parent=given.folder)
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
