"""Which rows are old enough to go, whether a table lets them go safely, and how fast they may go. Nothing here reads a
clock or a server.

**What "older" means.** With ``keep_days: 30`` the last thirty calendar days of the site stay whole: the cut-off is the
first moment of the day that lies thirty days before today, in the site's time zone. ``keep_days: 0`` is for columns
that say when a row expires: the cut-off is now. It doesn't move while a purge runs.

How a column is compared with the cut-off depends on what its values mean:

- an *instant* (TIMESTAMP on MySQL, timestamptz) is compared in UTC;
- a *wall clock* (DATETIME, timestamp without time zone) is read as the server's own time zone, the zone in which
  ``NOW()`` fills it; in the hour that a clock repeats, rows stay rather than go (see ``moments_to_convert``);
- a *date* is a day of the site, and goes only when that whole day lies before the cut-off.

NULL, MySQL's zero date and PostgreSQL's infinities are no dates, and such rows stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from upkeep.domain.names import quoted
from upkeep.domain.refusal import Refusal
from upkeep.domain.tables import ForeignKey, Table
from upkeep.domain.units import human_count, utc

TARGET_S = 0.3
"""How long one batch should take. It is the longest that another session may have to wait for a row lock of ours."""
SHARED_TARGET_S = 0.005
"""The same while others are at work. What they feel isn't the locks, since nobody wants old rows, but the commit, since
theirs queue up behind ours while its log is written, and the processor. So a batch is short, and a long rest follows.
bench/README.md has what other lengths cost: with these, a load's 99th percentile grows by about two fifths."""
SMALLEST, LARGEST = 100, 50_000
"""Rows in a batch."""
FIRST = 1_000
GROWTH = 2.0
"""No batch is larger than the last by more than this: one lucky measurement proves little."""

COUNTED = 100_000
"""Old rows up to this number are counted: some 20 ms. Beyond it the server's estimate has to do."""

QUARTER = timedelta(minutes=15)
LOOK_AHEAD = timedelta(hours=3)


# What is asked for, and what the server says of the table.


@dataclass(frozen=True)
class Rule:
    """One purge rule of a site file; see ``site.PurgeRule``."""

    table: str
    column: str
    keep_days: int
    archive: bool = False
    cascade: bool = False


@dataclass(frozen=True)
class Estimate:
    """``old`` of about ``total`` rows; the server's statistics say so, unless ``exact``: then ``old`` was counted.

    ``oldest`` is None when no row is old.
    """

    old: int
    total: int
    oldest: str | None
    exact: bool = False


# The cut-off.


def cut_off(now: datetime, keep_days: int, timezone: str) -> datetime:
    """Rows dated before this moment may go.

    A day whose midnight the clocks skip begins with the first moment that exists; of a midnight that they repeat it is
    the first one. Both are the true beginning of the day.
    """
    zone = ZoneInfo(timezone)
    local = utc(now, "now").astimezone(zone)
    if keep_days == 0:
        return local
    midnight = datetime.combine(local.date() - timedelta(days=keep_days), time(), zone)
    return utc(midnight, "midnight").astimezone(zone)


def moments_to_convert(cut: datetime) -> tuple[datetime, ...]:
    """The moments whose wall clocks a server has to be asked for; the earliest of the answers is the bound.

    When clocks go back, 01:30 comes twice. A row that says 01:10 may then be younger than a cut-off at the first 01:30.
    No younger row can say less than the earliest wall clock that the server shows from the cut-off on. Clocks change at
    full quarters of an hour, by three hours at the most.
    """
    start = utc(cut, "the cut-off")
    quarter = start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0)
    steps = int(LOOK_AHEAD / QUARTER)
    return (start, *(quarter + QUARTER * step for step in range(1, steps + 1)))


# The plan.


