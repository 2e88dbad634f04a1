"""Registers Upkeep with Airflow. All else is in the package ``upkeep``, which Airflow must not load file by file."""

from __future__ import annotations

from upkeep.operators.registration import UpkeepPlugin, refuse_double

refuse_double()
__all__ = ["UpkeepPlugin"]
