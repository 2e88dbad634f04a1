"""Who may import whom: DESIGN's table, checked on every import statement, those inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "plugins" / "upkeep"

ALLOWED = {
    "errors": set(),
    "settings": set(),
    "resources": {"errors", "settings"},
    "domain": {"errors"},
    "site": {"domain", "errors", "resources"},
    "engines": {"domain", "site", "errors", "resources", "settings"},
    "stores": {"domain", "site", "errors", "resources"},
    "ledger": {"domain", "site", "errors", "resources"},
    "reports": {"domain", "site", "ledger", "errors", "resources"},
    "duties": {"domain", "site", "engines", "stores", "ledger", "reports", "errors", "resources"},
    "operators": {
        "domain", "site", "engines", "stores", "ledger", "reports", "duties", "triggers", "errors", "resources",
        "settings",
    },
    "triggers": {
        "domain", "site", "engines", "stores", "ledger", "reports", "duties", "operators", "errors", "resources",
    },
    "connections": {"domain", "errors", "settings"},
    "commands": {
        "domain", "site", "engines", "stores", "ledger", "reports", "duties", "errors", "resources", "connections",
        "settings",
    },
    "cli": {"commands", "errors"},
    "dags": {"operators", "site", "resources"},
}  # fmt: skip
"""``resources`` only finds files, ``settings`` alone reads the environment; ``connections`` is the command line's way
to an endpoint."""

AIRFLOW_ALLOWED = {"operators", "triggers", "dags"}
HEAVY = {"kubernetes", "oss2", "matplotlib", "pandas", "psycopg", "pymysql", "redis"}
"""Too slow to import when a DAG file is parsed; engines load them, and the task that needs an engine loads it."""
PARSED_WITH_A_DAG = {
    "operators", "triggers", "duties", "domain", "site", "stores", "ledger", "reports", "resources", "errors",
    "settings",
}  # fmt: skip
NAMES_TAKEN = {
    "airflow", "kubernetes", "redis", "mysql", "postgres", "oss2", "psycopg", "pymysql", "sqlalchemy", "fsspec", "yaml",
    "html", "markdown", "json", "logging", "queue", "select", "docker", "matplotlib",
}  # fmt: skip


def files() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "dags").glob("*.py")])


def layer(path: Path) -> str:
    if path.parent == ROOT / "dags":
        return "dags"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_the_walk_sees_imports_wherever_they_hide() -> None:
    tree = ast.parse("import a.b\ndef f():\n    from upkeep.duties import x\n    from . import y\n")
    assert [name for _, name in imports(tree)] == ["a.b", "upkeep.duties", "."]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_the_layers_below_it(path: Path) -> None:
    own = layer(path)
    if own == "__init__":
        return
    for line, name in imports(ast.parse(path.read_text())):
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        assert not name.startswith("."), f"{where}: no relative imports"
        root, _, rest = name.partition(".")
        if root == "airflow":
            assert own in AIRFLOW_ALLOWED, f"{where}: {own} must work with Airflow uninstalled"
        if root == "upkeep" and rest:
            other = rest.split(".")[0]
            assert other == own or other in ALLOWED[own], f"{where}: {own} may not use {other}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_parsing_a_dag_file_loads_no_heavy_library(path: Path) -> None:
    if layer(path) not in PARSED_WITH_A_DAG:
        return
    tree = ast.parse(path.read_text())
    for node in tree.body:
        for line, name in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            assert name.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)}:{line} imports {name} at module level"


@pytest.mark.parametrize("path", sorted((PACKAGE / "commands").glob("*.py")), ids=lambda path: path.name)
def test_asking_the_command_line_for_help_loads_no_duty(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        for line, name in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            slow = name.startswith(("upkeep.duties", "upkeep.ledger", "upkeep.site", "upkeep.stores"))
            assert not slow, f"{path.relative_to(ROOT)}:{line} imports {name} before it is known that it is needed"


def test_no_file_has_the_name_of_a_library() -> None:
    assert [path for path in files() if path.stem in NAMES_TAKEN] == []


def test_airflow_leaves_the_package_alone() -> None:
    assert "upkeep/" in (ROOT / "plugins" / ".airflowignore").read_text().splitlines()


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_reads_as_a_checklist(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 110
    assert "SELECT" not in text
