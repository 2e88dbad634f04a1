"""What is wrong with a system, judged from figures that were read from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from upkeep.domain.units import counted, human_bytes, human_seconds

Light = Literal["green", "amber", "red"]
RESTORE_TAKES_S = 3600
"""From when on a stop of writes is red: until then a restore over live is likely to be under way."""


@dataclass(frozen=True)
class Symptom:
    """One thing that is not as it should be. ``red``: users feel it or will tonight; ``amber``: look at it today."""

    light: Light
    what: str


@dataclass(frozen=True)
class Health:
    """One checked thing. ``figures`` are what was read, in the units their names say."""

    name: str
    kind: str
    symptoms: tuple[Symptom, ...]
    figures: Mapping[str, Any]

    @property
    def light(self) -> Light:
        lights = {symptom.light for symptom in self.symptoms}
        return "red" if "red" in lights else "amber" if "amber" in lights else "green"

    @property
    def summary(self) -> str:
        if self.symptoms:
            return "; ".join(symptom.what for symptom in self.symptoms)
        latency, days = self.figures.get("latency_ms"), self.figures.get("certificate_days")
        said = f"answers in {latency:.0f} ms" if isinstance(latency, int | float) else "well"
        return f"{said} (certificate: {days:.0f} days)" if isinstance(days, int | float) else said

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "light": self.light,
            "summary": self.summary,
            "figures": dict(self.figures),
        }


def unreachable(name: str, kind: str, why: str) -> Health:
    """Something that did not answer; ``why`` is the error's own text, masked."""
    return Health(name, kind, (Symptom("red", f"does not answer: {why}"),), {})


def judge_stop(since: datetime, now: datetime, *, how: str, who: str, undo: str) -> Symptom:
    """Applications that Upkeep keeps from writing. ``how``, ``who``: as the ledger says; ``undo``: a command."""
    age_s = (now - since).total_seconds()
    return Symptom(
        "amber" if age_s < RESTORE_TAKES_S else "red",
        f"applications have not been able to write to it since {since:%Y-%m-%d %H:%M}Z, for "
        f"{human_seconds(max(0, age_s))} ({how}, by {who} for a restore over live): unless that is still running, "
        f"undo it with `{undo}`",
    )


def judge_database(
    name: str,
    kind: str,
    figures: Mapping[str, Any],
    *,
    latency_ms: float,
    connections_pct: float,
    max_lag_s: float,
    long_transaction_s: float,
) -> Health:
    """Figures: latency_ms, connections, max_connections, blocked, oldest_transaction_s, and for a replica ``replica``
    with running and lag_s; for a primary standby_lag_s (by name) and standbys_stopped. A figure that is None could not
    be read, and ``unread`` says why.
    """

    def symptoms() -> Iterator[Symptom]:
        yield from _slow(figures, latency_ms)
        used, most = figures.get("connections"), figures.get("max_connections")
        if used is not None and most:
            share = 100 * used / most
            if share >= connections_pct:
                light: Light = "red" if share >= 95 else "amber"
                yield Symptom(
                    light, f"{used} of {most} connections in use ({share:.0f} %, limit {connections_pct:g} %)"
                )
        replica = figures.get("replica")
        if replica:
            yield from _behind(replica, max_lag_s)
        yield from _left_behind(figures, max_lag_s)
        for standby in figures.get("standbys_stopped") or ():
            yield Symptom("amber", f"replication to {standby} has stopped, and what it has missed fills the disk here")
        if figures.get("blocked"):
            yield Symptom("amber", f"{figures['blocked']} sessions wait for a lock")
        oldest = figures.get("oldest_transaction_s")
        if oldest is not None and oldest > long_transaction_s:
            yield Symptom("amber", f"a transaction has been open for {human_seconds(oldest)}")
        yield from (Symptom("amber", f"not checked: {why}") for why in figures.get("unread", ()))

    return Health(name, kind, tuple(symptoms()), figures)


