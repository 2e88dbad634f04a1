"""Run the benchmarks and print one table: python -m bench [mysql] [postgres] [memory] [parsing]"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import memory, mysql_backup, parsing, postgres_backup
from bench.data import PROSE_PCT, Sources
from bench.measure import Verdict, verdict_table

PARTS: dict[str, Callable[..., list[Verdict]]] = {
    "mysql": mysql_backup.run,
    "postgres": postgres_backup.run,
    "memory": memory.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help="mysql, postgres, memory, parsing (default: all)")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large databases (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs (default: 3)")
    parser.add_argument(
        "--prose", type=int, default=PROSE_PCT, help=f"share of prose in percent (default: {PROSE_PCT})"
    )
    given = parser.parse_args(arguments)
    chosen = given.parts or [*PARTS, "parsing"]
    if unknown := set(chosen) - {*PARTS, "parsing"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    print(
        f"# Upkeep's benchmarks, {datetime.now(UTC):%Y-%m-%d}\n\n{_machine()}, {given.megabytes} MB of rows, "
        f"{given.prose} % of them prose."
    )
    verdicts: list[Verdict] = []
    with Sources(given.megabytes, prose_pct=given.prose) as sources:
        for name, run in PARTS.items():
            if name in chosen:
                verdicts += run(sources, rounds=given.rounds)
    if "parsing" in chosen:
        verdicts += parsing.run(rounds=given.rounds)
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
