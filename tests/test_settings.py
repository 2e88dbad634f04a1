"""What Upkeep reads from its environment: one list, in one module, shown without secrets."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from upkeep import settings
from upkeep.cli import main

ROOT = Path(__file__).resolve().parents[1]
READS = {"environ", "environb", "getenv", "getenvb", "expandvars"}


def readers(text: str) -> list[int]:
    """Lines that look into the environment, under whatever name ``os`` was imported."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Attribute) and node.attr in READS)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in READS for alias in node.names))
    ]


def test_the_walk_sees_every_way_to_read_the_environment() -> None:
    assert readers("import os as o\nfrom os import getenv\no.environ['A']\no.path.expandvars('$A')\n") == [2, 3, 4]


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "plugins").rglob("*.py"), *(ROOT / "dags").glob("*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nothing_but_the_list_of_settings_reads_the_environment(path: Path) -> None:
    if path != Path(settings.__file__):
        assert readers(path.read_text(encoding="utf-8")) == [], "give it a place in plugins/upkeep/settings.py"


def test_the_documentation_holds_the_list_as_it_is() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- made by: upkeep config --markdown -->\n(.*?)\n<!-- end -->", text, re.S)
    assert found
    assert found[1] == settings.table(), "run: upkeep config --markdown"


def test_config_prints_what_is_set_and_never_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPKEEP_SITES", "/etc/upkeep/sites")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", '{"conn_type": "mysql", "password": "hidden-1"}')
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "hidden-2")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "UPKEEP_SITES = /etc/upkeep/sites" in out
    assert "AIRFLOW_CONN_SHOP = (set; not shown)" in out
    assert "AIRFLOW__CORE__FERNET_KEY = (set; not shown)" in out
    assert "AIRFLOW__API__BASE_URL = https://airflow.example" in out
    assert "hidden" not in out


def test_every_name_of_airflows_in_the_list_is_an_option_of_the_airflow_installed() -> None:
    from airflow.configuration import conf

    known = {name: section["options"] for name, section in conf.configuration_description.items()}
    unknown = [each.variable for each in settings.AIRFLOW_SETTINGS if each.option not in known[each.section]]
    assert unknown == []
