"""Registers Upkeep with Airflow. All else is in the package ``upkeep``, which Airflow must not load file by file."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from upkeep.operators import pools, report_page


class UpkeepPlugin(AirflowPlugin):
    name = "upkeep"
    listeners = [pools]  # noqa: RUF012 - Airflow's own declaration
    fastapi_apps = [  # noqa: RUF012 - likewise
        {"app": report_page.ReportApp(), "url_prefix": report_page.PREFIX, "name": "Upkeep"}
    ]
