"""Files that ship beside the code: SQL statements and the sample sites, below ``include/``."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def include_folder() -> Path:
    """``include/`` of the checkout, or the copy inside an installed package."""
    packaged = _PACKAGE / "include"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "include"


def sites_folder() -> Path:
    """The folder of site files: ``UPKEEP_SITES`` where it is set, else the sample sites."""
    return Path(os.environ.get("UPKEEP_SITES") or include_folder() / "sites")


@cache
def sql(engine: str, name: str) -> str:
    """The statement in ``include/sql/<engine>/<name>.sql``, without its comments' first line being needed to run."""
    return (include_folder() / "sql" / engine / f"{name}.sql").read_text(encoding="utf-8").strip().rstrip(";")
