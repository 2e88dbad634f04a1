"""PostgreSQL: the manual's ``pg_dump > f && gzip f`` against Upkeep's whole duty, beside the dump to nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from bench.clients import libpq, shell
from bench.data import Sources
from bench.measure import Verdict, cost_table, interleave, median, ratio, tell
from bench.worker import Request, back_up_elsewhere
from tests.servers.postgres import programs

MANUAL = "manual: pg_dump > f && gzip f"
NOTHING = "pg_dump to nothing"
UPKEEP = "Upkeep's whole duty"

OF_MANUAL = 1 / 5
OF_FILE_ON_DISK = 1.1
"""How much may be written for every byte of the finished file: its own bytes, and the ledger."""


def run(sources: Sources, *, rounds: int) -> list[Verdict]:
    source, folder = sources.postgres, sources.folder
    tell(f"PostgreSQL: {rounds} rounds of three contenders")
    plain, store = folder / "manual.sql", folder / "store"
    packed = plain.with_suffix(".sql.gz")
    store.mkdir(exist_ok=True)
    login = libpq(source.endpoint())
    dump = shlex.quote(str(programs() / "pg_dump"))  # not Debian's wrapper, a Perl script that picks one
    request = Request("postgres", source.endpoint(), f"file://{store}", folder)

    def manual() -> Mapping[str, float]:
        packed.unlink(missing_ok=True)
        shell(f"{dump} > {plain} && gzip {plain}", login)
        return {"size": packed.stat().st_size}

    def nothing() -> Mapping[str, float]:
        shell(f"{dump} > /dev/null", login)
        return {}

    contenders = {MANUAL: manual, NOTHING: nothing, UPKEEP: lambda: back_up_elsewhere(request)}
    costs = interleave(contenders, source.server, rounds=rounds)
    packed.unlink()
    print(f"\n### PostgreSQL\n\n{cost_table(costs)}\n")

    upkeep, by_hand = costs[UPKEEP], costs[MANUAL]
    of_manual, of_size = ratio(upkeep, by_hand), ratio(upkeep, by_hand, "size")
    on_disk = max(cost.written / cost.figures["size"] for cost in upkeep)
    exact = all(cost.figures["exact"] for cost in upkeep)
    return [
        Verdict("PostgreSQL: wall time, of the manual's", f"{of_manual:.2f}", "at most 1/5", of_manual <= OF_MANUAL),
        Verdict(
            "PostgreSQL: file, of the manual's",
            f"{of_size:.2f} ({median(upkeep, 'size') / 1e6:.0f} MB of {median(by_hand, 'size') / 1e6:.0f})",
            "smaller",
            of_size < 1,
        ),
        Verdict(
            "PostgreSQL: written to disk, of the finished file",
            f"{on_disk:.2f} (the manual: {max(cost.written / cost.figures['size'] for cost in by_hand):.2f})",
            f"at most {OF_FILE_ON_DISK}: no plain dump",
            on_disk <= OF_FILE_ON_DISK,
        ),
        Verdict("PostgreSQL: row counts from the dump's snapshot", "exact" if exact else "estimates", "exact", exact),
    ]
