"""docker-compose.yaml and Dockerfile: by the Compose specification's schema, by rules of ours, and by Compose itself
where it is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from tests.servers.databases import MySqlDatabase, PostgresDatabase
from upkeep.connections import connection_from_environment
from upkeep.errors import ConnectionUnknown
from upkeep.site import load_sites

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yaml"
SITES = ROOT / "docker" / "demo" / "sites"
OPT_IN = "UPKEEP_TEST_COMPOSE"


class Service(BaseModel):
    """What our tests look at, and our own rules. What a Compose file may say at all is the specification's schema's."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9./-]+:[a-z0-9.-]*\d+\.\d+[a-z0-9.-]*$")]
    """With a tag that says a release, so that tomorrow's start is today's software."""
    deploy: dict[str, Any]
    logging: dict[str, Any]
    restart: Literal["unless-stopped", "no"]
    build: Any = None
    healthcheck: dict[str, Any] = {}
    command: Any = None
    user: str | None = None
    cap_drop: list[str] = []
    security_opt: list[str] = []
    environment: dict[str, Any] = {}
    secrets: list[str | dict[str, str]] = []
    volumes: list[str] = []
    ports: list[Annotated[str, Field(pattern=r"^127\.0\.0\.1:")]] = []
    profiles: list[Literal["celery", "demo"]] = []
    depends_on: dict[str, Any] = {}


class ComposeFile(BaseModel):
    services: dict[str, Service]
    secrets: dict[str, Any]
    volumes: dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> ComposeFile:
    return ComposeFile.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def secrets_of(service: Service) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.secrets}


