"""The trigger that waits for rollouts, against a real control plane: when it fires, and what it survives."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.servers.kubernetes_accounts import account
from tests.servers.kubernetes_cluster import Namespace
from upkeep.triggers import rollout
from upkeep.triggers.rollout import RolloutTrigger


@pytest.fixture
def trigger(airflow_database: None, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    extra = dict(namespace.endpoint.extra)
    monkeypatch.setenv("AIRFLOW_CONN_WATCHED", json.dumps({"conn_type": "kubernetes", "extra": extra}))

    def make(*names: str, seconds: float = 30) -> RolloutTrigger:
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        return RolloutTrigger(conn_id="watched", namespace=namespace.name, names=list(names), until=until)

    return make


async def fired(trigger: RolloutTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        found: dict[str, Any] = event.payload
        return found
    raise AssertionError("it never fired")


def set_image(namespace: Namespace, name: str, image: str) -> None:
    container = {"containers": [{"name": name, "image": image}]}
    namespace.apps.patch_namespaced_deployment(name, namespace.name, {"spec": {"template": {"spec": container}}})


async def restarted(trigger: RolloutTrigger) -> RolloutTrigger:
    """As a triggerer that is killed and another that takes over: nothing goes along but what was serialised."""
    task = asyncio.create_task(fired(trigger))
    await asyncio.sleep(0.3)
    task.cancel()
    path, arguments = trigger.serialize()
    assert path == "upkeep.triggers.rollout.RolloutTrigger"
    return RolloutTrigger(**json.loads(json.dumps(arguments)))


def test_it_fires_when_all_are_done_also_in_a_triggerer_that_takes_over(
    trigger: Callable[..., Any], namespace: Namespace
) -> None:
    for name in ("a", "b"):
        namespace.deploy(name)

    async def run() -> dict[str, Any]:
        return await fired(await restarted(trigger("a", "b")))

    assert asyncio.run(run()) == {"states": {"a": "done", "b": "done"}}


def test_it_fires_at_the_first_failure_and_does_not_wait_for_the_others(
    trigger: Callable[..., Any], namespace: Namespace
) -> None:
    namespace.deploy("a", "app:bad")
    namespace.deploy("b", "app:bad", paused=True)
    assert asyncio.run(fired(trigger("a", "b")))["states"] == {"a": "waiting", "b": "failed"}
    assert asyncio.run(fired(trigger("gone")))["states"] == {"gone": "failed"}


def test_its_time_is_absolute_and_an_api_that_is_away_neither_shortens_nor_lengthens_it(
    trigger: Callable[..., Any], namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WATCHED", json.dumps({"conn_type": "kubernetes", "extra": {"kube_config": {}}}))

    async def run() -> float:
        first = trigger("a", seconds=2)
        begun = time.monotonic()
        await fired(await restarted(first))
        return time.monotonic() - begun

    assert 1.9 < asyncio.run(run()) < 4
    assert asyncio.run(fired(trigger("a", seconds=-60))) == {"states": {}}, "long over: at once"


def test_it_watches_again_after_the_server_has_ended_the_watch(
    trigger: Callable[..., Any], namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "WATCH_S", 1)
    namespace.deploy("a", "app:bad")

    async def run() -> dict[str, Any]:
        waiting = asyncio.create_task(fired(trigger("a")))
        await asyncio.sleep(2.5)
        assert not waiting.done()
        await asyncio.to_thread(set_image, namespace, "a", "app:2")
        return await waiting

    assert asyncio.run(run()) == {"states": {"a": "done"}}


def test_it_watches_with_a_token_that_may_do_no_more_than_the_shipped_role(
    trigger: Callable[..., Any], namespace: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint = account(namespace, "rollout", folder=tmp_path)
    connection = {
        "conn_type": "kubernetes", "host": endpoint.host, "password": endpoint.secret, "extra": dict(endpoint.extra),
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_WATCHED", json.dumps(connection))
    namespace.deploy("a")
    assert asyncio.run(fired(trigger("a"))) == {"states": {"a": "done"}}
