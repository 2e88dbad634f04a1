"""How a DAG gets its form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from airflow.sdk import DAG, Param
from airflow.sdk.definitions.param import ParamsDict


@contextmanager
def with_form(dag: DAG, form: Mapping[str, Param]) -> Iterator[DAG]:
    """``dag`` for the tasks made within; then it gets ``form``.

    A task made by a DAG that has its form already gets a copy of it, anew for each class it inherits from: a seventh of
    the time in which the DAG processor reads ``dags/``, and what is stored of the DAG holds the form once a task. When
    the task runs Airflow takes the form from the DAG itself. Only ``airflow tasks test --task-params`` then takes any
    value.
    """
    with dag:
        yield dag
    dag.params = ParamsDict(form)