@dataclass(frozen=True)
class PurgePlan:
    """What one rule would do now. ``reason`` is there always; with ``refusals`` nothing is done."""

    rule: Rule
    cut_off: datetime
    reason: str
    rows: int = 0
    """How many rows are older than the cut-off, or about how many."""
    index: str = ""
    before: str = ""
    """The cut-off as the column is compared with it."""
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def lines(self) -> Iterator[str]:
        verdict = "refused" if self.refusals else "purge" if self.rows else "nothing to do"
        yield f"{self.rule.table} by {self.rule.column}: {verdict}: {self.reason}"
        yield from (f"  remedy: {refusal.remedy}" for refusal in self.refusals)
        yield from (f"  note: {note}" for note in self.notes)

    def to_dict(self) -> dict[str, object]:
        return {
            "table": self.rule.table,
            "column": self.rule.column,
            "keep_days": self.rule.keep_days,
            "archive": self.rule.archive,
            "cut_off": self.cut_off.isoformat(),
            "rows": self.rows,
            "reason": self.reason,
            "refusals": [{"reason": refusal.reason, "remedy": refusal.remedy} for refusal in self.refusals],
            "notes": list(self.notes),
        }


def find_refusals(
    rule: Rule, table: Table | None, *, read_only: str = "", archived: Collection[str] = ()
) -> tuple[Refusal, ...]:
    """Everything that speaks against carrying out ``rule``, all at once.

    :param table: None when the database has no table of that name.
    :param read_only: why the server takes no changes, where it doesn't.
    :param archived: the tables, as the site file names them, whose own rules archive rows before they go.
    """
    return tuple(_refusals(rule, table, read_only, archived))


def find_index(rule: Rule, table: Table) -> str:
    """The index that finds old rows without reading the table; empty when there is none."""
    return next(iter(table.indexes.get(rule.column, ())), "")


def make_plan(
    rule: Rule,
    cut: datetime,
    *,
    table: Table | None,
    before: str,
    estimate: Estimate | None,
    refusals: Sequence[Refusal],
    notes: Sequence[str] = (),
) -> PurgePlan:
    """Put a plan into words. ``estimate`` may be missing only where there are refusals."""
    when = _when(rule, cut)
    if refusals or table is None or estimate is None:
        reason = "; ".join(refusal.reason for refusal in refusals)
        return PurgePlan(rule, cut, reason, before=before, refusals=tuple(refusals), notes=tuple(notes))
    said = [*_hints(rule, table, before), *table.notes, *notes]
    index = find_index(rule, table)
    if estimate.oldest is None:
        return PurgePlan(rule, cut, f"no row is older than {when}", 0, index, before, (), tuple(said))
    old = max(1, estimate.old)
    total = max(old, estimate.total)
    many = f"{old:,} of about" if estimate.exact else f"about {human_count(old)} of"
    are = "row is" if total == 1 else "rows are"
    reason = f"{many} {human_count(total)} {are} older than {when}, the oldest {estimate.oldest}"
    return PurgePlan(rule, cut, reason, old, index, before, (), tuple(said))


def _when(rule: Rule, cut: datetime) -> str:
    zone = getattr(cut.tzinfo, "key", None) or str(cut.tzinfo)
    clock = f"{cut:%Y-%m-%d %H:%M}" if rule.keep_days else f"{cut:%Y-%m-%d %H:%M:%S}"
    return f"{clock} {zone} (keep_days {rule.keep_days})"


