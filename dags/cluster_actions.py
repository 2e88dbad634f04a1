"""Emergency steps on one Deployment. One DAG for each site with a cluster, started by hand: ``<site>_cluster_action``.

plan -> approve -> apply -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.cluster_dags import action_form, cluster_dag, sites_with_cluster
from upkeep.operators.rollout import ApplyActionOperator, ApproveChangeOperator, PlanActionOperator
from upkeep.operators.runs import report_and_watch
from upkeep.site import Site

DOC = """
### Restart, undo or scale one deployment

1. **plan**: what would happen, or why it can't.
2. **approve**: where the site asks for it. No answer in time is a no.
3. **apply**: once, whatever is killed and cleared; then its result is confirmed: image, revision, pods, gates.
4. **report**, **watch**: one page about this run, which fails if anything failed.

Nothing is taken back by itself here: these are the steps that take back.
More in the [runbook](upkeep/runbooks/rolling_update.md).
"""


def cluster_action(site: Site) -> DAG:
    with cluster_dag(site, "cluster_action", doc=DOC, params=action_form(site)) as dag:
        plan = PlanActionOperator(task_id="plan", site=site.name)
        approve = ApproveChangeOperator(task_id="approve", site=site, plan=plan.output)
        # none_failed: an approval that isn't needed is skipped, and holds nothing up.
        apply = ApplyActionOperator(
            task_id="apply", site=site.name, plan=plan.output, approval=approve.output, trigger_rule="none_failed"
        )
        report, watch = report_and_watch(site, "cluster_action")
        plan >> approve >> apply >> report >> watch
    return dag


for _site in sites_with_cluster("cluster_action"):
    globals()[f"{_site.name}_cluster_action"] = cluster_action(_site)
