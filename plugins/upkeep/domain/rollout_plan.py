"""What a rolling update would change, deployment by deployment, with a reason for every refusal; and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from graphlib import TopologicalSorter
from math import ceil, floor
from typing import Any, Literal

from upkeep.domain.rollout import Json, Live, Mark, template_digest

Strategy = Literal["all", "ordered", "canary"]
Verdict = Literal["change", "nothing", "refused"]

_TAG = re.compile(r"[\w][\w.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[a-z0-9]([\w.:/-]*[\w])?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
_SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|Ki|Mi|Gi|Ti|Pi|Ei|M|G|T|P|E)?")


def image_wanted(current: str, asked: str) -> str:
    """The whole image of what a person typed: a tag (``1.4.2``), a digest (``sha256:...``) or a whole image.

    Errors: ``ValueError`` in words for that person.
    """
    asked = asked.strip()
    repository = repository_of(current)
    if _DIGEST.fullmatch(asked.removeprefix("@")):
        return f"{repository}@{asked.removeprefix('@')}"
    if asked.startswith(("sha256:", "@")):
        raise ValueError(f"{asked!r} is not a digest: sha256: and 64 hexadecimal digits")
    if _TAG.fullmatch(asked.removeprefix(":")):
        return f"{repository}:{asked.removeprefix(':')}"
    if _REFERENCE.fullmatch(asked) and "//" not in asked:
        return asked
    raise ValueError(f"{asked!r} is neither a tag, a digest nor an image")


def repository_of(image: str) -> str:
    """``reg:5000/shop/app:1@sha256:..`` -> ``reg:5000/shop/app``."""
    plain = image.partition("@")[0]
    head, colon, tag = plain.rpartition(":")
    return head if colon and "/" not in tag else plain


def quantity(text: Any) -> Fraction:
    """Kubernetes' own notation: ``500m``, ``1Gi``, ``2``. Errors: ``ValueError``."""
    found = _QUANTITY.fullmatch(str(text))
    if not found:
        raise ValueError(f"{text!r} is not a quantity")
    try:
        return Fraction(Decimal(found[1])) * _SUFFIXES[found[2] or ""]
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a quantity") from error


@dataclass(frozen=True)
class Surroundings:
    """What else in the namespace has a say. ``unread``: what the account may not read, so that nobody relies on it."""

    budgets: Sequence[Json] = ()
    quotas: Sequence[Json] = ()
    autoscalers: Sequence[Json] = ()
    unread: tuple[str, ...] = ()

    def autoscaler_of(self, name: str) -> Json | None:
        return next(
            (
                one for one in self.autoscalers
                if one["spec"]["scaleTargetRef"].get("kind") == "Deployment"
                and one["spec"]["scaleTargetRef"].get("name") == name
            ),
            None,
        )  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One deployment in the plan."""

    name: str
    verdict: Verdict
    container: str = ""
    before: str = ""
    after: str = ""
    digests: tuple[str, ...] = ()
    revision: int = 0
    replicas: int = 0
    ready: int = 0
    template: str = ""
    """What else there is in its template (``template_digest``)."""
    scaler: str = ""
    """The autoscaler that may change the number of replicas at any time."""
    steps: str = ""
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    def line(self) -> str:
        """One line of the diff, for a person who has to decide on it at night."""
        if self.verdict == "refused":
            return f"{self.name}: REFUSED: {'; '.join(self.reasons)}"
        if self.verdict == "nothing":
            return f"{self.name}: nothing to do: {'; '.join(self.reasons)}"
        runs = f" (runs {', '.join(_short(digest) for digest in self.digests)})" if self.digests else ""
        said = (
            f"{self.name}: {self.before}{runs} -> {self.after}; revision {self.revision} -> {self.revision + 1}; "
            f"{self.ready} of {self.replicas} pods ready; {self.steps}"
        )
        return "; ".join([said, *(f"note: {remark}" for remark in self.remarks)])


def plan_item(live: Live, asked: str, container: str | None, around: Surroundings, run_id: str = "") -> Item:
    """What ``asked`` (see ``image_wanted``) would do to one deployment; refused with every reason at once.

    :param container: whose image; None: the only one there is.
    :param run_id: what this very run has begun is no reason to refuse, and is still to be brought to its end.
    """
    names = ", ".join(live.containers)
    if container is None and len(live.containers) > 1:
        return _refused(live, f"it has several containers ({names}): set container in the site file")
    container = container or next(iter(live.containers))
    if container not in live.containers:
        return _refused(live, f"it has no container {container!r}, only {names}")
    before, revision = live.containers[container], live.revision
    try:
        after = image_wanted(before, asked)
    except ValueError as error:
        return _refused(live, str(error))
    begun = _begun(live, before, run_id)
    if begun:
        before, revision = begun.previous, begun.previous_revision
    surge, unavailable = surge_of(live)
    scaler = around.autoscaler_of(live.name)
    facts: dict[str, Any] = {
        "container": container, "before": before, "after": after, "digests": live.digests, "revision": revision,
        "replicas": live.replicas, "ready": live.ready, "template": template_digest(live, container),
        "scaler": scaler["metadata"]["name"] if scaler else "", "steps": _steps(live, surge, unavailable),
    }  # fmt: skip
    if before == after:
        return Item(
            live.name, "nothing", reasons=(f"it is at {after} already; restart it to pull a tag anew",), **facts
        )
    if begun:
        if reasons := list(why_not(live, run_id)):
            return Item(live.name, "refused", reasons=tuple(reasons), **facts)
        return Item(live.name, "change", remarks=("this run has begun it already, and goes on with it",), **facts)
    reasons = [*why_not(live, run_id), *_why_no_room(live, around)]
    if live.deployment["spec"].get("revisionHistoryLimit") == 0:
        reasons.append("it keeps no old ReplicaSet (revisionHistoryLimit: 0), so it could not be taken back")
    if reasons:
        return Item(live.name, "refused", reasons=tuple(reasons), **facts)
    return Item(live.name, "change", remarks=tuple(_remarks(live, around, unavailable)), **facts)


def why_not(live: Live, run_id: str = "") -> Iterator[str]:
    """What forbids any change of its pods now."""
    if live.paused:
        yield f"it is paused: kubectl rollout resume deployment/{live.name}"
    elif live.under_way and not is_mine(live.mark, run_id):
        marks = Mark.read_all(live.annotations)
        by = f" (the last was begun by {marks[-1].run})" if marks else ""
        yield f"a rollout is under way{by}: {live.progress.why}"


def why_not_as_planned(live: Live, change: Json) -> Iterator[str]:
    """What of a planned change isn't as it was, whatever its pods are doing."""
    now = live.containers.get(change["container"])
    if now != change["before"]:
        yield f"its image is {now} now, it was {change['before']} when it was planned"
    if template_digest(live, change["container"]) != change["template"]:
        yield f"its pod template is another than when it was planned at revision {change['revision']}"


