"""How many replicas the horizontal pod autoscaler would want."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

TOLERANCE = Fraction(1, 10)
"""Kubernetes' own default: within it nothing is changed, or the number would flap."""
LOWEST, HIGHEST = 2, 10
"""The manuals' bounds; what is outside them already isn't moved against the load to get there."""
TARGET_PCT = 70
"""Of the CPU that the pods request; the manuals add a replica above it."""


@dataclass(frozen=True)
class Advice:
    replicas: int
    reason: str


def recommend_replicas(current: int, metric: float, target: float = TARGET_PCT) -> Advice:
    """``ceil(current * metric / target)``, nothing within the tolerance, never further outside the bounds.

    ``metric`` and ``target`` share a unit, such as percent of the requested CPU. Three replicas at 90 % with a target
    of 70 %: ceil(3 * 90 / 70) = 4. Errors: ``ValueError`` for a target that isn't above zero.
    """
    if target <= 0 or metric < 0 or current < 0:
        raise ValueError(f"no advice for {current} replicas at {metric:g} of {target:g}")
    ratio = Fraction(metric) / Fraction(target)
    if abs(ratio - 1) <= TOLERANCE:
        wanted, why = current, f"{metric:g} is within 10 % of the target {target:g}"
    else:
        wanted = ceil(current * ratio)
        why = f"ceil({current} * {metric:g} / {target:g}) = {wanted}"
    lowest, highest = min(LOWEST, current), max(HIGHEST, current)
    bounded = min(max(wanted, lowest), highest)
    if bounded != wanted:
        why += f", kept within {lowest} to {highest}"
    return Advice(bounded, why)
