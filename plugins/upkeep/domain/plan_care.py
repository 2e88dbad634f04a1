"""What tables need, judged by evidence: statistics, dead rows, waste, and the age of transaction ids.

**Evidence before work.** A rebuild reads and writes the whole of what it rebuilds, so it is done only where a share of
it *and* an amount of it are waste (``bloat_pct``, ``bloat_mb``). What is small costs nothing to leave alone.

**What is known, and how well.** InnoDB's waste is the free extents of the table's file, and the pages that its indexes
hold but don't use: after scattered deletes the first alone misses most of it. PostgreSQL's is an estimate from
statistics: rows times their average width against the pages there are. It says nothing where columns have no statistics
and is wrong where they are old, so ANALYZE comes first and the rest waits for the next week; of deduplicated B-trees it
may miss waste, but invents none. Where ``pgstattuple`` is installed, what the estimate suspects is measured.

**A rebuild that didn't help isn't repeated**: until the table has grown by a quarter, the estimate was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt

from upkeep.domain.names import quoted
from upkeep.domain.table_care import Care, CarePlan, IndexFacts, Item, Kind, Past, Server, TableFacts
from upkeep.domain.units import human_bytes, human_count, human_seconds

STATISTICS_MAX_AGE_S = 7 * 86_400
"""Older statistics of a table that has changed since are renewed."""
DEAD_PCT, DEAD_ROWS = 5, 1_000
"""Ola Hallengren's floor for doing anything, here for VACUUM: autovacuum itself comes only at 20 %."""
UNVACUUMED_PCT = 20
"""Rows put in since the last VACUUM, as a share: until it, index-only scans read the table, and freezing piles up."""
FREEZE_PCT = 75
"""Of autovacuum_freeze_max_age. There autovacuum would begin by itself, at any hour, and yield to nobody."""
STALE_PCT = 10
"""Rows changed since the statistics were made, as a share: beyond it nothing is estimated from them."""
ROOM = 1.2
"""Free disk that a rebuild needs, as a share of what it rebuilds: the copy, and what is written meanwhile."""
UNKNOWN_ROOM_BYTES = 10_000_000_000
"""What is rebuilt at most on a server whose free disk isn't known."""
HELPED = 0.3
"""A rebuild that freed a smaller share of what it promised was in vain."""
GROWN = 1.25
SPEEDS: Mapping[Kind, float] = {
    "optimize": 10e6,
    "vacuum full": 20e6,
    "reindex": 20e6,
    "vacuum freeze": 40e6,
    "vacuum": 60e6,
    "analyze": 500e6,
    "drop leftover": 10e9,
}
"""Bytes a second until this site's own are known. Low: what takes less than thought harms nobody."""
OVERHEAD_S = 2.0


def plan_care(
    server: Server, tables: Sequence[TableFacts], care: Care, past: Past | None = None, notes: Sequence[str] = ()
) -> CarePlan:
    """One verdict or more for each table the site wants looked after, worst first."""
    past = past or Past()
    items = [item for table in tables for item in _Judge(server, table, care, past).items()]
    items += _unknown(server, tables, care)
    return CarePlan(tuple(sorted(items, key=_order)), (*notes, *_notes(server, items)))


def covers(names: Iterable[str], table: TableFacts) -> bool:
    """Whether one of ``names`` means ``table`` or a partitioned table it is part of; without a schema: in public."""
    labels = {table.label, *table.parents}
    return any(_full(table.engine, name) in labels for name in names)


_RANK: Mapping[str, int] = {
    "vacuum freeze": 0, "drop leftover": 2, "vacuum": 3, "analyze": 4, "optimize": 5, "reindex": 5, "vacuum full": 6,
}  # fmt: skip
"""What endangers the whole server, then what an earlier week had no time for (1), then by kind: statistics come before
the rebuilds that are judged by them."""


def _order(item: Item) -> tuple[int, int, int, str]:
    verdict = {"act": 0, "refused": 1, "none": 2}[item.verdict]
    rank = _RANK.get(str(item.kind), 9)
    return (verdict, 1 if item.postponed and rank else rank, -item.waste, item.label)


def _full(engine: str, name: str) -> str:
    return name if engine == "mysql" or "." in name else f"public.{name}"


