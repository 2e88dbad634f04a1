"""What Airflow learns of Upkeep, whichever way it finds it: ``plugins/upkeep_plugin.py`` or the wheel's entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from upkeep.operators import pools, report_page
from upkeep.resources import is_packaged, refuse_two_copies


class UpkeepPlugin(AirflowPlugin):
    name = "upkeep"
    listeners = [pools]  # noqa: RUF012 - Airflow's own declaration
    # A tab of each run; the button on the task report is only found below that task's details.
    external_views = [  # noqa: RUF012 - likewise
        {"name": "Report", "href": report_page.TAB, "destination": "dag_run", "url_route": "upkeep_report"}
    ]
    fastapi_apps = [  # noqa: RUF012 - likewise
        {"app": report_page.ReportApp(), "url_prefix": report_page.PREFIX, "name": "Upkeep"}
    ]


def refuse_double(dag_file: str | None = None) -> None:
    """Errors: ``DuplicateInstall``, when Airflow's folders hold another Upkeep than the one that runs."""
    from airflow import settings

    refuse_two_copies(Path(str(settings.PLUGINS_FOLDER)), Path(dag_file).parent if dag_file else None)


def __getattr__(name: str) -> Any:
    """``ENTRY_POINT``: the plugin for an installed wheel; None for an editable checkout, whose folder is mounted.

    Airflow passes over an entry point that is not a plugin, but calls one that it has already an error.
    """
    if name != "ENTRY_POINT":
        raise AttributeError(name)
    refuse_double()
    return UpkeepPlugin if is_packaged() else None
