"""Which compression suits this machine: python -m bench.settings [--megabytes 1000] [--rounds 3]

Upkeep's own duty on the same data at several zstd levels and thread counts; nothing is judged.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from bench.data import PROSE_PCT, Source, Sources
from bench.measure import cost_table, interleave, tell
from bench.worker import Request, back_up_elsewhere

SETTINGS = ((1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (5, 2))
"""zstd level and threads."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.settings", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prose", type=int, default=PROSE_PCT)
    given = parser.parse_args()
    with Sources(given.megabytes, prose_pct=given.prose) as sources:
        _try_all("mysql", "MariaDB", sources.mariadb, sources, given.rounds)
        _try_all("postgres", "PostgreSQL", sources.postgres, sources, given.rounds)


def _try_all(engine: Literal["mysql", "postgres"], title: str, source: Source, sources: Sources, rounds: int) -> None:
    tell(f"{title}: {rounds} rounds of {len(SETTINGS)} settings")
    store = sources.folder / "store"
    store.mkdir(exist_ok=True)
    contenders: dict[str, Callable[[], Mapping[str, float]]] = {}
    for level, threads in SETTINGS:
        request = Request(
            engine,
            source.endpoint(),
            f"file://{store}",
            sources.folder,
            compression={"level": level, "threads": threads},
        )
        contenders[f"level {level}, {threads} threads"] = partial(back_up_elsewhere, request)
    costs = interleave(contenders, source.server, rounds=rounds)
    print(f"\n### {title}\n\n{cost_table(costs)}\n")


if __name__ == "__main__":
    main()
