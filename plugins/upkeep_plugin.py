"""Registers Upkeep with Airflow. All else is in the package ``upkeep``, which Airflow must not load file by file."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from upkeep.operators import pools


class UpkeepPlugin(AirflowPlugin):
    name = "upkeep"
    listeners = [pools]  # noqa: RUF012 - Airflow's own declaration
