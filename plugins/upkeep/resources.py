"""Files that ship beside the code: SQL statements, sample sites and manifests below ``include/``, DAG files, runbooks.

In a checkout they stand beside ``plugins/``; the wheel holds them inside the package, where they win.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from upkeep.errors import DuplicateInstall
from upkeep.settings import SITES

DISTRIBUTION = "airflow-upkeep"

_PACKAGE = Path(__file__).resolve().parent


def include_folder() -> Path:
    """``include/`` of the checkout, or the copy inside an installed package."""
    packaged = _PACKAGE / "include"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "include"


def dags_folder() -> Path:
    """``dags/`` of the checkout, or the copy inside an installed package."""
    return _PACKAGE / "dags" if is_packaged() else _PACKAGE.parents[1] / "dags"


def runbooks_folder() -> Path:
    """``docs/runbooks/`` of the checkout, or the copy inside an installed package."""
    return _PACKAGE / "runbooks" if is_packaged() else _PACKAGE.parents[1] / "docs" / "runbooks"


def is_packaged() -> bool:
    """Whether this code came out of the wheel; an editable install of a checkout is the checkout."""
    return (_PACKAGE / "dags").is_dir()


def sites_folder() -> Path:
    """The folder of site files: ``UPKEEP_SITES`` where it is set, else the sample sites."""
    return Path(SITES.value) if SITES.value else include_folder() / "sites"


@cache
def sql(engine: str, name: str) -> str:
    """The statement in ``include/sql/<engine>/<name>.sql``, without the semicolon at its end."""
    return (include_folder() / "sql" / engine / f"{name}.sql").read_text(encoding="utf-8").strip().rstrip(";")


def refuse_two_copies(plugins: Path, dags: Path | None = None) -> None:
    """Errors: ``DuplicateInstall`` when there is another Upkeep than the one this code belongs to.

    Python takes one package and Airflow may take the other's DAG files and plugin, so that half of an upgrade counts.

    :param plugins: Airflow's folder of plugins.
    :param dags: the folder a DAG file is being read from.
    """
    copies = {_PACKAGE: "installed" if is_packaged() else "mounted"}
    mounted = plugins.absolute() / "upkeep"
    if (mounted / "__init__.py").is_file():
        copies.setdefault(mounted.resolve(), "mounted")
    if (installed := _installed()) is not None:
        copies.setdefault(installed, "installed")
    if dags is not None and is_packaged() and dags.resolve() != dags_folder():
        copies.setdefault(dags.resolve(), "mounted DAG files")
    if len(copies) > 1:
        raise DuplicateInstall(
            f"upkeep is installed twice: {' and '.join(f'{path} ({how})' for path, how in copies.items())}",
            hint=f"keep one: pip uninstall {DISTRIBUTION}, or take dags/, plugins/ and include/ out of Airflow's "
            "folders (docs/deploy.md)",
        )


def _installed() -> Path | None:
    """The package that the wheel put into this Python, if one is installed."""
    try:
        package = Path(str(distribution(DISTRIBUTION).locate_file("upkeep"))).resolve()
    except PackageNotFoundError:
        return None
    return package if (package / "__init__.py").is_file() else None