def why_not_begin(live: Live, change: Json, around: Surroundings) -> Iterator[str]:
    """What else has changed since the plan. Asked before the run's first change only: then its own pods count in quotas
    and budgets, and somebody may scale.
    """
    if change["replicas"] != live.replicas and not around.autoscaler_of(live.name):
        yield f"it has {live.replicas} replicas now, it had {change['replicas']} when it was planned"
    yield from _why_no_room(live, around)


def agreed(plan: Json) -> list[str]:
    """What a person agrees to who approves a plan, a line each: not how many pods are ready at that moment."""
    if "changes" not in plan:
        return [f"{plan['action']} {plan['name']}: {plan['wanted']} (state {plan['as_it_was'][:12]})"]
    waves = ", then ".join(" + ".join(wave) for wave in plan["waves"])
    return [
        f"{plan['strategy']}: {waves}",
        *(
            f"{name}: {change['container']} {change['before']} -> {change['after']}, "
            + (f"replicas as {change['scaler']} says" if change["scaler"] else f"{change['replicas']} replicas")
            + f" (template {change['template'][:12]})"
            for name, change in sorted(plan["changes"].items())
        ),
    ]


def _begun(live: Live, image: str, run_id: str) -> Mark | None:
    """What an earlier try of this run has changed. Left out of the plan, nobody would wait for its pods any more."""
    mark = live.mark
    return mark if mark and is_mine(mark, run_id) and (mark.act, mark.wanted) == ("roll_out", image) else None


def is_mine(mark: Mark | None, run_id: str) -> bool:
    return mark is not None and bool(run_id) and mark.run == run_id


def _refused(live: Live, reason: str) -> Item:
    return Item(live.name, "refused", reasons=(reason,), revision=live.revision, replicas=live.replicas)


def surge_of(live: Live) -> tuple[int, int]:
    """How many pods a rollout may add, and how many it may take away, at once."""
    strategy = live.deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, live.replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), live.replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), live.replicas, up=False)
    return surge, unavailable or (0 if surge else 1)


