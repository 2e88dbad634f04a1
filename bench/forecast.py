"""How long a site's forecast takes: python -m bench.forecast [--metrics 500] [--rounds 3]

Two years of daily samples of many metrics, with a week's pattern, noise, shifts and gaps, read from a ledger, forecast,
drawn and kept: the whole duty, as the month runs it.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.measure import Verdict, markdown, tell, verdict_table, wait_for_quiet
from tests.plain_site import plain_job, plain_site
from upkeep.domain.capacity import Reading
from upkeep.domain.capacity_plan import CapacityPlan
from upkeep.duties.forecast_capacity import forecast_capacity, plan_forecast
from upkeep.duties.job import Job
from upkeep.ledger.samples import Samples

METRICS, DAYS = 500, 730
MOST_S = 10.0
NOW = datetime(2026, 11, 1, 17, 0, tzinfo=UTC)


def run(*, metrics: int = METRICS, rounds: int = 3) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as folder:
        job = _job(Path(folder))
        tell(f"  writing {metrics:,} metrics of {DAYS} days ...")
        _write(job, metrics)
        costs: list[tuple[float, float, float]] = []
        for number in range(1, rounds + 1):
            wait_for_quiet()
            begun, cpu = time.perf_counter(), time.process_time()
            plan: CapacityPlan = plan_forecast(job)
            planned, cpu = time.perf_counter() - begun, time.process_time() - cpu
            begun = time.perf_counter()
            page = Path(str(forecast_capacity(job)["page"]).removeprefix("file://"))
            costs.append((planned, cpu, time.perf_counter() - begun))
            tell(f"  round {number}/{rounds}: {planned:.2f} s to forecast, {costs[-1][2]:.2f} s with plots and page")
        size = page.stat().st_size
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    plan_s, cpu_s, whole_s = (statistics.median(one) for one in zip(*costs, strict=True))
    rows = [
        ("read and forecast", f"{plan_s:.2f}", f"{cpu_s:.2f}"),
        ("the whole duty: the same, 40 plots, page kept", f"{whole_s:.2f}", ""),
    ]
    table = markdown(("what", "wall s (median)", "processor s"), rows)
    print(f"\n### Forecasting {len(plan.lines)} metrics of {DAYS} days\n\n{table}\n")
    print(f"The page has {size / 1e3:.0f} kB; {peak_mb:.0f} MB of memory at most.\n")
    return [
        Verdict(f"Forecast of {metrics} metrics", f"{plan_s:.1f} s", f"below {MOST_S:g} s", plan_s < MOST_S),
        Verdict("Its page", f"{size / 1e3:.0f} kB", "below 1 MB", size < 1_000_000),
    ]


def _job(folder: Path) -> Job:
    (folder / "store").mkdir()
    site = plain_site(folder, name="bench", folders=[{"name": "data", "paths": [str(folder)]}])
    return plain_job(site, folder, "bench", now=lambda: NOW)


def _write(job: Job, metrics: int) -> None:
    chance, samples = random.Random(7), Samples(job.ledger.database)
    begins = [chance.uniform(10, 40) for _ in range(metrics)]
    rates = [chance.uniform(-0.02, 0.08) for _ in range(metrics)]
    shifts = [chance.randrange(DAYS) for _ in range(metrics)]
    for day in range(DAYS):
        weekend = -3 if day % 7 >= 5 else 0
        readings = [
            Reading(
                "disk_pct", f"w{number}", begin + rate * day + weekend - 8 * (day >= shift) + chance.gauss(0, 1), "%"
            )
            for number, (begin, rate, shift) in enumerate(zip(begins, rates, shifts, strict=True))
            if chance.random() > 0.02
        ]
        samples.append(job.site.name, NOW - timedelta(days=DAYS - 1 - day), readings)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--metrics", type=int, default=METRICS)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    verdicts = run(metrics=given.metrics, rounds=given.rounds)
    print(verdict_table(verdicts))
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
