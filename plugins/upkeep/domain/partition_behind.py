"""Which partitions of a table have had their time: of those that end before this month the newest ``keep`` stay.

An older one goes only when a backup that is fresh and proven holds it, and when one that counts as proven for the
site's retention was taken after it ended:

- the fresh one (duties/fresh_backup.py) was taken after the data was last changed, as far as the server knows. MySQL
  says when that was, unless it was started since, where the partition stays, or had to close the table for want of
  room among its open ones, which nobody sees; PostgreSQL doesn't, so there the partition must hold as many rows as the
  backup's manifest says, which an update gets past. The loss is bounded by the backup's age, 26 hours at most;
- the other one may be older, but where ``retention.counts_from`` is ``restored`` it has been restored.

The last partition stays whatever the rule says, and so do those that hold this month or a later one.
"""

from __future__ import annotations

from collections.abc import Mapping

from upkeep.domain.partition_table import Part, PartitionedTable
from upkeep.domain.partitions import Archived, Measured, Step
from upkeep.domain.refusal import Refusal
from upkeep.domain.units import first_few


def old_parts(table: PartitionedTable) -> list[Part]:
    """Those that the rule lets go, oldest first."""
    if table.rule.keep is None:
        return []
    past = [p for p in table.parts if not p.pending and p.range.upper and p.range.upper <= table.month_start]
    going = past[: max(0, len(past) - table.rule.keep)]
    # A table without any partition takes no row at all, and on MySQL it can't be made.
    return going[:-1] if len(going) == len([part for part in table.parts if not part.pending]) else going


def plan_behind(
    table: PartitionedTable, archived: Archived | Refusal, measured: Mapping[str, Measured]
) -> tuple[list[Step], list[Refusal]]:
    """Steps, and what is left to people."""
    old = old_parts(table)
    if not old:
        return [], []
    names = first_few([part.name for part in old])
    if table.layout.engine == "mysql" and table.rule.old == "detach":
        return [], [
            Refusal(
                f"older than the rule keeps: {names}; but MySQL can't detach a partition",
                "set old: drop in the rule, or take keep out of it",
            )
        ]
    if isinstance(archived, Refusal):
        return [], [Refusal(f"{names} stay{'s' if len(old) == 1 else ''}: {archived.reason}", archived.remedy)]
    steps, advice = [], []
    for part in old:
        why_not = _why_it_stays(table, part, archived, measured.get(part.name, Measured()))
        if why_not:
            advice.append(Refusal(f"{part.name} stays: {why_not.reason}", why_not.remedy))
            continue
        why = (
            f"ended at {part.range.upper:%Y-%m-%d}, beyond the {table.rule.keep} that are kept; "
            f"backup {archived.backup_id} holds it"
        )
        steps.append(Step(table.rule.old, why, part.name))
    return steps, advice


def _why_it_stays(table: PartitionedTable, part: Part, archived: Archived, measured: Measured) -> Refusal | None:
    again = "back it up and verify that, then run this task again"
    held = part.name if table.layout.engine == "postgres" else table.layout.label
    if table.layout.engine == "postgres" and "." not in held:
        held = f"{table.layout.place[0]}.{held}"
    if part.kept:
        return Refusal(f"it is {part.kept}", "look after it by hand")
    if held not in archived.rows:
        return Refusal(f"backup {archived.backup_id} doesn't hold {held}", again)
    assert part.range.upper is not None  # noqa: S101 - only partitions that end are old
    ended = table.months.instant(part.range.upper, table.timezone)
    if archived.proven_at is None or archived.proven_at < ended:
        return Refusal(
            f"no backup taken after it ended is {archived.counts_from}, from where on this site counts",
            f"bring a newer backup to {archived.counts_from}, then run this task again",
        )
    if measured.trouble:
        return Refusal(measured.trouble, "look into it, and take it away by hand")
    if measured.changed_at is not None and measured.changed_at >= archived.taken_at:
        return Refusal(f"it was changed after backup {archived.backup_id} was taken", again)
    if measured.changed_at is None and measured.known_since is not None and measured.known_since >= archived.taken_at:
        return Refusal(
            f"it may have been changed after backup {archived.backup_id} was taken: the server was started since, and "
            "forgets with that when a table was changed",
            again,
        )
    if measured.rows is not None:
        then = archived.rows[held]
        if then is None:
            return Refusal(f"backup {archived.backup_id} has only estimates of its rows", again)
        if measured.rows != then:
            return Refusal(
                f"it has {measured.rows:,} rows and had {then:,} when backup {archived.backup_id} was taken", again
            )
    return None
