"""As much of Airflow's REST API as the demo needs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

END_STATES = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})

_open = build_opener(ProxyHandler({})).open  # this machine only: a proxy in the environment is not for us


class NotAnswered(RuntimeError):
    """Airflow's API server could not be reached, or it answered with an error."""


@dataclass(frozen=True)
class TaskState:
    """One task of a run, or one member of a mapped one."""

    task_id: str
    map_index: int
    label: str
    state: str
    try_number: int
    seconds: float

    @property
    def key(self) -> tuple[str, int]:
        return self.task_id, self.map_index

    @property
    def name(self) -> str:
        return f"{self.task_id} [{self.label}]" if self.label else self.task_id


class Rest:
    """Logs in when first needed."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user, self._password = url, user, password
        self._token = ""

    def health(self) -> dict[str, str]:
        """The state of each component; all ``unknown`` while the API server doesn't answer."""
        try:
            found = self._ask("GET", "/api/v2/monitor/health")
        except NotAnswered:
            found = {}
        names = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return {name: (found.get(name) or {}).get("status") or "unknown" for name in names}

    def has_dag(self, dag_id: str) -> bool:
        return any(dag["dag_id"] == dag_id for dag in self._api("GET", "/dags")["dags"])

    def import_errors(self) -> list[str]:
        return [error["stack_trace"] for error in self._api("GET", "/importErrors")["import_errors"]]

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run; returns its id."""
        body = {"logical_date": None, "conf": conf}  # the date must be sent, and null is what a form sends
        return str(self._api("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self._api("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        found = self._api("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances?limit=500")
        items = found["task_instances"]
        labels = {_place(item): item["rendered_map_index"] for item in items if _is_labelled(item)}
        return [_task_state(item, labels.get(_place(item)) or item["rendered_map_index"] or "") for item in items]

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned; None when it returned nothing."""
        where = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            value = self._api("GET", f"{where}?stringify=false")["value"]
        except NotAnswered:
            return None
        return json.loads(value) if isinstance(value, str) else value

    def log(self, dag_id: str, run_id: str, task: TaskState) -> list[str]:
        where = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task.task_id}/logs/{max(task.try_number, 1)}"
        content = self._api("GET", f"{where}?map_index={task.map_index}&full_content=true")["content"]
        return [line for item in content for line in _log_lines(item)]

    def _api(self, method: str, path: str, body: object = None) -> Any:
        if not self._token:
            login = {"username": self.user, "password": self._password}
            self._token = str(self._ask("POST", "/auth/token", login)["access_token"])
        return self._ask(method, f"/api/v2{path}", body)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, headers, method=method)  # noqa: S310 - our own server's URL
        try:
            with _open(request, timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise NotAnswered(f"{method} {path}: {error.code} {error.read(2_000).decode(errors='replace')}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise NotAnswered(f"{method} {path}: {error}") from error


def patiently(rest: Rest, dag_id: str, run_id: str, *, tries: int = 5) -> tuple[str, list[TaskState]]:
    """State of a run and its tasks; a busy server (SQLite) may refuse a request or two."""
    for left in reversed(range(tries)):
        try:
            # The run first: when it has ended, the tasks read after it are final too.
            return rest.run_state(dag_id, run_id), rest.tasks(dag_id, run_id)
        except NotAnswered:
            if not left:
                raise
            time.sleep(1)
    raise AssertionError("not reached")


def _place(item: dict[str, Any]) -> tuple[str, int]:
    """Which member of which group a task is."""
    return item["task_id"].rpartition(".")[0], item["map_index"]


def _is_labelled(item: dict[str, Any]) -> bool:
    """A mapped task has its label only once it runs, and its number until then; one beside it may have run already."""
    return item["rendered_map_index"] not in (None, str(item["map_index"]))


def _task_state(item: dict[str, Any], label: str) -> TaskState:
    return TaskState(
        task_id=item["task_id"],
        map_index=item["map_index"],
        label=label,
        state=item["state"] or "",
        try_number=item["try_number"],
        seconds=item["duration"] or 0.0,
    )


def _log_lines(item: Any) -> list[str]:
    if isinstance(item, str):
        return item.splitlines()
    lines = str(item.get("event", "")).splitlines()
    for error in item.get("error_detail") or ():
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines
