"""Waits for rollouts in the triggerer, where waiting holds no worker: one watch for all Deployments of one task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from upkeep.domain.rollout import Json, judge_rollout

log = logging.getLogger(__name__)

WATCH_S = 60
"""The server ends a watch after this many seconds. A connection that died without a word is noticed soon after."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Before each new try when the API can't be reached."""


class RolloutTrigger(BaseTrigger):
    """Fires once the rollouts of ``names`` are all done or one of them failed, and at ``until`` at the latest.

    It only wakes the task, which then judges for itself. Nothing is kept in memory and ``until`` is absolute, so a
    triggerer that takes over from a dead one goes on as if nothing had been.

    :param until: ISO 8601 with a zone.
    """

    def __init__(self, *, conn_id: str, namespace: str, names: list[str], until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own
        self.conn_id = conn_id
        self.namespace = namespace
        self.names = names
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "upkeep.triggers.rollout.RolloutTrigger",
            {"conn_id": self.conn_id, "namespace": self.namespace, "names": self.names, "until": self.until},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        left = (datetime.fromisoformat(self.until) - datetime.now(UTC)).total_seconds()
        states: dict[str, str] = {}
        try:
            async with asyncio.timeout(max(left, 0)):
                if self.names:
                    await self._follow(states)
                else:
                    await asyncio.sleep(left + 1)
        except TimeoutError:
            log.info("the time of %s is up", ", ".join(self.names) or "the gates")
        yield TriggerEvent({"states": states})  # type: ignore[no-untyped-call]  # likewise

    async def _follow(self, states: dict[str, str]) -> None:
        """Return when there is something to tell."""
        tries = 0
        while not self._is_decided(states):
            try:
                async with self._api() as api:
                    await self._watch(api, states)
                tries = 0
            except Exception as error:
                _heed_cancellation()
                # Whatever keeps it from watching, the rollout goes on: to give up here would take a good one back. The
                # deadline still holds, and the task that it wakes meets the same trouble and tells it properly.
                log.warning("can't watch %s now, trying again: %r", self.namespace, error)
                await asyncio.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
                tries += 1
            _heed_cancellation()

    async def _watch(self, api: Any, states: dict[str, str]) -> None:
        from kubernetes_asyncio.client import AppsV1Api
        from kubernetes_asyncio.watch import Watch

        apps = AppsV1Api(api)
        options: dict[str, Any] = {"_request_timeout": WATCH_S + 10}
        if len(self.names) == 1:
            options["field_selector"] = f"metadata.name={self.names[0]}"
        answer: Any = await apps.list_namespaced_deployment(self.namespace, _preload_content=False, **options)
        found = await answer.json()
        present = {one["metadata"]["name"]: one for one in found["items"] or ()}
        for name in self.names:
            self._see(states, name, present.get(name))
        async with Watch(return_type="object") as watch:
            seen = watch.stream(
                apps.list_namespaced_deployment, self.namespace,
                resource_version=found["metadata"]["resourceVersion"], timeout_seconds=WATCH_S, **options,
            )  # fmt: skip
            if self._is_decided(states):
                return
            async for event in seen:
                deployment = event["raw_object"]
                gone = event["type"] == "DELETED"
                self._see(states, deployment["metadata"]["name"], None if gone else deployment)
                if self._is_decided(states):
                    return

    def _see(self, states: dict[str, str], name: str, deployment: Json | None) -> None:
        if name not in self.names:
            return
        state = judge_rollout(deployment).state if deployment else "failed"
        if states.get(name) != state:
            log.info("%s is %s", name, state)
        states[name] = state

    def _is_decided(self, states: dict[str, str]) -> bool:
        return "failed" in states.values() or [states.get(name) for name in self.names] == ["done"] * len(self.names)

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[Any]:
        """By the provider's hook; it doesn't know the connection of a host with a token, which Upkeep takes as well."""
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
        from kubernetes_asyncio.client import ApiClient, Configuration

        connection = await get_async_connection(self.conn_id)
        extra = await get_async_extra_dejson(connection)
        if connection.host and connection.password and not extra.get("kube_config") and not extra.get("in_cluster"):
            host = connection.host
            settings = Configuration(
                host=host if "://" in host else f"https://{host}:{connection.port or 6443}",
                api_key={"BearerToken": f"Bearer {connection.password}"},
            )
            settings.ssl_ca_cert = extra.get("ssl_ca_cert")
            async with ApiClient(settings) as api:
                yield api
            return
        async with AsyncKubernetesHook(conn_id=self.conn_id).get_conn() as api:
            yield api


def _heed_cancellation() -> None:
    """End where a library has swallowed it, as asgiref's ``sync_to_async`` does while its thread is at work.

    The time that is up and the triggerer that stops are told just once: who misses that goes on for ever.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
