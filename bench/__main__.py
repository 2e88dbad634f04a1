"""Run the benchmarks and print one table: python -m bench [PART ...]; see bench/README.md."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import forecast, logs, memory, mysql_backup, parsing, postgres_backup, purge, restore
from bench.data import PROSE_PCT, Sources
from bench.measure import Verdict, verdict_table

PARTS: dict[str, Callable[..., list[Verdict]]] = {
    "mysql": mysql_backup.run,
    "postgres": postgres_backup.run,
    "memory": memory.run,
}
"""What needs the large databases."""
OTHERS = ("logs", "parsing", "forecast")
ASKED_FOR = ("restore", "purge")
"""Only run when they are named: at full size each takes half an hour, and nothing else may run meanwhile."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        help="mysql, postgres, memory, logs, parsing, forecast (default: these); restore, purge",
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large databases (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs (default: 3)")
    parser.add_argument("--rows", type=int, default=purge.FULL.rows, help="purge: rows of the table")
    parser.add_argument("--old", type=int, default=purge.FULL.old, help="purge: how many of them are to go")
    parser.add_argument(
        "--prose", type=int, default=PROSE_PCT, help=f"share of prose in percent (default: {PROSE_PCT})"
    )
    given = parser.parse_args(arguments)
    chosen = given.parts or [*PARTS, *OTHERS]
    if unknown := set(chosen) - {*PARTS, *OTHERS, *ASKED_FOR}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    print(
        f"# Upkeep's benchmarks, {datetime.now(UTC):%Y-%m-%d}\n\n{_machine()}, {given.megabytes} MB of rows, "
        f"{given.prose} % of them prose."
    )
    verdicts: list[Verdict] = []
    if wanted := [run for name, run in PARTS.items() if name in chosen]:
        with Sources(given.megabytes, prose_pct=given.prose) as sources:
            for run in wanted:
                verdicts += run(sources, rounds=given.rounds)
    if "logs" in chosen:
        verdicts += logs.run(megabytes=given.megabytes, rounds=given.rounds)
    if "parsing" in chosen:
        verdicts += parsing.run(rounds=given.rounds)
    if "forecast" in chosen:
        verdicts += forecast.run(rounds=given.rounds)
    if "restore" in chosen:
        verdicts += restore.run(megabytes=given.megabytes, rounds=given.rounds)
    if "purge" in chosen:
        verdicts += purge.run(purge.Scale(given.rows, given.old))
    print(f"## Targets\n\n{verdict_table(verdicts)}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    zstd = subprocess.run(["zstd", "--version"], capture_output=True, text=True, check=True).stdout.split("v")[-1]
    return (
        f"{os.cpu_count()} processors ({model}), {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, zstd {zstd.split(',')[0]}"
    )


if __name__ == "__main__":
    sys.exit(main())
