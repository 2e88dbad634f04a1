"""How much memory our own process takes: it must not depend on how much is backed up, nor on where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Literal

from bench.bucket import bucket
from bench.data import LARGE, SMALL, Source, Sources
from bench.measure import Verdict, markdown, tell
from bench.worker import Request, back_up_elsewhere
from upkeep.domain.endpoint import Endpoint

MOST_MB = 200


def run(sources: Sources, *, rounds: int) -> list[Verdict]:
    """One run of each: memory hardly varies, so ``rounds`` is not used."""
    rows: list[tuple[str, ...]] = []
    peaks: dict[tuple[str, bool], dict[str, float]] = {}
    engines: list[tuple[Literal["mysql", "postgres"], Source]] = [
        ("mysql", sources.mariadb), ("postgres", sources.postgres),
    ]  # fmt: skip
    sizes = {SMALL: max(1, sources.megabytes // 10), LARGE: sources.megabytes}
    for kind in ("local", "OSS"):
        with _store(kind, sources.folder) as (url, connection):
            for (engine, source), size, as_task in product(engines, sizes, (False, True)):
                what = f"{engine}, {sizes[size]} MB, {kind}, {'in a task' if as_task else 'alone'}"
                tell(f"memory: {what}")
                request = Request(
                    engine, source.endpoint(size), url, sources.folder,
                    store_connection=connection, verify=True, as_task=as_task,
                )  # fmt: skip
                figures = back_up_elsewhere(request)
                rows.append(
                    (what, *(f"{figures[name]:.0f}" for name in ("start_mb", "peak_mb", "verify_peak_mb")),
                     f"{figures['wall_s']:.1f}", f"{figures['verify_s']:.1f}")
                )  # fmt: skip
                by_size = peaks.setdefault((kind, as_task), {})
                by_size[size] = max(by_size.get(size, 0), figures["verify_peak_mb"])
    head = ("run", "before MB", "peak of the backup MB", "peak with verify MB", "backup s", "verify s")
    print(f"\n### Memory of our own process\n\n{markdown(head, rows)}\n")
    return [
        Verdict(
            f"Memory, {kind} store, {'in a task with Airflow' if as_task else 'the duty alone'}",
            " and ".join(f"{peak:.0f} MB at {sizes[size]} MB" for size, peak in by_size.items()),
            f"below {MOST_MB} MB",
            max(by_size.values()) < MOST_MB,
        )
        for (kind, as_task), by_size in peaks.items()
    ]


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[tuple[str, Endpoint | None]]:
    if kind == "local":
        (folder / "store").mkdir(exist_ok=True)
        yield f"file://{folder / 'store'}", None
    else:
        with bucket(folder / "bucket") as reached:
            yield reached
