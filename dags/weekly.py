"""The week. One DAG for each site that has a weekly rhythm: ``<site>_weekly``.

guard_window -> clean_logs, clean_docker, review, and for each target require_backup, prove -> tend_partitions
-> tend_tables; then report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.backups import CheckBackupOperator
from upkeep.operators.clean import CleanDockerOperator, CleanLogsOperator
from upkeep.operators.databases import ApplyPartitionsOperator, ApplyTableCareOperator, partitions_of, tables_of
from upkeep.operators.prove import ProveBackupsOperator
from upkeep.operators.review import ReportReviewOperator
from upkeep.operators.rhythm import rhythm_dag, sites_with_rhythm
from upkeep.operators.runs import CheckWindowOperator, report_and_watch
from upkeep.site import Site

DOC = """
### Every week

**Red?** The run's tab *Report* says what, why and what to do; so does a failed task's log, behind `ERROR` and `HINT:`.
Clearing a task is always safe. More in the [runbook](upkeep/runbooks/weekly.md).

1. **guard_window**: stop here unless the maintenance window is open.
2. **require_backup**: each target must have a proven backup of the last night, or nothing that could lose data is done.
3. **prove**: restore the week's backups into the scratch servers, compare them with what their dumps recorded,
   drop the copies. A backup counts only from here on.
4. **clean_logs**, **clean_docker**: remove and compress what the site's rules name, and nothing that anybody has open.
5. **tend_partitions**: partitions made ahead; old ones go only by rule. Only behind 2 and 3.
6. **tend_tables**: ANALYZE, OPTIMIZE, VACUUM or REINDEX where the figures say so; worst first, until the window closes.
7. **review**: indexes, statements, locks, settings, pending updates. A report; it changes nothing.
8. **report**, **watch**: one page about this run, which fails if anything failed.

Run one part for one target, or a dry run, from the form.
"""

PARTS = ("require_backup", "prove", "clean_logs", "clean_docker", "tend_tables", "tend_partitions", "review")


def weekly(site: Site) -> DAG:
    targets = [target.name for target in site.targets]
    with rhythm_dag(site, "weekly", doc=DOC, parts=PARTS) as dag:
        guard = CheckWindowOperator(task_id="guard_window", site=site.name, rhythm="weekly")
        report, watch = report_and_watch(site, "weekly", parts=PARTS)
        backups = CheckBackupOperator.partial(
            task_id="require_backup", site=site.name, retries=0, map_index_template="{{ task.target }}"
        ).expand(target=targets)
        prove = ProveBackupsOperator.partial(
            task_id="prove", site=site.name, window=guard.output, map_index_template="{{ task.target }}"
        ).expand(target=targets)
        logs = CleanLogsOperator(task_id="clean_logs", site=site.name, window=guard.output)
        docker = CleanDockerOperator(task_id="clean_docker", site=site.name, window=guard.output)
        review = ReportReviewOperator(task_id="review", site=site.name)
        # none_failed: nothing that could lose data goes on behind a missing backup or a failed proof.
        partitions = ApplyPartitionsOperator.partial(
            task_id="tend_partitions", site=site.name, window=guard.output, trigger_rule="none_failed",
            map_index_template="{{ task.database }}",
        ).expand_kwargs(partitions_of(site))  # fmt: skip
        tables = ApplyTableCareOperator.partial(
            task_id="tend_tables", site=site.name, window=guard.output, trigger_rule="none_failed",
            map_index_template="{{ task.database }}",
        ).expand_kwargs(tables_of(site))  # fmt: skip
        guard >> [backups, prove, logs, docker, review] >> report
        [backups, prove] >> partitions >> [tables, report]
        tables >> report >> watch
    return dag


for _site in sites_with_rhythm("weekly"):
    globals()[f"{_site.name}_weekly"] = weekly(_site)