def by_the_specification(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_file_is_one_by_the_compose_specification_which_refuses_a_typing_error(tmp_path: Path) -> None:
    done = by_the_specification(FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "docker-compose.yaml"
    wrong.write_text(FILE.read_text(encoding="utf-8").replace("healthcheck:", "healtcheck:"), encoding="utf-8")
    refused = by_the_specification(wrong)
    assert refused.returncode == 1
    assert "healtcheck" in refused.stdout


def test_each_service_has_limits_rotated_logs_a_pinned_image_and_a_health_check(compose: ComposeFile) -> None:
    for name, service in compose.services.items():
        assert service.logging["options"].keys() >= {"max-size", "max-file"}, name
        assert service.deploy["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        assert service.healthcheck or service.restart == "no", f"{name} runs on without a health check"
        if service.build:
            assert service.user == "50000:0", f"{name} must not be root"
        if service.image.startswith(("airflow", "redis")):
            assert (service.cap_drop, service.security_opt) == (["ALL"], ["no-new-privileges:true"]), name


def test_airflows_parts_are_all_there_and_profiles_add_the_rest(compose: ComposeFile) -> None:
    always = {name for name, service in compose.services.items() if not service.profiles}
    assert always == {"postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer"}
    by_profile = {name: {n for n, s in compose.services.items() if name in s.profiles} for name in ("celery", "demo")}
    assert by_profile["celery"] == {"broker", "worker"}
    assert len(by_profile["demo"]) == 5


def test_no_secret_stands_in_the_file_and_each_is_made_and_used(compose: ComposeFile, tmp_path: Path) -> None:
    for name, service in compose.services.items():
        for key, value in service.environment.items():
            if re.search(r"PASSWORD|SECRET_KEY|JWT_SECRET|FERNET|SQL_ALCHEMY|BROKER_URL|RESULT_BACKEND", key):
                read = key.endswith("_FILE") and str(value).startswith("/run/secrets/")
                read = read or (key.endswith("_CMD") and str(value).startswith("cat /run/secrets/"))
                assert read, f"{name} has {key} in the clear"
                assert str(value).rpartition("/")[2] in secrets_of(service), f"{name} is not given what {key} reads"
        mounted = {one if isinstance(one, str) else one["target"] for one in service.secrets}
        for named in re.findall(r"/run/secrets/([\w.]+)", json.dumps([service.command, service.healthcheck])):
            assert named in mounted, f"{name} reads {named}, which it isn't given"
    used = {secret for service in compose.services.values() for secret in secrets_of(service)}
    assert used == compose.secrets.keys()
    make_secrets(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == compose.secrets.keys()


def test_the_image_s_tag_is_the_release(compose: ComposeFile) -> None:
    from upkeep import __version__

    stated = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert stated
    images = {service.image for service in compose.services.values() if service.build}
    assert images == {f"airflow-upkeep:{__version__}"} == {f"airflow-upkeep:{stated[1]}"}
    template = yaml.safe_load((ROOT / "docker" / "kubernetes" / "pod_template.yaml").read_text())
    assert template["spec"]["containers"][0]["image"].endswith(f"/airflow-upkeep:{__version__}")


def test_a_worker_can_not_reach_airflows_database(compose: ComposeFile) -> None:
    worker = compose.services["worker"]
    assert "airflow_database_url" not in secrets_of(worker)
    assert not any("SQL_ALCHEMY" in key for key in worker.environment)
    assert worker.volumes.count("/var/spool/upkeep") == 1, "a spool of its own, not a named one that all share"


def test_every_volume_and_dependency_exists(compose: ComposeFile) -> None:
    for name, service in compose.services.items():
        assert service.depends_on.keys() <= compose.services.keys(), name
        for volume in service.volumes:
            source = volume.partition(":")[0]
            if volume.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
            elif ":" in volume and not volume.startswith(("$", "/")):
                assert source in compose.volumes, f"{name}: {source}"


# Secrets and connections.


def make_secrets(folder: Path) -> None:
    subprocess.run(["bash", str(ROOT / "scripts" / "compose_secrets.sh"), str(folder)], check=True, capture_output=True)


def test_secrets_are_random_kept_and_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    make_secrets(tmp_path / "a")
    make_secrets(tmp_path / "b")
    first = {path.name: path.read_text() for path in (tmp_path / "a").iterdir()}
    other = {path.name: path.read_text() for path in (tmp_path / "b").iterdir()}
    assert [name for name in first if first[name] == other[name]] == []
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a" / "admin_password").write_text("mine")
    make_secrets(tmp_path / "a")
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {**first, "admin_password": "mine"}
    from cryptography.fernet import Fernet

    assert Fernet(first["fernet_key"]).decrypt(Fernet(first["fernet_key"]).encrypt(b"x")) == b"x"


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of connections that the containers are given, where the command line finds it."""
    make_secrets(tmp_path)
    path = tmp_path / "connections.json"
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps({"connections_file_path": str(path)}))
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    return path


def test_the_demo_s_sites_are_valid_and_each_connection_leads_to_a_service(
    compose: ComposeFile, connections: Path
) -> None:
    sites, broken = load_sites(SITES)
    assert (sorted(sites), broken) == (["chronoretrace", "kindergarten"], [])
    named = {
        conn_id for site in sites.values() for conn_id in re.findall(r'"\w*conn_id":"(\w+)"', site.model_dump_json())
    }
    assert len(named) == 6
    for conn_id in (*named, "upkeep_ledger"):
        endpoint = connection_from_environment(conn_id)
        assert endpoint.host in compose.services, conn_id
        assert endpoint.secret


def test_a_variable_wins_over_the_file_and_a_broken_file_is_told_without_its_content(
    connections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KINDERGARTEN_REDIS", "redis://:x@elsewhere:1")
    assert connection_from_environment("kindergarten_redis").host == "elsewhere"
    with pytest.raises(ConnectionUnknown, match="'nowhere' is not set"):
        connection_from_environment("nowhere")
    connections.write_text('{"a": {"password": "hidden"')
    with pytest.raises(ConnectionUnknown, match="can't be read") as raised:
        connection_from_environment("chronoretrace_redis")
    assert "hidden" not in f"{raised.value}{raised.value.__cause__}"


def test_airflow_itself_finds_them_in_that_file(connections: Path) -> None:
    from airflow.secrets.local_filesystem import LocalFilesystemBackend

    found = LocalFilesystemBackend(connections_file_path=str(connections)).get_connection("kindergarten_mysql")
    assert found
    assert (found.host, found.schema, found.login) == ("kindergarten-mysql", "kindergarten", "upkeep")


# The demo's databases.


def statements(path: Path) -> Iterator[str]:
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    yield from (statement.strip() for statement in text.split(";\n") if statement.strip())


def test_the_kindergarten_of_the_demo_fills_itself(mysql_database: MySqlDatabase) -> None:
    mysql_database.execute("CREATE USER IF NOT EXISTS demo@'%' IDENTIFIED BY 'x'")
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        for statement in statements(ROOT / "docker" / "demo" / "kindergarten.sql"):
            cursor.execute(statement.rstrip(";").replace("upkeep@'%'", "demo@'%'"))
    counts = [mysql_database.query(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("students", "audit_logs")]
    assert counts == [1000, 1000]
    assert mysql_database.query("SELECT COUNT(*) FROM attendance_records")[0][0] > 0
    mysql_database.execute("DROP USER demo@'%'")


def test_the_chronoretrace_of_the_demo_fills_itself(postgres_database: PostgresDatabase) -> None:
    for statement in statements(ROOT / "docker" / "demo" / "chronoretrace.sql"):
        postgres_database.execute(statement.rstrip(";"))
    assert postgres_database.query("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM prices)") == [
        (500, 7300)
    ]


# The image.


def test_the_image_ends_as_a_plain_user_with_pinned_bases_and_nothing_secret_copied() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\w+)", text, re.M)[-1] == "airflow"
    version = re.search(r"^apache-airflow==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert version
    assert f"ARG AIRFLOW_VERSION={version[1]}\n" in text, "the image's Airflow is not the one that is tested"
    assert "latest" not in text
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "only what is named goes into the build"
    assert not {"!secrets", "!.git", "!docker"} & set(ignored)


def test_the_image_has_every_program_that_upkeep_asks_for() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins" / "upkeep").rglob("*.py"))
    packages = set(re.findall(r'require\("[\w-]+", package="([\w-]+)"\)', sources)) - {"coreutils"}
    assert packages >= {"zstd", "age", "redis-tools"}
    missing = [package for package in packages if not re.search(rf"(?<=\s){re.escape(package)}(?=\s)", text)]
    assert missing == []
    assert "mariadb-client" in text
    assert re.search(r"UPKEEP_PATH=/opt/mysql/usr/bin", text)


# By Compose itself.


def compose_plugin() -> list[str]:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose", "--file", str(FILE)]
    pytest.skip("the Compose plugin isn't installed")


@pytest.mark.parametrize("profiles", [[], ["celery"], ["demo"], ["celery", "demo"]], ids="+".join)
def test_compose_accepts_the_file(profiles: list[str]) -> None:
    chosen = [part for profile in profiles for part in ("--profile", profile)]
    done = subprocess.run([*compose_plugin(), *chosen, "config", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.environ.get(OPT_IN), reason=f"{OPT_IN}=1 builds the image and starts everything")
def test_it_comes_up_and_backs_up_both_systems(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    environment = {**os.environ, "UPKEEP_SECRETS_DIR": str(tmp_path), "COMPOSE_PROJECT_NAME": "upkeep-test"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*compose_plugin(), "--profile", "demo", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=1800)

    try:
        run("up", "--detach", "--build", "--wait", "--wait-timeout", "900")
        for site in ("kindergarten", "chronoretrace"):
            asked = json.dumps({"override_window": True, "override_reason": "test"})
            run("exec", "scheduler", "airflow", "dags", "unpause", f"{site}_daily")
            run("exec", "scheduler", "airflow", "dags", "trigger", f"{site}_daily", "--run-id", "test", "--conf", asked)
        for site in ("kindergarten", "chronoretrace"):
            wait = f"until upkeep backups {site} app --json | grep -q structure; do sleep 5; done"
            run("exec", "scheduler", "timeout", "600", "bash", "-c", wait)
    finally:
        run("down", "--volumes")