def _share(value: Any, of: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = Fraction(value[:-1]) * of / 100
        return ceil(share) if up else floor(share)
    return int(value)


def _steps(live: Live, surge: int, unavailable: int) -> str:
    if (live.deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return f"Recreate: all {live.replicas} pods end before the first new one starts"
    return f"in steps of up to +{surge}/-{unavailable} pods"


def _why_no_room(live: Live, around: Surroundings) -> Iterator[str]:
    """Only what makes the rollout stall or breaks a promise; what merely slows it down is a remark."""
    if not live.replicas:
        return
    surge, unavailable = surge_of(live)
    for budget in _budgets_of(live, around):
        allowed = int(budget.get("status", {}).get("disruptionsAllowed") or 0)
        if allowed == 0 and unavailable:
            yield (
                f"PodDisruptionBudget {budget['metadata']['name']} allows no disruption now, and the rollout would "
                f"take up to {unavailable} pods away at once: set maxUnavailable to 0, or fix the pods first"
            )
    if surge and not unavailable:
        yield from _quotas_in_the_way(live, around)


def _remarks(live: Live, around: Surroundings, unavailable: int) -> Iterator[str]:
    for budget in _budgets_of(live, around):
        allowed = int(budget.get("status", {}).get("disruptionsAllowed") or 0)
        if 0 < allowed < unavailable:
            yield f"takes up to {unavailable} pods away, its PodDisruptionBudget would allow {allowed}"
    if unavailable and surge_of(live)[0]:
        yield from (f"no room for an additional pod: {why}" for why in _quotas_in_the_way(live, around))
    for name, image in live.init_containers.items():
        yield f"its init container {name} stays at {image}"
    if not live.replicas:
        yield "it is scaled to 0: nothing will start, so nothing is proven"
    elif live.ready < live.replicas:
        yield f"only {live.ready} of {live.replicas} pods are ready now"
    yield from (f"not looked at: {what}" for what in around.unread)


def _budgets_of(live: Live, around: Surroundings) -> Iterator[Json]:
    labels = live.template.get("metadata", {}).get("labels") or {}
    return (one for one in around.budgets if selects(one["spec"].get("selector"), labels))


def selects(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """A label selector of ``policy/v1``: an empty one selects everything, a missing one nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(one, labels) for one in selector.get("matchExpressions") or ())


def _matches(expression: Json, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _quotas_in_the_way(live: Live, around: Surroundings) -> Iterator[str]:
    """Which quota has no room for one more of its pods. A quota with scopes may not count them, and isn't judged."""
    needs = pod_needs(live.template)
    for quota in around.quotas:
        if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            continue
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for resource, need in needs.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, "0"))
            if left < need:
                yield (
                    f"quota {quota['metadata']['name']} leaves {float(max(left, Fraction(0))):g} of "
                    f"{hard[resource]} {resource}, one more pod needs {float(need):g}"
                )


def pod_needs(template: Json) -> dict[str, Fraction]:
    """What one pod takes of a quota, under each name that a quota has for it."""
    needs: dict[str, Fraction] = {"pods": Fraction(1), "count/pods": Fraction(1)}
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            total = sum(
                (quantity(((one.get("resources") or {}).get(kind) or {}).get(resource, "0"))
                 for one in template["spec"]["containers"]),
                Fraction(0),
            )  # fmt: skip
            if total:
                needs[f"{kind}.{resource}"] = total
                if kind == "requests":
                    needs[resource] = total
    return needs


def order_waves(chosen: Sequence[str], after: Mapping[str, Iterable[str]], strategy: Strategy) -> list[list[str]]:
    """Which deployments are updated together, one wave after the other. ``after`` always holds, also across
    deployments that weren't chosen.

    ``all``: as many at once as ``after`` lets. ``ordered``: one by one. ``canary``: the first alone, then as ``all``.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(chosen, key=list(chosen).index):
        sorter.add(name, *(other for other in _before(name, after) if other in chosen))
    sorter.prepare()
    waves: list[list[str]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=list(chosen).index)
        waves.append(ready)
        sorter.done(*ready)
    if strategy == "ordered":
        return [[name] for wave in waves for name in wave]
    if strategy == "canary" and waves and len(waves[0]) > 1:
        return [waves[0][:1], waves[0][1:], *waves[1:]]
    return waves


def _before(name: str, after: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that has to come before ``name``, at any distance."""
    found: set[str] = set()
    queue = list(after.get(name, ()))
    while queue:
        other = queue.pop()
        if other not in found:
            found.add(other)
            queue += after.get(other, ())
    return found


def _short(digest: str) -> str:
    kind, colon, rest = digest.partition(":")
    return f"{kind}:{rest[:12]}" if colon and len(rest) == 64 else digest
