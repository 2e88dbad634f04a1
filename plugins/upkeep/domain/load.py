"""What else a server has to do, and when work that can wait holds still for it."""

from __future__ import annotations

from dataclasses import dataclass

from upkeep.domain.units import human_seconds


@dataclass(frozen=True)
class Replica:
    """``lag_s``: seconds behind; None when it has stopped, can't be asked any more, or has gone."""

    name: str
    lag_s: float | None


@dataclass(frozen=True)
class Pressure:
    """What else the server has to do, without our own session.

    :param running: sessions at work at this moment.
    :param is_shared: whether others have worked since the last look, or within a second. Short statements are seldom
        caught at work: a load of 60 transactions a second was missed by a dozen looks at ``running`` in a row.
    """

    running: int
    replicas: tuple[Replica, ...] = ()
    is_shared: bool = False


@dataclass(frozen=True)
class Limits:
    """Any one of them alone makes the work wait; nothing overrides it.

    :param running: pt-online-schema-change's pause from 25 running threads on.
    :param lag_s: seconds. Above the second or two by which a healthy replica's report flickers.
    """

    running: int = 25
    lag_s: float = 5


def why_wait(pressure: Pressure, limits: Limits) -> str | None:
    """The reason to hold still now, or None."""
    if pressure.running > limits.running:
        return f"{pressure.running} sessions are at work, the limit is {limits.running}"
    for replica in pressure.replicas:
        if replica.lag_s is None:
            return f"replication to {replica.name} has stopped"
        if replica.lag_s > limits.lag_s:
            return f"replica {replica.name} is {human_seconds(replica.lag_s)} behind, the limit is {limits.lag_s:g} s"
    return None
