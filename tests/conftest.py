"""Sets up Airflow's environment before anything imports it, and registers the servers' fixtures.

Every process has an Airflow home of its own: with pytest-xdist each worker is one.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import pytest

from tests.servers.places import Folder

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Folder("airflow", account="root")
HOME = FOLDER.path
APT_CONFIG = HOME / "apt.conf"
(HOME / "apt-lists" / "partial").mkdir(parents=True)
APT_CONFIG.write_text(f'Dir::State::lists "{HOME}/apt-lists";\nDir::State::status "/dev/null";\n')

os.environ.update(
    {
        # What waits to be installed on this machine is no test's business, and takes apt seconds each time it is asked.
        "APT_CONFIG": str(APT_CONFIG),
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # By default SQLite gives up after 5 s; a commit takes longer while another test fills the disk.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}?timeout=60",
    }
)

pytest_plugins = ["tests.servers.fixtures", "tests.watchdog"]

LONGEST = ("tests/test_demo.py", "tests/operators/", "tests/deploy/", "tests/duties/", "tests/faults/")
"""Begun first: a long file that comes last is waited for by one worker alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        name = str(item.path.relative_to(ROOT))
        return next((place for place, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=turn)


def _remove_home(owner: int = os.getpid()) -> None:
    """A forked child leaves it alone: it isn't its own."""
    if os.getpid() == owner:
        FOLDER.remove()


atexit.register(_remove_home)
