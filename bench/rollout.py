"""Rolling updates: how soon a finished one is noticed, and what waiting for twenty costs: python -m bench.rollout

Needs KUBECONFIG, which names a test cluster; everything happens in namespaces of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from bench.measure import Verdict, markdown, tell, verdict_table
from demo.airflow_home import COMPONENTS, AirflowHome
from demo.processes import stop_all
from demo.screen import Screen
from tests.servers.kubernetes_cluster import Namespace, deployment, new_namespace

AT_MOST_S = 1.0
MANY = 20
READY_AFTER_S = 30
"""How long each of the many takes to get ready: long enough to look at what the wait holds."""
ON_THE_WAY = ("scheduled", "queued", "running", "deferred", "up_for_retry")


def run(*, rounds: int) -> list[Verdict]:
    return [*noticing(rounds=rounds), *waiting()]


def noticing(*, rounds: int) -> list[Verdict]:
    """The trigger against ``kubectl rollout status``, or where there is none, against asking the API every 50 ms."""
    from upkeep.engines.deployments import Deployments
    from upkeep.triggers.rollout import RolloutTrigger

    kubectl = shutil.which("kubectl")
    late: list[float] = []
    with new_namespace() as namespace, Deployments(namespace.endpoint, namespace.name) as deployments:
        extra = dict(namespace.endpoint.extra)
        os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "kubernetes", "extra": extra})
        namespace.deploy("web", replicas=3)
        namespace.wait_until_available("web", 3)
        for number in range(rounds + 1):
            set_images(namespace, ["web"], f"app:{number + 2}")
            until = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
            trigger = RolloutTrigger(conn_id="bench", namespace=namespace.name, names=["web"], until=until)
            seen: list[float] = []

            def look(seen: list[float] = seen) -> None:
                if kubectl:
                    arguments = ["rollout", "status", "deployment/web", "-n", namespace.name]
                    subprocess.run([kubectl, *arguments], check=True, capture_output=True)
                else:
                    while deployments.read("web").progress.state != "done":
                        time.sleep(0.05)
                seen.append(time.monotonic())

            other = threading.Thread(target=look)
            other.start()
            fired = asyncio.run(_fired(trigger))
            other.join()
            gap = fired - seen[0]
            tell(f"  round {number}/{rounds}: the trigger fired {1000 * gap:+.0f} ms after the other saw it")
            if number:  # before that it loads its libraries, as a triggerer does once in its life
                late.append(gap)
    worst = max(late)
    measured = f"{1000 * statistics.median(late):+.0f} ms (median), {1000 * worst:+.0f} ms (worst)"
    what = f"A finished rollout is noticed, after {'kubectl' if kubectl else 'asking every 50 ms'}"
    return [Verdict(what, measured, f"below {AT_MOST_S:g} s", worst < AT_MOST_S)]


async def _fired(trigger: Any) -> float:
    async for _ in trigger.run():
        return time.monotonic()
    raise AssertionError("it never fired")


def waiting() -> list[Verdict]:
    """Twenty at once under the real scheduler, which may run one task at a time; a triggerer is killed meanwhile."""
    names = [f"web-{number:02d}" for number in range(MANY)]
    with (
        tempfile.TemporaryDirectory(prefix="upkeep-bench-") as folder_name,
        new_namespace() as namespace,
        Screen() as screen,
        AirflowHome(Path(folder_name) / "airflow") as airflow,
    ):
        folder = Path(folder_name)
        os.environ["AIRFLOW__CORE__PARALLELISM"] = "1"
        os.environ["AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC"] = "1"
        for name in names:
            one = deployment(name, "app:1")
            one["spec"]["template"]["metadata"]["annotations"] = {"testbed/ready-after": "0"}
            namespace.create(one)
        sites = write_site(folder, namespace, names)
        connection = json.dumps({"conn_type": "kubernetes", "extra": dict(namespace.endpoint.extra)})
        airflow.start(screen, sites, {"bench_k8s": connection}, ["bench_rolling_update", "bench_cluster_action"])
        for name in names:
            slow = {"spec": {"template": {"metadata": {"annotations": {"testbed/ready-after": str(READY_AFTER_S)}}}}}
            namespace.apps.patch_namespaced_deployment(name, namespace.name, slow)
        wait_until_done(namespace, names)
        rest, dag_id = airflow.rest, "bench_rolling_update"
        run_id = rest.trigger(dag_id, {f"image_{name}": "2" for name in names})
        begun = deferred_at = 0.0
        held: list[bool] = []
        beside = ""
        while rest.run_state(dag_id, run_id) not in ("success", "failed"):
            states = {task.task_id: task.state for task in rest.tasks(dag_id, run_id)}
            screen.waiting(", ".join(f"{name} is {state}" for name, state in states.items() if state in ON_THE_WAY))
            if states.get("roll_out") == "running" and not begun:
                begun = time.monotonic()
            if states.get("roll_out") == "deferred":
                if not deferred_at:
                    deferred_at = time.monotonic()
                    beside = rest.trigger(
                        "bench_cluster_action", {"deployment": names[0], "action": "undo", "dry_run": True}
                    )
                    kill_triggerer(airflow)
                    tell("  all twenty are under way; the triggerer was killed, another takes over")
                held.append("running" in states.values())
            time.sleep(0.3)
        done_at = time.monotonic()
        state = rest.run_state(dag_id, run_id)
        waited = done_at - deferred_at
        other = {task.task_id: task.state for task in rest.tasks("bench_cluster_action", beside)}
        seconds = {task.task_id: task.seconds for task in rest.tasks(dag_id, run_id)}
    rows = [(name, f"{took:.1f}") for name, took in seconds.items()]
    print(f"\n### {MANY} deployments at once\n\n{markdown(('task', 's of its last stretch on a worker'), rows)}\n")
    print(f"The run ended with {state}, {waited:.0f} s after it began to wait; beside it: {other}\n")
    share = 100 * sum(held) / max(1, len(held))
    ran_beside = other.get("plan") in ("success", "failed")
    return [
        Verdict(f"Worker slots held while {MANY} roll out", f"{share:.0f} % of {len(held)} looks", "none", share == 0),
        Verdict("The only slot ran another DAG meanwhile", "yes" if ran_beside else "no", "yes", ran_beside),
        Verdict("The update ended well with its triggerer killed", state, "success", state == "success"),
    ]


def set_images(namespace: Namespace, names: list[str], image: str) -> None:
    for name in names:
        change = {"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}}
        namespace.apps.patch_namespaced_deployment(name, namespace.name, change)


def wait_until_done(namespace: Namespace, names: list[str]) -> None:
    from upkeep.engines.deployments import Deployments

    with Deployments(namespace.endpoint, namespace.name) as deployments:
        namespace.wait_for(
            f"{len(names)} rollouts",
            lambda: all(deployments.read(name).progress.state == "done" for name in names),
            180,
        )


def kill_triggerer(airflow: AirflowHome) -> None:
    old = next(program for program in airflow._programs if program.name == "triggerer")
    airflow._programs.remove(old)  # it hasn't ended by itself
    stop_all([old])
    airflow._program("triggerer", COMPONENTS["triggerer"])


def write_site(folder: Path, namespace: Namespace, names: list[str]) -> Path:
    sites = folder / "sites"
    sites.mkdir()
    (folder / "store").mkdir()
    site = {
        "name": "bench", "title": "bench", "timezone": "UTC", "rhythms": {"daily": {"at": "0 2 * * *", "length_h": 1}},
        "store": {"url": f"file://{folder}/store"}, "spool": f"{folder}/spool", "retention": {"daily": 1},
        "cluster": {
            "conn_id": "bench_k8s", "namespace": namespace.name, "approval": False, "settle_s": 0,
            "deployments": [{"name": name} for name in names],
        },
    }  # fmt: skip
    (sites / "bench.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    return sites


if __name__ == "__main__":
    verdicts = run(rounds=5)
    print(f"## Targets\n\n{verdict_table(verdicts)}")
    sys.exit(0 if all(verdict.met for verdict in verdicts) else 1)
