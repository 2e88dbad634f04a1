"""A new version. One DAG for each site with a cluster, started by hand: ``<site>_rolling_update``.

plan -> save_manifests -> verify_manifests -> check_gates -> approve -> roll_out_first -> approve_rest -> roll_out
-> roll_back -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.backups import BackUpTargetOperator, VerifyBackupOperator
from upkeep.operators.cluster_dags import cluster_dag, rollout_form, sites_with_cluster
from upkeep.operators.pools import pool_of
from upkeep.operators.rollout import (
    ApproveChangeOperator,
    CheckGatesOperator,
    PlanRolloutOperator,
    RollBackOperator,
    RollOutOperator,
)
from upkeep.operators.runs import report_and_watch
from upkeep.site import Site

DOC = """
### A rolling update

**Red?** If `roll_back` is green, the old version runs again and is healthy. If it is red, act now: read the
[runbook](upkeep/runbooks/rolling_update.md). Clearing a task is always safe: it goes on where it was.

1. **plan**: what runs now by digest, what would run, and why it can't work where it can't. Red: nothing was changed.
2. **save_manifests**, **verify_manifests**: the namespace as it is, in the store.
3. **check_gates**: every health address and the pods, before. What fails now is not blamed on the update.
4. **approve**: a person looks at plan and gates. No answer in time is a no.
5. **roll_out_first**, **approve_rest**: only with the strategy canary.
6. **roll_out**: image by image in order; each must be done by its deadline, and the gates must hold until they settled.
7. **roll_back**: if anything of this failed, all that this run changed goes back. Skipped when all went well.
8. **report**, **watch**: one page about this run, which fails if anything failed.
"""


def rolling_update(site: Site) -> DAG:
    if site.cluster is None:
        raise ValueError(f"{site.name} has no cluster")
    target, pool = site.cluster.name, pool_of(site.cluster.conn_id)
    # By hand, or by the monthly DAG's form; it asks for an approval either way.
    run_types = ("manual", "operator_triggered")
    with cluster_dag(site, "rolling_update", doc=DOC, params=rollout_form(site), run_types=run_types) as dag:
        plan = PlanRolloutOperator(task_id="plan", site=site.name)
        saved = BackUpTargetOperator(task_id="save_manifests", site=site.name, target=target, pool=pool)
        verified = VerifyBackupOperator(
            task_id="verify_manifests", site=site.name, target=target, backup=saved.output, pool=pool
        )
        gates = CheckGatesOperator(task_id="check_gates", site=site.name, plan=plan.output)
        approve = ApproveChangeOperator(task_id="approve", site=site, plan=plan.output, gates=gates.output)
        # none_failed: an approval that isn't needed is skipped, and holds nothing up.
        first = RollOutOperator(
            task_id="roll_out_first", site=site.name, plan=plan.output, approval=approve.output, first_only=True,
            trigger_rule="none_failed",
        )  # fmt: skip
        rest = ApproveChangeOperator(
            task_id="approve_rest", site=site, plan=plan.output, rest=True, trigger_rule="none_failed"
        )
        roll_out = RollOutOperator(
            task_id="roll_out", site=site.name, plan=plan.output, approval=approve.output, rest=rest.output,
            trigger_rule="none_failed",
        )  # fmt: skip
        roll_back = RollBackOperator(task_id="roll_back", site=site.name, trigger_rule="all_done")
        report, watch = report_and_watch(site, "rolling_update")
        plan >> saved >> verified >> gates >> approve >> first >> rest >> roll_out >> roll_back >> report >> watch
    return dag


for _site in sites_with_cluster("rolling_update"):
    globals()[f"{_site.name}_rolling_update"] = rolling_update(_site)
