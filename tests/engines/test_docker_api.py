"""Only what the rules let go leaves a Docker engine, each thing looked at again, nothing by force."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.engines.log_files import NOBODY
from tests.faults.scene import Scene
from tests.servers.docker_server import DockerServer
from upkeep.domain.clean_docker import DockerRules, Item, has_label, plan_docker
from upkeep.duties.clean_docker import clean_docker, plan_clean_docker
from upkeep.duties.job import Job
from upkeep.duties.until import Until
from upkeep.engines.docker_api import DockerApi, moment
from upkeep.errors import SourceError, Stopped
from upkeep.ledger import Record

WEEK = 168
ALL = {"images_h": WEEK, "containers_h": WEEK, "build_cache_h": WEEK, "volume_label": "upkeep=clean"}


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[DockerServer]:
    with DockerServer(tmp_path / "docker.sock") as server:
        yield server


def job(docker: DockerServer, rules: dict[str, Any] | None = None, **changes: Any) -> Job:
    folder = docker.socket.parent
    (folder / "data").mkdir(exist_ok=True)
    target = {
        "folders": [{"name": "app", "paths": [str(folder / "data")]}],
        "docker": {"url": docker.url, **(ALL if rules is None else rules)},
    }
    return Scene(folder, target).job("sunday", **changes)


def plan(docker: DockerServer, **rules: Any) -> dict[str, Item]:
    with DockerApi(docker.url) as api:
        return {item.name: item for item in plan_docker(DockerRules(**(rules or ALL)), api.holdings(), docker.now)}


def records(docker: DockerServer) -> list[Record]:
    return job(docker).ledger.acts(site="shop", duty="clean_docker")


def test_a_container_ages_from_when_it_stopped_not_from_when_it_was_made(docker: DockerServer) -> None:
    image = docker.image("app:1", built=1)
    docker.container("long-gone", image, hours=WEEK + 1)
    docker.container("just-stopped", image, hours=1, created=5000)
    docker.container("never-started", image, state="created", created=WEEK + 1)
    docker.container("at-work", image, state="running", created=5000)
    found = plan(docker, containers_h=WEEK)
    assert {name: (item.remove, item.reason) for name, item in found.items()} == {
        "long-gone": (True, "stopped for 7 d 1 h, more than 7 d"),
        "just-stopped": (False, "stopped for 1 h, less than 7 d"),
        "never-started": (True, "never started for 7 d 1 h, more than 7 d"),
        "at-work": (False, "it is running"),
    }


def test_an_image_ages_from_when_it_came_here_and_one_that_a_container_uses_stays(docker: DockerServer) -> None:
    used = docker.image("used:1", built=5000)
    docker.container("web", used, state="running")
    stopped = docker.image("stopped:1", built=5000)
    docker.container("batch", stopped, hours=1)
    docker.image("for-tonight:2", built=5000, pulled=1)
    docker.image("forgotten:1", built=5000, pulled=WEEK + 24)
    docker.image(built=WEEK * 2)
    docker.image("same-each-time:1", built=60 * 365 * 24)
    found = plan(docker, images_h=WEEK)
    assert {name: (item.remove, item.reason) for name, item in found.items()} == {
        "used:1": (False, "container web uses it"),
        "stopped:1": (False, "container batch uses it"),
        "for-tonight:2": (False, "unused; here for 1 h, less than 7 d"),
        "forgotten:1": (True, "unused; here for 8 d, more than 7 d"),
        "0000000000a4": (True, "unused; built 14 d ago (the engine doesn't say when it came), more than 7 d"),
        "same-each-time:1": (False, "unused, but nobody knows since when it is here"),
    }


def test_a_volume_goes_only_by_its_label_and_only_when_nothing_is_known_to_use_it(docker: DockerServer) -> None:
    docker.volume("precious", other="label")
    docker.volume("plain")
    docker.volume("other-value", upkeep="keep")
    docker.volume("mounted", users=1, upkeep="clean")
    docker.volume("unknown", users=None, upkeep="clean")
    docker.volume("scratch", upkeep="clean")
    found = plan(docker, volume_label="upkeep=clean")
    assert [name for name, item in found.items() if item.remove] == ["scratch"]
    assert found["mounted"].reason == "1 container uses it"
    assert found["unknown"].reason == "the engine doesn't say whether a container uses it"
    assert has_label({"upkeep": ""}, "upkeep") and not has_label({}, "upkeep=")


def test_what_no_rule_speaks_of_is_left_alone_altogether(docker: DockerServer) -> None:
    image = docker.image("old:1", built=5000)
    docker.container("old", image, hours=5000)
    docker.volume("scratch", upkeep="clean")
    docker.cached("abc", hours=5000)
    assert clean_docker(job(docker, {}))["removed"] == 0
    assert not [method for method, _ in docker.requests if method != "GET"]
    assert set(plan(docker, build_cache_h=WEEK)) == {"abc"}


def test_exactly_what_was_planned_goes_and_the_ledger_has_it(docker: DockerServer) -> None:
    kept, gone = docker.image("kept:1", built=1), docker.image("gone:1", "gone:latest", built=WEEK + 1, size=10**8)
    running, stopped = docker.container("web", kept, state="running"), docker.container("batch", kept, hours=WEEK + 1)
    docker.volume("scratch", upkeep="clean")
    docker.volume("precious")
    docker.cached("old", hours=WEEK + 1)
    docker.cached("new", hours=1)
    docker.cached("busy", hours=WEEK + 1, in_use=True)
    result = clean_docker(job(docker))
    assert (set(docker.images), set(docker.containers)) == ({kept}, {running})
    assert (set(docker.volumes), set(docker.cache)) == ({"precious"}, {"new", "busy"})
    assert gone not in docker.images and stopped not in docker.containers
    (record,) = records(docker)
    assert record.finished
    # Layers that images share are counted once: what they gave back is measured, not added up.
    assert (record.finished.rows, record.finished.bytes) == (4, 10**8 * 8 // 10 + 4096 + 1_000_000 + 1_000_000)
    assert (result["removed"], result["light"], record.detail["light"]) == (4, "green", "green")
    assert record.detail["gone"][0] == "remove container batch, 4.1 kB: stopped for 7 d 1 h, more than 7 d"
    assert record.started.command.startswith("clean images unused for 168 h, containers unused for 168 h")


def test_a_dry_run_only_asks(docker: DockerServer) -> None:
    docker.image("gone:1", built=WEEK + 1)
    assert clean_docker(job(docker), dry_run=True)["planned"] == 1
    assert {method for method, _ in docker.requests} == {"GET"}
    assert records(docker) == []
    assert [item.name for item in plan_clean_docker(job(docker))] == ["gone:1"]


@pytest.mark.parametrize("change", ["started", "ran again", "used", "renamed", "gone"])
def test_what_came_into_use_between_plan_and_act_stays(docker: DockerServer, change: str) -> None:
    image = docker.image("app:1", built=WEEK + 1)
    container = docker.container("batch", docker.image("base:1", built=1), hours=WEEK + 1)
    usage = iter(range(100))

    def happens(method: str, path: str) -> None:
        if path != "/system/df" or next(usage) != 1:  # the second look at the disk comes after the plan
            return
        if change == "started":
            docker.containers[container]["state"] = "running"
        elif change == "ran again":
            docker.containers[container]["stopped"] = docker.now.strftime("%Y-%m-%dT%H:%M:%S.5Z")
        elif change == "used":
            docker.container("new", image, state="running")
        elif change == "renamed":
            docker.images[image]["tags"] = ["app:rollback"]
        else:
            del docker.images[image], docker.containers[container]

    docker.before = happens
    result = clean_docker(job(docker))
    asked = {path for method, path in docker.requests if method == "DELETE"}
    if change in ("started", "ran again"):
        assert container in docker.containers
        assert f"/containers/{container}" not in asked, "it doesn't come to the engine to refuse"
    elif change in ("used", "renamed"):
        assert image in docker.images
        assert "/images/app:1" not in asked
    assert result["light"] == "amber"
    assert len(records(docker)[0].detail["troubles"]) == (2 if change == "gone" else 1)


def test_what_the_engine_refuses_is_said_in_its_words_and_the_rest_goes_on(docker: DockerServer) -> None:
    docker.volume("busy", upkeep="clean")
    docker.volume("scratch", upkeep="clean")

    def happens(method: str, path: str) -> None:
        if (method, path) == ("DELETE", "/volumes/busy"):
            docker.volumes["busy"]["UsageData"]["RefCount"] = 1

    docker.before = happens
    result = clean_docker(job(docker))
    assert (set(docker.volumes), result["removed"]) == ({"busy"}, 1)
    assert "the engine refused: remove busy: volume is in use" in result["summary"]


def test_the_window_and_a_stop_end_it_between_two_things(docker: DockerServer) -> None:
    for number in range(3):
        docker.volume(f"scratch-{number}", upkeep="clean")
    now = datetime.now(UTC)
    result = clean_docker(job(docker, now=lambda: now), until=Until(now))
    assert (result["removed"], result["stopped"], result["light"]) == (0, "the window closed", "amber")
    asked = iter([False, True])
    with pytest.raises(Stopped):
        clean_docker(job(docker), until=Until(told_to_stop=lambda: next(asked)))
    assert len(docker.volumes) == 2
    assert [(record.state, record.finished and record.finished.rows) for record in records(docker)][-1] == ("failed", 1)


@pytest.mark.parametrize("api", ["1.24", "1.38", "1.41", "1.47", "1.52"])
def test_any_release_of_the_api_is_spoken_to_in_its_own(tmp_path: Path, api: str) -> None:
    with DockerServer(tmp_path / "docker.sock", api=api) as docker:
        docker.volume("scratch", upkeep="clean")
        docker.cached("old", hours=WEEK + 1)
        result = clean_docker(job(docker))
        assert docker.volumes == {}
        assert (docker.cache == {}) == (api not in ("1.24", "1.38"))
        assert ("can't remove build cache by age" in result["summary"]) == (api in ("1.24", "1.38"))


def test_an_engine_too_new_to_understand_is_skipped_with_the_reason(tmp_path: Path) -> None:
    with DockerServer(tmp_path / "docker.sock", api="1.99", oldest="1.60") as docker:
        assert "speaks API 1.60 to 1.99, Upkeep 1.24 to 1.47" in clean_docker(job(docker))["skipped"]


@pytest.mark.parametrize("trouble", ["no socket", "nobody listens", "not docker", "cuts the line", "no right"])
def test_an_engine_that_cant_be_reached_is_amber_and_no_error(tmp_path: Path, trouble: str) -> None:
    docker = DockerServer(tmp_path / "docker.sock")
    listener = None
    if trouble == "no socket":
        docker._server.server_close()
        docker.socket.unlink()
    elif trouble == "nobody listens":
        docker._server.server_close()
    elif trouble in ("not docker", "cuts the line"):
        docker._server.server_close()
        docker.socket.unlink()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(docker.socket))
        listener.listen()
        said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" if trouble == "not docker" else b""
        threading.Thread(target=_say_once, args=(listener, said), daemon=True).start()
    elif os.geteuid() != 0:
        pytest.skip("takes another account")
    work = job(docker)
    if trouble == "no right":
        with pytest.raises(SourceError, match="permission denied") as raised:
            os.seteuid(NOBODY)
            try:
                DockerApi(docker.url).__enter__()
            finally:
                os.seteuid(0)
        assert "group docker" in raised.value.hint
        docker._server.server_close()
        return
    result = clean_docker(work)
    (record,) = records(docker)
    assert (record.state, record.detail["light"], result["light"]) == ("skipped", "amber", "amber")
    assert str(docker.socket) in result["skipped"] and result["hint"]
    if listener:
        listener.close()


def _say_once(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(said)


def test_go_writes_times_that_python_doesnt_read_and_a_year_one_for_never() -> None:
    assert moment("2026-10-01T10:00:00.123456789+08:00") == datetime(2026, 10, 1, 2, 0, 0, 123456, tzinfo=UTC)
    assert moment("2026-10-01T02:00:00Z") == datetime(2026, 10, 1, 2, tzinfo=UTC)
    assert moment("0001-01-01T00:00:00Z") == moment("") < datetime.now(UTC) - timedelta(days=365_000)
