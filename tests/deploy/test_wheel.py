"""The wheel on an Airflow of its own: installed beside Airflow's packages, with nothing of the checkout in reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.places import Folder

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = [{"name": "upkeep", "classpath": "upkeep.operators.dag_bundle.UpkeepDagBundle", "kwargs": {}}]

LOOK = """
import json, sys
from pathlib import Path
from typing import Any
from airflow.utils import db
db.initdb()
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow import plugins_manager
import upkeep
DagBundlesManager().sync_bundles_to_db()
bags = [
    BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    for bundle in DagBundlesManager().get_all_dag_bundles()
]
plugins, errors = plugins_manager._get_plugins()
print("SAID" + json.dumps({
    "package": str(Path(upkeep.__file__).parent),
    "dags": sorted(dag_id for bag in bags for dag_id in bag.dags),
    "files": sorted(str(Path(dag.fileloc).parent) for bag in bags for dag in bag.dags.values()),
    "broken": {Path(name).name: text for bag in bags for name, text in bag.import_errors.items()},
    "plugins": [plugin.name for plugin in plugins], "errors": errors,
}))
"""


@dataclass
class Installed:
    """A Python with every package of ours but Upkeep, into which the wheel was installed; and a home for Airflow."""

    folder: Path

    @property
    def packages(self) -> Path:
        return self.folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "UPKEEP", "PY"))}
        environment = {
            **kept,
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
            "PYTHONWARNINGS": "ignore",
            **variables,
        }
        program = str(self.folder / "bin" / command[0])
        return subprocess.run([program, *command[1:]], cwd="/", env=environment, capture_output=True, text=True)

    def look(self, **variables: str) -> dict[str, Any]:
        """What Airflow finds: packages, DAGs, import errors, plugins."""
        done = self.run("python", "-c", LOOK, **variables)
        said = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
        assert said, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(said[0].removeprefix("SAID"))
        return found


def build(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    place = Folder("wheel", account="root")
    yield build(place.path)
    place.remove()


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Installed]:
    place = Folder("installed", account="root")
    made = Installed(place.path / "python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made.folder)], check=True)
    for item in Path(sysconfig.get_path("purelib")).iterdir():
        if "upkeep" not in item.name:  # neither the package nor its .pth file: the checkout must be out of reach
            (made.packages / item.name).symlink_to(item)
    uv = Path(sys.executable).with_name("uv")
    install = [
        str(uv),
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        str(made.folder / "bin/python"),
    ]
    subprocess.run([*install, str(wheel)], check=True)
    (made.folder / "bin" / "airflow").write_text(
        f"#!{made.folder / 'bin/python'}\nimport sys\nfrom airflow.__main__ import main\nsys.exit(main())\n"
    )
    (made.folder / "bin" / "airflow").chmod(0o755)
    yield made
    place.remove()


def test_the_wheel_holds_every_statement_manifest_sample_and_dag_file_and_no_leftovers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "include", "dags", "docs/runbooks", "plugins/upkeep"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    expected = {
        "upkeep/" + name.removeprefix("plugins/upkeep/").removeprefix("docs/")
        for name in listed
        if (ROOT / name).is_file()
    }
    assert {name for name in names if name.startswith("upkeep/")} == expected
    assert {name.split("/")[0] for name in names} == {
        "upkeep",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


def test_an_installed_wheel_gives_airflow_every_dag_and_one_plugin(installed: Installed) -> None:
    found = installed.look()
    package = str(installed.packages / "upkeep")
    assert found["package"] == package
    assert found["broken"] == {}
    assert {"chronoretrace_daily", "kindergarten_daily", "kindergarten_weekly"} <= set(found["dags"])
    assert set(found["files"]) == {f"{package}/dags"}
    assert (found["plugins"].count("upkeep"), found["errors"]) == (1, {})
    listed = installed.run("airflow", "dags", "list-import-errors", "--local", "--bundle-name", "upkeep")
    assert (listed.returncode, "No data found" in listed.stdout) == (0, True), listed.stdout + listed.stderr


def test_the_command_line_of_the_wheel_works_from_any_folder(installed: Installed) -> None:
    checked = installed.run("upkeep", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "ok      kindergarten" in checked.stdout


def test_a_mounted_checkout_beside_an_installed_wheel_is_refused_in_airflow_and_on_the_command_line(
    installed: Installed,
) -> None:
    bundles = json.dumps(
        [{"name": "mounted", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
          "kwargs": {"path": str(ROOT / "dags")}}]
    )  # fmt: skip
    mounted = {
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": bundles,
    }
    found = installed.look(**mounted)
    assert "upkeep is installed twice" in found["broken"]["site_files.py"]
    assert "upkeep" not in found["plugins"]
    for said in found["errors"].values():
        assert "HINT: keep one: pip uninstall airflow-upkeep" in said
    checked = installed.run("upkeep", "check", **mounted)
    assert checked.returncode == 2
    for place in (installed.packages / "upkeep", ROOT / "plugins" / "upkeep"):
        assert str(place) in checked.stderr


def test_mounted_dag_files_alone_beside_an_installed_wheel_are_refused(installed: Installed) -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1])"
    done = installed.run("python", "-c", code, str(ROOT / "dags" / "site_files.py"))
    assert done.returncode == 1
    assert f"{ROOT / 'dags'} (mounted DAG files)" in done.stderr


def test_a_checkout_whose_folders_are_mounted_gives_airflow_the_same_dags_and_one_plugin(tmp_path: Path) -> None:
    python = Installed(Path(sys.prefix))
    found = python.look(
        AIRFLOW_HOME=str(tmp_path),
        AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(
            [{"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
              "kwargs": {"path": str(ROOT / "dags")}}]
        ),
    )  # fmt: skip
    assert found["broken"] == {}
    assert {"chronoretrace_daily", "kindergarten_daily", "kindergarten_weekly"} <= set(found["dags"])
    assert (found["plugins"].count("upkeep"), found["errors"]) == (1, {})
