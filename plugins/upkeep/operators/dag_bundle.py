"""The installed package's DAG files as a bundle of Airflow's, so that no setting names a site-packages folder."""

from __future__ import annotations

from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from upkeep.resources import dags_folder


class UpkeepDagBundle(LocalDagBundle):
    """``[dag_processor] dag_bundle_config_list``: see docs/deploy.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(dags_folder()), **kwargs)
