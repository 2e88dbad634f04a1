"""A migration. One DAG for each site with databases, started by hand or by CI with a form: ``<site>_migrate``.

rehearse -> approve -> back_up -> migrate -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.by_hand import by_hand_dag
from upkeep.operators.migrate import (
    DECIDED,
    ApproveMigrationOperator,
    RehearseMigrationOperator,
    RunMigrationOperator,
    SecureMigrationOperator,
    migrate_form,
)
from upkeep.operators.rhythm import sites_wanted
from upkeep.operators.runs import report_and_watch
from upkeep.site import Site

DOC = """
### A migration

**Red?** The run's tab *Report* says what stands: *failed, rolled back*, *failed, restored*, or *failed, left as it is*
and what ran. It is never run a second time unless you say at which statement. Woken at night: the
[runbook](upkeep/runbooks/migrate.md).

1. **rehearse**: on a restored copy of last night's proven backup, in the scratch server: time and locks of each
   statement, row counts before and after, and whether the rollback script brings back what was. *A dry run ends here.*
2. **approve**: a person looks at that. No answer in time is a no.
3. **back_up**: a proven backup that is younger than the rehearsal.
4. **migrate**: on the live database, with limits for locks and time; then the site's checks and the row counts. When it
   fails, what the form chose: `rollback`, `restore` or `stop`.
5. **report**, **watch**: one page about this run, which fails if anything failed.
"""


def migrate(site: Site) -> DAG:
    with by_hand_dag(
        site, "migrate", doc=DOC, description="migrate a database", params=migrate_form(site),
        dry_run="Only the plan and the rehearsal on a copy; nothing live is touched.",
        decided=DECIDED,
    ) as dag:  # fmt: skip
        rehearse = RehearseMigrationOperator(task_id="rehearse", site=site.name)
        approve = ApproveMigrationOperator(task_id="approve", site=site, rehearsal=rehearse.output)
        secure = SecureMigrationOperator(task_id="back_up", site=site.name)
        run = RunMigrationOperator(
            task_id="migrate", site=site.name, approval=approve.output, rehearsal=rehearse.output
        )
        report, watch = report_and_watch(site, "migrate")
        rehearse >> approve >> secure >> run >> report >> watch
    return dag


for _site in sites_wanted("migrate"):
    if _site.databases:
        globals()[f"{_site.name}_migrate"] = migrate(_site)
