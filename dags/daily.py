"""The day. One DAG for each site: ``<site>_daily``.

guard_window -> check_health, check_cluster, review_logs, check_security, and for each target: back_up -> verify
-> apply_retention -> purge_rows -> sample_capacity -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG, task_group

from upkeep.operators.backups import ApplyRetentionOperator, BackUpTargetOperator, VerifyBackupOperator
from upkeep.operators.capacity import SampleCapacityOperator
from upkeep.operators.cluster import CheckClusterOperator
from upkeep.operators.databases import ApplyPurgeOperator, purges_of
from upkeep.operators.health import CheckHealthOperator
from upkeep.operators.logs import ReviewLogsOperator
from upkeep.operators.pools import group_of, pool_of
from upkeep.operators.retries import PATIENT
from upkeep.operators.rhythm import rhythm_dag, sites_with_rhythm
from upkeep.operators.runs import CheckWindowOperator, report_and_watch
from upkeep.operators.security import CheckSecurityOperator
from upkeep.site import Site

DOC = """
### Every night

**Red?** The run's tab *Report* says what, why and what to do; so does a failed task's log, behind `ERROR` and `HINT:`.
Clearing a task is always safe. More in the [runbook](upkeep/runbooks/daily.md).

1. **guard_window**: stop here unless the maintenance window is open. A run started by hand may override that; the
   ledger then holds the name and the reason.
2. **check_health**: every database, cache, endpoint and the store; a red one is named, and nothing waits for it.
   **check_cluster**, where the site has one: pods, services, volumes, jobs, nodes and certificates, on the same terms.
3. For each target, one after the other where they share a server:
    - **back_up**: dump, compress, hash and upload as one stream; the manifest comes last. Where a server or the store
      is away, it is tried for half an hour and more; what only a person can mend fails at once.
    - **verify**: read it back from the store and look through it.
    - **apply_retention**: remove what no rule keeps, but only behind tonight's proven backup.
4. **purge_rows**: expired rows, in small batches, archived first where the site says so; only behind proven backups.
5. **review_logs**, **check_security**, **sample_capacity**: read, compare with last time, and tell.
6. **report**: one page about this run, whatever happened.
7. **watch**: fails the run if anything failed.
"""


@task_group
def keep_safe(target: str, site: str, pool: str) -> None:
    backup = BackUpTargetOperator(task_id="back_up", site=site, target=target, pool=pool, **PATIENT)
    proof = VerifyBackupOperator(task_id="verify", site=site, target=target, backup=backup.output, **PATIENT)
    kept = ApplyRetentionOperator(task_id="apply_retention", site=site, target=target, backup=backup.output)
    backup >> proof >> kept


def daily(site: Site) -> DAG:
    with rhythm_dag(site, "daily", doc=DOC) as dag:
        guard = CheckWindowOperator(task_id="guard_window", site=site.name, rhythm="daily")
        report, watch = report_and_watch(site, "daily")
        health = CheckHealthOperator.partial(
            task_id="check_health", site=site.name, retries=0, map_index_template="{{ task.check }}"
        )
        guard >> health.expand(check=list(site.checks)) >> report
        if site.cluster:
            guard >> CheckClusterOperator(task_id="check_cluster", site=site.name, retries=0) >> report
        logs = ReviewLogsOperator(task_id="review_logs", site=site.name)
        # Whatever became of backups and purges: the night in which the disk is full is the one to be told of it.
        capacity = SampleCapacityOperator(
            task_id="sample_capacity", site=site.name, window=guard.output, trigger_rule="all_done"
        )
        security = CheckSecurityOperator(task_id="check_security", site=site.name)
        guard >> [logs, security] >> report
        # One rule after the other, as the site file lists them: a child's rows are archived before its parent's go.
        purge = ApplyPurgeOperator.partial(
            task_id="purge_rows", site=site.name, window=guard.output, trigger_rule="none_failed",
            max_active_tis_per_dagrun=1, map_index_template="{{ task.database }}.{{ task.table }}",
        ).expand_kwargs(purges_of(site))  # fmt: skip
        for server, targets in site.servers().items():
            kept = keep_safe.override(group_id=group_of(server)).partial(site=site.name, pool=pool_of(server))
            guard >> kept.expand(target=list(targets)) >> [purge, report]
        purge >> [capacity, report]
        capacity >> report >> watch
    return dag


for _site in sites_with_rhythm("daily"):
    globals()[f"{_site.name}_daily"] = daily(_site)
