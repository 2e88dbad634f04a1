"""A restore. One DAG for each site, started by hand with a form: ``<site>_restore``.

plan -> secure_live -> approve -> stop_writes -> restore -> swap -> let_write -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.by_hand import by_hand_dag
from upkeep.operators.restore import (
    DECIDED,
    ApproveRestoreOperator,
    LetWriteOperator,
    PlanRestoreOperator,
    RestoreBackupOperator,
    SecureLiveOperator,
    StopWritesOperator,
    SwapLiveOperator,
    restore_form,
)
from upkeep.operators.rhythm import sites_wanted
from upkeep.operators.runs import report_and_watch
from upkeep.site import Site

DOC = """
### A restore

**Red?** Either the old or the new database is live, never neither. The run's tab *Report* says what stopped it. Clear
the red task: it goes on where it was. Woken at night: the [runbook](upkeep/runbooks/restore.md).

Default: the newest proven backup goes **beside** the live database, under a name with its time. Nothing is lost.

1. **plan**: which backup, where to, how long, and what the live database has that the backup hasn't.
2. **secure_live**: a proven backup of what is live, not older than an hour. *Only over live, as 3, 4, 6 and 7.*
3. **approve**: a person looks at the plan. No answer in time is a no.
4. **stop_writes**: applications can't write any more, by the site's `stop_writes`, or the form says why they may.
5. **restore**: loaded under a name of its own, and compared with what its dump recorded.
6. **swap**: the copy takes the live name in one step; the old one stays as `<name>_replaced_<time>`.
7. **let_write**: applications can write again, whatever happened before.
8. **report**, **watch**: one page about this run, which fails if anything failed.
"""


def restore(site: Site) -> DAG:
    with by_hand_dag(
        site, "restore", doc=DOC, description="restore a backup", params=restore_form(site),
        dry_run="Choose the backup, look at everything, say what would be done, and do nothing.",
        decided=DECIDED,
    ) as dag:  # fmt: skip
        plan = PlanRestoreOperator(task_id="plan", site=site.name)
        secured = SecureLiveOperator(task_id="secure_live", site=site.name, plan=plan.output)
        approve = ApproveRestoreOperator(task_id="approve", site=site, plan=plan.output, trigger_rule="none_failed")
        # none_failed: what only concerns a restore over live is skipped by others, and holds nothing up.
        stop = StopWritesOperator(
            task_id="stop_writes", site=site.name, plan=plan.output, approval=approve.output, trigger_rule="none_failed"
        )
        beside = RestoreBackupOperator(task_id="restore", site=site.name, plan=plan.output, trigger_rule="none_failed")
        swap = SwapLiveOperator(
            task_id="swap", site=site.name, plan=plan.output, approval=approve.output, trigger_rule="none_failed"
        )
        # A server that starts again takes minutes, and until it is told nobody can write.
        let = LetWriteOperator(
            task_id="let_write", site=site.name, plan=plan.output, trigger_rule="all_done", retries=20
        )
        report, watch = report_and_watch(site, "restore")
        plan >> secured >> approve >> stop >> beside >> swap >> let >> report >> watch
    return dag


for _site in sites_wanted("restore"):
    globals()[f"{_site.name}_restore"] = restore(_site)
