"""MySQL and MariaDB: the manual's ``mysqldump | gzip`` against Upkeep's whole duty, beside the dump to nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from bench.clients import option_file, shell
from bench.data import Source, Sources
from bench.measure import Cost, Verdict, cost_table, interleave, median, ratio, tell
from bench.worker import Request, back_up_elsewhere
from upkeep.engines.tools import describe, find_all

MANUAL = "manual: mysqldump | gzip"
NOTHING = "mysqldump to nothing"
PACKED = "mysqldump | zstd -1 to nothing"
"""Not judged: what dumping and compressing alone take here, without counting, hashing or a store."""
UPKEEP = "Upkeep's whole duty"

OF_MANUAL = 1 / 3
OF_NOTHING = 1.2


def run(sources: Sources, *, rounds: int) -> list[Verdict]:
    verdicts = _compare("MariaDB", "mariadb", sources.mariadb, sources.folder, rounds)
    if sources.mysql:
        verdicts += _compare("MySQL", "mysql", sources.mysql, sources.folder, rounds)
    else:
        tell("MySQL is left out: UPKEEP_TEST_MYSQL_BIN does not say where it is")
    return verdicts


def _compare(title: str, flavour: str, source: Source, folder: Path, rounds: int) -> list[Verdict]:
    tell(f"{title}: {rounds} rounds of four contenders")
    plain, store = folder / "manual.sql.gz", folder / "store"
    store.mkdir(exist_ok=True)
    request = Request("mysql", source.endpoint(), f"file://{store}", folder, path=source.path)
    with option_file(source.endpoint(), folder) as login:
        dump = (
            f"{shlex.quote(_mysqldump(flavour, source))} {login} --single-transaction --routines --triggers "
            f"{source.endpoint().schema}"
        )

        def manual() -> Mapping[str, float]:
            plain.unlink(missing_ok=True)
            shell(f"{dump} | gzip > {plain}")
            return {"size": plain.stat().st_size}

        def nothing() -> Mapping[str, float]:
            shell(f"{dump} > /dev/null")
            return {}

        def packed() -> Mapping[str, float]:
            shell(f"{dump} | zstd -q -c -T2 -1 > /dev/null")
            return {}

        contenders = {MANUAL: manual, NOTHING: nothing, PACKED: packed, UPKEEP: lambda: back_up_elsewhere(request)}
        costs = interleave(contenders, source.server, rounds=rounds)
    plain.unlink()
    print(f"\n### {title}\n\n{cost_table(costs)}\n")
    return _judge(title, costs)


def _judge(title: str, costs: Mapping[str, list[Cost]]) -> list[Verdict]:
    upkeep, manual, nothing = costs[UPKEEP], costs[MANUAL], costs[NOTHING]
    of_manual, of_nothing, of_size = ratio(upkeep, manual), ratio(upkeep, nothing), ratio(upkeep, manual, "size")
    exact = all(cost.figures["exact"] for cost in upkeep)
    return [
        Verdict(f"{title}: wall time, of the manual's", f"{of_manual:.2f}", "at most 1/3", of_manual <= OF_MANUAL),
        Verdict(
            f"{title}: file, of the manual's",
            f"{of_size:.2f} ({median(upkeep, 'size') / 1e6:.0f} MB of {median(manual, 'size') / 1e6:.0f})",
            "smaller",
            of_size < 1,
        ),
        Verdict(
            f"{title}: wall time, of the dump to nothing", f"{of_nothing:.2f}", "at most 1.2", of_nothing <= OF_NOTHING
        ),
        Verdict(f"{title}: row counts from the dump's snapshot", "exact" if exact else "estimates", "exact", exact),
    ]


def _mysqldump(flavour: str, source: Source) -> str:
    """The server's own flavour: neither one's program is sure to reach the other's server."""
    found = [f"{source.path}/mysqldump"] if source.path else find_all(["mysqldump", "mariadb-dump"])
    return next(path for path in found if describe(path).flavour == flavour)
