"""Reviewing a large log against the manual's own lines on the same file: python -m bench.logs [--megabytes 1000]

The manual looks at the last hundred errors (``grep -i error | tail -100``), or counts one column of a whole file
(``awk | sort | uniq -c | sort -nr``). Upkeep counts every error by kind, masks the samples and tells the new kinds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import Verdict, figures_of, markdown, own_cpu_s, peak_mb, tell

LEAST_MB_S = 150
MOST_MB = 100
ERROR_SHARE = 0.01
BLOCK_LINES = 200_000

GREP = "grep -i error {log} | tail -100"
AWK = "awk '{{print $7}}' {log} | sort | uniq -c | sort -nr"

_USUAL = (
    "INFO c.k.web.AccessFilter - GET /api/students/{a} 200 in {b} ms",
    "DEBUG c.k.cache.Cache - hit for key student:{a}, {b} entries",
    "INFO c.k.jobs.Batch - batch {a} of {b} done",
    "WARN c.k.web.Limiter - client 10.0.{c}.{c} made {b} requests",
)
_WRONG = (
    "ERROR c.k.db.Pool - Connection to 10.0.0.{c}:5432 refused (attempt {a})",
    "ERROR c.k.web.Handler - user {a} not found, trace {a:016x}",
    "ERROR c.k.attendance.Service - 考勤记录 {a} 保存失败: 重复的键 '{b}'",
    "FATAL c.k.Main - out of memory after {b} s",
)


def run(*, megabytes: int = 1000, rounds: int = 3) -> list[Verdict]:
    """Every contender in turns; the first round only warms the page cache."""
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name:
        folder = Path(name)
        log = _write_log(folder, megabytes)
        size = log.stat().st_size / 1e6
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "upkeep: review_logs, every error by kind": lambda: _review(folder),
            "manual: grep -i error | tail -100": lambda: _shell(GREP.format(log=log)),
            "manual: awk '{print $7}' | sort | uniq -c": lambda: _shell(AWK.format(log=log)),
        }
        costs: dict[str, list[dict[str, float]]] = {what: [] for what in contenders}
        for number in range(rounds + 1):
            for what, contender in contenders.items():
                cost = contender()
                tell(f"  round {number}/{rounds}: {what:<42} {cost['wall_s']:7.2f} s, {cost['cpu_s']:6.2f} s of CPU")
                if number:
                    costs[what].append(cost)
    middle = {
        what: {key: statistics.median(cost[key] for cost in each) for key in each[0]} for what, each in costs.items()
    }
    ours = next(iter(middle.values()))
    rows = [
        (what, f"{cost['wall_s']:.2f}", f"{cost['cpu_s']:.2f}", f"{size / cost['wall_s']:.0f}",
         f"{size / cost['cpu_s']:.0f}", f"{cost['cpu_s'] / ours['cpu_s']:.2f}")
        for what, cost in middle.items()
    ]  # fmt: skip
    head = ("contender", "wall s (median)", "processor s", "MB/s of wall", "MB/s of processor", "processor, ours = 1")
    print(f"\n### Reviewing a log of {size:.0f} MB\n\n{markdown(head, rows)}\n")
    found = f"{ours['errors']:.0f} errors of {ours['kinds']:.0f} kinds in {ours['lines']:.0f} lines"
    print(f"{found}, {ours['peak_mb']:.0f} MB of memory.\n")
    rate = size / ours["cpu_s"]
    return [
        Verdict("Reviewing a log", f"{rate:.0f} MB/s of processor", f"at least {LEAST_MB_S}", rate >= LEAST_MB_S),
        Verdict(
            "Memory while reviewing it", f"{ours['peak_mb']:.0f} MB", f"below {MOST_MB}", ours["peak_mb"] < MOST_MB
        ),
    ]


def _write_log(folder: Path, megabytes: int) -> Path:
    chance = random.Random(7)
    lines = []
    for number in range(BLOCK_LINES):
        text = chance.choice(_WRONG if chance.random() < ERROR_SHARE else _USUAL)
        said = text.format(a=chance.randrange(10**6), b=chance.randrange(1000), c=chance.randrange(250))
        clock = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
        lines.append(f"2026-11-21 {clock},{number % 1000:03} [exec-{number % 50}] {said}\n")
    block = "".join(lines).encode()
    log = folder / "logs" / "app.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        for _ in range(max(1, megabytes * 1_000_000 // len(block))):
            file.write(block)
    return log


def _shell(line: str) -> dict[str, float]:
    begun, before = time.perf_counter(), own_cpu_s()
    subprocess.run(["bash", "-o", "pipefail", "-c", line], stdout=subprocess.DEVNULL, check=True)
    return {"wall_s": time.perf_counter() - begun, "cpu_s": own_cpu_s() - before}


def _review(folder: Path) -> dict[str, float]:
    return figures_of("bench.logs", "--review", str(folder))


def _review_here(folder: Path) -> dict[str, float]:
    """The whole duty with ledger and store, in this process; what it remembers is taken back."""
    from bench.log_job import log_job
    from upkeep.duties import log_review
    from upkeep.duties.review_logs import review_logs

    log_review.FIRST_BYTES = 1 << 50  # all of it, although the folder was never reviewed
    job = log_job(folder)
    begun, before = time.perf_counter(), own_cpu_s()
    result = review_logs(job)
    cost = {"wall_s": time.perf_counter() - begun, "cpu_s": own_cpu_s() - before, "peak_mb": peak_mb()}
    (folder / "store" / "bench" / "_state" / "review_logs.json").unlink()
    figures = next(iter(result["folders"].values()))
    return {**cost, **{name: figures[name] for name in ("errors", "kinds", "lines")}}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--review", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.review:
        print(json.dumps(_review_here(Path(given.review))))
        return 0
    verdicts = run(megabytes=given.megabytes, rounds=given.rounds)
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
