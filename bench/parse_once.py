"""Read one DAG file, or a folder of them, as Airflow's DAG processor does, and print what it took.

Imports nothing of ours by itself: all of that is part of what a DAG file costs.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from importlib import import_module

BEFORE = ("airflow.sdk", "airflow.providers.standard", "airflow.dag_processing.dagbag")
"""What the DAG processor has in memory before it reads a file."""


def main() -> None:
    begun = time.perf_counter()
    for module in BEFORE:
        import_module(module)
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG, BaseHook, BaseOperator, task_group  # noqa: F401 - airflow.sdk loads its parts on use

    gc.freeze()  # as the DAG processor before it forks for a file (manager.py): what Airflow holds isn't looked through
    imported = time.perf_counter()
    bag = DagBag(dag_folder=sys.argv[1])
    parsed = time.perf_counter()
    if bag.import_errors:
        raise RuntimeError(f"{sys.argv[1]} has import errors: {bag.import_errors}")
    print(json.dumps({"import_s": imported - begun, "parse_s": parsed - imported, "dags": len(bag.dags)}))


if __name__ == "__main__":
    main()
