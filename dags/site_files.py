"""Loads every site file strictly: a broken one is this file's import error, and all other sites keep their DAGs.

So is a second copy of Upkeep: mounted folders beside an installed wheel.

Airflow skips files that name neither it nor a DAG (safe mode); this docstring is what makes it read this one.
"""

from __future__ import annotations

from upkeep.operators.registration import refuse_double
from upkeep.resources import sites_folder
from upkeep.site import load_sites

refuse_double(__file__)
_, _broken = load_sites(sites_folder())
if _broken:
    raise ExceptionGroup(f"{len(_broken)} site file(s) can't be used", _broken)
