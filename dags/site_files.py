"""Loads every site file strictly: a broken one is this file's import error, and all other sites keep their DAGs.

Airflow skips files that name neither it nor a DAG (safe mode); this docstring is what makes it read this one.
"""

from __future__ import annotations

from upkeep.resources import sites_folder
from upkeep.site import load_sites

_, _broken = load_sites(sites_folder())
if _broken:
    raise ExceptionGroup(f"{len(_broken)} site file(s) can't be used", _broken)