def judge_cache(
    name: str,
    figures: Mapping[str, Any],
    *,
    latency_ms: float,
    max_memory_pct: float,
    max_lag_s: float,
    big_key_bytes: float,
) -> Health:
    """Figures: latency_ms, used_bytes, max_bytes (0: no limit), evicted, evicted_before (the count last time, or None),
    replica (running, lag_s) for a replica, standby_lag_s (by name) for a primary, big_keys (name -> bytes) from a
    sample.
    """

    def symptoms() -> Iterator[Symptom]:
        yield from _slow(figures, latency_ms)
        used, most = figures.get("used_bytes") or 0, figures.get("max_bytes") or 0
        if most and 100 * used / most >= max_memory_pct:
            yield Symptom(
                "amber",
                f"{human_bytes(used)} of {human_bytes(most)} memory in use ({100 * used / most:.0f} %, "
                f"limit {max_memory_pct:g} %)",
            )
        evicted, before = figures.get("evicted"), figures.get("evicted_before")
        if evicted and before is not None and evicted != before:
            since = evicted - before if evicted > before else evicted  # a server counts from its own start
            yield Symptom("amber", f"{counted(since, 'key')} evicted since the last check")
        if figures.get("replica"):
            yield from _behind(figures["replica"], max_lag_s)
        yield from _left_behind(figures, max_lag_s)
        for key, size in sorted((figures.get("big_keys") or {}).items(), key=lambda item: -item[1]):
            if size >= big_key_bytes:
                yield Symptom("amber", f"key {key!r} takes {human_bytes(size)}")
        yield from (Symptom("amber", f"not checked: {why}") for why in figures.get("unread", ()))

    return Health(name, "redis", tuple(symptoms()), figures)


def judge_endpoint(
    name: str, figures: Mapping[str, Any], *, expect_status: int, latency_ms: float, certificate_days: float
) -> Health:
    """Figures: status, latency_ms, and for https certificate_days (until it ends; negative: it has)."""

    def symptoms() -> Iterator[Symptom]:
        if figures.get("error"):
            yield Symptom("red", str(figures["error"]))
        elif figures.get("status") != expect_status:
            yield Symptom("red", f"answers HTTP {figures.get('status')} instead of {expect_status}")
        else:
            yield from _slow(figures, latency_ms)
        days = figures.get("certificate_days")
        if days is not None and days < 0:
            yield Symptom("red", f"its certificate ended {-days:.0f} days ago")
        elif days is not None and days < certificate_days:
            yield Symptom("amber", f"its certificate ends in {days:.0f} days")

    return Health(name, "http", tuple(symptoms()), figures)


def judge_store(figures: Mapping[str, Any], *, latency_ms: float) -> Health:
    """Figures: latency_ms, of writing a small object and removing it; spool, why no backup could wait there."""
    no_spool = [Symptom("amber", f"no backup could wait for it: {figures['spool']}")] if "spool" in figures else []
    return Health("store", "store", (*_slow(figures, latency_ms), *no_spool), figures)


def _slow(figures: Mapping[str, Any], limit_ms: float) -> Iterator[Symptom]:
    latency = figures.get("latency_ms")
    if latency is not None and latency > limit_ms:
        yield Symptom("amber", f"answers in {latency:.0f} ms (limit {limit_ms:g} ms)")


def _behind(replica: Mapping[str, Any], max_lag_s: float) -> Iterator[Symptom]:
    """Stopped replication is the worst lag there is, and has no figure."""
    what = f"replication of channel {replica['channel']}" if replica.get("channel") else "replication"
    if not replica.get("running"):
        yield Symptom("red", f"{what} has stopped{': ' + str(replica['error']) if replica.get('error') else ''}")
    elif replica.get("lag_s") is not None and replica["lag_s"] > max_lag_s:
        yield Symptom("red", f"{what} is {human_seconds(replica['lag_s'])} behind (limit {max_lag_s:g} s)")


def _left_behind(figures: Mapping[str, Any], max_lag_s: float) -> Iterator[Symptom]:
    for standby, lag in sorted((figures.get("standby_lag_s") or {}).items()):
        if lag is not None and lag > max_lag_s:
            yield Symptom("amber", f"replica {standby} is {human_seconds(lag)} behind (limit {max_lag_s:g} s)")
