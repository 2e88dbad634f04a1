"""Which partitions a table should get and lose, with a reason for each. Nothing here reads a clock or a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from upkeep.domain.partition_ahead import plan_ahead
from upkeep.domain.partition_behind import old_parts, plan_behind
from upkeep.domain.partition_bounds import Months, NotUnderstood
from upkeep.domain.partition_table import PartitionedTable
from upkeep.domain.partitions import Archived, Layout, Measured, PartitionPlan, Rule, Step
from upkeep.domain.refusal import Refusal


def make_plan(
    rule: Rule,
    layout: Layout | None,
    *,
    now: datetime,
    timezone: str,
    lock_timeout_s: int,
    archived: Archived | Refusal,
    measured: Mapping[str, Measured],
    read_only: str = "",
) -> PartitionPlan:
    """What to do now.

    :param layout: None when the database has no table of that name.
    :param archived: what stands behind a removal, or why nothing does.
    :param measured: each of ``find_old``.
    :param read_only: why the server takes no changes, where it doesn't.
    """
    if read_only:
        return PartitionPlan(
            rule, advice=(Refusal(read_only, "point conn_id of this database at the primary, and clear the task"),)
        )
    if layout is None:
        missing = Refusal(
            f"there is no table {rule.table!r} in this database",
            "check the rule's table in the site file (schema.table on PostgreSQL where it isn't in public), and that "
            "the account may see it",
        )
        return PartitionPlan(rule, advice=(missing,))
    if layout.kind is None:
        return PartitionPlan(rule, advice=(_unfit(rule, layout),))
    try:
        table = PartitionedTable(rule, layout, now, timezone)
    except NotUnderstood as error:
        advice = Refusal(f"{layout.label} is left alone: {error}", "make its partitions by hand, or take out the rule")
        return PartitionPlan(rule, advice=(advice,))
    making, advice_ahead, notes = plan_ahead(table, lock_timeout_s)
    removing, advice_behind = plan_behind(table, archived, measured)
    finishing = [
        Step("finish detach", "its detach began in an earlier run and did not end", part.name)
        for part in table.parts
        if part.pending
    ]
    return PartitionPlan(
        rule,
        (*finishing, *making, *removing),
        (*advice_ahead, *advice_behind),
        tuple(notes),
        table.covered_until(),
        table.newest(),
    )


def find_old(rule: Rule, layout: Layout, *, now: datetime, timezone: str) -> list[str]:
    """Partitions that the rule lets go, oldest first: what has to be measured before a plan is made."""
    try:
        table = PartitionedTable(rule, layout, now, timezone)
    except NotUnderstood:
        return []
    return [part.name for part in old_parts(table)]


def months_of(layout: Layout, timezone: str) -> Months:
    """Where the table's months begin. Errors: ``NotUnderstood``."""
    return PartitionedTable(Rule(layout.label, ""), layout, datetime(2000, 1, 1, tzinfo=UTC), timezone).months


def _unfit(rule: Rule, layout: Layout) -> Refusal:
    label = layout.label
    if not layout.partitioned:
        how = (
            f"make a table PARTITION BY RANGE ({rule.column}) beside it and move the rows (pg_partman's manual shows "
            "how), or take out the rule"
        )
        if layout.engine == "mysql":
            how = (
                f"make {rule.column} a part of its primary key and of every unique key, then "
                f"ALTER TABLE {layout.quoted} PARTITION BY RANGE COLUMNS({rule.column}) (...), while nobody writes "
                "or with pt-online-schema-change; or take out the rule"
            )
        return Refusal(f"{label} isn't partitioned, and won't be unasked: that rewrites all of it", how)
    return Refusal(
        f"{label} is partitioned {layout.trouble}, which isn't RANGE by months of {rule.column}",
        "make its partitions by hand and take out the rule, or partition it by RANGE of that column alone",
    )
