"""Health gates around a change: what broke is told from what was failing before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["healthy", "broke", "was already failing", "fixed", "not looked at before"]


@dataclass(frozen=True)
class Gate:
    """One look at one thing that must hold: an HTTP address, the pods of a deployment."""

    name: str
    ok: bool
    said: str


@dataclass(frozen=True)
class Compared:
    """A gate after a change, against the same gate before it."""

    name: str
    verdict: Verdict
    said: str

    @property
    def bad(self) -> bool:
        """Whether the change is to be blamed. One that nobody looked at before gets no benefit of the doubt."""
        return self.verdict == "broke" or (self.verdict == "not looked at before" and self.said != "")

    def line(self) -> str:
        return f"{self.name}: {self.verdict}" + (f": {self.said}" if self.said else "")


def compare_gates(before: Iterable[Gate], after: Iterable[Gate]) -> tuple[Compared, ...]:
    """``said`` is empty where the gate holds now."""
    known = {gate.name: gate for gate in before}
    return tuple(_compare(known.get(gate.name), gate) for gate in after)


def _compare(before: Gate | None, after: Gate) -> Compared:
    said = "" if after.ok else after.said
    if before is None:
        return Compared(after.name, "healthy" if after.ok else "not looked at before", said)
    if after.ok:
        return Compared(after.name, "healthy" if before.ok else "fixed", said)
    if before.ok:
        return Compared(after.name, "broke", f"{said} (before: {before.said})")
    return Compared(after.name, "was already failing", f"{said} (before: {before.said})")


def with_held(before: Iterable[Gate], names: Collection[str]) -> tuple[Gate, ...]:
    """The baseline, but for gates that have been seen to hold since: that they failed before excuses nothing now."""
    rest = (gate for gate in before if gate.name not in names)
    return (*rest, *(Gate(name, True, "it held when its rollout was done") for name in names))


def judge_http(name: str, figures: Mapping[str, Any], *, expect_status: int | None) -> Gate:
    """Figures: status and latency_ms, or error. ``expect_status`` None: anything below 400."""
    if figures.get("error"):
        return Gate(name, False, str(figures["error"]))
    status = int(figures["status"])
    ok = status < 400 if expect_status is None else status == expect_status
    return Gate(name, ok, f"HTTP {status}" + (f" in {figures['latency_ms']:.0f} ms" if ok else ""))


def judge_pods(
    name: str,
    ready: int,
    wanted: int,
    restarts: Mapping[str, int],
    at_first: Mapping[str, int] | None,
    troubles: Sequence[str],
) -> Gate:
    """All of them ready, and since ``at_first`` none restarted. One that wasn't there at first counts all of its own;
    ``at_first`` None: restarts don't count.
    """  # fmt: skip
    if ready < wanted:
        return Gate(name, False, "; ".join([f"{ready} of {wanted} pods ready", *troubles]))
    again = [] if at_first is None else sorted(pod for pod, count in restarts.items() if count > at_first.get(pod, 0))
    if again:
        return Gate(name, False, f"restarted since the rollout: {', '.join(again)}")
    return Gate(name, True, f"{ready} of {wanted} pods ready")
