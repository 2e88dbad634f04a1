"""A site with a cluster: its Deployments on the real test cluster, its health addresses on a little HTTP server.

Duties run in this process, or in one that kills itself at a chosen moment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.plain_site import plain_job, plain_site
from tests.servers.kubernetes_accounts import account
from tests.servers.kubernetes_cluster import Namespace
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.rollout import Live
from upkeep.duties.cluster_work import Wait
from upkeep.duties.job import Job, Run
from upkeep.duties.plan_rollout import plan_rollout
from upkeep.duties.roll_back import roll_back
from upkeep.duties.roll_out import roll_out
from upkeep.engines.deployments import Deployments
from upkeep.ledger import Ledger, Record, default_url
from upkeep.ledger import verify as verify_ledger

ROOT = Path(__file__).resolve().parents[2]
Duty = Callable[[], "Wait | dict[str, Any]"]


class Health:
    """Answers 200 on every path but those in ``failing``; ``happens`` is called at each request."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.happens: Callable[[str], None] = lambda path: None
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                health.happens(self.path)
                self.send_response(500 if self.path in health.failing else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Rollouts:
    """One site ``shop`` with the deployments ``names``, reached as the account of ``include/kubernetes/rollout.yaml``.

    :param chained: each is ``after`` the one before it.
    """

    clock: Callable[[], datetime] | None = None
    """The workers', where it isn't right."""

    def __init__(
        self, folder: Path, namespace: Namespace, health_url: str = "", *names: str, chained: bool = True,
        replicas: int = 1, settle_s: int = 0,
    ) -> None:  # fmt: skip
        self.folder, self.namespace = folder, namespace
        endpoint = account(namespace, "rollout", folder=folder)
        self.login: dict[str, Any] = {"host": endpoint.host, "secret": endpoint.secret, "extra": dict(endpoint.extra)}
        (folder / "store").mkdir(exist_ok=True)
        self.settings: dict[str, Any] = {
            "conn_id": "rolled", "namespace": namespace.name, "settle_s": settle_s,
            "deployments": [
                {"name": name, "timeout_s": 30, "after": [names[number - 1]] if number and chained else [],
                 **({"health_url": f"{health_url}/{name}"} if health_url else {})}
                for number, name in enumerate(names)
            ],
        }  # fmt: skip
        for name in names:
            namespace.deploy(name, f"reg/{name}:1", replicas=replicas, progressDeadlineSeconds=60)
        for name in names:
            namespace.wait_until_available(name, replicas)

    def job(self, run_id: str = "run-1", **changes: Any) -> Job:
        own = {"now": self.clock} if self.clock else {}
        run = Run(run_id=run_id, actor="zhang.san", trigger="manual")
        site = plain_site(self.folder, cluster=self.settings)
        return plain_job(site, self.folder, run_id, **{"run": run, "connect": self._connect, **own, **changes})

    def _connect(self, conn_id: str) -> Endpoint:
        return Endpoint(conn_id, **self.login)

    def plan(self, strategy: Any = "all", run_id: str = "run-1", **asked: str) -> dict[str, Any]:
        return plan_rollout(
            self.job(run_id), {name.replace("_", "-"): image for name, image in asked.items()}, strategy
        )

    def roll_out(self, plan: Mapping[str, Any], run_id: str = "run-1", **options: Any) -> dict[str, Any]:
        return finish(lambda: roll_out(self.job(run_id), plan, approver="li.si", **options), self.live)

    def roll_out_until(self, duty: str, plan: Mapping[str, Any], rows: int = 1) -> None:
        """As far as this: the ledger has so many rows of a duty."""
        while len(self.acts(duty)) < rows:
            roll_out(self.job(), plan, approver="li.si")

    def roll_back(self, run_id: str = "run-1") -> dict[str, Any]:
        return finish(lambda: roll_back(self.job(run_id)), self.live)

    def live(self, name: str) -> Live:
        with Deployments(self.namespace.endpoint, self.namespace.name) as deployments:
            return deployments.read(name)

    def images(self) -> dict[str, str]:
        return {one["name"]: self.live(one["name"]).images for one in self.settings["deployments"]}

    def acts(self, duty: str, run_id: str = "run-1") -> list[Record]:
        return self.job().ledger.acts(site="shop", duty=duty, run_id=run_id)

    def require_clean_ledger(self) -> None:
        assert verify_ledger(Ledger(default_url(self.folder))).problems == ()

    def set_image(self, name: str, image: str) -> None:
        """As somebody would with kubectl."""
        container = {"containers": [{"name": name, "image": image}]}
        self.namespace.apps.patch_namespaced_deployment(
            name, self.namespace.name, {"spec": {"template": {"spec": container}}}
        )

    def require_killed(self, moment: str, plan: Mapping[str, Any]) -> None:
        """Roll out, and on failure back, in a process of its own that kills itself with SIGKILL at ``moment``."""
        what = {
            "folder": str(self.folder), "settings": self.settings, "namespace": self.namespace.name,
            "moment": moment, "plan": plan, "login": self.login,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.duties.rollouts", json.dumps(what)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, f"was not killed at {moment}: {done.stdout}{done.stderr}"


def finish(duty: Duty, live: Callable[[str], Live]) -> dict[str, Any]:
    """Call a duty until it has a result; wait between as the trigger would."""
    while isinstance(found := duty(), Wait):
        while time.time() < found.until.timestamp():
            states = [live(name).progress.state for name in found.names]
            if states and ("failed" in states or set(states) == {"done"}):
                break
            time.sleep(0.1)
    return found


@contextmanager
def patched_to_die(moment: str) -> Iterator[None]:
    """Before or after the patch of the Deployment with that name: ``before set_image b``, ``after undo a``."""
    when, method, name = moment.split()
    plain = getattr(Deployments, method)

    def dying(self: Deployments, live: Live, *arguments: Any, **options: Any) -> None:
        if live.name == name and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, live, *arguments, **options)
        if live.name == name and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Deployments, method, dying)
    try:
        yield
    finally:
        setattr(Deployments, method, plain)


def _main(what: dict[str, Any]) -> None:
    from kubernetes import client

    from upkeep.errors import RolloutFailed

    scene = Rollouts.__new__(Rollouts)  # the child neither makes nor waits for the deployments
    scene.folder, scene.settings, scene.login = Path(what["folder"]), what["settings"], what["login"]
    scene.namespace = Namespace(what["namespace"], scene._connect("rolled"), client.ApiClient())
    with patched_to_die(what["moment"]):
        try:
            scene.roll_out(what["plan"])
        except RolloutFailed:
            scene.roll_back()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