def _refusals(rule: Rule, table: Table | None, read_only: str, archived: Collection[str]) -> Iterator[Refusal]:
    if read_only:
        yield Refusal(read_only, "purge on the primary: point conn_id of this database at it")
    if table is None:
        yield Refusal(
            f"there is no table {rule.table!r} in this database",
            "check the rule's table in the site file (schema.table on PostgreSQL where it isn't in public), and that "
            "the account may see it",
        )
        return
    if table.kind != "table":
        yield Refusal(f"{table.label} is a {table.kind}, not a table", "name the table behind it in the rule")
        return
    if not table.transactional:
        yield Refusal(
            f"{table.label} is stored by {table.storage}, which has no transactions: every batch would lock all of it",
            f"ALTER TABLE {table.quoted} ENGINE=InnoDB",
        )
    yield from _column_refusals(rule, table)
    if not table.primary_key:
        yield Refusal(
            f"{table.label} has no primary key, so exactly the rows that were looked at can't be named",
            f"give it one, for example: {_add_key(table)}",
        )
    for key in table.foreign_keys:
        yield from _foreign_key_refusals(rule, table, key, archived)
    if rule.archive:
        clocks = [c.name for c in table.columns if c.name in table.primary_key and c.meaning == "instant"]
        if table.engine == "mysql" and table.delete_triggers and clocks:
            yield Refusal(
                f"key column {clocks[0]} is a TIMESTAMP, and triggers ({', '.join(table.delete_triggers)}) have the "
                "server's own time zone while rows go, where the same key names another row",
                "take archive: true out of the rule if losing these rows is right, or drop those triggers",
            )
        for column in table.kept_columns:
            if column.form == "none":
                yield Refusal(
                    f"column {column.name} is of type {column.type}, which can't be archived exactly",
                    "take archive: true out of the rule if losing these rows is right, or convert the column",
                )


def _column_refusals(rule: Rule, table: Table) -> Iterator[Refusal]:
    column = table.column(rule.column)
    if column is None:
        names = ", ".join(column.name for column in table.columns[:20])
        yield Refusal(f"{table.label} has no column {rule.column!r}", f"name one of its columns: {names}")
        return
    if column.meaning == "other":
        dates = [other.name for other in table.columns if other.meaning != "other"]
        which = f"name one that is: {', '.join(dates)}" if dates else "it has none: add one"
        yield Refusal(
            f"column {rule.column} is of type {column.type}, which is not a date or a time",
            f"{which}; a number of seconds isn't compared as a date, because nothing says what it counts from",
        )
        return
    if not find_index(rule, table):
        yield Refusal(
            f"{table.label} has no usable index that begins with {rule.column}: finding old rows would read all of it",
            create_index(table, rule.column),
        )


def _foreign_key_refusals(rule: Rule, table: Table, key: ForeignKey, archived: Collection[str]) -> Iterator[Refusal]:
    changes = key.on_delete in ("CASCADE", "SET NULL", "SET DEFAULT")
    what = f"foreign key {key.name} of {key.table} ({', '.join(key.columns)}) refers to {table.label}"
    if not changes:
        yield Refusal(
            f"{what} ON DELETE {key.on_delete}: rows that are referred to can't go",
            f"purge {key.table} first and drop the key, or give it ON DELETE CASCADE and set cascade: true in the rule",
        )
        return
    if not key.permitted:
        yield Refusal(
            f"{what} ON DELETE {key.on_delete}: the purge would change {key.table} as well, where this account has no "
            "rights",
            "drop that key; or, if that is meant, grant the account SELECT and DELETE on the whole of that database "
            "and set cascade: true in the rule",
        )
        return
    if not rule.cascade:
        yield Refusal(
            f"{what} ON DELETE {key.on_delete}: the purge would change {key.table} as well",
            "set cascade: true in the rule if that is meant",
        )
        return
    if rule.archive and key.on_delete == "CASCADE":
        yield Refusal(
            f"{what} ON DELETE CASCADE: rows of {key.table} would go that no archive holds",
            f"drop that key and purge {key.table} by a rule of its own, or take archive: true out of this rule",
        )
    elif key.on_delete == "CASCADE" and _bare(key.table) in map(_bare, archived):
        # Its rule comes first, but it may stop early: at the end of the window, or where rows are locked.
        yield Refusal(
            f"{what} ON DELETE CASCADE: rows of {key.table} would go that its own rule has not archived yet",
            f"drop that key, or take archive: true out of the rule for {key.table}",
        )
    if not key.indexed:
        yield Refusal(
            f"{what}, and no index leads to the rows that refer to it: every delete would read all of {key.table}",
            f"CREATE INDEX CONCURRENTLY ON {key.table} ({', '.join(quoted(table.engine, n) for n in key.columns)})",
        )


