"""What a piece of work costs, and whether the machine was ours while it ran."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import ROOT, environment
from tests.servers.base import Server

NOISE = 0.08
"""Share of the machine that others may have had during a measurement before it is made again."""
TRIES = 3
QUIET_WITHIN_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One run of one contender."""

    wall_s: float
    cpu_s: float
    """Processor time of its own programs; the database server's isn't counted."""
    noise: float
    """Share of the machine's processor time that neither the work nor its server had."""
    written: int
    """Bytes it sent to a disk, whether the file is still there or not."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What the contender says of itself: ``size`` of the file, ``peak_mb``..."""


@dataclass(frozen=True)
class Verdict:
    """One line of the table that a run ends with."""

    what: str
    measured: str
    target: str
    met: bool


Contender = Callable[[], Mapping[str, float]]
"""Does the work once and returns its figures. ``wall_s`` among them replaces the time seen from outside."""


def interleave(contenders: Mapping[str, Contender], server: Server, *, rounds: int) -> dict[str, list[Cost]]:
    """Run every contender ``rounds`` times, in turns: a slow minute of the machine then slows all of them alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, contender in contenders.items():
            cost = _quietest(contender, server)
            costs[name].append(cost)
            tell(
                f"  round {number}/{rounds}: {name:<28} {cost.wall_s:7.2f} s, {cost.cpu_s:6.2f} s of processor, "
                f"{cost.noise:.0%} taken by others"
            )
    return costs


def _quietest(contender: Contender, server: Server) -> Cost:
    """Try again when others were at work on this machine; after the last try the quietest one counts."""
    tries: list[Cost] = []
    while len(tries) < TRIES:
        wait_for_quiet()
        tries.append(_measure(contender, server))
        if tries[-1].noise <= NOISE:
            break
    return min(tries, key=lambda cost: cost.noise)


def _measure(contender: Contender, server: Server) -> Cost:
    busy, ours, theirs, written = _busy_s(), own_cpu_s(), _server_cpu_s(server), _written()
    begun = time.perf_counter()
    figures = dict(contender())
    wall = time.perf_counter() - begun
    ours = own_cpu_s() - ours
    foreign = _busy_s() - busy - ours - (_server_cpu_s(server) - theirs)
    return Cost(
        wall_s=figures.pop("wall_s", wall),
        cpu_s=figures.pop("cpu_s", ours),
        noise=max(0.0, foreign / (wall * (os.cpu_count() or 1))),
        written=_written() - written,
        figures=figures,
    )


def wait_for_quiet(limit_s: float = QUIET_WITHIN_S) -> None:
    """Return once the machine was idle for a second, or when ``limit_s`` is over."""
    os.sync()  # or the last contender's dirty pages are written at the next one's expense
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = _busy_s()
        time.sleep(1)
        if _busy_s() - before < 0.1 * (os.cpu_count() or 1):
            return


def median(costs: Sequence[Cost], figure: str = "wall_s") -> float:
    """The median of a field, or of a figure that the contender gave."""
    return statistics.median(_value(cost, figure) for cost in costs)


def ratio(costs: Sequence[Cost], to: Sequence[Cost], figure: str = "wall_s") -> float:
    """The median over rounds of one contender's figure divided by another's of the same round."""
    return statistics.median(_value(one, figure) / _value(other, figure) for one, other in zip(costs, to, strict=True))


def _value(cost: Cost, figure: str) -> float:
    return float(cost.figures[figure]) if figure in cost.figures else float(getattr(cost, figure))


def cost_table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Every contender's medians, with the spread of the wall time."""
    rows = [
        (
            name,
            f"{median(each):.2f}",
            f"{min(cost.wall_s for cost in each):.2f} to {max(cost.wall_s for cost in each):.2f}",
            f"{median(each, 'cpu_s'):.2f}",
            f"{median(each, 'size') / 1e6:.0f}" if "size" in each[0].figures else "",
            f"{median(each, 'written') / 1e6:.0f}",
            f"{max(cost.noise for cost in each):.0%}",
        )
        for name, each in costs.items()
    ]
    return markdown(
        ("contender", "wall s (median)", "least to most", "processor s", "file MB", "written to disk MB", "most noise"),
        rows,
    )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    return markdown(
        ("what", "measured", "target", "verdict"),
        [(each.what, each.measured, each.target, "met" if each.met else "MISSED") for each in verdicts],
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([drawn[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *drawn[1:]])


def tell(text: str) -> None:
    """Progress, for the person who waits; the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)


def peak_mb(pid: int | str = "self") -> float:
    """The most memory a process has had resident so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmHWM: it is gone, or this isn't Linux")


def _busy_s() -> float:
    """Processor time of the whole machine since it started; what its hypervisor took counts as busy too."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, _first_line("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def own_cpu_s() -> float:
    """Processor time of this process and of its children that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _server_cpu_s(server: Server) -> float:
    return _family_ticks(server.pid) / TICKS_PER_S


def _family_ticks(pid: int) -> int:
    """User and system time of a process, of its children that ended, and of those that still run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0  # it ended while we looked; its parent has its time now
    return sum(int(ticks) for ticks in fields[11:15]) + sum(_family_ticks(int(child)) for child in children)


def _written() -> int:
    """Bytes that this process and its ended children caused to be sent to a disk."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


def _first_line(path: str) -> str:
    with Path(path).open() as file:
        return file.readline()


def figures_of(module: str, *arguments: str) -> dict[str, float]:
    """What a module of ours prints as its last line, in a process of its own: then its memory is its own too."""
    argv = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
