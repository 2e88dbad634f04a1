"""Deployments of one namespace: read with all that belongs to them, and changed by one conditional patch each.

Every change is a JSON patch that first tests the Deployment's uid and template: it takes effect on exactly what was
looked at, or not at all. How many replicas there are is tested only where that is to change: an autoscaler may be at
work. The mark of the run (``domain.rollout.Mark``) travels in the same patch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from fractions import Fraction
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.rollout import (
    CHANGE_CAUSE,
    RESTARTED_AT,
    Json,
    Live,
    Mark,
    template_of,
    undone_annotations,
)
from upkeep.domain.rollout_plan import Surroundings, quantity
from upkeep.engines.kubernetes_api import TIMEOUT_S, connect_cluster, told
from upkeep.errors import RolloutRefused, SourceError

_BUDGETS = (("policy", "v1"), ("policy", "v1beta1"))
"""The second is all that servers before 1.21 have."""


class Deployments:
    """Use as a context manager. Errors of every method: ``SourceError``; of those that change: ``RolloutRefused`` too,
    when the Deployment isn't any more what was looked at.
    """

    def __init__(self, endpoint: Endpoint, namespace: str) -> None:
        self._endpoint, self._namespace = endpoint, namespace
        self._api: client.ApiClient | None = None
        self._told_at: datetime | None = None

    def __enter__(self) -> Deployments:
        self._api = connect_cluster(self._endpoint)
        return self

    def __exit__(self, *_: object) -> None:
        if self._api is not None:
            self._api.close()

    def read(self, name: str) -> Live:
        with told(self._endpoint, f"read deployment {name} of {self._namespace}"):
            deployment = self._json(self._apps.read_namespaced_deployment, name, self._namespace)
            selector = _selector_text(deployment["spec"]["selector"])
            sets = self._json(self._apps.list_namespaced_replica_set, self._namespace, label_selector=selector)
            pods = self._json(self._core.list_namespaced_pod, self._namespace, label_selector=selector)
        return self._live(deployment, _items(sets), _items(pods))

    def read_all(self, names: Sequence[str]) -> dict[str, Live]:
        """Several with three requests in all, in the order of ``names``."""
        if len(names) < 2:
            return {name: self.read(name) for name in names}
        with told(self._endpoint, f"read the deployments of {self._namespace}"):
            found = _items(self._json(self._apps.list_namespaced_deployment, self._namespace))
            sets = _items(self._json(self._apps.list_namespaced_replica_set, self._namespace))
            pods = _items(self._json(self._core.list_namespaced_pod, self._namespace))
        present = {one["metadata"]["name"]: one for one in found}
        # One that isn't there is asked for by name: the API's own words are the error.
        return {name: self._live(present[name], sets, pods) if name in present else self.read(name) for name in names}

    def surroundings(self) -> Surroundings:
        """Budgets, quotas and autoscalers; what the account may not read is named instead."""
        unread: list[str] = []
        autoscaling = client.AutoscalingV1Api(self._api)
        return Surroundings(
            budgets=self._listed(unread, "PodDisruptionBudgets", self._budgets),
            quotas=self._listed(
                unread,
                "ResourceQuotas",
                lambda: _items(self._json(self._core.list_namespaced_resource_quota, self._namespace)),
            ),
            autoscalers=self._listed(
                unread,
                "HorizontalPodAutoscalers",
                lambda: _items(self._json(autoscaling.list_namespaced_horizontal_pod_autoscaler, self._namespace)),
            ),
            unread=tuple(unread),
        )

    def cpu_pct(self, live: Live) -> float | None:
        """What its ready pods use of the CPU they request, on average and in percent; None without the metrics API or
        without requests.
        """
        try:
            with told(self._endpoint, f"read what pods of {self._namespace} use"):
                found = self._custom("metrics.k8s.io", "v1beta1", "pods")
        except SourceError as error:
            # 503: it is registered, but nothing serves it
            if isinstance(error.__cause__, ApiException) and error.__cause__.status in (403, 404, 503):
                return None
            raise
        names = {pod["metadata"]["name"]: pod for pod in live.current_pods}
        used = requested = Fraction(0)
        for metric in found:
            pod = names.get(metric["metadata"]["name"])
            if pod is None:
                continue
            used += sum((quantity(one["usage"]["cpu"]) for one in metric["containers"]), Fraction(0))
            requested += sum(
                (quantity(((one.get("resources") or {}).get("requests") or {}).get("cpu", "0"))
                 for one in pod["spec"]["containers"]),
                Fraction(0),
            )  # fmt: skip
        return round(float(100 * used / requested), 1) if requested else None

    def set_image(self, live: Live, container: str, image: str, mark: Mark, cause: str, *, dry_run: bool) -> None:
        index = list(live.containers).index(container)
        change = {"op": "replace", "path": f"/spec/template/spec/containers/{index}/image", "value": image}
        self._patch(live, [change], mark, cause, dry_run)

    def undo(self, live: Live, replica_set: Json, mark: Mark, cause: str, *, dry_run: bool) -> None:
        """As ``kubectl rollout undo``: the template of an earlier ReplicaSet, and its annotations."""
        change = {"op": "replace", "path": "/spec/template", "value": template_of(replica_set)}
        self._patch(live, [change], mark, cause, dry_run, undone_annotations(live, replica_set))

    def restart(self, live: Live, at: datetime, mark: Mark, cause: str, *, dry_run: bool) -> None:
        """As ``kubectl rollout restart``: a new template annotation, and so new pods of the same template."""
        metadata = live.template.get("metadata") or {}
        annotations = {**(metadata.get("annotations") or {}), RESTARTED_AT: at.isoformat(timespec="seconds")}
        change = {"op": "add", "path": "/spec/template/metadata/annotations", "value": annotations}
        self._patch(live, [change], mark, cause, dry_run)

    def scale(self, live: Live, replicas: int, mark: Mark, cause: str, *, dry_run: bool) -> None:
        changes = [
            {"op": "test", "path": "/spec/replicas", "value": live.replicas},
            {"op": "replace", "path": "/spec/replicas", "value": replicas},
        ]
        self._patch(live, changes, mark, cause, dry_run)

    def _patch(
        self,
        live: Live,
        changes: Sequence[Json],
        mark: Mark,
        cause: str,
        dry_run: bool,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        """Key by key, so that an annotation that the controller writes at this moment stays as it is.

        :param kept: the annotations that there are to be beside the mark; default: all there are.
        """
        now = live.annotations
        wanted = {**(now if kept is None else kept), **mark.annotations(), CHANGE_CAUSE: cause}
        steps: list[Json] = [] if now else [{"op": "add", "path": "/metadata/annotations", "value": {}}]
        steps += [
            {"op": "add", "path": f"/metadata/annotations/{_escaped(key)}", "value": value}
            for key, value in wanted.items()
            if now.get(key) != value
        ]
        steps += [
            {"op": "remove", "path": f"/metadata/annotations/{_escaped(key)}"} for key in now if key not in wanted
        ]
        self._send(live, [*changes, *steps], dry_run)

    def _send(self, live: Live, changes: Sequence[Json], dry_run: bool) -> None:
        tests = [
            {"op": "test", "path": "/metadata/uid", "value": live.deployment["metadata"]["uid"]},
            {"op": "test", "path": "/spec/template", "value": live.template},
        ]
        with told(self._endpoint, f"change deployment {live.name} of {self._namespace}"):
            try:
                self._apps.patch_namespaced_deployment(
                    live.name,
                    self._namespace,
                    [*tests, *changes],
                    field_manager="upkeep",
                    _request_timeout=TIMEOUT_S,
                    **({"dry_run": "All"} if dry_run else {}),
                )
            except ApiException as error:
                if error.status == 422 and self._has_moved(live):
                    raise RolloutRefused(
                        f"deployment {live.name} of {self._namespace} was changed by somebody else at this moment",
                        hint="find out who works on it (kubectl rollout history), then run this again",
                    ) from error
                raise

    def _has_moved(self, live: Live) -> bool:
        now = Live(self._json(self._apps.read_namespaced_deployment, live.name, self._namespace))
        return any(
            (
                now.deployment["metadata"]["uid"] != live.deployment["metadata"]["uid"],
                now.template != live.template,
                now.replicas != live.replicas,
            )
        )

    def _budgets(self) -> list[dict[str, Any]]:
        for group, version in _BUDGETS:
            try:
                return self._custom(group, version, "poddisruptionbudgets")
            except ApiException as error:
                if error.status != 404:
                    raise
        return []

    def _custom(self, group: str, version: str, plural: str) -> list[dict[str, Any]]:
        found = client.CustomObjectsApi(self._api).list_namespaced_custom_object(
            group, version, self._namespace, plural, _request_timeout=TIMEOUT_S
        )
        return _items(found)

    def _listed(self, unread: list[str], kind: str, read: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The account may lack a right that only makes the plan less sure."""
        try:
            with told(self._endpoint, f"list {kind} of {self._namespace}"):
                return read()
        except SourceError as error:
            if not isinstance(error.__cause__, ApiException) or error.__cause__.status != 403:
                raise
            unread.append(f"{kind} (the account may not list them)")
            return []

    def _json(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        """The server's own JSON: the client's classes drop fields they don't know."""
        answer = call(*arguments, _preload_content=False, _request_timeout=TIMEOUT_S, **options)
        content: dict[str, Any] = json.loads(answer.data)
        told_at = answer.headers.get("Date")
        self._told_at = parsedate_to_datetime(told_at) if told_at else None
        return content

    def _live(self, deployment: Json, replica_sets: Sequence[Json], pods: Sequence[Json]) -> Live:
        own = [one for one in replica_sets if deployment["metadata"]["uid"] in _owners(one)]
        uids = {one["metadata"]["uid"] for one in own}
        return Live(deployment, own, [pod for pod in pods if uids & set(_owners(pod))], self._told_at)

    @property
    def _apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self._api)

    @property
    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._api)


def _items(answer: Json) -> list[dict[str, Any]]:
    """An empty list may come as null."""
    return list(answer["items"] or ())


def _selector_text(selector: Mapping[str, Any]) -> str:
    words = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        values = ",".join(one.get("values") or ())
        match one["operator"]:
            case "In":
                words.append(f"{one['key']} in ({values})")
            case "NotIn":
                words.append(f"{one['key']} notin ({values})")
            case "Exists":
                words.append(one["key"])
            case _:
                words.append(f"!{one['key']}")
    return ",".join(words)


def _owners(thing: Json) -> list[str]:
    return [str(owner["uid"]) for owner in thing["metadata"].get("ownerReferences") or ()]


def _escaped(key: str) -> str:
    """A key inside a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
