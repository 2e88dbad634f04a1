"""The frame of DAGs that a person starts to change something in a cluster, and their forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from airflow.sdk import DAG, Param

from upkeep.errors import RollbackFailed, RolloutFailed, RolloutRefused
from upkeep.operators.by_hand import by_hand_dag
from upkeep.operators.rhythm import sites_wanted
from upkeep.operators.rollout import IMAGE
from upkeep.site import Site


def sites_with_cluster(name: str) -> list[Site]:
    """The sites with deployments whose DAG ``<site>_<name>`` is wanted."""
    return [site for site in sites_wanted(name) if site.cluster and site.cluster.deployments]


def cluster_dag(
    site: Site, name: str, *, doc: str, params: Mapping[str, Param], run_types: Sequence[str] = ("manual",)
) -> AbstractContextManager[DAG]:
    """A verdict isn't tried again: the next task acts on it, and a person."""
    namespace = site.cluster.namespace if site.cluster else ""
    return by_hand_dag(
        site,
        name,
        doc=f"{doc}\n\nSite `{site.name}` ({site.title}), namespace `{namespace}`.",
        description=f"{name.replace('_', ' ')} in namespace {namespace}",
        params=params,
        dry_run="Plan, look at the gates, let the API server check every change, and change nothing.",
        decided=[RolloutRefused, RolloutFailed, RollbackFailed],
        run_types=run_types,
    )


def rollout_form(site: Site) -> dict[str, Param]:
    """One field for each deployment: whoever is woken at night picks from a list instead of writing JSON."""
    images = {
        f"{IMAGE}{deployment.name}": Param(
            None, type=["null", "string"], maxLength=500, title=f"New image of {deployment.name}",
            description="Tag (1.4.2), digest (sha256:...) or whole image. Empty: it stays as it is.",
        )
        for deployment in (site.cluster.deployments if site.cluster else ())
    }  # fmt: skip
    return {
        **images,
        "strategy": Param(
            "all", type="string", enum=["all", "ordered", "canary"], title="Strategy of the update",
            values_display={
                "all": "all: as many at once as their order lets",
                "ordered": "ordered: one after the other",
                "canary": "canary: the first alone, then a second approval",
            },
            description="Each way a deployment waits for those it is listed after.",
        ),
    }  # fmt: skip


def action_form(site: Site) -> dict[str, Param]:
    names = [deployment.name for deployment in (site.cluster.deployments if site.cluster else ())]
    return {
        "action": Param(
            "restart", type="string", enum=["restart", "undo", "scale"], title="Action",
            values_display={
                "restart": "restart: new pods, same version",
                "undo": "undo: back to the version before",
                "scale": "scale: another number of pods",
            },
        ),
        "deployment": Param(names[0], type="string", enum=names, title="Deployment"),
        "replicas": Param(
            None, type=["null", "integer"], minimum=0, maximum=100, title="Replicas",
            description="For scale. Empty: by the autoscaler's formula from the pods' CPU, between 2 and 10.",
        ),
    }  # fmt: skip
