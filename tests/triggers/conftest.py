"""Airflow's database, which hooks look for connections in."""

from __future__ import annotations

from tests.operators.conftest import airflow_database

__all__ = ["airflow_database"]
