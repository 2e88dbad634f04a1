"""Undo, restart and scale on a real control plane: done once, confirmed, refused where they would bring nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.rollouts import Health, Rollouts, finish
from tests.plain_site import plain_site
from tests.servers.kubernetes_cluster import Namespace
from upkeep.duties.cluster_work import Wait
from upkeep.duties.restart import plan_restart, restart
from upkeep.duties.scale import plan_scale, scale
from upkeep.duties.undo import plan_undo, undo
from upkeep.errors import RolloutFailed, RolloutRefused


def carry_out(scene: Rollouts, duty: Callable[..., Any], plan: dict[str, Any], run_id: str) -> dict[str, Any]:
    return finish(lambda: duty(scene.job(run_id), plan, approver="li.si"), scene.live)


def test_undo_restart_and_scale_are_done_once_and_confirmed(tmp_path: Path, namespace: Namespace) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a")
    with pytest.raises(RolloutRefused, match="no ReplicaSet of a previous revision is left"):
        plan_undo(scene.job("undo"), "a")

    scene.set_image("a", "reg/a:bad")
    namespace.wait_for("the new pod", lambda: len(scene.live("a").pods) == 2)
    plan = plan_undo(scene.job("undo"), "a")
    assert plan["lines"][0].startswith("a: back to revision 1: reg/a:bad -> reg/a:1; 0 of 1 pods ready now")
    undo(scene.job("undo"), plan, approver="li.si")  # killed before it could wait
    found = carry_out(scene, undo, plan, "undo")
    assert (found["images"], found["revision"], found["light"]) == ("reg/a:1", 3, "green")
    assert [(record.state, record.started.approver) for record in scene.acts("undo", "undo")] == [("done", "li.si")]
    assert carry_out(scene, undo, plan, "undo")["revision"] == 3, "an undo done twice would be a redo"

    before = set(scene.live("a").restarts)
    found = carry_out(scene, restart, plan_restart(scene.job("restart"), "a"), "restart")
    assert (found["revision"], before & set(scene.live("a").restarts)) == (4, set())

    found = carry_out(scene, scale, plan_scale(scene.job("scale"), "a", 3), "scale")
    assert (found["replicas"], scene.live("a").ready) == (3, 3)
    with pytest.raises(RolloutRefused, match="has 3 replicas already"):
        plan_scale(scene.job("scale-2"), "a", 3)
    with pytest.raises(RolloutRefused, match="no CPU figures for its pods"):
        plan_scale(scene.job("scale-3"), "a")

    plan = plan_restart(scene.job("late"), "a")
    scene.set_image("a", "reg/a:hotfix")
    with pytest.raises(RolloutRefused, match=r"isn't as it was planned|a rollout is under way"):
        restart(scene.job("late"), plan, approver="li.si")
    scene.require_clean_ledger()


def test_scaled_to_zero_its_own_address_is_not_asked_for_and_every_other_is(
    tmp_path: Path, namespace: Namespace
) -> None:
    health = Health()
    scene = Rollouts(tmp_path, namespace, health.url, "a", "b")

    def without(name: str, *failing: str) -> None:
        health.happens = lambda _: None if scene.live(name).replicas else health.failing.update(failing)

    without("a", "/a")
    found = carry_out(scene, scale, plan_scale(scene.job("scale"), "a", 0), "scale")
    assert (found["replicas"], found["light"]) == (0, "green")

    health.failing.clear()
    without("b", "/a", "/b")
    with pytest.raises(RolloutFailed, match="http a: broke") as failed:
        carry_out(scene, scale, plan_scale(scene.job("other"), "b", 0), "other")
    assert "http b" not in str(failed.value)
    health.stop()


@pytest.mark.parametrize(("length", "fits"), [(8, True), (60, False)])
def test_however_many_addresses_fail_before_the_ledger_keeps_them_or_nothing_is_changed(
    tmp_path: Path, namespace: Namespace, length: int, fits: bool
) -> None:
    health = Health()
    scene = Rollouts(tmp_path, namespace, "", "a")
    tls = health.url.replace("http:", "https:")
    endpoints = [{"name": f"e{number}".ljust(length, "x"), "url": f"{tls}/{number}"} for number in range(85)]
    job = scene.job()
    job.site = plain_site(tmp_path, cluster=scene.settings, endpoints=endpoints)
    plan = plan_restart(job, "a")
    if fits:
        found = finish(lambda: restart(job, plan, approver="li.si"), scene.live)
        assert found["light"] == "amber", "all of them failed already"
    else:
        with pytest.raises(RolloutRefused, match="the ledger has no room for the 86 gates as they were"):
            restart(job, plan, approver="li.si")
        assert scene.live("a").revision == 1
    health.stop()


def test_a_step_that_does_not_get_there_in_time_fails_with_the_cluster_s_words(
    tmp_path: Path, namespace: Namespace
) -> None:
    scene = Rollouts(tmp_path, namespace, "", "a")
    namespace.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}}
    )
    core = namespace.core
    namespace.wait_for(
        "the quota", lambda: bool(core.read_namespaced_resource_quota("one", namespace.name).status.used)
    )
    plan = plan_scale(scene.job(), "a", 2)
    assert isinstance(scale(scene.job(), plan, approver=""), Wait)
    namespace.wait_for("the refusal", lambda: bool(scene.live("a").troubles()))
    with pytest.raises(RolloutFailed, match=r"not finished within 30 s: 1 of 2 .*pods can't be made: .*exceeded quota"):
        scale(scene.job(now=lambda: datetime.now(UTC) + timedelta(seconds=31)), plan, approver="")

    namespace.create({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "hpa"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}},
    })  # fmt: skip
    with pytest.raises(RolloutRefused, match="is scaled by autoscaler hpa, which would undo it"):
        plan_scale(scene.job("scale"), "a", 4)
