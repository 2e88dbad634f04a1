"""The daily DAG: parsed as Airflow parses it, run as Airflow runs it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from tests.operators.conftest import DAGS
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.kubernetes_cluster import Namespace, deployment
from tests.servers.redis_server import RedisServer
from upkeep.domain.proof import ProofLevel
from upkeep.duties.catalogue import read_catalogue
from upkeep.engines import stopping
from upkeep.engines.pipeline import Command, Pipeline
from upkeep.errors import Stopped
from upkeep.ledger import Ledger, verify
from upkeep.stores.local_store import LocalStore

Sites = Callable[..., None]
RunDag = Callable[..., Any]


def states(run: Any) -> dict[str, str]:
    found = {}
    for instance in run.get_task_instances():
        suffix = f"[{instance.map_index}]" if instance.map_index >= 0 else ""
        found[f"{instance.task_id}{suffix}"] = str(instance.state)
    return found


def levels(tmp_path: Path, site: str, target: str) -> list[ProofLevel]:
    return [backup.level for backup in read_catalogue(LocalStore(tmp_path / "store"), site, target).backups]


def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_the_sample_sites_make_their_dags_without_import_errors(airflow_database: None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS))
    assert bag.import_errors == {}
    assert {"kindergarten_daily", "chronoretrace_daily"} <= set(bag.dags)


def test_purge_rules_run_one_after_the_other(airflow_database: None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    purge = DagBag(dag_folder=str(DAGS)).dags["kindergarten_daily"].get_task("purge_rows")
    assert purge.max_active_tis_per_dagrun == 1


def test_a_broken_site_file_is_an_import_error_that_names_it_and_hides_no_other(
    sites: Sites, tmp_path: Path, airflow_database: None
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    sites("shop")
    (tmp_path / "sites" / "wrong.yaml").write_text("name: wrong\ncolour: blue\n")
    bag = DagBag(dag_folder=str(DAGS))
    assert "shop_daily" in bag.dags
    assert {name.partition("_")[0] for name in bag.dags} == {"shop"}
    (file, message), *rest = bag.import_errors.items()
    assert rest == []
    assert Path(file).name == "site_files.py"
    assert "wrong.yaml" in message
    assert "colour: unknown key" in message


def test_a_dag_has_a_schedule_limits_an_alert_and_a_form(sites: Sites, airflow_database: None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    sites("shop")
    dag = DagBag(dag_folder=str(DAGS)).dags["shop_daily"]
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None
    assert dag.dagrun_timeout.total_seconds() == 5 * 3600
    assert dag.deadline
    timetable: Any = dag.timetable
    assert timetable.expression == "0 2 * * *"
    assert "Asia/Shanghai" in str(timetable.timezone)  # a name, or Airflow's object once something has asked for it
    assert set(dag.params) == {"targets", "dry_run", "override_window", "override_reason"}
    with pytest.raises(ParamValidationError, match="targets"):
        dag.params["targets"] = []  # by which somebody may mean none, and the tasks all
    assert dag.doc_md is not None
    assert "HINT" in dag.doc_md
    back_up = dag.get_task("backups_files.back_up")
    assert back_up.pool == "upkeep_files"


def test_a_night_backs_up_proves_and_reports_every_kind_of_target(
    sites: Sites,
    run_dag: RunDag,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    redis_server: RedisServer,
) -> None:
    mariadb_database.execute("CREATE TABLE 学生 (id INT PRIMARY KEY, name VARCHAR(50))")
    mariadb_database.execute("INSERT INTO 学生 VALUES (1, '张三'), (2, '李四')")
    postgres_database.execute("CREATE TABLE users (id int PRIMARY KEY)")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", mariadb_database.server.conn_json(mariadb_database.name))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", postgres_database.server.conn_json(postgres_database.name))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REDIS", redis_server.conn_json())
    sites(
        "shop",
        databases=[
            {"name": "app", "engine": "mysql", "conn_id": "shop_mysql"},
            {"name": "prices", "engine": "postgres", "conn_id": "shop_postgres"},
        ],
        caches=[{"name": "sessions", "conn_id": "shop_redis"}],
        rhythms={"daily": {"at": "0 0 29 2 *", "length_h": 0.1}},  # closed, whatever the time
    )
    run = run_dag("shop_daily")
    assert str(run.state) == "success", states(run)
    for target in ("app", "prices", "sessions", "config"):
        assert levels(tmp_path, "shop", target) == [ProofLevel.STRUCTURE], target
    (page,) = (tmp_path / "store" / "shop" / "_reports").glob("*.html")
    assert "app" in page.read_text()
    assert verify(ledger(tmp_path)).clean
    (guard,) = ledger(tmp_path).acts(site="shop", duty="guard_window")
    assert guard.detail["overridden"] is True
    assert guard.started.approver == guard.started.actor != ""


def test_one_broken_target_fails_the_run_and_stops_no_other(
    sites: Sites, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", '{"conn_type": "mysql", "host": "127.0.0.1", "port": 1, "login": "x"}')
    sites("shop", databases=[{"name": "app", "engine": "mysql", "conn_id": "nowhere"}])
    run = run_dag("shop_daily")
    found = states(run)
    assert str(run.state) == "failed"
    assert found["backups_nowhere.back_up[0]"] == "failed"
    assert found["backups_nowhere.verify[0]"] == found["backups_nowhere.apply_retention[0]"] == "upstream_failed"
    assert found["backups_files.apply_retention[0]"] == "success"
    assert found["sample_capacity"] == "success", "it may be the full disk that broke the backup"
    assert found["report"] == "success"
    assert found["watch"] == "failed"
    assert levels(tmp_path, "shop", "config") == [ProofLevel.STRUCTURE]
    (page,) = (tmp_path / "store" / "shop" / "_reports").glob("*.md")
    assert "HINT" in page.read_text()


def test_a_run_that_nobody_could_be_told_of_is_red_and_its_report_is_kept(
    sites: Sites, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", '{"conn_type": "http", "password": "http://127.0.0.1:1/hook-Zq7"}')
    sites("shop", notify=[{"conn_id": "chat", "when": "always"}])
    run = run_dag("shop_daily")
    found = states(run)
    assert str(run.state) == "failed"
    assert {name for name, state in found.items() if state == "failed"} == {"watch"}
    assert len(list((tmp_path / "store" / "shop" / "_reports").glob("*.html"))) == 1
    (report,) = ledger(tmp_path).acts(site="shop", duty="report")
    assert report.detail["ok"] is True, "the night itself went well"


def test_a_red_cluster_is_told_with_the_last_words_of_its_pods_and_stops_no_backup(
    sites: Sites, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: Namespace
) -> None:
    failing = deployment("web", "crash:1")
    failing["spec"]["template"]["metadata"]["annotations"] = {"testbed/log": "no such table: 学生; token=Zq7-hidden"}
    namespace.create(failing)
    where = json.dumps({"kube_config_path": str(namespace.endpoint.extra["kube_config_path"])})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_K8S", json.dumps({"conn_type": "kubernetes", "extra": where}))
    sites("shop", cluster={"conn_id": "shop_k8s", "namespace": namespace.name})
    namespace.wait_for("it crashes", lambda: restarts(namespace) > 0)
    run = run_dag("shop_daily", targets=["config"])
    found = states(run)
    assert str(run.state) == "failed"
    assert found["check_cluster"] == "failed"
    assert found["backups_files.apply_retention[0]"] == "success"
    (page,) = (tmp_path / "store" / "shop" / "_reports").glob("*.md")
    section = page.read_text().partition("## Cluster")[2].partition("\n## ")[0]
    assert "CrashLoopBackOff: exit code 1" in section
    assert "its last lines: no such table: 学生; token=" in section
    assert "Zq7-hidden" not in page.read_text()


def test_a_site_without_a_cluster_has_no_task_for_one(sites: Sites, airflow_database: None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    sites("shop")
    assert "check_cluster" not in DagBag(dag_folder=str(DAGS)).dags["shop_daily"].task_ids


def restarts(namespace: Namespace) -> int:
    pods = namespace.core.list_namespaced_pod(namespace.name).items
    return max((one.restart_count for pod in pods for one in pod.status.container_statuses or ()), default=0)


def test_outside_its_window_a_run_does_nothing_and_is_red(sites: Sites, run_dag: RunDag, tmp_path: Path) -> None:
    sites("shop", rhythms={"daily": {"at": "0 0 29 2 *", "length_h": 0.1}})
    run = run_dag("shop_daily", override_window=False)
    found = states(run)
    assert str(run.state) == "failed"
    assert found["guard_window"] == "failed"
    assert found["sample_capacity"] == "skipped"
    assert levels(tmp_path, "shop", "config") == []


def test_an_override_without_a_reason_is_refused(sites: Sites, run_dag: RunDag, tmp_path: Path) -> None:
    sites("shop", rhythms={"daily": {"at": "0 0 29 2 *", "length_h": 0.1}})
    assert str(run_dag("shop_daily", override_reason=" ").state) == "failed"
    (guard,) = ledger(tmp_path).acts(site="shop", duty="guard_window")
    assert guard.state == "failed"
    assert guard.finished is not None
    assert "without a reason" in str(guard.finished.error)
    assert levels(tmp_path, "shop", "config") == []


def test_only_the_chosen_targets_are_worked_on(sites: Sites, run_dag: RunDag, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    sites("shop", folders=[{"name": "one", "paths": [folder]}, {"name": "two", "paths": [folder]}])
    run = run_dag("shop_daily", targets=["two"])
    assert str(run.state) == "success", states(run)
    assert states(run)["backups_files.back_up[0]"] == "skipped"
    assert levels(tmp_path, "shop", "one") == []
    assert levels(tmp_path, "shop", "two") == [ProofLevel.STRUCTURE]


def test_a_dry_run_writes_and_removes_nothing(sites: Sites, run_dag: RunDag, tmp_path: Path) -> None:
    def stored() -> set[str]:
        found = (tmp_path / "store").rglob("*")
        return {str(path) for path in found if path.is_file() and not {"_reports", "_state"} & {*path.parts}}

    sites("shop")
    assert str(run_dag("shop_daily").state) == "success"
    (night,) = (tmp_path / "store" / "shop" / "config").iterdir()
    shutil.copytree(night, night.with_name("20260101T020000Z-0a1b"))
    sites("shop", retention={"daily": 1, "keep_at_least": 1, "min_age_days": 0})
    before = stored()
    run = run_dag("shop_daily", dry_run=True)
    assert str(run.state) == "success", states(run)
    assert stored() == before
    (planned,) = [instance for instance in run.get_task_instances() if instance.task_id.endswith("apply_retention")]
    assert len(planned.xcom_pull(task_ids=planned.task_id, map_indexes=0)["would_remove"]) == 1


def test_a_task_that_is_killed_takes_its_dump_along(monkeypatch: pytest.MonkeyPatch) -> None:
    from upkeep.operators.backups import BackUpTargetOperator

    monkeypatch.setattr(stopping, "_told", False)
    with pytest.raises(Stopped, match="sleep was ended"), Pipeline([Command(["sleep", "60"])]) as pipeline:
        BackUpTargetOperator(task_id="back_up", site="shop", target="app").on_kill()
        assert list(pipeline.output()) == []
    assert [process.returncode for process in pipeline.processes] == [-signal.SIGKILL]


def test_what_passes_between_tasks_is_small_and_plain(sites: Sites, run_dag: RunDag) -> None:
    sites("shop")
    run = run_dag("shop_daily")
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        values = session.scalars(select(XComModel.value).where(XComModel.run_id == run.run_id)).all()
    assert values
    assert all(len(json.dumps(value)) < 8_000 for value in values)