def _bare(name: str) -> str:
    """A table's name, whoever wrote it: PostgreSQL puts odd names in quotes, and public may be left out."""
    return name.replace('"', "").removeprefix("public.")


def _hints(rule: Rule, table: Table, before: str) -> Iterator[str]:
    column = table.column(rule.column)
    if column and column.meaning == "wall clock":
        yield f"{rule.column} ({column.type}) has no time zone: read in the server's own, where the cut-off is {before}"
    if table.partitioned:
        yield f"{table.label} is partitioned: dropping whole partitions would be cheaper than deleting their rows"
    if table.delete_triggers:
        yield f"each row that goes fires the triggers {', '.join(table.delete_triggers)}"
    for key in table.foreign_keys:
        yield f"foreign key {key.name}: {key.on_delete} on rows of {key.table}"
    if table.spared is not None:
        yield "the row with the highest AUTO_INCREMENT value stays: this server counts on from it after a restart"


def create_index(table: Table, column: str) -> str:
    """The statement that makes the missing index without blocking writes, where the server can do that."""
    name, col = f"{table.place[-1]}_{column}_idx"[:60], quoted(table.engine, column)
    if table.engine == "mysql":
        return f"CREATE INDEX {quoted('mysql', name)} ON {table.quoted} ({col}) ALGORITHM=INPLACE LOCK=NONE"
    how = "" if table.partitioned else "CONCURRENTLY "
    return f"CREATE INDEX {how}{quoted('postgres', name)} ON {table.quoted} ({col})"


def _add_key(table: Table) -> str:
    kind = "BIGINT NOT NULL AUTO_INCREMENT" if table.engine == "mysql" else "bigint GENERATED ALWAYS AS IDENTITY"
    return f"ALTER TABLE {table.quoted} ADD COLUMN {quoted(table.engine, 'row_id')} {kind} PRIMARY KEY"


def counts_from_its_rows(flavour: str, version: Sequence[int]) -> bool:
    """Whether a restart sets AUTO_INCREMENT back to the highest value left in the table.

    InnoDB keeps the counter on disk from MySQL 8.0 and MariaDB 10.2.4 on. Before, a table whose newest rows are deleted
    hands their numbers out again, and what refers to them elsewhere (other tables, archives) then means other rows.
    """
    return tuple(version) < ((10, 2, 4) if flavour == "mariadb" else (8,))


# How fast.


@dataclass(frozen=True)
class Pace:
    """The size of the next batch, in rows, steered by how long the last ones took."""

    size: int = FIRST

    def after(self, rows: int, seconds: float, *, shared: bool = False) -> Pace:
        """The next size: what would have taken the target at the speed just measured, at most twice the last.

        :param shared: others are at work on the server as well.

        A batch smaller than planned, the end of a chunk, says little and changes nothing unless it was slow.
        """
        target = SHARED_TARGET_S if shared else TARGET_S
        if rows <= 0 or (rows < self.size and seconds < target):
            return self
        wanted = rows * target / max(seconds, 0.001)
        return self._sized(min(wanted, self.size * GROWTH))

    def slower(self) -> Pace:
        """After a lock timeout, a deadlock or a pause for load: half as much."""
        return self._sized(self.size / 2)

    @property
    def is_slowest(self) -> bool:
        return self.size <= SMALLEST

    def _sized(self, size: float) -> Pace:
        return replace(self, size=max(SMALLEST, min(LARGEST, int(size))))


REST_SHARE = 14.0
"""How long to rest after a batch while others are at work, as a share of the time the batch took."""
LONGEST_REST_S = 1.0
"""What took long, such as finding rows that only the disk has, did so by waiting."""


def rest_after(batch_s: float, *, shared: bool) -> float:
    """Seconds in which the server belongs to the others; none when nobody else is there."""
    return min(batch_s * REST_SHARE, LONGEST_REST_S) if shared else 0.0
