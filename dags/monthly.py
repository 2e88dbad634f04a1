"""The month. One DAG for each site that has a monthly rhythm: ``<site>_monthly``.

guard_window -> drill -> still_open -> forecast_capacity, and for each database benchmark -> scan_vulnerabilities
-> rolling_update -> report -> watch
"""

from __future__ import annotations

from airflow.sdk import DAG

from upkeep.operators.benchmark import SampleBenchmarkOperator
from upkeep.operators.cluster_dags import rollout_form
from upkeep.operators.drill import DrillSiteOperator, drill_params
from upkeep.operators.forecast import ReportForecastOperator
from upkeep.operators.rhythm import rhythm_dag, sites_with_rhythm
from upkeep.operators.runs import CheckStillOpenOperator, CheckWindowOperator, report_and_watch
from upkeep.operators.scan import ScanVulnerabilitiesOperator
from upkeep.operators.start_update import StartRollingUpdateOperator
from upkeep.site import Site

DOC = """
### Every month

**Red?** The run's tab *Report* says what, why and what to do; so does a failed task's log, behind `ERROR` and `HINT:`.
Clearing a task is always safe. More in the [runbook](upkeep/runbooks/monthly.md).

1. **guard_window**: stop here unless the maintenance window is open.
2. **drill**: the whole site rebuilt in the scratch servers from its newest proven backups, in the order its parts need
   each other, compared, asked the site's own checks, and taken away. How long that took and what would be lost is held
   against the site's `goals`; a goal that is missed fails the drill and names the slowest step.
3. **still_open**: whatever the drill came to, go on while the window is open.
4. **forecast_capacity**: when what was sampled will be full, with plots.
5. **benchmark**: the site's fixed queries, timed as every month; slower ones and changed plans are named.
6. **scan_vulnerabilities**: the scanners that the site names; what is new since last month.
7. **rolling_update**: starts `<site>_rolling_update`, with its own approval, where somebody gave new images in the form
   and nothing before it failed.
8. **report**, **watch**: one page about this run and the month, which fails if anything failed.

Run one part for one target, a drill from chosen or random backups, or a dry run, from the form.
"""

PARTS = ("drill", "forecast_capacity", "scan_vulnerabilities", "benchmark")
"""A whole month has all of these; a rolling update is in the form besides, where the site has deployments."""


def monthly(site: Site) -> DAG:
    updates = bool(site.cluster and site.cluster.deployments)
    parts = (*PARTS, "rolling_update") if updates else PARTS
    form = {**drill_params(site), **(rollout_form(site) if updates else {})}
    with rhythm_dag(site, "monthly", doc=DOC, parts=parts, params=form) as dag:
        guard = CheckWindowOperator(task_id="guard_window", site=site.name, rhythm="monthly")
        drill = DrillSiteOperator(task_id="drill", site=site.name, window=guard.output)
        still_open = CheckStillOpenOperator(
            task_id="still_open",
            site=site.name,
            window=guard.output,
            parts=PARTS[1:],
            trigger_rule="all_done",
            retries=0,
        )
        forecast = ReportForecastOperator(task_id="forecast_capacity", site=site.name)
        # After the benchmark, which would else time the scanners too, and whatever became of it.
        scans = ScanVulnerabilitiesOperator(
            task_id="scan_vulnerabilities", site=site.name, window=still_open.output, trigger_rule="all_done"
        )
        # One at a time, and not beside the drill: what shares a machine shares its time.
        benchmark = SampleBenchmarkOperator.partial(
            task_id="benchmark", site=site.name, max_active_tis_per_dagrun=1, map_index_template="{{ task.database }}"
        ).expand(database=[database.name for database in site.databases])
        report, watch = report_and_watch(site, "monthly", parts=PARTS)
        guard >> drill >> still_open >> [forecast, benchmark, scans] >> report >> watch
        benchmark >> scans
        if updates:
            update = StartRollingUpdateOperator(
                task_id="rolling_update",
                site=site.name,
                window=still_open.output,
                trigger_rule="none_failed",
                retries=0,
            )
            [drill, forecast, scans, benchmark] >> update >> report
    return dag


for _site in sites_with_rhythm("monthly"):
    globals()[f"{_site.name}_monthly"] = monthly(_site)