def _unknown(server: Server, tables: Sequence[TableFacts], care: Care) -> Iterator[Item]:
    there = {label for table in tables for label in (table.label, *table.parents)}
    for name in dict.fromkeys((*care.tables, *care.analyze, *care.vacuum_full)):
        if (label := _full(server.engine, name)) not in there:
            yield Item(
                "refused",
                label,
                label,
                "there is no such table, or this account may not see it",
                remedy="check upkeep in the site file; write schema.table where it isn't in public",
            )


def _notes(server: Server, items: Sequence[Item]) -> Iterator[str]:
    if server.why_free_unknown:
        yield f"free disk is not known: {server.why_free_unknown}"
    aged = server.xid_age >= server.freeze_max * FREEZE_PCT / 100
    if aged and not any(item.kind == "vacuum freeze" for item in items):
        yield (
            f"the oldest transaction id of this database is {human_count(server.xid_age)} old, in a table that isn't "
            "tended here: have upkeep.tables name it, or leave it out to tend them all"
        )


class _Judge:
    """One table."""

    def __init__(self, server: Server, table: TableFacts, care: Care, past: Past) -> None:
        self._server, self._table, self._care, self._past = server, table, care, past
        self._tended = not care.tables or covers(care.tables, table)
        self._named = covers((*care.tables, *care.analyze, *care.vacuum_full), table)
        self._analyzed = self._tended or covers(care.analyze, table)

    def items(self) -> list[Item]:
        if not (self._tended or self._analyzed or self._named):
            return []
        if self._table.kind not in ("table", "partitioned"):
            reason, remedy = f"it is a {self._table.kind}, and holds no rows of its own", "name the tables behind it"
            if self._table.kind == "materialized view":
                reason, remedy = "it is a materialized view, which Upkeep doesn't tend", "leave it to autovacuum"
            return [self._refused(None, reason, remedy)] if self._named else []
        found = list(self._mysql() if self._server.engine == "mysql" else self._postgres())
        return found or [self._none()]

    # MySQL and MariaDB

    def _mysql(self) -> Iterator[Item]:
        table = self._table
        if table.storage.lower() != "innodb":
            if self._named:
                remedy = f"ALTER TABLE {table.quoted} ENGINE=InnoDB, in a window in which it may be locked"
                yield self._refused(None, f"{table.storage} locks the whole table for whatever is done to it", remedy)
            return
        rebuild = self._rebuild("optimize", f"OPTIMIZE LOCAL TABLE {self._table.quoted}") if self._tended else None
        if rebuild:
            yield rebuild
        if rebuild and rebuild.verdict == "act":
            return  # which makes its statistics anew
        if reason := self._why_analyze_mysql():
            yield self._act("analyze", f"ANALYZE LOCAL TABLE {self._table.quoted}", reason)

    def _why_analyze_mysql(self) -> str:
        table = self._table
        if not self._analyzed:
            return ""
        if not table.has_statistics:
            return "it has no statistics yet"
        if table.statistics_age is None:
            listed = covers(self._care.analyze, table)
            return (
                "the age of its statistics can't be read (grant SELECT on mysql.innodb_table_stats)" if listed else ""
            )
        if table.statistics_age > STATISTICS_MAX_AGE_S and table.changed != 0:
            since = "it has been changed since" if table.changed else "it may have been changed since"
            return f"its statistics are {human_seconds(table.statistics_age)} old, and {since}"
        return ""

    # PostgreSQL

    def _postgres(self) -> Iterator[Item]:
        table = self._table
        if table.kind == "partitioned":
            if self._analyzed and (table.statistics_age is None or table.statistics_age > STATISTICS_MAX_AGE_S):
                age = table.statistics_age
                made = "were never made" if age is None else f"are {human_seconds(age)} old"
                reason = f"autovacuum never looks at a partitioned table as a whole; its statistics {made}"
                yield self._act("analyze", f"ANALYZE {self._table.quoted}", reason)
            return
        if table.vacuum_running:
            yield self._none("a VACUUM is at work on it at this moment")
            return
        if self._tended:
            yield from self._leftovers()
        vacuum = self._vacuum() if self._tended else None
        if vacuum:
            yield vacuum
        elif reason := self._why_analyze_postgres():
            yield self._act("analyze", f"ANALYZE {self._table.quoted}", reason)
        if not self._tended:
            return
        if covers(self._care.vacuum_full, table) and (
            rebuild := self._rebuild("vacuum full", f"VACUUM (FULL, ANALYZE) {self._table.quoted}")
        ):
            yield rebuild
            if rebuild.verdict == "act":
                return  # which rebuilds its indexes as well
        for index in table.indexes:
            if item := self._reindex(index):
                yield item

    def _vacuum(self) -> Item | None:
        table = self._table
        for age, limit, what in (
            (table.xid_age, self._server.freeze_max, "transaction"),
            (table.mxid_age, self._server.mxid_freeze_max, "multixact"),
        ):
            if limit and age >= limit * FREEZE_PCT / 100:
                reason = (
                    f"its oldest {what} id is {human_count(age)} old, {100 * age // limit} % of the age at which "
                    "autovacuum must freeze it, at whatever hour"
                )
                return self._act("vacuum freeze", f"VACUUM (FREEZE, ANALYZE) {self._table.quoted}", reason)
        rows = max(table.rows, 0) + table.dead
        if table.dead >= DEAD_ROWS and table.dead * 100 >= rows * DEAD_PCT:
            reason = f"{human_count(table.dead)} of {human_count(rows)} rows are dead ({100 * table.dead // rows} %)"
            return self._act("vacuum", f"VACUUM (ANALYZE) {self._table.quoted}", reason)
        inserted = table.inserted or 0
        if inserted >= DEAD_ROWS and inserted * 100 >= max(table.rows, 1) * UNVACUUMED_PCT:
            reason = f"{human_count(inserted)} rows were put in since its last VACUUM: index-only scans read the table"
            return self._act("vacuum", f"VACUUM (ANALYZE) {self._table.quoted}", reason)
        return None

    def _why_analyze_postgres(self) -> str:
        table, changed = self._table, self._table.changed or 0
        if not self._analyzed:
            return ""
        if not table.has_statistics:
            return "it has no statistics yet" if table.bytes else ""
        if changed > sqrt(1_000 * max(table.rows, 1)):
            return f"{human_count(changed)} rows were changed since its statistics were made"
        age = table.statistics_age
        if changed and age is not None and age > STATISTICS_MAX_AGE_S:
            return f"its statistics are {human_seconds(age)} old, and {human_count(changed)} rows were changed since"
        return ""

    def _leftovers(self) -> Iterator[Item]:
        for index in self._table.indexes:
            if index.valid or index.building:
                continue
            if index.leftover:
                yield self._act(
                    "drop leftover",
                    f"DROP INDEX CONCURRENTLY IF EXISTS {quoted('postgres', *index.place)}",
                    "a REINDEX CONCURRENTLY that broke off left it: invalid, of no use, and every write has to keep it",
                    place=index.place,
                    size=index.bytes,
                )
            else:
                name = quoted("postgres", *index.place)
                yield self._refused(
                    None,
                    "the index is invalid: a CREATE INDEX CONCURRENTLY broke off, or somebody made it so",
                    f"REINDEX INDEX CONCURRENTLY {name}, or DROP INDEX CONCURRENTLY {name}",
                    place=index.place,
                )

    def _reindex(self, index: IndexFacts) -> Item | None:
        if not index.valid or index.building:
            return None
        return self._rebuild("reindex", f"REINDEX INDEX CONCURRENTLY {quoted('postgres', *index.place)}", index)

    # What both share

    def _rebuild(self, kind: Kind, statement: str, index: IndexFacts | None = None) -> Item | None:
        """The verdict about a rebuild; None where nothing speaks for one."""
        thing = index or self._table
        waste = self._waste(thing)
        if waste is None or not self._is_bloated(thing.bytes, waste):
            return None
        share = 100 * waste // max(thing.bytes, 1)
        about = "" if thing.exact else "about "
        reason = f"{about}{human_bytes(waste)} of {human_bytes(thing.bytes)} is waste ({share} %)"
        why_not, remedy = self._why_no_rebuild(kind, thing)
        if why_not:
            return self._refused(kind, f"{reason}; {why_not}", remedy, place=thing.place, waste=waste)
        return self._act(kind, statement, reason, place=thing.place, size=thing.bytes, waste=waste)

    def _waste(self, thing: TableFacts | IndexFacts) -> int | None:
        """None where it isn't known, or only from statistics that no longer fit."""
        if self._server.engine == "mysql" or thing.exact:
            return thing.waste
        table = self._table
        stale = (table.changed or 0) * 100 > max(table.rows, 1) * STALE_PCT
        return None if stale or not table.has_statistics else thing.waste

    def _is_bloated(self, size: int, waste: int) -> bool:
        return waste > 0 and waste >= self._care.bloat_mb * 1_000_000 and waste * 100 >= size * self._care.bloat_pct

    def _why_no_rebuild(self, kind: Kind, thing: TableFacts | IndexFacts) -> tuple[str, str]:
        if self._server.why_no_rebuilds:
            return self._server.why_no_rebuilds, "rebuild it by hand, with the advice of the server's manual"
        if thing.why_not:
            return thing.why_not, "rebuild it by hand, in a window in which it may be locked"
        if last := self._past.rebuilt.get((str(kind), thing.label)):
            freed = last.before - last.after
            if freed < last.promised * HELPED and thing.bytes <= last.after * GROWN:
                return (
                    f"but the last rebuild freed {human_bytes(max(freed, 0))} where {human_bytes(last.promised)} "
                    "were promised, and it has hardly grown since"
                ), "none needed: it is looked at again once it has grown by a quarter"
        need = int(thing.bytes * ROOM)
        if self._server.free is not None and self._server.free < need:
            return (
                f"the rebuild needs {human_bytes(need)} of free disk, and there are {human_bytes(self._server.free)}",
                "make room on the server's disk",
            )
        if self._server.free is None and need > UNKNOWN_ROOM_BYTES:
            return (
                f"the rebuild needs {human_bytes(need)} of free disk, and how much there is isn't known: "
                f"{self._server.why_free_unknown}"
            ), "check the server's free disk and rebuild it by hand, or run Upkeep's worker on the server"
        return "", ""

    def _none(self, why: str = "") -> Item:
        return Item("none", self._table.label, self._table.label, why or self._healthy(), place=self._table.place)

    def _healthy(self) -> str:
        table, said = self._table, []
        waste = self._waste(table)
        if table.kind == "table" and self._tended and waste is not None and table.bytes:
            said.append(f"{human_bytes(waste)} of {human_bytes(table.bytes)} is waste ({100 * waste // table.bytes} %)")
            if self._is_bloated(table.bytes, waste):
                said[-1] += ": new rows fill it; only VACUUM FULL, which locks the table, would give it back"
        elif table.kind == "table" and self._tended and table.bytes and table.waste is None:
            said.append(f"its waste can't be known{f' ({table.why_not})' if table.why_not else ''}")
        if table.engine != "mysql" and table.kind == "table":
            said.append(f"{human_count(table.dead)} dead rows")
        if table.statistics_age is not None:
            said.append(f"statistics {human_seconds(table.statistics_age)} old")
        return ", ".join(said) or "nothing speaks for any work on it"

    def _act(
        self,
        kind: Kind,
        statement: str,
        reason: str,
        *,
        place: tuple[str, ...] = (),
        size: int | None = None,
        waste: int = 0,
    ) -> Item:
        table, place = self._table, place or self._table.place
        size = table.bytes if size is None else size
        speed = self._past.speeds.get(kind) or SPEEDS[kind]
        item = Item(
            "act", table.label, ".".join(place), reason, kind, place, statement, size, waste, OVERHEAD_S + size / speed
        )
        if item.key not in self._past.postponed:
            return item
        return replace(item, postponed=True, reason=f"{reason}; an earlier window had no time for it")

    def _refused(
        self, kind: Kind | None, reason: str, remedy: str, *, place: tuple[str, ...] = (), waste: int = 0
    ) -> Item:
        place = place or self._table.place
        return Item("refused", self._table.label, ".".join(place), reason, kind, place, waste=waste, remedy=remedy)
