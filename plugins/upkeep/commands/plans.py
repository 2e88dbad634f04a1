"""What would be done, and why. Changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from upkeep.commands.base import Commands, add, group, job_of
from upkeep.errors import SourceError

if TYPE_CHECKING:
    from upkeep.duties.job import Job

CAPACITY_LINES = 40


class Plan(Protocol):
    def lines(self) -> Iterator[str]: ...


def register(commands: Commands) -> None:
    plans = group(commands, "plan", "Say what would be done, and why.")
    for name, command, part in (
        ("retention", plan_retention, "target"),
        ("purge", plan_purging, "database"),
        ("partitions", plan_partitioning, "database"),
        ("tables", plan_tending, "database"),
    ):
        one = add(plans, name, command)
        one.add_argument("site")
        one.add_argument(part, nargs="?")
    add(plans, "clean-logs", plan_cleaning_logs).add_argument("site")
    add(plans, "clean-docker", plan_cleaning_docker).add_argument("site")
    capacity = add(plans, "capacity", plan_running_out)
    capacity.add_argument("site")
    capacity.add_argument("--all", action="store_true", help=f"more than the first {CAPACITY_LINES} figures")


def plan_retention(options: argparse.Namespace) -> int:
    """What retention would keep and remove now, with a reason for each; changes nothing."""
    from upkeep.duties.forget import plan_forgetting

    job = job_of(options.site)
    for name in [options.target] if options.target else [target.name for target in job.site.targets]:
        print("\n".join(plan_forgetting(job, name).lines()))
    return 0


def plan_purging(options: argparse.Namespace) -> int:
    """What each purge rule would delete now, or why it is refused and what to do about it; changes nothing."""
    from upkeep.duties.purge_rows import plan_purge

    job = job_of(options.site)
    plans = [(name, plan) for name in _databases(job, options) for plan in plan_purge(job, name)]
    _print_plans(plans, f"site {job.site.name} has no purge rules")
    return 1 if any(plan.refusals for _, plan in plans) else 0


def plan_partitioning(options: argparse.Namespace) -> int:
    """Which partitions would be made, split, detached or dropped now, and what is left to people; changes nothing."""
    from upkeep.duties.tend_partitions import plan_partitions

    job = job_of(options.site)
    plans = [(name, plan) for name in _databases(job, options) for plan in plan_partitions(job, name)]
    _print_plans(plans, f"site {job.site.name} has no partition rules")
    return 1 if any(plan.advice for _, plan in plans) else 0


def plan_tending(options: argparse.Namespace) -> int:
    """What each table needs now, what is refused and why, and what is in order; changes nothing."""
    from upkeep.duties.tend_tables import plan_tables

    job = job_of(options.site)
    plans = [(name, plan_tables(job, name)) for name in _databases(job, options)]
    _print_plans(plans, f"site {job.site.name} has no tables to tend")
    return 1 if any(plan.refused for _, plan in plans) else 0


def _print_plans(plans: Iterable[tuple[str, Plan]], nothing: str) -> None:
    print("\n".join(f"{name}: {line}" for name, plan in plans for line in plan.lines()) or nothing)


def _databases(job: Job, options: argparse.Namespace) -> list[str]:
    return [options.database] if options.database else [database.name for database in job.site.databases]


def plan_cleaning_logs(options: argparse.Namespace) -> int:
    """What each log folder's rule would compress and remove now, and why the rest stays; changes nothing."""
    from upkeep.duties.clean_logs import plan_clean_logs

    plans = plan_clean_logs(job_of(options.site))
    for label, plan in plans.items():
        lines = [str(plan)] if isinstance(plan, SourceError) else list(plan.lines()) or ["nothing there"]
        print("\n  ".join([f"{label}:", *lines]))
    if not plans:
        print(f"no log folder of site {options.site} has keep_days or compress_over_mb")
    return 1 if any(isinstance(plan, SourceError) for plan in plans.values()) else 0


def plan_cleaning_docker(options: argparse.Namespace) -> int:
    """What would be removed from the site's Docker engine now, and why the rest stays; changes nothing."""
    from upkeep.duties.clean_docker import plan_clean_docker

    job = job_of(options.site)
    for item in plan_clean_docker(job):
        print(item.line())
    if job.site.docker is None:
        print(f"site {job.site.name} names no Docker engine")
    return 0


def plan_running_out(options: argparse.Namespace) -> int:
    """When each sampled figure reaches its limit, and what would change it; exit status 1 where that is soon."""
    from upkeep.duties.forecast_capacity import plan_forecast

    plan = plan_forecast(job_of(options.site))
    print(f"{options.site}: {plan.light}: {plan.summary}")
    for line in plan.shown(len(plan.lines) if options.all else CAPACITY_LINES):
        name = f"{line.metric:<16} {line.target:<28} {line.now:>10} {line.limit:>6}"
        print(f"{name}  {line.forecast.words if line.limit else '':<32} {line.month}".rstrip())
        print("\n".join(f"      {words}" for words in (line.basis, *line.forecast.remarks, *line.changes)))
    for words in (*(odd.words for odd in plan.odd_backups), *plan.replicas):
        print(words)
    return 1 if plan.light != "green" else 0
